#include "tests/lib/http_answers.h"

#include <stdlib.h>
#include <string.h>

#include "common/base.h"
#include "common/clock.h"

static bool answer_hello(const struct tls_server_request *r)
{
	return tls_server_reply(r, 200, NULL, "hello", 5);
}

static bool answer_echo(const struct tls_server_request *r)
{
	return tls_server_reply(r, 200, NULL, r->body, r->body_len);
}

static bool answer_headers(const struct tls_server_request *r)
{
	return tls_server_reply(r, 200, NULL, r->headers, strlen(r->headers));
}

static bool answer_nothing(const struct tls_server_request *r)
{
	return tls_server_write(r, "HTTP/1.1 204 No Content\r\n\r\n", 27);
}

static bool answer_big(const struct tls_server_request *r)
{
	static char big[HTTP_ANSWERS_BIG];

	return tls_server_reply(r, 200, NULL, big, sizeof(big));
}

static bool answer_endless(const struct tls_server_request *r)
{
	static char chunk[6 + 0x2000 + 2] = "2000\r\n";
	bool ok = tls_server_write(r, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", 47);

	memcpy(chunk + sizeof(chunk) - 2, "\r\n", 2);
	while (ok)
		ok = tls_server_write(r, chunk, sizeof(chunk));
	return false;
}

static bool answer_json(const struct tls_server_request *r)
{
	return tls_server_reply(r, 200, NULL, "{\"a\":1}", 7);
}

static bool answer_problem(const struct tls_server_request *r)
{
	static const char problem[] =
		"{\"type\":\"about:blank\",\"title\":\"Conflict\",\"status\":409,"
		"\"detail\":\"desktop d7 runs\"}";

	return tls_server_reply(r, 409, "Content-Type: application/problem+json\r\n", problem,
				strlen(problem));
}

static bool answer_busy_twice(const struct tls_server_request *r)
{
	return r->number <= 2 ? tls_server_reply(r, 503, NULL, "busy", 4) : answer_hello(r);
}

static bool answer_later(const struct tls_server_request *r)
{
	return r->number == 1 ? tls_server_reply(r, 429, "Retry-After: 1\r\n", NULL, 0)
			      : answer_hello(r);
}

/* The second answer asks for more patience than anybody has. */
static bool answer_much_later(const struct tls_server_request *r)
{
	return tls_server_reply(r, 503, r->number == 1 ? NULL : "Retry-After: 3600\r\n", "oops", 4);
}

static bool answer_drop(const struct tls_server_request *r)
{
	(void)r;
	return false;
}

static bool answer_drop_once(const struct tls_server_request *r)
{
	return r->number == 1 ? false : answer_hello(r);
}

static bool answer_half(const struct tls_server_request *r)
{
	tls_server_write(r, "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n0123456789", 50);
	return false;
}

static bool answer_garbage(const struct tls_server_request *r)
{
	tls_server_write(r, "no HTTP at all\r\n\r\n", 18);
	return false;
}

static bool answer_trickle(const struct tls_server_request *r)
{
	bool ok = tls_server_write(r, "HTTP/1.1 200 OK\r\nContent-Length: 12\r\n\r\n", 39);

	for (int i = 0; ok && i < 12; i++) {
		clock_sleep_ms(250);
		ok = tls_server_write(r, "x", 1);
	}
	return ok;
}

static bool answer_redirect(const struct tls_server_request *r)
{
	return tls_server_reply(r, 302, "Location: /hello\r\n", NULL, 0);
}

static const struct {
	const char *path;
	bool (*answer)(const struct tls_server_request *r);
} answers[] = {
	{ "/hello", answer_hello },
	{ "/echo", answer_echo },
	{ "/headers", answer_headers },
	{ "/nothing", answer_nothing },
	{ "/big", answer_big },
	{ "/endless", answer_endless },
	{ "/json", answer_json },
	{ "/problem", answer_problem },
	{ "/busy-twice", answer_busy_twice },
	{ "/later", answer_later },
	{ "/much-later", answer_much_later },
	{ "/stall", tls_server_stall },
	{ "/drop", answer_drop },
	{ "/drop-once", answer_drop_once },
	{ "/half", answer_half },
	{ "/garbage", answer_garbage },
	{ "/trickle", answer_trickle },
	{ "/redirect", answer_redirect },
};

bool http_answers(const struct tls_server_request *r)
{
	if (strncmp(r->path, "/status/", 8) == 0)
		return tls_server_reply(r, atoi(r->path + 8), NULL, "oops", 4);
	for (size_t i = 0; i < ARRAY_LEN(answers); i++) {
		if (strcmp(answers[i].path, r->path) == 0)
			return answers[i].answer(r);
	}
	return tls_server_reply(r, 404, NULL, NULL, 0);
}

bool http_answers_cut_off(const struct tls_server_request *r)
{
	return strcmp(r->path, "/cut-off") == 0;
}
