#include "mgmt-server/cli/cli_server.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <openssl/x509.h>

#include "common/hex.h"
#include "common/io.h"

enum {
	RESPONSE_MAX = 64 << 20,
	SYSTEM_CA_MAX = 16 << 20,
	REQUEST_DEADLINE_MS = 30000,
	KEY_BYTES = 16
};

atomic_bool cli_server_interrupted;

static void on_signal(int number)
{
	(void)number;
	atomic_store(&cli_server_interrupted, true);
}

void cli_server_catch_signals(void)
{
	/* Once only: a second Ctrl-C ends the program even if it hangs. */
	struct sigaction action = { .sa_handler = on_signal, .sa_flags = (int)SA_RESETHAND };

	sigaction(SIGINT, &action, NULL);
	sigaction(SIGTERM, &action, NULL);
}

enum cli_exit cli_server_exit(const struct err *err)
{
	static const struct {
		int code;
		enum cli_exit status;
	} meanings[] = {
		{ EACCES, CLI_EXIT_REFUSED },           { EPERM, CLI_EXIT_REFUSED },
		{ ECONNREFUSED, CLI_EXIT_UNREACHABLE }, { ECONNRESET, CLI_EXIT_UNREACHABLE },
		{ ENETUNREACH, CLI_EXIT_UNREACHABLE },  { EHOSTUNREACH, CLI_EXIT_UNREACHABLE },
		{ ETIMEDOUT, CLI_EXIT_UNREACHABLE },    { ECANCELED, CLI_EXIT_INTERRUPTED },
	};
	size_t i;

	for (i = 0; i < ARRAY_LEN(meanings); i++) {
		if (meanings[i].code == err->code)
			return meanings[i].status;
	}
	return CLI_EXIT_FAILED;
}

/* The machine's own trust store, as OpenSSL's programs find it. */
static int read_system_cas(uint8_t **pem, struct err *err)
{
	const char *path = getenv(X509_get_default_cert_file_env());
	size_t len;

	if (!path || !*path)
		path = "/etc/ssl/certs/ca-certificates.crt"; /* Debian's bundle */
	return io_read_file(path, SYSTEM_CA_MAX, pem, &len, err);
}

int cli_server_client(struct http_client **out, const struct cli_login *login, struct err *err)
{
	CLEANUP_FREE uint8_t *system = NULL;
	struct http_client_options options = { .base_url = login->url, .bearer = login->token };
	int r;

	switch (login->trust) {
	case CLI_LOGIN_CA:
		options.ca_pem = login->ca;
		break;
	case CLI_LOGIN_FINGERPRINT:
		options.ca_fingerprint = login->ca;
		break;
	case CLI_LOGIN_SYSTEM:
		r = read_system_cas(&system, err);
		if (r < 0)
			return err_wrap(err, -EACCES, "this machine has no trust store");
		options.ca_pem = (const char *)system;
		break;
	}
	return http_client_new(out, &options, err);
}

int cli_server_open(struct cli_server *server, struct err *err)
{
	int r;

	*server = (struct cli_server){ .http = NULL };
	r = cli_login_load(&server->login, err);
	if (r == CLI_LOGIN_NONE)
		return err_say(err, EACCES,
			       "you are not signed in. Sign in with: godwit login URL --user NAME");
	if (r < 0)
		return r;
	r = cli_server_client(&server->http, &server->login, err);
	if (r < 0)
		cli_server_close(server);
	return r;
}

void cli_server_close(struct cli_server *server)
{
	http_client_free(server->http);
	server->http = NULL;
	cli_login_deinit(&server->login);
}

/* The server refused: was it the sign-in (then a new one helps) or the role (then nothing here does)? */
static int refused(const struct cli_server *server, const struct http_response *response, int r,
		   struct err *err)
{
	size_t len = strlen(err->text);

	if (response->status == 401 && len < sizeof(err->text))
		snprintf(err->text + len, sizeof(err->text) - len,
			 ". The sign-in has ended: godwit login %s --user %s", server->login.url,
			 server->login.user);
	return r;
}

static int exchange(struct cli_server *server, struct http_request *request, const json_t *body,
		    json_t **reply, struct err *err)
{
	CLEANUP_FREE char *text = body ? json_text(body) : NULL;
	struct http_response response = { .body = NULL };
	int r;

	if (reply)
		*reply = NULL;
	if (body && !text)
		return err_set(err, ENOMEM, "%s %s", request->method, request->path);
	request->body = text;
	request->body_len = text ? strlen(text) : 0;
	request->deadline_ms = REQUEST_DEADLINE_MS;
	request->response_max = RESPONSE_MAX;
	request->cancel = &cli_server_interrupted;
	r = http_client_call(server->http, request, &response, err);
	if (r == 0) {
		CLEANUP_FREE char *what = io_printf("%s %s", request->method, request->path);

		r = http_response_check(&response, what ? what : request->path, err);
		if (r < 0)
			r = refused(server, &response, r, err);
		else if (reply && response.body_len > 0)
			r = json_parse(reply, (const char *)response.body, response.body_len,
				       "the server's answer", err);
	}
	http_response_deinit(&response);
	return r;
}

int cli_server_json(struct cli_server *server, const char *method, const char *path,
		    const json_t *body, json_t **reply, struct err *err)
{
	struct http_request request = { .method = method,
					.path = path,
					.repeatable = strcmp(method, "GET") == 0 };

	return exchange(server, &request, body, reply, err);
}

int cli_server_change(struct cli_server *server, const char *path, const json_t *body,
		      json_t **reply, struct err *err)
{
	char key[2 * KEY_BYTES + 1];
	struct http_request request = {
		.method = "POST", .path = path, .key = key, .repeatable = true
	};

	hex_random(key, KEY_BYTES);
	return exchange(server, &request, body, reply, err);
}

char *cli_server_path(const char *format, const char *word)
{
	static const char plain[] =
		"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_";
	const char *hole = strstr(format, "%s");
	char *path, *at;

	if (!hole)
		return strdup(format);
	path = malloc(strlen(format) + 3 * strlen(word) + 1);
	if (!path)
		return NULL;
	memcpy(path, format, (size_t)(hole - format));
	at = path + (hole - format);
	for (; *word; word++) {
		if (strchr(plain, *word))
			*at++ = *word;
		else
			at += sprintf(at, "%%%02X", (unsigned char)*word);
	}
	strcpy(at, hole + 2);
	return path;
}
