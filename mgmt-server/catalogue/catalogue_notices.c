/* catalogue_notices.c - see catalogue_notices.h. */
#include "mgmt-server/catalogue/catalogue_notices.h"

int catalogue_notice_add(struct db_conn *c, struct catalogue_notice *n, struct err *err)
{
	int r;

	n->seq = 0;
	r = db_number(c, &n->seq, "SELECT COALESCE(MAX(seq), 0) + 1 FROM notices", DB_NO_VALUES,
		      err);
	if (r >= 0)
		r = db_run(c,
			   "INSERT INTO notices (seq, at, severity, kind, desktop, snapshot, job, "
			   "message, details, reader, mail, mail_tries, mail_due, mail_error) "
			   "VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, '', $10, 0, 0, '')",
			   DB_VALUES(db_i(n->seq), db_i(n->at_ms), db_t(n->severity), db_t(n->kind),
				     db_t(n->desktop), db_t(n->snapshot), db_t(n->job),
				     db_t(n->text), db_t(n->details), db_t(n->mail)),
			   err);
	return r < 0 ? r : 0;
}

struct each {
	catalogue_notice_fn *fn;
	void *arg;
};

static int each_notice(void *arg, const struct db_row *row, struct err *err)
{
	struct each *each = arg;
	struct catalogue_notice n = {
		.seq = db_column_int(row, 0),
		.at_ms = db_column_int(row, 1),
		.severity = db_column_text(row, 2),
		.kind = db_column_text(row, 3),
		.desktop = db_column_text(row, 4),
		.snapshot = db_column_text(row, 5),
		.job = db_column_text(row, 6),
		.text = db_column_text(row, 7),
		.details = db_column_text(row, 8),
		.read_ms = db_column_int(row, 9),
		.reader = db_column_text(row, 10),
		.mail = db_column_text(row, 11),
		.mail_tries = db_column_int(row, 12),
		.mail_error = db_column_text(row, 13),
	};

	return each->fn(each->arg, &n, err);
}

#define NOTICE_COLUMNS                                                                             \
	"SELECT seq, at, severity, kind, desktop, snapshot, job, message, details, read, reader, " \
	"mail, mail_tries, mail_error FROM notices "

int catalogue_notice_each(struct db_conn *c, const struct catalogue_notice_filter *filter,
			  catalogue_notice_fn *fn, void *arg, struct err *err)
{
	struct each each = { fn, arg };
	int r = db_each(c, each_notice, &each,
			NOTICE_COLUMNS "WHERE seq < $1 AND ($2 = 0 OR read IS NULL) "
				       "AND ($3 = '' OR desktop = $3) ORDER BY seq DESC",
			DB_VALUES(db_i(filter->before), db_i(filter->unread),
				  db_t(filter->desktop ? filter->desktop : "")),
			err);

	return r < 0 ? r : 0;
}

int catalogue_notice_get(struct db_conn *c, uint64_t seq, catalogue_notice_fn *fn, void *arg,
			 struct err *err)
{
	struct each each = { fn, arg };
	int r = db_each(c, each_notice, &each, NOTICE_COLUMNS "WHERE seq = $1",
			DB_VALUES(db_i(seq)), err);

	return r == 0 ? CATALOGUE_NONE : r < 0 ? r : 0;
}

int catalogue_notice_read(struct db_conn *c, uint64_t seq, const char *user, uint64_t now_ms,
			  struct err *err)
{
	return db_run(c,
		      "UPDATE notices SET read = $1, reader = $2 WHERE seq = $3 AND read IS NULL",
		      DB_VALUES(db_i(now_ms), db_t(user), db_i(seq)), err);
}

int catalogue_notice_read_all(struct db_conn *c, uint64_t seq, const char *user, uint64_t now_ms,
			      struct err *err)
{
	return db_run(c,
		      "UPDATE notices SET read = $1, reader = $2 WHERE seq <= $3 AND read IS NULL",
		      DB_VALUES(db_i(now_ms), db_t(user), db_i(seq)), err);
}

int catalogue_notice_unread(struct db_conn *c, uint64_t *count, struct err *err)
{
	int r;

	*count = 0;
	r = db_number(c, count, "SELECT COUNT(*) FROM notices WHERE read IS NULL", DB_NO_VALUES,
		      err);
	return r < 0 ? r : 0;
}

int catalogue_notice_mail_due(struct db_conn *c, uint64_t now_ms, catalogue_notice_fn *fn,
			      void *arg, struct err *err)
{
	struct each each = { fn, arg };
	int r = db_each(c, each_notice, &each,
			NOTICE_COLUMNS "WHERE mail = 'queued' AND mail_due <= $1 "
				       "ORDER BY mail_due, seq LIMIT 1",
			DB_VALUES(db_i(now_ms)), err);

	return r == 0 ? CATALOGUE_NONE : r < 0 ? r : 0;
}

int catalogue_notice_mailed(struct db_conn *c, uint64_t seq, const char *mail, uint64_t tries,
			    uint64_t due_ms, const char *error, struct err *err)
{
	int r = db_run(c,
		       "UPDATE notices SET mail = $1, mail_tries = $2, mail_due = $3, "
		       "mail_error = $4 WHERE seq = $5",
		       DB_VALUES(db_t(mail), db_i(tries), db_i(due_ms), db_t(error), db_i(seq)),
		       err);

	return r < 0 ? r : 0;
}
