#include "mgmt-server/cli/cli_signatures.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/io.h"
#include "mgmt-server/cli/cli_query.h"
#include "mgmt-server/cli/cli_server.h"

enum { PART = 4 << 20, POLL_MS = 500, BUSY_TRIES = 60 };

static const char *text_of(const json_t *object, const char *key)
{
	return json_string_value(json_object_get(object, key)) ?: "";
}

/* Until the server is done with them. */
static int follow(struct cli_server *server, const struct cli_call *call, json_t *state,
		  struct err *err)
{
	CLEANUP(json_decref) json_t *now = json_incref(state);
	CLEANUP(json_decref) json_t *last = NULL;
	const json_t *update;
	int r;

	while (strcmp(text_of(json_object_get(now, "update"), "state"), "idle") != 0) {
		if (!call->quiet && isatty(STDERR_FILENO))
			fprintf(stderr, "\r%-12s",
				text_of(json_object_get(now, "update"), "state"));
		clock_sleep_ms(POLL_MS);
		json_decref(now);
		now = NULL;
		r = cli_server_json(server, "GET", "/api/v1/signatures", NULL, &now, err);
		if (r < 0)
			return r;
	}
	if (!call->quiet && isatty(STDERR_FILENO))
		fputc('\r', stderr);
	update = json_object_get(now, "update");
	if (call->output == CLI_OUTPUT_JSON)
		r = cli_query_print_json(now, err);
	else
		r = 0;
	if (r == 0 && text_of(update, "error")[0]) {
		fprintf(stderr, "godwit: the signatures were not taken, the old ones stay: %s\n",
			text_of(update, "error"));
		return CLI_EXIT_FAILED;
	}
	if (r == 0 && call->output != CLI_OUTPUT_JSON)
		printf("signatures in use: built %s, digest %.16s\n", text_of(now, "built"),
		       text_of(now, "digest"));
	return r;
}

/* The server takes up an order for an update at its next tick. */
static int order_update(struct cli_server *server, json_t **state, struct err *err)
{
	CLEANUP(json_decref) json_t *body = json_object();
	CLEANUP(json_decref) json_t *before = NULL;
	int r = cli_server_json(server, "POST", "/api/v1/signatures/update", body, &before, err);

	for (int i = 0; r == 0 && i < BUSY_TRIES; i++) {
		json_decref(*state);
		*state = NULL;
		r = cli_server_json(server, "GET", "/api/v1/signatures", NULL, state, err);
		if (r < 0 || strcmp(text_of(json_object_get(*state, "update"), "state"), "idle") ||
		    strcmp(text_of(json_object_get(*state, "update"), "ended"),
			   text_of(json_object_get(before, "update"), "ended")))
			break;
		clock_sleep_ms(POLL_MS);
	}
	return r;
}

int cli_signatures_update(struct cli_call *call, struct err *err)
{
	CLEANUP(json_decref) json_t *state = NULL;
	struct cli_server server;
	int r = cli_server_open(&server, err);

	if (r < 0)
		return r;
	r = order_update(&server, &state, err);
	if (r == 0)
		r = follow(&server, call, state, err);
	cli_server_close(&server);
	return r;
}

/* ---- Upload ---- */

static int send_part(struct cli_server *server, const char *id, uint64_t offset,
		     const uint8_t *data, size_t len, struct err *err)
{
	CLEANUP_FREE char *path = io_printf("/api/v1/signatures/uploads/%s/data?offset=%llu", id,
					    (unsigned long long)offset);
	struct http_request request = { .method = "POST",
					.path = path,
					.body = data,
					.body_len = len,
					.body_type = "application/octet-stream" };
	struct http_response response = { 0 };
	int r;

	if (!path)
		return err_set(err, ENOMEM, "upload");
	r = http_client_call(server->http, &request, &response, err);
	if (r == 0)
		r = http_response_check(&response, "upload", err);
	http_response_deinit(&response);
	return r;
}

static int send_file(struct cli_server *server, int fd, const char *id, uint64_t size,
		     struct err *err)
{
	CLEANUP_FREE uint8_t *part = malloc(PART);
	int r = part ? 0 : err_set(err, ENOMEM, "upload");

	for (uint64_t at = 0; r == 0 && at < size; at += PART) {
		size_t len = size - at < PART ? (size_t)(size - at) : PART;

		r = io_pread_full(fd, part, len, at);
		if (r)
			return err_set(err, r < 0 ? -r : EIO, "read the file");
		r = send_part(server, id, at, part, len, err);
	}
	return r;
}

static int open_upload(struct cli_server *server, const char *file, const struct stat *st,
		       json_t **reply, struct err *err)
{
	const char *slash = strrchr(file, '/');
	CLEANUP(json_decref)
	json_t *body =
		json_pack("{ss sI sI}", "name", slash ? slash + 1 : file, "size",
			  (json_int_t)st->st_size, "modified_s", (json_int_t)st->st_mtim.tv_sec);

	return cli_server_json(server, "POST", "/api/v1/signatures/uploads", body, reply, err);
}

/* The server may just be looking at its folder: that takes a moment. */
static int end_upload(struct cli_server *server, const char *id, json_t **state, struct err *err)
{
	CLEANUP_FREE char *path = io_printf("/api/v1/signatures/uploads/%s/end", id);
	CLEANUP(json_decref) json_t *body = json_object();
	int r = -ENOMEM;

	for (int i = 0; path && i < BUSY_TRIES; i++) {
		*err = (struct err){ 0 };
		r = cli_server_json(server, "POST", path, body, state, err);
		if (r != -EEXIST && r != -EBUSY)
			break;
		clock_sleep_ms(POLL_MS);
	}
	return r;
}

static int upload(struct cli_server *server, const struct cli_call *call, int fd, struct err *err)
{
	CLEANUP(json_decref) json_t *reply = NULL;
	CLEANUP(json_decref) json_t *state = NULL;
	struct stat st;
	int r;

	if (fstat(fd, &st) < 0)
		return err_set(err, errno, "look at %s", call->words[0]);
	r = open_upload(server, call->words[0], &st, &reply, err);
	if (r == 0)
		r = send_file(server, fd, text_of(reply, "upload"), (uint64_t)st.st_size, err);
	if (r == 0)
		r = end_upload(server, text_of(reply, "upload"), &state, err);
	return r < 0 ? r : follow(server, call, state, err);
}

int cli_signatures_upload(struct cli_call *call, struct err *err)
{
	CLEANUP_FD int fd = open(call->words[0], O_RDONLY | O_CLOEXEC);
	struct cli_server server;
	int r;

	if (fd < 0)
		return err_set(err, errno, "open %s", call->words[0]);
	r = cli_server_open(&server, err);
	if (r < 0)
		return r;
	r = upload(&server, call, fd, err);
	cli_server_close(&server);
	return r;
}
