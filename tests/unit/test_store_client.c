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
#include "snapshot/chunk_wire.h"
#include "snapshot/store_client.h"
#include "tests/lib/chunk_server.h"

static struct store_client_session *open_session(void)
{
	struct store_client_session *session = NULL;
	struct err err = { 0 };

	assert_int_equal(
		store_client_session_open(&session,
					  &(struct store_client_open){ .http = chunk_server.http,
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

	for (i = 0; i < CHUNK_SERVER_CHUNKS && r == 0; i += 7)
		r = sink.put(sink.ctx, &chunk_server.chunks[i],
			     CHUNK_SERVER_CHUNKS - i < 7 ? CHUNK_SERVER_CHUNKS - i : 7, err);
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
	chunk_server.meet = 3;
	make_manifest(&m);
	assert_int_equal(put_all(session, &err), 0);
	assert_int_equal(store_client_session_commit(session, &m, &err), 0);
	assert_string_equal(m.id, "20261122-164512-3f9a1c2e");
	assert_true(m.branch);
	assert_int_equal(chunk_server.kept_count, CHUNK_SERVER_CHUNKS);
	for (i = 0; i < CHUNK_SERVER_CHUNKS; i++)
		assert_non_null(chunk_server_find(chunk_server.ids[i].bytes));
	assert_true(chunk_server.most_in_flight >= 3);
	assert_true(chunk_server.uploads <= 7); /* 22 MiB in requests of up to 4 MiB */
	manifest_deinit(&m);
	store_client_session_free(session);
}

static void test_store_client_query_tells_what_is_there(void **state)
{
	struct store_client_session *session = open_session();
	struct chunk_sink sink = store_client_session_sink(session);
	uint8_t present[(CHUNK_SERVER_CHUNKS + 7) / 8];
	struct err err = { 0 };
	size_t i;

	(void)state;
	for (i = 0; i < CHUNK_SERVER_CHUNKS; i += 3)
		chunk_server_keep(&chunk_server.chunks[i]);
	assert_int_equal(sink.query(sink.ctx, chunk_server.ids, CHUNK_SERVER_CHUNKS, present, &err),
			 0);
	for (i = 0; i < CHUNK_SERVER_CHUNKS; i++)
		assert_int_equal(present[i / 8] >> (i % 8) & 1, i % 3 == 0);

	chunk_server.query_extra = 1;
	assert_int_equal(sink.query(sink.ctx, chunk_server.ids, CHUNK_SERVER_CHUNKS, present, &err),
			 -EBADMSG);
	chunk_server.query_extra = -1;
	assert_int_equal(sink.query(sink.ctx, chunk_server.ids, CHUNK_SERVER_CHUNKS, present, &err),
			 -EBADMSG);
	store_client_session_free(session);
}

static void test_store_client_upload_survives_a_busy_server(void **state)
{
	struct store_client_session *session = open_session();
	struct manifest m;
	struct err err = { 0 };

	(void)state;
	chunk_server.fail_uploads = 3;
	make_manifest(&m);
	assert_int_equal(put_all(session, &err), 0);
	assert_int_equal(store_client_session_commit(session, &m, &err), 0);
	assert_int_equal(chunk_server.kept_count, CHUNK_SERVER_CHUNKS);
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

		chunk_server.commit_status = cases[i].status;
		chunk_server.commit_body = cases[i].body;
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
	struct store_client_open order = { .http = chunk_server.http,
					   .prefix = "/agent/v1",
					   .desktop = "anna",
					   .session = "s-2" };
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
	chunk_server.delay_ms = 20;
	assert_int_equal(put_all(session, &err), 0);
	store_client_session_free(session);
}

/* ---- Downloads ---------------------------------------------------------------------------------------------------- */

static unsigned seen[CHUNK_SERVER_CHUNKS];

static int check_arrived(void *arg, size_t i, const uint8_t *data, size_t len, struct err *err)
{
	(void)arg;
	(void)err;
	assert_int_equal(len, CHUNK_SERVER_CHUNK_LEN);
	assert_memory_equal(data, chunk_server.plain + i * CHUNK_SERVER_CHUNK_LEN, len);
	seen[i]++;
	return 0;
}

static struct chunk_source open_source(void)
{
	struct chunk_source source;
	struct err err = { 0 };

	assert_int_equal(store_client_source_new(&source, chunk_server.http, "/agent/v1", "anna",
						 "j-1", &err),
			 0);
	return source;
}

static void keep_all(void)
{
	size_t i;

	for (i = 0; i < CHUNK_SERVER_CHUNKS; i++)
		chunk_server_keep(&chunk_server.chunks[i]);
}

static void test_store_client_download_is_pipelined(void **state)
{
	struct chunk_source source = open_source();
	struct err err = { 0 };
	size_t i;

	(void)state;
	keep_all();
	chunk_server.meet = 3;
	memset(seen, 0, sizeof(seen));
	assert_int_equal(source.get(source.ctx, chunk_server.ids, CHUNK_SERVER_CHUNKS,
				    check_arrived, NULL, &err),
			 0);
	for (i = 0; i < CHUNK_SERVER_CHUNKS; i++)
		assert_int_equal(seen[i], 1);
	assert_true(chunk_server.most_in_flight >= 3);
	store_client_source_free(&source);
}

static void *get_in_thread(void *arg)
{
	struct chunk_source *source = arg;
	struct err err = { 0 };
	long r = source->get(source->ctx, chunk_server.ids, CHUNK_SERVER_CHUNKS, check_arrived,
			     NULL, &err);

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
	*len -= CHUNK_WIRE_HEADER + CHUNK_SERVER_CHUNK_LEN;
	return 200;
}

static int spoil_one_more(uint8_t *body, size_t *len)
{
	*len += chunk_wire_put(body + *len, &chunk_server.chunks[0]);
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
	chunk_wire_put(body, &chunk_server.chunks[1]);
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

		chunk_server.spoil = cases[i].spoil;
		assert_int_equal(
			source.get(source.ctx, chunk_server.ids, 5, check_arrived, NULL, &err),
			cases[i].want);
		assert_int_equal(source.get(source.ctx, chunk_server.ids, CHUNK_SERVER_CHUNKS,
					    check_arrived, NULL, &err),
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
	assert_int_equal(source.get(source.ctx, chunk_server.ids, CHUNK_SERVER_CHUNKS, refuse_third,
				    NULL, &err),
			 -ECANCELED);
	store_client_source_free(&source);
}

static void test_store_client_manifest(void **state)
{
	struct manifest m;
	struct err err = { 0 };

	(void)state;
	manifest_init(&m);
	assert_int_equal(
		store_client_manifest(chunk_server.http, "/agent/v1", "anna", "latest", &m, &err),
		0);
	assert_string_equal(m.id, "20261122-164512-3f9a1c2e");
	assert_int_equal(store_client_manifest(chunk_server.http, "/agent/v1", "anna",
					       "20261122-164512-00000000", &m, &err),
			 -ENOENT);
	assert_int_equal(
		store_client_manifest(chunk_server.http, "/agent/v1", "anna", "../x", &m, &err),
		-EINVAL);
	manifest_deinit(&m);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(test_store_client_upload_is_pipelined, chunk_server_reset),
		cmocka_unit_test_setup(test_store_client_query_tells_what_is_there,
				       chunk_server_reset),
		cmocka_unit_test_setup(test_store_client_upload_survives_a_busy_server,
				       chunk_server_reset),
		cmocka_unit_test_setup(test_store_client_commit_refused, chunk_server_reset),
		cmocka_unit_test_setup(test_store_client_resume_of_a_lost_session,
				       chunk_server_reset),
		cmocka_unit_test_setup(test_store_client_free_in_the_middle, chunk_server_reset),
		cmocka_unit_test_setup(test_store_client_download_is_pipelined, chunk_server_reset),
		cmocka_unit_test_setup(test_store_client_several_downloads_at_once,
				       chunk_server_reset),
		cmocka_unit_test_setup(test_store_client_bad_downloads, chunk_server_reset),
		cmocka_unit_test_setup(test_store_client_caller_stops_download, chunk_server_reset),
		cmocka_unit_test_setup(test_store_client_manifest, chunk_server_reset),
	};

	return cmocka_run_group_tests(tests, chunk_server_set_up, chunk_server_tear_down);
}
