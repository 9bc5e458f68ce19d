/* catalogue_access.c - see catalogue_access.h. */
#include "mgmt-server/catalogue/catalogue_access.h"

#include <errno.h>
#include <string.h>

int catalogue_user_add(struct db_conn *c, const struct catalogue_user *user, uint64_t now_ms,
		       struct err *err)
{
	int r = db_run(
		c, "INSERT INTO users (name, role, password, created) VALUES ($1, $2, $3, $4)",
		DB_VALUES(db_t(user->name), db_t(user->role), db_t(user->password), db_i(now_ms)),
		err);

	return r < 0 ? r : 0;
}

static int take_user(void *arg, const struct db_row *row, struct err *err)
{
	struct catalogue_user *user = arg;

	(void)err;
	db_column_copy(row, 0, user->name, sizeof(user->name));
	db_column_copy(row, 1, user->role, sizeof(user->role));
	db_column_copy(row, 2, user->password, sizeof(user->password));
	return DB_STOP;
}

static int found(int rows)
{
	return rows == 0 ? CATALOGUE_NONE : rows < 0 ? rows : 0;
}

int catalogue_user_get(struct db_conn *c, const char *name, struct catalogue_user *out,
		       struct err *err)
{
	return found(db_each(c, take_user, out,
			     "SELECT name, role, password FROM users WHERE name = $1",
			     DB_VALUES(db_t(name)), err));
}

int catalogue_user_count(struct db_conn *c, uint64_t *count, struct err *err)
{
	int r = db_number(c, count, "SELECT COUNT(*) FROM users", DB_NO_VALUES, err);

	return r < 0 ? r : 0;
}

int catalogue_sign_in_add(struct db_conn *c, const char *token_hash, const char *user,
			  uint64_t now_ms, uint64_t expires_ms, struct err *err)
{
	int r = db_run(c,
		       "INSERT INTO sign_ins (token_hash, username, created, expires) "
		       "VALUES ($1, $2, $3, $4)",
		       DB_VALUES(db_t(token_hash), db_t(user), db_i(now_ms), db_i(expires_ms)),
		       err);

	return r < 0 ? r : 0;
}

static int take_sign_in(void *arg, const struct db_row *row, struct err *err)
{
	struct catalogue_sign_in *out = arg;

	(void)err;
	db_column_copy(row, 0, out->user, sizeof(out->user));
	db_column_copy(row, 1, out->role, sizeof(out->role));
	out->expires_ms = db_column_int(row, 2);
	return DB_STOP;
}

int catalogue_sign_in_get(struct db_conn *c, const char *token_hash, uint64_t now_ms,
			  struct catalogue_sign_in *out, struct err *err)
{
	return found(db_each(c, take_sign_in, out,
			     "SELECT users.name, users.role, sign_ins.expires FROM sign_ins "
			     "JOIN users ON users.name = sign_ins.username "
			     "WHERE token_hash = $1 AND expires > $2",
			     DB_VALUES(db_t(token_hash), db_i(now_ms)), err));
}

int catalogue_sign_in_end(struct db_conn *c, const char *token_hash, struct err *err)
{
	int r = db_run(c, "DELETE FROM sign_ins WHERE token_hash = $1", DB_VALUES(db_t(token_hash)),
		       err);

	return r < 0 ? r : 0;
}

int catalogue_sign_in_purge(struct db_conn *c, uint64_t now_ms, struct err *err)
{
	int r = db_run(c, "DELETE FROM sign_ins WHERE expires <= $1", DB_VALUES(db_i(now_ms)), err);

	return r < 0 ? r : 0;
}

/* ---- Enrolment tokens ---- */

int catalogue_token_add(struct db_conn *c, const char *secret_hash, const char *endpoint,
			const char *user, uint64_t now_ms, uint64_t expires_ms, struct err *err)
{
	int r = db_run(c,
		       "INSERT INTO endpoint_tokens (secret_hash, endpoint, username, created, "
		       "expires, used) VALUES ($1, $2, $3, $4, $5, NULL)",
		       DB_VALUES(db_t(secret_hash), db_t(endpoint), db_t(user), db_i(now_ms),
				 db_i(expires_ms)),
		       err);

	return r < 0 ? r : 0;
}

struct token_row {
	char *endpoint;
	uint64_t expires_ms;
	bool used;
};

static int take_token(void *arg, const struct db_row *row, struct err *err)
{
	struct token_row *token = arg;

	(void)err;
	db_column_copy(row, 0, token->endpoint, CATALOGUE_NAME_LEN);
	token->expires_ms = db_column_int(row, 1);
	token->used = !db_column_null(row, 2);
	return DB_STOP;
}

int catalogue_token_use(struct db_conn *c, const char *secret_hash, uint64_t now_ms, char *endpoint,
			struct err *err)
{
	struct token_row token = { .endpoint = endpoint };
	int r;

	r = found(db_each(c, take_token, &token,
			  "SELECT endpoint, expires, used FROM endpoint_tokens "
			  "WHERE secret_hash = $1",
			  DB_VALUES(db_t(secret_hash)), err));
	if (r)
		return r;
	if (token.used)
		return CATALOGUE_TOKEN_USED;
	if (token.expires_ms <= now_ms)
		return CATALOGUE_TOKEN_EXPIRED;
	r = db_run(c, "UPDATE endpoint_tokens SET used = $1 WHERE secret_hash = $2",
		   DB_VALUES(db_i(now_ms), db_t(secret_hash)), err);
	return r < 0 ? r : 0;
}

/* ---- Endpoints ---- */

int catalogue_endpoint_put(struct db_conn *c, const char *name, const char *fingerprint,
			   uint64_t now_ms, struct err *err)
{
	int r = db_run(c,
		       "INSERT INTO endpoints (name, fingerprint, enrolled, last_seen, facts) "
		       "VALUES ($1, $2, $3, NULL, '{}') ON CONFLICT (name) DO UPDATE SET "
		       "fingerprint = excluded.fingerprint, enrolled = excluded.enrolled",
		       DB_VALUES(db_t(name), db_t(fingerprint), db_i(now_ms)), err);

	return r < 0 ? r : 0;
}

static void read_endpoint(const struct db_row *row, struct catalogue_endpoint *e)
{
	db_column_copy(row, 0, e->name, sizeof(e->name));
	db_column_copy(row, 1, e->fingerprint, sizeof(e->fingerprint));
	e->enrolled_ms = db_column_int(row, 2);
	e->last_seen_ms = db_column_int(row, 3);
	db_column_copy(row, 4, e->facts, sizeof(e->facts));
}

static int take_endpoint(void *arg, const struct db_row *row, struct err *err)
{
	(void)err;
	read_endpoint(row, arg);
	return DB_STOP;
}

#define ENDPOINT_COLUMNS "SELECT name, fingerprint, enrolled, last_seen, facts FROM endpoints "

int catalogue_endpoint_get(struct db_conn *c, const char *name, struct catalogue_endpoint *out,
			   struct err *err)
{
	return found(db_each(c, take_endpoint, out, ENDPOINT_COLUMNS "WHERE name = $1",
			     DB_VALUES(db_t(name)), err));
}

int catalogue_endpoint_seen(struct db_conn *c, const char *name, uint64_t now_ms, const char *facts,
			    struct err *err)
{
	int r = db_run(c, "UPDATE endpoints SET last_seen = $1, facts = $2 WHERE name = $3",
		       DB_VALUES(db_i(now_ms), db_t(facts), db_t(name)), err);

	return r < 0 ? r : 0;
}

struct endpoint_each {
	catalogue_endpoint_fn *fn;
	void *arg;
};

static int each_endpoint(void *arg, const struct db_row *row, struct err *err)
{
	struct endpoint_each *each = arg;
	struct catalogue_endpoint e;

	read_endpoint(row, &e);
	return each->fn(each->arg, &e, err);
}

int catalogue_endpoint_each(struct db_conn *c, const char *after, catalogue_endpoint_fn *fn,
			    void *arg, struct err *err)
{
	struct endpoint_each each = { fn, arg };
	int r = db_each(c, each_endpoint, &each, ENDPOINT_COLUMNS "WHERE name > $1 ORDER BY name",
			DB_VALUES(db_t(after)), err);

	return r < 0 ? r : 0;
}
