#include "common/http_client.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "common/clock.h"
#include "common/hex.h"
#include "common/http_try.h"
#include "common/io.h"

enum {
	CONNECT_TIMEOUT_MS = 10000,
	STALL_TIMEOUT_MS = 60000,
	DEADLINE_MS = 60000,
	RESPONSE_MAX = 16 << 20,
	BACKOFF_FIRST_MS = 250,
	BACKOFF_MAX_MS = 8000,
	CANCEL_POLL_MS = 50,
};

/* All but `idle` and the counters stays as http_client_new made it. */
struct http_client {
	struct http_try_identity identity;
	char *base_url, *authorization;
	atomic_uint_fast64_t sent, received;
	pthread_mutex_t lock;
	struct http_try_slot *idle; /* under lock */
};

static void init_curl(void)
{
	curl_global_init(CURL_GLOBAL_DEFAULT);
}

static bool has_controls(const char *text)
{
	for (; *text; text++) {
		if ((unsigned char)*text <= ' ' || *text == 127)
			return true;
	}
	return false;
}

static int check_options(const struct http_client_options *o, struct err *err)
{
	size_t len = strlen(o->base_url);

	if (strncmp(o->base_url, "https://", 8) != 0 || len < 9 || o->base_url[len - 1] == '/' ||
	    has_controls(o->base_url))
		return err_say(err, EINVAL,
			       "server address '%.200s': must be https://HOST[:PORT] without a "
			       "slash at its end",
			       o->base_url);
	if (!o->ca_pem == !o->ca_fingerprint)
		return err_say(err, EINVAL, "%s: needs either the CA or its fingerprint",
			       o->base_url);
	if (!o->cert_pem != !o->key_pem)
		return err_say(err, EINVAL, "%s: a client certificate needs its key", o->base_url);
	if (o->bearer && has_controls(o->bearer))
		return err_say(err, EINVAL, "%s: the token has spaces or control characters",
			       o->base_url);
	return 0;
}

static bool copy(char **to, const char *from)
{
	*to = from ? strdup(from) : NULL;
	return !from || *to;
}

int http_client_new(struct http_client **out, const struct http_client_options *o, struct err *err)
{
	static pthread_once_t once = PTHREAD_ONCE_INIT;
	CLEANUP(http_client_free) struct http_client *client = NULL;
	int r;

	pthread_once(&once, init_curl);
	r = check_options(o, err);
	if (r < 0)
		return r;
	if (!http_trust_supported())
		return err_say(err, ENOTSUP, "%s: libcurl must be the one that uses OpenSSL 3",
			       o->base_url);
	client = calloc(1, sizeof(*client));
	if (!client)
		return err_set(err, ENOMEM, "make an HTTP client for %s", o->base_url);
	pthread_mutex_init(&client->lock, NULL);
	if (!copy(&client->base_url, o->base_url) || !copy(&client->identity.ca_pem, o->ca_pem) ||
	    !copy(&client->identity.cert_pem, o->cert_pem) ||
	    !copy(&client->identity.key_pem, o->key_pem) ||
	    (o->bearer &&
	     !(client->authorization = io_printf("Authorization: Bearer %s", o->bearer))))
		return err_set(err, ENOMEM, "make an HTTP client for %s", o->base_url);
	if (o->ca_fingerprint && hex_decode(o->ca_fingerprint, client->identity.ca_digest,
					    sizeof(client->identity.ca_digest)) < 0)
		return err_say(err, EINVAL,
			       "%s: the CA's fingerprint must be 64 hexadecimal digits",
			       o->base_url);
	client->identity.connect_timeout_ms =
		o->connect_timeout_ms ? o->connect_timeout_ms : CONNECT_TIMEOUT_MS;
	client->identity.stall_timeout_ms =
		o->stall_timeout_ms ? o->stall_timeout_ms : STALL_TIMEOUT_MS;
	*out = TAKE(client);
	return 0;
}

void http_client_free(struct http_client *client)
{
	if (!client)
		return;
	while (client->idle) {
		struct http_try_slot *slot = client->idle;

		client->idle = slot->next;
		http_try_slot_free(slot);
	}
	pthread_mutex_destroy(&client->lock);
	free(client->base_url);
	free(client->identity.ca_pem);
	free(client->identity.cert_pem);
	free(client->identity.key_pem);
	free(client->authorization);
	free(client);
}

void http_client_bytes(const struct http_client *client, uint64_t *sent, uint64_t *received)
{
	*sent = client->sent;
	*received = client->received;
}

/* The slot that was used last: its connection is the least likely to have been closed meanwhile. NULL: no memory. */
static struct http_try_slot *take_slot(struct http_client *client)
{
	struct http_try_slot *slot;

	pthread_mutex_lock(&client->lock);
	slot = client->idle;
	if (slot)
		client->idle = slot->next;
	pthread_mutex_unlock(&client->lock);
	return slot ? slot : http_try_slot_new(&client->identity);
}

static void give_slot(struct http_client *client, struct http_try_slot *slot)
{
	pthread_mutex_lock(&client->lock);
	slot->next = client->idle;
	client->idle = slot;
	pthread_mutex_unlock(&client->lock);
}

/* ---- A request ------------------------------------------------------------------------------- */

/* Half of the back-off is certain, the other half random: a thousand agents must not come back together. */
static uint64_t backoff_ms(unsigned tries)
{
	uint64_t most = BACKOFF_FIRST_MS;
	uint32_t random = 0;

	while (--tries && most < BACKOFF_MAX_MS)
		most *= 2;
	if (most > BACKOFF_MAX_MS)
		most = BACKOFF_MAX_MS;
	if (getrandom(&random, sizeof(random), GRND_NONBLOCK) < 0)
		random = (uint32_t)clock_now_us();
	return most / 2 + random % (most / 2 + 1);
}

static bool sleep_unless_cancelled(const struct http_request *request, uint64_t ms)
{
	uint64_t end = clock_now_ms() + ms, now;

	while (!http_try_cancelled(request) && (now = clock_now_ms()) < end)
		clock_sleep_ms(end - now < CANCEL_POLL_MS ? end - now : CANCEL_POLL_MS);
	return !http_try_cancelled(request);
}

static int with_retries(struct http_client *client, struct http_try *t, struct err *err)
{
	struct http_try_outcome o;
	unsigned tries = 0;

	for (;;) {
		uint64_t delay_ms;

		o = http_try_run(t, err);
		tries++;
		client->sent += t->sent;
		client->received += t->received;
		if (!o.again || !t->request->repeatable)
			break;
		delay_ms = backoff_ms(tries);
		if (delay_ms < t->retry_after_ms)
			delay_ms = t->retry_after_ms;
		if (clock_now_ms() + delay_ms >= t->deadline_ms)
			break;
		if (!sleep_unless_cancelled(t->request, delay_ms)) {
			o.r = err_say(err, ECANCELED, "cancelled");
			break;
		}
		http_response_deinit(&t->response);
	}
	if (o.r < 0 && tries > 1)
		return err_wrap(err, o.r, "%s %s (tried %u times)", t->method, t->url, tries);
	if (o.r < 0)
		return err_wrap(err, o.r, "%s %s", t->method, t->url);
	return 0;
}

static bool add_header(http_try_headers **headers, const char *line)
{
	http_try_headers *longer = curl_slist_append(*headers, line);

	if (longer)
		*headers = longer;
	return longer;
}

static bool make_headers(const struct http_client *client, const struct http_request *request,
			 http_try_headers **headers)
{
	const char *type = request->body_type ? request->body_type : "application/json";
	/* libcurl's own idea of a POST is a form. */
	CLEANUP_FREE char *line =
		io_printf("Content-Type:%s%s", request->body ? " " : "", request->body ? type : "");

	/* Without "Expect:" libcurl would wait for a "100 Continue" before it sends a larger body. */
	if (!line || !add_header(headers, "Expect:") || !add_header(headers, line))
		return false;
	if (request->key) {
		CLEANUP_FREE char *key = io_printf("Idempotency-Key: %s", request->key);

		if (!key || !add_header(headers, key))
			return false;
	}
	return !client->authorization || add_header(headers, client->authorization);
}

static int check_request(const struct http_request *request, struct err *err)
{
	if (request->path[0] != '/' || has_controls(request->path))
		return err_say(err, EINVAL,
			       "request path '%.200s': must begin with / and be escaped",
			       request->path);
	if (request->body_type && strpbrk(request->body_type, "\r\n"))
		return err_say(err, EINVAL, "request %s: the body's type has a line break in it",
			       request->path);
	if (request->key && has_controls(request->key))
		return err_say(err, EINVAL, "request %s: the key has spaces or control characters",
			       request->path);
	return 0;
}

int http_client_call(struct http_client *client, const struct http_request *request,
		     struct http_response *response, struct err *err)
{
	CLEANUP(curl_slist_free_all) http_try_headers *headers = NULL;
	CLEANUP_FREE char *url = NULL;
	struct err own; /* texts are put together here even if nobody wants them */
	struct http_try t = {
		.identity = &client->identity,
		.request = request,
		.method = request->method ? request->method : "GET",
		.deadline_ms = clock_now_ms() +
			       (request->deadline_ms ? request->deadline_ms : DEADLINE_MS),
		.response_max = request->response_max ? request->response_max : RESPONSE_MAX,
	};
	int r;

	r = check_request(request, err);
	if (r < 0)
		return r;
	url = io_printf("%s%s", client->base_url, request->path);
	if (!url || !make_headers(client, request, &headers))
		return err_set(err, ENOMEM, "%s %s", t.method, request->path);
	t.url = url;
	t.headers = headers;
	t.slot = take_slot(client);
	if (!t.slot)
		return err_set(err, ENOMEM, "%s %s", t.method, request->path);

	r = with_retries(client, &t, err ? err : &own);
	give_slot(client, t.slot);
	if (r < 0) {
		http_response_deinit(&t.response);
		return r;
	}
	*response = t.response;
	return 0;
}

static bool is_idempotent(const char *method)
{
	static const char *const methods[] = { "GET", "HEAD", "PUT", "DELETE" };

	for (size_t i = 0; i < ARRAY_LEN(methods); i++) {
		if (strcmp(methods[i], method) == 0)
			return true;
	}
	return false;
}

int http_client_json(struct http_client *client, const char *method, const char *path,
		     const json_t *body, json_t **reply, struct err *err)
{
	struct http_response response CLEANUP_HTTP_RESPONSE = { 0 };
	CLEANUP_FREE char *text = body ? json_text(body) : NULL;
	CLEANUP_FREE char *what = io_printf("%s %s%s", method, client->base_url, path);
	struct http_request request = {
		.method = method,
		.path = path,
		.body = text,
		.body_len = text ? strlen(text) : 0,
		.repeatable = is_idempotent(method),
	};
	int r;

	if (!what || (body && !text))
		return err_set(err, ENOMEM, "%s %s", method, path);
	r = http_client_call(client, &request, &response, err);
	if (r == 0)
		r = http_response_check(&response, what, err);
	if (r < 0 || !reply)
		return r;
	*reply = NULL;
	if (!response.body_len)
		return 0;
	r = json_parse(reply, (const char *)response.body, response.body_len, "the answer", err);
	return r < 0 ? err_wrap(err, r, "%s", what) : 0;
}
