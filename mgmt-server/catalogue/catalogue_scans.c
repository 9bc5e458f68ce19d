/* catalogue_scans.c - see catalogue_scans.h. */
#include "mgmt-server/catalogue/catalogue_scans.h"

int catalogue_scan_put(struct db_conn *c, const struct catalogue_scan *s, struct err *err)
{
	int r;

	r = db_run(c, "DELETE FROM scans WHERE snapshot = $1", DB_VALUES(db_t(s->snapshot)), err);
	if (r >= 0)
		r = db_run(c,
			   "INSERT INTO scans (snapshot, verdict, ended, job, files, bytes, "
			   "contents, reasons, "
			   "more_reasons, findings, more_findings, engine, signature_version) "
			   "VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13)",
			   DB_VALUES(db_t(s->snapshot), db_t(s->verdict), db_i(s->ended_ms),
				     db_t(s->job), db_i(s->files), db_i(s->bytes),
				     db_i(s->contents), db_t(s->reasons), db_i(s->more_reasons),
				     db_t(s->findings), db_i(s->more_findings), db_t(s->engine),
				     db_t(s->signature_version)),
			   err);
	if (r >= 0)
		r = db_run(c, "UPDATE snapshots SET verdict = $1 WHERE id = $2",
			   DB_VALUES(db_t(s->verdict), db_t(s->snapshot)), err);
	return r < 0 ? r : 0;
}

struct each {
	catalogue_scan_fn *fn;
	void *arg;
};

static int each_scan(void *arg, const struct db_row *row, struct err *err)
{
	struct each *each = arg;
	struct catalogue_scan s = {
		.ended_ms = db_column_int(row, 2),
		.files = db_column_int(row, 4),
		.bytes = db_column_int(row, 5),
		.contents = db_column_int(row, 6),
		.reasons = db_column_text(row, 7),
		.more_reasons = db_column_int(row, 8),
		.findings = db_column_text(row, 9),
		.more_findings = db_column_int(row, 10),
		.engine = db_column_text(row, 11),
		.signature_version = db_column_text(row, 12),
	};

	db_column_copy(row, 0, s.snapshot, sizeof(s.snapshot));
	db_column_copy(row, 1, s.verdict, sizeof(s.verdict));
	db_column_copy(row, 3, s.job, sizeof(s.job));
	return each->fn(each->arg, &s, err);
}

int catalogue_scan_get(struct db_conn *c, const char *snapshot, catalogue_scan_fn *fn, void *arg,
		       struct err *err)
{
	struct each each = { fn, arg };
	int r = db_each(c, each_scan, &each,
			"SELECT snapshot, verdict, ended, job, files, bytes, contents, reasons, "
			"more_reasons, findings, "
			"more_findings, engine, signature_version FROM scans WHERE snapshot = $1",
			DB_VALUES(db_t(snapshot)), err);

	return r == 0 ? CATALOGUE_NONE : r < 0 ? r : 0;
}

static int take_id(void *arg, const struct db_row *row, struct err *err)
{
	(void)err;
	db_column_copy(row, 0, arg, CATALOGUE_ID_LEN);
	return DB_STOP;
}

int catalogue_scan_newest_good(struct db_conn *c, const char *desktop, catalogue_snapshot_fn *fn,
			       void *arg, struct err *err)
{
	char id[CATALOGUE_ID_LEN] = "";
	int r = db_each(c, take_id, id,
			"SELECT id FROM snapshots WHERE desktop = $1 AND branch = 0 AND verdict <> "
			"'infected' AND NOT EXISTS (SELECT 1 FROM marks WHERE "
			"marks.snapshot = snapshots.id AND marks.kind = 'hold') "
			"ORDER BY seq DESC LIMIT 1",
			DB_VALUES(db_t(desktop)), err);

	if (r <= 0)
		return r < 0 ? r : CATALOGUE_NONE;
	return catalogue_snapshot_get(c, desktop, id, fn, arg, err);
}

int catalogue_scan_last_clean(struct db_conn *c, const char *snapshot, char *id, struct err *err)
{
	int r = db_each(c, take_id, id,
			"SELECT s.id FROM snapshots s JOIN snapshots b ON b.desktop = s.desktop "
			"WHERE b.id = $1 AND s.verdict = 'clean' AND s.seq < b.seq "
			"ORDER BY s.seq DESC LIMIT 1",
			DB_VALUES(db_t(snapshot)), err);

	return r < 0 ? r : r == 0 ? CATALOGUE_NONE : 0;
}
