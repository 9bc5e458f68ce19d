/* auth.c - see auth.h. */
#include "mgmt-server/core/auth.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/clock.h"
#include "common/hex.h"
#include "common/io.h"
#include "common/log.h"
#include "mgmt-server/core/change.h"
#include "mgmt-server/core/objects.h"

enum { ADDRESSES = 256, FREE_TRIES = 3, PAUSE_MAX_MS = 30000, TOKEN_BYTES = 32 };

struct auth {
	pthread_mutex_t scrypt; /* 32 MiB each */
	pthread_mutex_t lock;
	struct {
		char address[48];
		unsigned wrong;
		uint64_t last_ms, until_ms;
	} addresses[ADDRESSES];
	char nobody
		[256]; /* a password entry that nothing fits: unknown users take as long as known ones */
};

int auth_new(struct auth **out, struct server *server, struct err *err)
{
	struct auth *a = calloc(1, sizeof(*a));
	char password[2 * TOKEN_BYTES + 1];
	int r;

	(void)server;
	if (!a)
		return err_set(err, ENOMEM, "sign-ins");
	pthread_mutex_init(&a->scrypt, NULL);
	pthread_mutex_init(&a->lock, NULL);
	hex_random(password, TOKEN_BYTES);
	r = auth_password_hash(password, a->nobody, err);
	if (r < 0) {
		auth_free(a);
		return r;
	}
	*out = a;
	return 0;
}

void auth_free(struct auth *a)
{
	pthread_mutex_destroy(&a->scrypt);
	pthread_mutex_destroy(&a->lock);
	free(a);
}

int auth_first_user(struct server *s, struct err *err)
{
	CLEANUP_FREE char *path = io_printf("%s/admin-password", s->state);
	CLEANUP(db_abort) struct db_conn *c = NULL;
	struct catalogue_user user = { .name = "admin", .role = "admin" };
	char password[2 * 12 + 2];
	uint64_t count = 0;
	int r;

	r = path ? db_begin(s->db, &c, err) : err_set(err, ENOMEM, "first user");
	if (r == 0)
		r = catalogue_user_count(c, &count, err);
	if (r < 0 || count > 0)
		return r;
	hex_random(password, 12);
	r = auth_password_hash(password, user.password, err);
	if (r == 0)
		r = catalogue_user_add(c, &user, clock_wall_ms(), err);
	/* The file first: a password that nobody knows would be worse than a file that is replaced at the next start. */
	strcat(password, "\n");
	if (r == 0)
		r = io_replace_file(path, password, strlen(password), 0600, err);
	if (r == 0)
		r = db_commit(TAKE(c), err);
	if (r == 0)
		log_info("made the user admin, its password is in the file %s", path);
	return r;
}

/* ---- Slowing down ---- */

/* With the lock: the address's slot, or the one that was quiet for longest. */
static size_t slot_of(struct auth *a, const char *address)
{
	size_t i, oldest = 0;

	for (i = 0; i < ADDRESSES; i++) {
		if (strcmp(a->addresses[i].address, address) == 0)
			return i;
		if (a->addresses[i].last_ms < a->addresses[oldest].last_ms)
			oldest = i;
	}
	memset(&a->addresses[oldest], 0, sizeof(a->addresses[oldest]));
	snprintf(a->addresses[oldest].address, sizeof(a->addresses[oldest].address), "%s", address);
	return oldest;
}

/* Milliseconds that this address still has to wait. Each try counts as wrong until it was right. */
static uint64_t try_begin(struct auth *a, const char *address)
{
	uint64_t now = clock_now_ms(), pause = 0, left = 0;
	size_t i;

	pthread_mutex_lock(&a->lock);
	i = slot_of(a, address);
	if (a->addresses[i].until_ms > now) {
		left = a->addresses[i].until_ms - now;
	} else {
		a->addresses[i].last_ms = now;
		if (++a->addresses[i].wrong > FREE_TRIES) {
			unsigned more = a->addresses[i].wrong - FREE_TRIES - 1;

			pause = more < 5 ? 1000ULL << more : PAUSE_MAX_MS;
		}
		a->addresses[i].until_ms = now + pause;
	}
	pthread_mutex_unlock(&a->lock);
	return left;
}

static void try_right(struct auth *a, const char *address)
{
	size_t i;

	pthread_mutex_lock(&a->lock);
	i = slot_of(a, address);
	memset(&a->addresses[i], 0, sizeof(a->addresses[i]));
	pthread_mutex_unlock(&a->lock);
}

/* ---- Who is asking ---- */

static const char *token_of(struct http_request *request, bool *by_cookie)
{
	const char *header = http_header(request, "Authorization");

	*by_cookie = false;
	if (header)
		return strncmp(header, "Bearer ", 7) == 0 ? header + 7 : NULL;
	*by_cookie = true;
	return http_cookie(request, "godwit_session");
}

static int find_person(struct http_request *request, struct err *err)
{
	struct server *s = http_request_app(request);
	struct http_caller *caller = http_caller(request);
	const char *token = token_of(request, &caller->by_cookie);
	struct catalogue_sign_in in;
	char hash[CATALOGUE_HASH_LEN];
	struct db_conn *c;
	int r;

	if (!token)
		return err_say(err, EPERM, "sign in first: POST /api/v1/login");
	auth_digest(token, strlen(token), hash);
	c = db_read(s->db);
	r = catalogue_sign_in_get(c, hash, clock_wall_ms(), &in, err);
	db_read_end(c);
	if (r < 0)
		return r;
	if (r == CATALOGUE_NONE)
		return err_say(err, EPERM, "the sign-in is over or was never made: sign in again");
	snprintf(caller->name, sizeof(caller->name), "%s", in.user);
	snprintf(caller->role, sizeof(caller->role), "%s", in.role);
	caller->expires_wall_ms = in.expires_ms;
	return 0;
}

int auth_admit_person(struct http_request *request, const struct http_route *route)
{
	struct http_caller *caller = http_caller(request);
	struct err err = { 0 };
	int r;

	if (route->role == ROUTE_PUBLIC)
		return 0;
	r = find_person(request, &err);
	if (r == 0 && caller->by_cookie && strcmp(http_method(request), "GET") != 0 &&
	    strcmp(http_method(request), "HEAD") != 0 && !http_header(request, "X-Godwit-Request"))
		r = err_say(&err, EACCES,
			    "requests with the cookie need the header X-Godwit-Request: 1");
	if (r == 0 && route_role_of(caller->role) < route->role)
		r = err_say(&err, EACCES, "the role %s may not do this", caller->role);
	if (r < 0)
		http_fail_err(request, r, &err);
	return r;
}

static int find_endpoint(struct http_request *request, struct err *err)
{
	struct server *s = http_request_app(request);
	struct http_caller *caller = http_caller(request);
	struct catalogue_endpoint row;
	struct pki_subject subject;
	struct db_conn *c;
	char *pem;
	int r = http_peer_certificate(request, &pem, err);

	if (r == 0)
		r = pki_verify(s->ca_pem, pem, "endpoint", &subject, err);
	if (r < 0)
		return r == -ENOMEM ? r : -EACCES;
	c = db_read(s->db);
	r = catalogue_endpoint_get(c, subject.name, &row, err);
	db_read_end(c);
	if (r < 0)
		return r;
	if (r == CATALOGUE_NONE)
		return err_say(err, EACCES, "no endpoint %s is enrolled here", subject.name);
	if (strcmp(row.fingerprint, subject.fingerprint) != 0)
		return err_say(err, EACCES,
			       "this certificate of endpoint %s was replaced by a newer enrolment",
			       subject.name);
	snprintf(caller->name, sizeof(caller->name), "%s", subject.name);
	snprintf(caller->role, sizeof(caller->role), "endpoint");
	return 0;
}

int auth_admit_endpoint(struct http_request *request, const struct http_route *route)
{
	struct err err = { 0 };
	int r = find_endpoint(request, &err);

	(void)route;
	if (r < 0) {
		log_warning("refused on the agents' listener address=%s: %s", http_address(request),
			    err_text(&err));
		http_fail_err(request, r, &err);
	}
	return r;
}

/* ---- Signing in and out ---- */

static int check_password(struct server *s, const char *name, const char *password,
			  struct catalogue_user *user, struct err *err)
{
	struct db_conn *c = db_read(s->db);
	int found = catalogue_user_get(c, name, user, err), r;

	db_read_end(c);
	if (found < 0)
		return found;
	pthread_mutex_lock(&s->auth->scrypt);
	r = auth_password_check(password, found == 0 ? user->password : s->auth->nobody, err);
	pthread_mutex_unlock(&s->auth->scrypt);
	if (r == -EACCES || (r == 0 && found == CATALOGUE_NONE))
		return err_say(err, EPERM, "the user name or the password is wrong");
	return r;
}

static int audit(struct server *s, struct http_request *request, const char *actor,
		 const char *action, const char *token_hash, uint64_t expires, struct err *err)
{
	CLEANUP_CHANGE struct change change = { .held = false };
	uint64_t now = clock_wall_ms();
	int r = change_begin(&change, s, err);

	if (r == 0 && token_hash)
		r = catalogue_sign_in_purge(change.db, now, err);
	if (r == 0 && token_hash)
		r = catalogue_sign_in_add(change.db, token_hash, actor, now, expires, err);
	if (r == 0)
		r = change_audit(&change, actor, http_address(request), action, actor, "", err);
	return r < 0 ? r : change_commit(&change, err);
}

static int parse_login(struct http_request *request, json_t **body, const char **user,
		       const char **password, struct err *err)
{
	const struct json_field fields[] = {
		{ "user", JSON_KIND_STRING, false, user },
		{ "password", JSON_KIND_STRING, false, password },
	};
	size_t len;
	const uint8_t *text = http_body(request, &len);
	int r = json_parse(body, (const char *)text, len, "the request body", err);

	return r < 0 ? r : json_fields(*body, fields, ARRAY_LEN(fields), "the request body", err);
}

static void signed_in(struct http_request *request, const struct catalogue_user *user,
		      const char *token, uint64_t expires)
{
	struct server *s = http_request_app(request);
	char cookie[256];

	snprintf(cookie, sizeof(cookie),
		 "godwit_session=%s; Path=/; Max-Age=%llu; HttpOnly; Secure; SameSite=Strict",
		 token, (unsigned long long)s->config.sign_in_ms / 1000);
	http_reply_header(request, "Set-Cookie", cookie);
	http_reply_json(request, 200,
			json_pack("{ss ss ss so}", "token", token, "user", user->name, "role",
				  user->role, "expires", objects_time(expires)));
}

void auth_login(struct http_request *request)
{
	struct server *s = http_request_app(request);
	CLEANUP(json_decref) json_t *body = NULL;
	uint64_t left, expires = clock_wall_ms() + s->config.sign_in_ms;
	char token[2 * TOKEN_BYTES + 1], hash[CATALOGUE_HASH_LEN], seconds[24];
	const char *name = "", *password = "";
	struct catalogue_user user;
	struct err err = { 0 }, forget = { 0 };
	int r;

	r = parse_login(request, &body, &name, &password, &err);
	if (r < 0) {
		http_fail_err(request, r, &err);
		return;
	}
	left = try_begin(s->auth, http_address(request));
	if (left) {
		snprintf(seconds, sizeof(seconds), "%llu", (unsigned long long)(left + 999) / 1000);
		http_reply_header(request, "Retry-After", seconds);
		http_fail(request, 429, "too many wrong passwords from this address: wait %s s",
			  seconds);
		return;
	}
	r = check_password(s, name, password, &user, &err);
	if (r == -EPERM) {
		log_warning("wrong password user=%.63s address=%s", name, http_address(request));
		audit(s, request, name, "login refused", NULL, 0, &forget);
	}
	hex_random(token, TOKEN_BYTES);
	auth_digest(token, strlen(token), hash);
	if (r == 0)
		r = audit(s, request, user.name, "login", hash, expires, &err);
	if (r < 0) {
		http_fail_err(request, r, &err);
		return;
	}
	try_right(s->auth, http_address(request));
	signed_in(request, &user, token, expires);
}

void auth_logout(struct http_request *request)
{
	struct server *s = http_request_app(request);
	CLEANUP_CHANGE struct change change = { .held = false };
	const char *name = http_caller(request)->name;
	char hash[CATALOGUE_HASH_LEN];
	struct err err = { 0 };
	const char *token;
	bool by_cookie;
	int r;

	token = token_of(request, &by_cookie);
	auth_digest(token, strlen(token), hash);
	r = change_begin(&change, s, &err);
	if (r == 0)
		r = catalogue_sign_in_end(change.db, hash, &err);
	if (r == 0)
		r = change_audit(&change, name, http_address(request), "logout", name, "", &err);
	if (r == 0)
		r = change_commit(&change, &err);
	if (r < 0) {
		http_fail_err(request, r, &err);
		return;
	}
	http_reply_header(request, "Set-Cookie",
			  "godwit_session=; Path=/; Max-Age=0; HttpOnly; Secure; SameSite=Strict");
	http_reply_empty(request, 204);
}

void auth_session(struct http_request *request)
{
	const struct http_caller *caller = http_caller(request);

	http_reply_json(request, 200,
			json_pack("{ss ss so}", "user", caller->name, "role", caller->role,
				  "expires", objects_time(caller->expires_wall_ms)));
}
