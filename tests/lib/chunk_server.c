/* chunk_server.c - see chunk_server.h. */
#include "tests/lib/chunk_server.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

#include "common/clock.h"
#include "common/io.h"
#include "common/pki.h"
#include "snapshot/chunk_io.h"
#include "tests/lib/tls_server.h"

static char *ca_key, *ca, *key, *cert;
static struct tls_server *server;

struct chunk_server chunk_server = { .lock = PTHREAD_MUTEX_INITIALIZER };

/* ---- The server ------------------------------------------------------------------------------------------------ */

const struct chunk_encoded *chunk_server_find(const uint8_t *id)
{
	size_t i;

	for (i = 0; i < chunk_server.kept_count; i++) {
		if (memcmp(chunk_server.kept[i].id.bytes, id, CHUNK_ID_LEN) == 0)
			return &chunk_server.kept[i];
	}
	return NULL;
}

void chunk_server_keep(const struct chunk_encoded *chunk)
{
	uint8_t *data = malloc(chunk->len);

	assert_non_null(data);
	memcpy(data, chunk->data, chunk->len);
	chunk_server.kept[chunk_server.kept_count] = *chunk;
	chunk_server.kept[chunk_server.kept_count++].data = data;
}

static bool answer_chunks(const struct tls_server_request *r)
{
	struct chunk_wire_reader reader = { .buf = (const uint8_t *)r->body, .len = r->body_len };
	struct chunk_encoded chunk;
	struct err err = { 0 };

	pthread_mutex_lock(&chunk_server.lock);
	chunk_server.uploads++;
	if (chunk_server.fail_uploads > 0) {
		chunk_server.fail_uploads--;
		pthread_mutex_unlock(&chunk_server.lock);
		return tls_server_reply(r, 503, NULL, "", 0);
	}
	while (chunk_wire_next(&reader, &chunk, &err) == 0)
		chunk_server_keep(&chunk);
	pthread_mutex_unlock(&chunk_server.lock);
	return err.code ? tls_server_reply(r, 422, NULL, "", 0)
			: tls_server_write(r, "HTTP/1.1 204 No Content\r\n\r\n", 27);
}

static bool answer_query(const struct tls_server_request *r)
{
	size_t n = r->body_len / CHUNK_ID_LEN, i;
	char bitmap[CHUNK_IO_BATCH / 8 + 8] = { 0 };

	pthread_mutex_lock(&chunk_server.lock);
	for (i = 0; i < n; i++) {
		if (chunk_server_find((const uint8_t *)r->body + i * CHUNK_ID_LEN))
			bitmap[i / 8] = (char)(bitmap[i / 8] | 1 << (i % 8));
	}
	pthread_mutex_unlock(&chunk_server.lock);
	return tls_server_reply(r, 200, NULL, bitmap,
				(n + 7) / 8 + (size_t)chunk_server.query_extra);
}

static bool answer_fetch(const struct tls_server_request *r)
{
	size_t n = r->body_len / CHUNK_ID_LEN, len = 0, i;
	uint8_t *body = malloc(n * CHUNK_WIRE_RECORD_MAX + CHUNK_MAX);
	int status = 200;
	bool sent;

	assert_non_null(body);
	pthread_mutex_lock(&chunk_server.lock);
	for (i = 0; i < n; i++) {
		const struct chunk_encoded *c =
			chunk_server_find((const uint8_t *)r->body + i * CHUNK_ID_LEN);

		if (!c)
			status = 404;
		else
			len += chunk_wire_put(body + len, c);
	}
	if (chunk_server.spoil)
		status = chunk_server.spoil(body, &len);
	pthread_mutex_unlock(&chunk_server.lock);
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
		return tls_server_reply(
			r, chunk_server.commit_status ? chunk_server.commit_status : 201, NULL,
			chunk_server.commit_body, strlen(chunk_server.commit_body));
	if (strcmp(path, "/agent/v1/desktops/anna/chunks?job=j-1") == 0)
		return answer_fetch(r);
	if (strcmp(path, "/agent/v1/desktops/anna/snapshots/latest") == 0)
		return tls_server_reply(r, 200, NULL, chunk_server_manifest,
					strlen(chunk_server_manifest));
	return tls_server_reply(r, 404, NULL, "", 0);
}

/* Wait until chunk_server.meet requests are under way. That they come one by one must not take for ever. */
static void meet(void)
{
	uint64_t until = clock_now_ms() + 60000;
	bool met = false;

	while (!met) {
		pthread_mutex_lock(&chunk_server.lock);
		if (clock_now_ms() >= until)
			chunk_server.meet = 0;
		met = chunk_server.most_in_flight >= chunk_server.meet;
		pthread_mutex_unlock(&chunk_server.lock);
		if (!met)
			clock_sleep_ms(5);
	}
}

static bool answer(const struct tls_server_request *r)
{
	unsigned delay;
	bool go_on;

	pthread_mutex_lock(&chunk_server.lock);
	if (++chunk_server.in_flight > chunk_server.most_in_flight)
		chunk_server.most_in_flight = chunk_server.in_flight;
	delay = chunk_server.delay_ms;
	pthread_mutex_unlock(&chunk_server.lock);
	clock_sleep_ms(delay);
	if (strstr(r->path, "/chunks"))
		meet();
	go_on = dispatch(r);
	pthread_mutex_lock(&chunk_server.lock);
	chunk_server.in_flight--;
	pthread_mutex_unlock(&chunk_server.lock);
	return go_on;
}

/* ---- Data -------------------------------------------------------------------------------------------------------- */

const char chunk_server_manifest[] =
	"{\"version\": 1, \"snapshot\": \"20261122-164512-3f9a1c2e\", \"desktop\": \"anna\", "
	"\"parent\": null, "
	"\"created\": \"2026-11-22T16:45:12Z\", \"kind\": \"cold\", \"epoch\": 3, \"branch\": "
	"true, "
	"\"application_consistent\": false, \"machine\": null, \"volumes\": []}";

static void make_data(void)
{
	uint64_t x = 88172645463325252u;
	size_t i;

	chunk_server.plain = malloc((size_t)CHUNK_SERVER_CHUNKS * CHUNK_SERVER_CHUNK_LEN);
	assert_non_null(chunk_server.plain);
	for (i = 0; i < (size_t)CHUNK_SERVER_CHUNKS * CHUNK_SERVER_CHUNK_LEN / 8; i++) {
		x ^= x << 13;
		x ^= x >> 7;
		x ^= x << 17;
		memcpy(chunk_server.plain + 8 * i, &x, 8);
	}
	for (i = 0; i < CHUNK_SERVER_CHUNKS; i++) {
		chunk_server.chunks[i] =
			(struct chunk_encoded){ .raw_len = CHUNK_SERVER_CHUNK_LEN,
						.len = CHUNK_SERVER_CHUNK_LEN,
						.data = chunk_server.plain +
							i * CHUNK_SERVER_CHUNK_LEN };
		chunk_id_of(chunk_server.chunks[i].data, CHUNK_SERVER_CHUNK_LEN,
			    &chunk_server.chunks[i].id);
		chunk_server.ids[i] = chunk_server.chunks[i].id;
	}
}

int chunk_server_reset(void **state)
{
	(void)state;
	while (chunk_server.kept_count > 0)
		free((void *)chunk_server.kept[--chunk_server.kept_count].data);
	chunk_server.most_in_flight = chunk_server.uploads = chunk_server.delay_ms =
		chunk_server.fail_uploads = 0;
	chunk_server.meet = 0;
	chunk_server.commit_status = chunk_server.query_extra = 0;
	chunk_server.commit_body = chunk_server_manifest;
	chunk_server.spoil = NULL;
	return 0;
}

int chunk_server_set_up(void **state)
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
	return http_client_new(&chunk_server.http,
			       &(struct http_client_options){ .base_url = url, .ca_pem = ca },
			       &err);
}

int chunk_server_tear_down(void **state)
{
	chunk_server_reset(state);
	http_client_free(chunk_server.http);
	tls_server_stop(server);
	free(chunk_server.plain);
	free(ca_key);
	free(ca);
	free(key);
	free(cert);
	return 0;
}
