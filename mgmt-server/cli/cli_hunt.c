/* cli_hunt.c - see cli_hunt.h. */
#include "mgmt-server/cli/cli_hunt.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/clock.h"
#include "common/io.h"
#include "mgmt-server/cli/cli_query.h"
#include "mgmt-server/cli/cli_server.h"

enum { FILE_MAX = 1 << 20, POLL_MS = 500 };

/* ---- what is looked for ---- */

static int add_hashes(json_t *list, char *text, const char *separators)
{
	char *save = NULL;

	for (char *line = strtok_r(text, separators, &save); line;
	     line = strtok_r(NULL, separators, &save)) {
		line[strcspn(line, " \t")] = '\0'; /* sha256sum writes a name behind it */
		if (line[0] && line[0] != '#' && json_array_append_new(list, json_string(line)) < 0)
			return -ENOMEM;
	}
	return 0;
}

static int read_text(const char *path, char **out, struct err *err)
{
	CLEANUP_FREE uint8_t *bytes = NULL;
	size_t len;
	int r = io_read_file(path, FILE_MAX, &bytes, &len, err);

	if (r < 0)
		return r;
	*out = malloc(len + 1);
	if (!*out)
		return err_set(err, ENOMEM, "read %s", path);
	memcpy(*out, bytes, len);
	(*out)[len] = '\0';
	return strlen(*out) == len ? 0 : err_say(err, EINVAL, "%s is not text", path);
}

static int hunt_body(const struct cli_call *call, json_t **body, struct err *err)
{
	const struct cli_value *hashes = cli_command_value(call, "sha256"),
			       *list = cli_command_value(call, "list"),
			       *rule = cli_command_value(call, "yara");
	CLEANUP_FREE char *text = NULL;
	json_t *items;
	int r = 0;

	if (hashes->given + list->given + rule->given != 1) {
		fprintf(stderr, "godwit hunt: expected one of --sha256, --list and --yara\n");
		return CLI_EXIT_USAGE;
	}
	if (hashes->given)
		text = strdup(hashes->text);
	else
		r = read_text(list->given ? list->text : rule->text, &text, err);
	if (r < 0)
		return r;
	if (rule->given) {
		*body = json_pack("{ss}", "yara", text);
		return *body ? 0 : err_say(err, EINVAL, "%s is not UTF-8", rule->text);
	}
	items = json_array();
	if (!text || !items || add_hashes(items, text, hashes->given ? ", " : "\r\n") < 0) {
		json_decref(items);
		return err_set(err, ENOMEM, "take in the hashes");
	}
	*body = json_pack("{so}", "sha256", items);
	return *body ? 0 : err_set(err, ENOMEM, "take in the hashes");
}

/* ---- the answer ---- */

static const char *text_of(const json_t *object, const char *key)
{
	return json_string_value(json_object_get(object, key)) ?: "";
}

static void print_hits(const json_t *result)
{
	const json_t *hits = json_object_get(result, "hits"), *hit;
	json_int_t more = json_integer_value(json_object_get(result, "more_hits"));
	json_int_t unread = json_integer_value(json_object_get(result, "unread_contents"));
	size_t i;

	json_array_foreach (hits, i, hit) {
		const json_t *count = json_object_get(hit, "snapshot_count");
		const char *partition = text_of(hit, "partition"), *stream = text_of(hit, "stream");

		printf("%s: %s%s%s %s%s%s\n  in %lld snapshots, %s to %s%s%s\n",
		       text_of(hit, "desktop"), text_of(hit, "volume"), partition[0] ? " " : "",
		       partition, text_of(hit, "path"), stream[0] ? ":" : "", stream,
		       (long long)json_integer_value(count),
		       text_of(json_object_get(hit, "first"), "id"),
		       text_of(json_object_get(hit, "last"), "id"),
		       text_of(hit, "signature")[0] ? ", " : "", text_of(hit, "signature"));
	}
	if (!json_array_size(hits))
		puts("nothing found");
	if (more)
		printf("and %lld more places\n", (long long)more);
	if (unread)
		printf("%lld contents could not be looked at\n", (long long)unread);
}

static int wait_for(struct cli_server *server, const char *id, json_t **end, struct err *err)
{
	CLEANUP_FREE char *path = cli_server_path("/api/v1/hunts/%s", id);

	if (!path)
		return err_set(err, ENOMEM, "wait for hunt %s", id);
	for (;;) {
		CLEANUP(json_decref) json_t *hunt = NULL;
		int r = cli_server_json(server, "GET", path, NULL, &hunt, err);

		if (r < 0)
			return r;
		if (json_is_string(json_object_get(hunt, "ended"))) {
			*end = TAKE(hunt);
			return 0;
		}
		if (atomic_load(&cli_server_interrupted))
			return err_say(err, ECANCELED, "interrupted; hunt %s goes on", id);
		clock_sleep_ms(POLL_MS);
	}
}

static int show(const struct cli_call *call, const json_t *end, struct err *err)
{
	const json_t *result = json_object_get(end, "result");
	bool done = strcmp(text_of(end, "state"), "done") == 0;

	if (call->output == CLI_OUTPUT_JSON) {
		int r = cli_query_print_json(end, err);

		return r < 0 || done ? r : CLI_EXIT_FAILED;
	}
	if (!done) {
		fprintf(stderr, "hunt %s: %s%s%s\n", text_of(end, "id"), text_of(end, "state"),
			text_of(end, "error")[0] ? ": " : "", text_of(end, "error"));
		return CLI_EXIT_FAILED;
	}
	if (json_object_get(result, "hits"))
		print_hits(result);
	else
		puts(text_of(end, "message"));
	return 0;
}

static int ask(struct cli_server *server, const struct cli_call *call, const json_t *body,
	       struct err *err)
{
	CLEANUP(json_decref) json_t *hunt = NULL;
	CLEANUP(json_decref) json_t *end = NULL;
	int r = cli_server_change(server, call->command->path, body, &hunt, err);

	if (r == 0)
		r = wait_for(server, text_of(hunt, "id"), &end, err);
	return r < 0 ? r : show(call, end, err);
}

static int run(struct cli_call *call, const json_t *body, struct err *err)
{
	struct cli_server server;
	int r = cli_server_open(&server, err);

	if (r < 0)
		return r;
	r = ask(&server, call, body, err);
	cli_server_close(&server);
	return r;
}

int cli_hunt_run(struct cli_call *call, struct err *err)
{
	CLEANUP(json_decref) json_t *body = NULL;
	int r = hunt_body(call, &body, err);

	return r ? r : run(call, body, err);
}

int cli_hunt_rescan(struct cli_call *call, struct err *err)
{
	CLEANUP(json_decref) json_t *body = json_object();

	return run(call, body, err);
}
