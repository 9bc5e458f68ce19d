#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/clock.h"
#include "common/io.h"
#include "common/pki.h"
#include "snapshot/chunk_wire.h"
#include "snapshot/store_client.h"
#include "tests/lib/tls_server.h"

enum { CHUNKS = 700, CHUNK_LEN = 32 << 10, KEPT_MAX = 4096 };

static char *ca_key, *ca, *key, *cert;
static struct tls_server *server;
static struct http_client *http;

/* What the server keeps, and how it behaves; each test begins with reset(). */
static struct {
	pthread_mutex_t lock;
	struct chunk_encoded kept[KEPT_MAX];
	size_t kept_count;
	unsigned in_flight, most_in_flight, uploads;
	unsigned delay_ms;
	unsigned meet;         /* requests with chunks are answered when so many are under way */
	unsigned fail_uploads; /* so many answers are 503 first */
	int commit_status;     /* 0: 201 */
	const char *commit_body;
	int query_extra; /* bytes more or less than right */
	int (*spoil)(uint8_t *body,
		     size_t *len); /* changes the answer to a fetch; returns its status */
} model = { .lock = PTHREAD_MUTEX_INITIALIZER };

static const char stored_manifest[];

/* ---- The server ------------------------------------------------------------------------------------------------ */

static const struct chunk_encoded *model_find(const uint8_t *id)
{
	size_t i;

	for (i = 0; i < model.kept_count; i++) {
		if (memcmp(model.kept[i].id.bytes, id, CHUNK_ID_LEN) == 0)
			return &model.kept[i];
	}
	return NULL;
}

static void model_keep(const struct chunk_encoded *chunk)
{
	uint8_t *data = malloc(chunk->len);

	assert_non_null(data);
	memcpy(data, chunk->data, chunk->len);
	model.kept[model.kept_count] = *chunk;
	model.kept[model.kept_count++].data = data;
}

static bool answer_chunks(const struct tls_server_request *r)
{
	struct chunk_wire_reader reader = { .buf = (const uint8_t *)r->body, .len = r->body_len };
	struct chunk_encoded chunk;
	struct err err = { 0 };

	pthread_mutex_lock(&model.lock);
	model.uploads++;
	if (model.fail_uploads > 0) {
		model.fail_uploads--;
		pthread_mutex_unlock(&model.lock);
		return tls_server_reply(r, 503, NULL, "", 0);
	}
	while (chunk_wire_next(&reader, &chunk, &err) == 0)
		model_keep(&chunk);
	pthread_mutex_unlock(&model.lock);
	return err.code ? tls_server_reply(r, 422, NULL, "", 0)
			: tls_server_write(r, "HTTP/1.1 204 No Content\r\n\r\n", 27);
}

static bool answer_query(const struct tls_server_request *r)
{
	size_t n = r->body_len / CHUNK_ID_LEN, i;
	char bitmap[CHUNK_IO_BATCH / 8 + 8] = { 0 };

	pthread_mutex_lock(&model.lock);
	for (i = 0; i < n; i++) {
		if (model_find((const uint8_t *)r->body + i * CHUNK_ID_LEN))
			bitmap[i / 8] = (char)(bitmap[i / 8] | 1 << (i % 8));
	}
	pthread_mutex_unlock(&model.lock);
	return tls_server_reply(r, 200, NULL, bitmap, (n + 7) / 8 + (size_t)model.query_extra);
}

static bool answer_fetch(const struct tls_server_request *r)
{
	size_t n = r->body_len / CHUNK_ID_LEN, len = 0, i;
	uint8_t *body = malloc(n * CHUNK_WIRE_RECORD_MAX + CHUNK_MAX);
	int status = 200;
	bool sent;

	assert_non_null(body);
	pthread_mutex_lock(&model.lock);
	for (i = 0; i < n; i++) {
		const struct chunk_encoded *c =
			model_find((const uint8_t *)r->body + i * CHUNK_ID_LEN);

		if (!c)
			status = 404;
		else
			len += chunk_wire_put(body + len, c);
	}
	if (model.spoil)
		status = model.spoil(body, &len);
	pthread_mutex_unlock(&model.lock);
	sent = tls_server_reply(r, status, NULL, (const char *)body, status == 200 ? len : 0);
	free(body);
	return sent;
}

static bool dispatch(const struct tls_server_request *r)
{
	const char *path = r->path;

	if (strcmp(path, "/agent/v1/sessions") == 0)
		return tls_server_reply(r, 201, NULL, "{\"session\": \"s-1\"}", 18);
	if (strcmp(path, "/agent/v1/sessions/s-1/query") == 0)
		return answer_query(r);
	if (strcmp(path, "/agent/v1/sessions/s-1/chunks") == 0)
		return answer_chunks(r);
	if (strcmp(path, "/agent/v1/sessions/s-1/commit") == 0)
		return tls_server_reply(r, model.commit_status ? model.commit_status : 201, NULL,
					model.commit_body, strlen(model.commit_body));
	if (strcmp(path, "/agent/v1/desktops/anna/chunks?job=j-1") == 0)
		return answer_fetch(r);
	if (strcmp(path, "/agent/v1/desktops/anna/snapshots/latest") == 0)
		return tls_server_reply(r, 200, NULL, stored_manifest, strlen(stored_manifest));
	return tls_server_reply(r, 404, NULL, "", 0);
}

/* Wait until model.meet requests are under way. That they come one by one must not take for ever. */
static void meet(void)
{
	uint64_t until = clock_now_ms() + 60000;
	bool met = false;

	while (!met) {
		pthread_mutex_lock(&model.lock);
		if (clock_now_ms() >= until)
			model.meet = 0;
		met = model.most_in_flight >= model.meet;
		pthread_mutex_unlock(&model.lock);
		if (!met)
			clock_sleep_ms(5);
	}
}

static bool answer(const struct tls_server_request *r)
{
	unsigned delay;
	bool go_on;

	pthread_mutex_lock(&model.lock);
	if (++model.in_flight > model.most_in_flight)
		model.most_in_flight = model.in_flight;
	delay = model.delay_ms;
	pthread_mutex_unlock(&model.lock);
	clock_sleep_ms(delay);
	if (strstr(r->path, "/chunks"))
		meet();
	go_on = dispatch(r);
	pthread_mutex_lock(&model.lock);
	model.in_flight--;
	pthread_mutex_unlock(&model.lock);
	return go_on;
}

/* ---- Data -------------------------------------------------------------------------------------------------------- */

static const char stored_manifest[] =
	"{\"version\": 1, \"snapshot\": \"20261122-164512-3f9a1c2e\", \"desktop\": \"anna\", "
	"\"parent\": null, "
	"\"created\": \"2026-11-22T16:45:12Z\", \"kind\": \"cold\", \"epoch\": 3, \"branch\": "
	"true, "
	"\"application_consistent\": false, \"machine\": null, \"volumes\": []}";

static uint8_t *plain; /* CHUNKS × CHUNK_LEN */
static struct chunk_encoded chunks[CHUNKS];
static struct chunk_id ids[CHUNKS];

static void make_data(void)
{
	uint64_t x = 88172645463325252u;
	size_t i;

	plain = malloc((size_t)CHUNKS * CHUNK_LEN);
	assert_non_null(plain);
	for (i = 0; i < (size_t)CHUNKS * CHUNK_LEN / 8; i++) {
		x ^= x << 13;
		x ^= x >> 7;
		x ^= x << 17;
		memcpy(plain + 8 * i, &x, 8);
	}
	for (i = 0; i < CHUNKS; i++) {
		chunks[i] = (struct chunk_encoded){ .raw_len = CHUNK_LEN,
						    .len = CHUNK_LEN,
						    .data = plain + i * CHUNK_LEN };
		chunk_id_of(chunks[i].data, CHUNK_LEN, &chunks[i].id);
		ids[i] = chunks[i].id;
	}
}

static int reset(void **state)
{
	(void)state;
	while (model.kept_count > 0)
		free((void *)model.kept[--model.kept_count].data);
	model.most_in_flight = model.uploads = model.delay_ms = model.fail_uploads = 0;
	model.meet = 0;
	model.commit_status = model.query_extra = 0;
	model.commit_body = stored_manifest;
	model.spoil = NULL;
	return 0;
}

static int group_setup(void **state)
{
	static const char *const names[] = { "127.0.0.1", NULL };
	CLEANUP_FREE char *request = NULL;
	CLEANUP_FREE char *url = NULL;
	struct err err = { 0 };

	(void)state;
	make_data();
	assert_int_equal(pki_key_new(&ca_key, &err), 0);
	assert_int_equal(pki_ca_new(ca_key, "test", 1, &ca, &err), 0);
	assert_int_equal(pki_key_new(&key, &err), 0);
	assert_int_equal(pki_request_new(key, "server", &request, &err), 0);
	assert_int_equal(pki_issue(&(struct pki_issue){ .ca_key_pem = ca_key,
							.ca_cert_pem = ca,
							.request_pem = request,
							.name = "server",
							.role = "server",
							.alt_names = names,
							.days = 1 },
				   &cert, &err),
			 0);
	server = tls_server_start(&(struct tls_server_options){
		.chain_pem = cert, .key_pem = key, .answer = answer });
	url = io_printf("https://127.0.0.1:%u", tls_server_port(server));
	return http_client_new(
		&http, &(struct http_client_options){ .base_url = url, .ca_pem = ca }, &err);
}

static int group_teardown(void **state)
{
	reset(state);
	http_client_free(http);
	tls_server_stop(server);
	free(plain);
	free(ca_key);
	free(ca);
	free(key);
	free(cert);
	return 0;
}

static struct store_client_session *open_session(void)
{
	struct store_client_session *session = NULL;
	struct err err = { 0 };

	assert_int_equal(
		store_client_session_open(&session,
					  &(struct store_client_open){ .http = http,
								       .prefix = "/agent/v1",
								       .desktop = "anna",
								       .epoch = 3,
								       .job = "j-1" },
					  &err),
		0);
	assert_string_equal(store_client_session_id(session), "s-1");
	return session;
}

static void make_manifest(struct manifest *m)
{
	manifest_init(m);
	snprintf(m->desktop, sizeof(m->desktop), "anna");
	m->kind = MANIFEST_COLD;
	m->epoch = 3;
}

static int put_all(struct store_client_session *session, struct err *err)
{
	struct chunk_sink sink = store_client_session_sink(session);
	size_t i;
	int r = 0;

	for (i = 0; i < CHUNKS && r == 0; i += 7)
		r = sink.put(sink.ctx, &chunks[i], CHUNKS - i < 7 ? CHUNKS - i : 7, err);
	return r;
}

/* ---- Uploads ------------------------------------------------------------------------------------------------------ */

static void test_store_client_upload_is_pipelined(void **state)
{
	struct store_client_session *session = open_session();
	struct manifest m;
	struct err err = { 0 };
	size_t i;

	(void)state;
	model.meet = 3;
	make_manifest(&m);
	assert_int_equal(put_all(session, &err), 0);
	assert_int_equal(store_client_session_commit(session, &m, &err), 0);
	assert_string_equal(m.id, "20261122-164512-3f9a1c2e");
	assert_true(m.branch);
	assert_int_equal(model.kept_count, CHUNKS);
	for (i = 0; i < CHUNKS; i++)
		assert_non_null(model_find(ids[i].bytes));
	assert_true(model.most_in_flight >= 3);
	assert_true(model.uploads <= 7); /* 22 MiB in requests of up to 4 MiB */
	manifest_deinit(&m);
	store_client_session_free(session);
}

static void test_store_client_query_tells_what_is_there(void **state)
{
	struct store_client_session *session = open_session();
	struct chunk_sink sink = store_client_session_sink(session);
	uint8_t present[(CHUNKS + 7) / 8];
	struct err err = { 0 };
	size_t i;

	(void)state;
	for (i = 0; i < CHUNKS; i += 3)
		model_keep(&chunks[i]);
	assert_int_equal(sink.query(sink.ctx, ids, CHUNKS, present, &err), 0);
	for (i = 0; i < CHUNKS; i++)
		assert_int_equal(present[i / 8] >> (i % 8) & 1, i % 3 == 0);

	model.query_extra = 1;
	assert_int_equal(sink.query(sink.ctx, ids, CHUNKS, present, &err), -EBADMSG);
	model.query_extra = -1;
	assert_int_equal(sink.query(sink.ctx, ids, CHUNKS, present, &err), -EBADMSG);
	store_client_session_free(session);
}

static void test_store_client_upload_survives_a_busy_server(void **state)
{
	struct store_client_session *session = open_session();
	struct manifest m;
	struct err err = { 0 };

	(void)state;
	model.fail_uploads = 3;
	make_manifest(&m);
	assert_int_equal(put_all(session, &err), 0);
	assert_int_equal(store_client_session_commit(session, &m, &err), 0);
	assert_int_equal(model.kept_count, CHUNKS);
	manifest_deinit(&m);
	store_client_session_free(session);
}

static void test_store_client_commit_refused(void **state)
{
	static const struct {
		const char *name;
		int status;
		const char *body;
		int want;
	} cases[] = {
		{ "chunks are missing", 409, "{\"title\": \"missing\"}", -EAGAIN },
		{ "session over", 404, "{}", -ESTALE },
		{ "disk full", 507, "{}", -ENOSPC },
		{ "refused", 403, "{}", -EACCES },
		{ "no manifest", 201, "{}", -EINVAL },
		{ "no JSON", 201, "fine", -EINVAL },
	};
	size_t i;

	(void)state;
	for (i = 0; i < ARRAY_LEN(cases); i++) {
		struct store_client_session *session = open_session();
		struct manifest m;
		struct err err = { 0 };

		model.commit_status = cases[i].status;
		model.commit_body = cases[i].body;
		make_manifest(&m);
		assert_int_equal(store_client_session_commit(session, &m, &err), cases[i].want);
		assert_string_equal(m.id, "");
		manifest_deinit(&m);
		store_client_session_free(session);
	}
}

static void test_store_client_resume_of_a_lost_session(void **state)
{
	struct store_client_session *session = NULL;
	struct store_client_open order = {
		.http = http, .prefix = "/agent/v1", .desktop = "anna", .session = "s-2"
	};
	struct err err = { 0 };

	(void)state;
	assert_int_equal(store_client_session_open(&session, &order, &err), -ESTALE);
	order.session = "s-1";
	assert_int_equal(store_client_session_open(&session, &order, &err), 0);
	store_client_session_free(session);
	order.session = "../../x";
	assert_int_equal(store_client_session_open(&session, &order, &err), -EINVAL);
}

/* Without a commit nothing may hang, whatever is still waiting. */
static void test_store_client_free_in_the_middle(void **state)
{
	struct store_client_session *session = open_session();
	struct err err = { 0 };

	(void)state;
	model.delay_ms = 20;
	assert_int_equal(put_all(session, &err), 0);
	store_client_session_free(session);
}

/* ---- Downloads ---------------------------------------------------------------------------------------------------- */

static unsigned seen[CHUNKS];

static int check_arrived(void *arg, size_t i, const uint8_t *data, size_t len, struct err *err)
{
	(void)arg;
	(void)err;
	assert_int_equal(len, CHUNK_LEN);
	assert_memory_equal(data, plain + i * CHUNK_LEN, len);
	seen[i]++;
	return 0;
}

static struct chunk_source open_source(void)
{
	struct chunk_source source;
	struct err err = { 0 };

	assert_int_equal(store_client_source_new(&source, http, "/agent/v1", "anna", "j-1", &err),
			 0);
	return source;
}

static void keep_all(void)
{
	size_t i;

	for (i = 0; i < CHUNKS; i++)
		model_keep(&chunks[i]);
}

static void test_store_client_download_is_pipelined(void **state)
{
	struct chunk_source source = open_source();
	struct err err = { 0 };
	size_t i;

	(void)state;
	keep_all();
	model.meet = 3;
	memset(seen, 0, sizeof(seen));
	assert_int_equal(source.get(source.ctx, ids, CHUNKS, check_arrived, NULL, &err), 0);
	for (i = 0; i < CHUNKS; i++)
		assert_int_equal(seen[i], 1);
	assert_true(model.most_in_flight >= 3);
	store_client_source_free(&source);
}

static void *get_in_thread(void *arg)
{
	struct chunk_source *source = arg;
	struct err err = { 0 };
	long r = source->get(source->ctx, ids, CHUNKS, check_arrived, NULL, &err);

	return (void *)r;
}

static void test_store_client_several_downloads_at_once(void **state)
{
	struct chunk_source source = open_source();
	pthread_t threads[4];
	size_t i;

	(void)state;
	keep_all();
	for (i = 0; i < ARRAY_LEN(threads); i++)
		assert_int_equal(pthread_create(&threads[i], NULL, get_in_thread, &source), 0);
	for (i = 0; i < ARRAY_LEN(threads); i++) {
		void *r;

		pthread_join(threads[i], &r);
		assert_null(r);
	}
	store_client_source_free(&source);
}

static int spoil_nothing_there(uint8_t *body, size_t *len)
{
	(void)body;
	*len = 0;
	return 404;
}

static int spoil_cut(uint8_t *body, size_t *len)
{
	(void)body;
	*len -= 1;
	return 200;
}

static int spoil_one_less(uint8_t *body, size_t *len)
{
	(void)body;
	*len -= CHUNK_WIRE_HEADER + CHUNK_LEN;
	return 200;
}

static int spoil_one_more(uint8_t *body, size_t *len)
{
	*len += chunk_wire_put(body + *len, &chunks[0]);
	return 200;
}

static int spoil_payload(uint8_t *body, size_t *len)
{
	body[*len - 1] ^= 1;
	return 200;
}

static int spoil_order(uint8_t *body, size_t *len)
{
	(void)len;
	chunk_wire_put(body, &chunks[1]);
	return 200;
}

static int spoil_length(uint8_t *body, size_t *len)
{
	(void)len;
	body[CHUNK_ID_LEN + 7] = 0xff;
	return 200;
}

static int spoil_refused(uint8_t *body, size_t *len)
{
	(void)body;
	*len = 0;
	return 403;
}

static void test_store_client_bad_downloads(void **state)
{
	static const struct {
		const char *name;
		int (*spoil)(uint8_t *body, size_t *len);
		int want;
	} cases[] = {
		{ "not there", spoil_nothing_there, -ENOENT },
		{ "last record cut", spoil_cut, -EBADMSG },
		{ "one record too few", spoil_one_less, -EBADMSG },
		{ "one record too many", spoil_one_more, -EBADMSG },
		{ "bit flipped", spoil_payload, -EBADMSG },
		{ "another chunk", spoil_order, -EBADMSG },
		{ "absurd length", spoil_length, -EBADMSG },
		{ "not allowed", spoil_refused, -EACCES },
	};
	struct chunk_source source = open_source();
	size_t i;

	(void)state;
	keep_all();
	for (i = 0; i < ARRAY_LEN(cases); i++) {
		struct err err = { 0 };

		model.spoil = cases[i].spoil;
		assert_int_equal(source.get(source.ctx, ids, 5, check_arrived, NULL, &err),
				 cases[i].want);
		assert_int_equal(source.get(source.ctx, ids, CHUNKS, check_arrived, NULL, &err),
				 cases[i].want);
	}
	store_client_source_free(&source);
}

static int refuse_third(void *arg, size_t i, const uint8_t *data, size_t len, struct err *err)
{
	(void)arg;
	(void)data;
	(void)len;
	return i == 2 ? err_say(err, ECANCELED, "enough") : 0;
}

static void test_store_client_caller_stops_download(void **state)
{
	struct chunk_source source = open_source();
	struct err err = { 0 };

	(void)state;
	keep_all();
	assert_int_equal(source.get(source.ctx, ids, CHUNKS, refuse_third, NULL, &err), -ECANCELED);
	store_client_source_free(&source);
}

static void test_store_client_manifest(void **state)
{
	struct manifest m;
	struct err err = { 0 };

	(void)state;
	manifest_init(&m);
	assert_int_equal(store_client_manifest(http, "/agent/v1", "anna", "latest", &m, &err), 0);
	assert_string_equal(m.id, "20261122-164512-3f9a1c2e");
	assert_int_equal(store_client_manifest(http, "/agent/v1", "anna",
					       "20261122-164512-00000000", &m, &err),
			 -ENOENT);
	assert_int_equal(store_client_manifest(http, "/agent/v1", "anna", "../x", &m, &err),
			 -EINVAL);
	manifest_deinit(&m);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(test_store_client_upload_is_pipelined, reset),
		cmocka_unit_test_setup(test_store_client_query_tells_what_is_there, reset),
		cmocka_unit_test_setup(test_store_client_upload_survives_a_busy_server, reset),
		cmocka_unit_test_setup(test_store_client_commit_refused, reset),
		cmocka_unit_test_setup(test_store_client_resume_of_a_lost_session, reset),
		cmocka_unit_test_setup(test_store_client_free_in_the_middle, reset),
		cmocka_unit_test_setup(test_store_client_download_is_pipelined, reset),
		cmocka_unit_test_setup(test_store_client_several_downloads_at_once, reset),
		cmocka_unit_test_setup(test_store_client_bad_downloads, reset),
		cmocka_unit_test_setup(test_store_client_caller_stops_download, reset),
		cmocka_unit_test_setup(test_store_client_manifest, reset),
	};

	return cmocka_run_group_tests(tests, group_setup, group_teardown);
}
