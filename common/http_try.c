#include "common/http_try.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "common/clock.h"

enum {
	POLL_MS = 1000,       /* how often a try looks at the clock */
	CANCEL_POLL_MS = 100, /* … and at `cancel`, if there is one */
	RECEIVE_BUFFER = 256 << 10,
};

static const struct {
	CURLcode result;
	int code;
	bool again;
} failures[] = {
	{ CURLE_COULDNT_RESOLVE_HOST, EHOSTUNREACH, true },
	{ CURLE_COULDNT_CONNECT, ECONNREFUSED, true },
	{ CURLE_OPERATION_TIMEDOUT, ETIMEDOUT, true },
	{ CURLE_SSL_CONNECT_ERROR, EPROTO, true }, /* also when the server ends in the handshake */
	{ CURLE_SEND_ERROR, ECONNRESET, true },
	{ CURLE_RECV_ERROR, ECONNRESET, true },
	{ CURLE_GOT_NOTHING, ECONNRESET, true },
	{ CURLE_PARTIAL_FILE, ECONNRESET, true },
	{ CURLE_PEER_FAILED_VERIFICATION, EACCES, false },
	{ CURLE_SSL_CERTPROBLEM, EINVAL, false },
	{ CURLE_SSL_CACERT_BADFILE, EINVAL, false },
	{ CURLE_URL_MALFORMAT, EINVAL, false },
	{ CURLE_WEIRD_SERVER_REPLY, EPROTO, false },
	{ CURLE_UNSUPPORTED_PROTOCOL, EPROTO, false },
	{ CURLE_OUT_OF_MEMORY, ENOMEM, false },
};

static const long again_statuses[] = { 429, 502, 503, 504 };

struct http_try_slot *http_try_slot_new(const struct http_try_identity *identity)
{
	struct http_try_slot *slot = calloc(1, sizeof(*slot));

	if (!slot)
		return NULL;
	slot->easy = curl_easy_init();
	slot->multi = curl_multi_init();
	slot->trust.ca_digest = identity->ca_pem ? NULL : identity->ca_digest;
	if (slot->easy && slot->multi)
		return slot;
	http_try_slot_free(slot);
	return NULL;
}

void http_try_slot_free(struct http_try_slot *slot)
{
	curl_easy_cleanup(slot->easy);
	curl_multi_cleanup(slot->multi);
	free(slot);
}

bool http_try_cancelled(const struct http_request *request)
{
	return request->cancel && atomic_load(request->cancel);
}

static size_t receive(char *data, size_t size, size_t n, void *user)
{
	struct http_try *t = user;
	size_t len = size * n, need = t->response.body_len + len;

	if (need > t->response_max) {
		t->too_large = true;
		return 0;
	}
	if (need >= t->capacity) {
		size_t capacity = need < 2048 ? 4096 : 2 * need;
		uint8_t *bigger = realloc(t->response.body, capacity);

		if (!bigger) {
			t->no_memory = true;
			return 0;
		}
		t->response.body = bigger;
		t->capacity = capacity;
	}
	memcpy(t->response.body + t->response.body_len, data, len);
	t->response.body_len = need;
	return len;
}

/* When a kept-alive connection turns out to be dead libcurl sends the request once more, on its own. */
static int before_sending(void *user, char *ip, char *local_ip, int port, int local_port)
{
	struct http_try *t = user;

	(void)ip, (void)local_ip, (void)port, (void)local_port;
	if (t->times_sent && !t->request->repeatable)
		return CURL_PREREQFUNC_ABORT;
	t->times_sent++;
	return CURL_PREREQFUNC_OK;
}

/* In a function that has `easy` and `bad`: remember whether libcurl took an option. */
#define SET(option, value) (bad |= curl_easy_setopt(easy, option, value) != CURLE_OK)

static int set_blob(CURL *easy, CURLoption option, const char *pem)
{
	struct curl_blob blob = { .data = (void *)pem,
				  .len = strlen(pem),
				  .flags = CURL_BLOB_NOCOPY };

	return curl_easy_setopt(easy, option, &blob) != CURLE_OK;
}

static int set_up_trust(struct http_try *t)
{
	const struct http_try_identity *identity = t->identity;
	CURL *easy = t->slot->easy;
	int bad = 0;

	/* Both default to the system's CAs, and a blob replaces only the first. */
	SET(CURLOPT_CAINFO, NULL);
	SET(CURLOPT_CAPATH, NULL);
	if (identity->ca_pem)
		bad |= set_blob(easy, CURLOPT_CAINFO_BLOB, identity->ca_pem);
	if (identity->cert_pem) {
		bad |= set_blob(easy, CURLOPT_SSLCERT_BLOB, identity->cert_pem);
		bad |= set_blob(easy, CURLOPT_SSLKEY_BLOB, identity->key_pem);
	}
	SET(CURLOPT_SSLVERSION, (long)CURL_SSLVERSION_TLSv1_2);
	SET(CURLOPT_SSL_CTX_FUNCTION, http_trust_setup);
	SET(CURLOPT_SSL_CTX_DATA, &t->slot->trust);
	return bad;
}

static int set_up_method(struct http_try *t)
{
	const struct http_request *request = t->request;
	CURL *easy = t->slot->easy;
	int bad = 0;

	if (request->body || strcmp(t->method, "POST") == 0 || strcmp(t->method, "PUT") == 0) {
		SET(CURLOPT_POSTFIELDS, request->body ? request->body : "");
		SET(CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)request->body_len);
	}
	if (strcmp(t->method, "HEAD") == 0)
		SET(CURLOPT_NOBODY, 1L);
	else
		SET(CURLOPT_CUSTOMREQUEST, t->method);
	return bad;
}

static int set_up(struct http_try *t)
{
	CURL *easy = t->slot->easy;
	int bad = 0;

	curl_easy_reset(easy); /* keeps connections */
	t->reason[0] = 0;
	SET(CURLOPT_ERRORBUFFER, t->reason);
	SET(CURLOPT_URL, t->url);
	SET(CURLOPT_PATH_AS_IS, 1L);
	SET(CURLOPT_PROTOCOLS_STR, "https");
	SET(CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1);
	SET(CURLOPT_PROXY, "");
	SET(CURLOPT_NOSIGNAL, 1L);
	SET(CURLOPT_TCP_KEEPALIVE, 1L);
	SET(CURLOPT_BUFFERSIZE, (long)RECEIVE_BUFFER);
	SET(CURLOPT_USERAGENT, "godwit");
	SET(CURLOPT_HTTPHEADER, t->headers);
	SET(CURLOPT_CONNECTTIMEOUT_MS, (long)t->identity->connect_timeout_ms);
	SET(CURLOPT_WRITEFUNCTION, receive);
	SET(CURLOPT_WRITEDATA, t);
	SET(CURLOPT_PREREQFUNCTION, before_sending);
	SET(CURLOPT_PREREQDATA, t);
	return bad | set_up_method(t) | set_up_trust(t);
}

static uint64_t bytes_moved(CURL *easy, curl_off_t *sent, curl_off_t *received)
{
	*sent = *received = 0;
	curl_easy_getinfo(easy, CURLINFO_SIZE_UPLOAD_T, sent);
	curl_easy_getinfo(easy, CURLINFO_SIZE_DOWNLOAD_T, received);
	return (uint64_t)*sent + (uint64_t)*received;
}

static struct http_try_outcome give_up(int r)
{
	return (struct http_try_outcome){ .r = r };
}

static struct http_try_outcome try_again(int r)
{
	return (struct http_try_outcome){ .r = r, .again = true };
}

/* What to add to the text when a request went out, its answer did not come, and once was all that was allowed. */
static const char *doubt(const struct http_try *t)
{
	return t->times_sent && !t->request->repeatable ? "; the request may have been carried out"
							: "";
}

/* Why a try that libcurl is still busy with must end now; r = 0: it may go on. */
static struct http_try_outcome overdue(struct http_try *t, uint64_t *moved, uint64_t *moved_at_ms,
				       struct err *err)
{
	uint64_t now = clock_now_ms(), current;
	curl_off_t sent, received;

	if (http_try_cancelled(t->request))
		return give_up(err_say(err, ECANCELED, "cancelled%s", doubt(t)));
	if (now >= t->deadline_ms)
		return give_up(err_say(err, ETIMEDOUT, "not finished in time%s", doubt(t)));
	current = bytes_moved(t->slot->easy, &sent, &received);
	if (current != *moved) {
		*moved = current;
		*moved_at_ms = now;
	} else if (now - *moved_at_ms >= t->identity->stall_timeout_ms) {
		return try_again(err_say(err, ETIMEDOUT, "no byte moved for %llu ms%s",
					 (unsigned long long)(now - *moved_at_ms), doubt(t)));
	}
	return give_up(0);
}

/* Why libcurl ended a try. */
static struct http_try_outcome explain(const struct http_try *t, CURLcode result, struct err *err)
{
	const char *refusal = http_trust_refusal(&t->slot->trust);
	const char *reason = t->reason[0] ? t->reason : curl_easy_strerror(result);

	if (result == CURLE_OK)
		return give_up(0);
	if (t->too_large)
		return give_up(err_say(err, EMSGSIZE, "the answer is longer than %zu bytes",
				       t->response_max));
	if (t->no_memory)
		return give_up(err_say(err, ENOMEM, "no memory for the answer"));
	if (refusal)
		return give_up(err_say(err, EACCES, "%s", refusal));
	if (t->slot->trust.wrong_ca)
		return give_up(err_say(
			err, EACCES,
			"the server's CA is not the one with the fingerprint that we know"));
	if (result == CURLE_ABORTED_BY_CALLBACK) /* before_sending did that */
		return give_up(err_say(err, ECONNRESET, "the connection broke%s", doubt(t)));
	for (size_t i = 0; i < ARRAY_LEN(failures); i++) {
		if (failures[i].result == result)
			return (struct http_try_outcome){
				.r = err_say(err, failures[i].code, "%s%s", reason, doubt(t)),
				.again = failures[i].again,
			};
	}
	return give_up(err_say(err, EIO, "%s%s", reason, doubt(t)));
}

/* libcurl wakes us when something happens; this is for what only the clock or another thread can tell. */
static int poll_ms(const struct http_try *t)
{
	uint64_t now = clock_now_ms(), wait = t->request->cancel ? CANCEL_POLL_MS : POLL_MS;

	if (wait > t->identity->stall_timeout_ms)
		wait = t->identity->stall_timeout_ms;
	if (now + wait > t->deadline_ms)
		wait = t->deadline_ms > now ? t->deadline_ms - now : 0;
	return (int)wait;
}

static struct http_try_outcome drive(struct http_try *t, struct err *err)
{
	uint64_t moved = 0, moved_at_ms = clock_now_ms();
	int running = 1, queued;
	struct http_try_outcome o;
	CURLMsg *message;

	for (;;) {
		if (curl_multi_perform(t->slot->multi, &running) != CURLM_OK)
			return give_up(err_say(err, EIO, "libcurl gave up"));
		if (!running)
			break;
		o = overdue(t, &moved, &moved_at_ms, err);
		if (o.r < 0)
			return o;
		curl_multi_poll(t->slot->multi, NULL, 0, poll_ms(t), NULL);
	}
	message = curl_multi_info_read(t->slot->multi, &queued);
	return explain(t, message ? message->data.result : CURLE_FAILED_INIT, err);
}

static bool asks_to_come_again(long status)
{
	for (size_t i = 0; i < ARRAY_LEN(again_statuses); i++) {
		if (again_statuses[i] == status)
			return true;
	}
	return false;
}

struct http_try_outcome http_try_run(struct http_try *t, struct err *err)
{
	struct http_try_slot *slot = t->slot;
	curl_off_t seconds = 0, sent, received;
	struct http_try_outcome o;

	slot->trust.alert = 0;
	slot->trust.wrong_ca = false;
	t->times_sent = 0;
	t->capacity = 0;
	t->too_large = t->no_memory = false;
	t->retry_after_ms = t->sent = t->received = 0;
	if (set_up(t) || curl_multi_add_handle(slot->multi, slot->easy) != CURLM_OK)
		return give_up(err_say(err, ENOMEM, "libcurl refused the request"));
	o = drive(t, err);
	bytes_moved(slot->easy, &sent, &received);
	t->sent = (uint64_t)sent;
	t->received = (uint64_t)received;
	curl_easy_getinfo(slot->easy, CURLINFO_RESPONSE_CODE, &t->response.status);
	curl_easy_getinfo(slot->easy, CURLINFO_RETRY_AFTER, &seconds);
	curl_multi_remove_handle(slot->multi, slot->easy);
	if (o.r < 0)
		return o;

	if (!t->response.body && !(t->response.body = malloc(1)))
		return give_up(err_say(err, ENOMEM, "no memory for the answer"));
	t->response.body[t->response.body_len] = 0;
	if (seconds > 0)
		t->retry_after_ms = (uint64_t)seconds * 1000;
	return asks_to_come_again(t->response.status) ? try_again(0) : give_up(0);
}
