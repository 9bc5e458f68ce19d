#include "mgmt-server/cli/cli_action.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "common/clock.h"
#include "mgmt-server/cli/cli_query.h"
#include "mgmt-server/cli/cli_watch.h"

/* Follow job @id and report how it ended; the exit status says whether that is what the command is for. */
static int follow(struct cli_server *server, const struct cli_call *call, const char *id,
		  struct err *err)
{
	const char *wanted = call->command->wanted ? call->command->wanted : "done", *state;
	CLEANUP(json_decref) json_t *job = NULL;
	bool json = call->output == CLI_OUTPUT_JSON;
	int r;

	r = cli_watch_job(server, id, call->quiet || (json && !isatty(STDERR_FILENO)), &job, err);
	if (r < 0)
		return r;
	if (json)
		r = cli_query_print_json(job, err);
	else
		cli_watch_outcome(job, wanted);
	state = json_string_value(json_object_get(job, "state"));
	return r < 0 || (state && strcmp(state, wanted) == 0) ? r : CLI_EXIT_FAILED;
}

static int started(struct cli_server *server, const struct cli_call *call, const json_t *job,
		   struct err *err)
{
	const char *id = json_string_value(json_object_get(job, "id"));

	if (!id)
		return err_say(err, EBADMSG, "the server's answer to %s names no job",
			       call->command->path);
	if (!call->no_wait)
		return follow(server, call, id, err);
	if (call->output == CLI_OUTPUT_JSON)
		return cli_query_print_json(job, err);
	printf("%s\n", id);
	if (!call->quiet)
		fprintf(stderr, "Started. Follow it with: godwit job watch %s\n", id);
	return 0;
}

/* One request with the options as its body. */
static int request(struct cli_server *server, const struct cli_call *call, json_t **reply,
		   struct err *err)
{
	CLEANUP_FREE char *path =
		cli_server_path(call->command->path, call->words[0] ? call->words[0] : "");
	CLEANUP(json_decref)
	json_t *body =
		cli_options_body(call->command->options, call->values, call->command->option_count);

	if (!path || !body)
		return err_set(err, ENOMEM, "POST %s", call->command->path);
	return call->command->once ? cli_server_json(server, "POST", path, body, reply, err)
				   : cli_server_change(server, path, body, reply, err);
}

int cli_action_job(struct cli_call *call, struct err *err)
{
	CLEANUP(json_decref) json_t *job = NULL;
	struct cli_server server;
	int r;

	r = cli_server_open(&server, err);
	if (r < 0)
		return r;
	r = request(&server, call, &job, err);
	if (r == 0)
		r = started(&server, call, job, err);
	cli_server_close(&server);
	return r;
}

/* What the scan said, for people. */
static void print_scan(const char *id, const json_t *scan)
{
	static const struct {
		const char *key, *more;
	} lists[] = { { "findings", "more_findings" }, { "reasons", "more_reasons" } };
	char text[CLI_FORMAT_MAX];
	const json_t *item;
	size_t i, k;

	cli_format_value(json_object_get(scan, "verdict"), CLI_FORMAT_TEXT, 0, text, sizeof(text));
	printf("snapshot %s is %s\n", id, text);
	for (i = 0; i < ARRAY_LEN(lists); i++) {
		json_int_t more = json_integer_value(json_object_get(scan, lists[i].more));

		json_array_foreach (json_object_get(scan, lists[i].key), k, item)
			cli_query_print_finding(item);
		if (more > 0)
			printf("  and %lld more %s\n", (long long)more, lists[i].key);
	}
}

static int scan_verdict(struct cli_server *server, const struct cli_call *call, struct err *err)
{
	CLEANUP_FREE char *path = cli_server_path("/api/v1/snapshots/%s", call->words[0]);
	CLEANUP(json_decref) json_t *snapshot = NULL;
	const char *verdict;
	int r = path ? cli_server_json(server, "GET", path, NULL, &snapshot, err)
		     : err_set(err, ENOMEM, "see the verdict");

	if (r < 0)
		return r;
	verdict = json_string_value(json_object_get(snapshot, "verdict"));
	if (call->output == CLI_OUTPUT_JSON)
		r = cli_query_print_json(snapshot, err);
	else
		print_scan(call->words[0], json_object_get(snapshot, "scan"));
	return r < 0 || (verdict && strcmp(verdict, "clean") == 0) ? r : CLI_EXIT_FAILED;
}

static int scan(struct cli_server *server, const struct cli_call *call, struct err *err)
{
	CLEANUP(json_decref) json_t *job = NULL;
	CLEANUP(json_decref) json_t *end = NULL;
	bool quiet = call->quiet || (call->output == CLI_OUTPUT_JSON && !isatty(STDERR_FILENO));
	const char *id, *state;
	int r = request(server, call, &job, err);

	if (r < 0 || call->no_wait)
		return r < 0 ? r : started(server, call, job, err);
	id = json_string_value(json_object_get(job, "id"));
	if (!id)
		return err_say(err, EBADMSG, "the server's answer names no job");
	r = cli_watch_job(server, id, quiet, &end, err);
	if (r < 0)
		return r;
	state = json_string_value(json_object_get(end, "state"));
	if (!state || strcmp(state, "done") != 0) {
		cli_watch_outcome(end, "done");
		return CLI_EXIT_FAILED;
	}
	return scan_verdict(server, call, err);
}

int cli_action_scan(struct cli_call *call, struct err *err)
{
	struct cli_server server;
	int r;

	r = cli_server_open(&server, err);
	if (r < 0)
		return r;
	r = scan(&server, call, err);
	cli_server_close(&server);
	return r;
}

int cli_action_watch(struct cli_call *call, struct err *err)
{
	struct cli_server server;
	int r;

	r = cli_server_open(&server, err);
	if (r < 0)
		return r;
	r = follow(&server, call, call->words[0], err);
	cli_server_close(&server);
	return r;
}

int cli_action_create(struct cli_call *call, struct err *err)
{
	CLEANUP(json_decref)
	json_t *body =
		cli_options_body(call->command->options, call->values, call->command->option_count);
	CLEANUP(json_decref) json_t *reply = NULL;
	struct cli_server server;
	int r;

	if (!body || json_object_set_new(body, "name", json_string(call->words[0])) < 0)
		return err_set(err, ENOMEM, "create desktop %s", call->words[0]);
	r = cli_server_open(&server, err);
	if (r < 0)
		return r;
	r = cli_server_change(&server, call->command->path, body, &reply, err);
	cli_server_close(&server);
	if (r < 0)
		return r;
	if (call->output == CLI_OUTPUT_JSON)
		return cli_query_print_json(reply, err);
	printf("desktop %s is there, and empty. Fill it with: godwit desktop import %s IMAGE\n",
	       call->words[0], call->words[0]);
	return 0;
}

int cli_action_token(struct cli_call *call, struct err *err)
{
	CLEANUP(json_decref) json_t *reply = NULL;
	char when[64], token[CLI_FORMAT_MAX], url[CLI_FORMAT_MAX];
	struct cli_server server;
	int r;

	r = cli_server_open(&server, err);
	if (r < 0)
		return r;
	snprintf(url, sizeof(url), "%s", server.login.url);
	r = request(&server, call, &reply, err);
	if (r == -EEXIST) /* an answer was lost, and its token with it: nobody has that one */
		r = request(&server, call, &reply, err);
	cli_server_close(&server);
	if (r < 0)
		return r;
	if (call->output == CLI_OUTPUT_JSON)
		return cli_query_print_json(reply, err);
	cli_format_value(json_object_get(reply, "token"), CLI_FORMAT_TEXT, 0, token, sizeof(token));
	cli_format_value(json_object_get(reply, "expires"), CLI_FORMAT_AGO, clock_wall_ms(), when,
			 sizeof(when));
	printf("%s\n", token);
	if (!call->quiet)
		fprintf(stderr,
			"Good for one endpoint; it expires %s. On the endpoint:\n"
			"  godwit-agent enrol --state FOLDER --server %s --token TOKEN --name "
			"NAME\n",
			when, url);
	return 0;
}

int cli_action_show(struct cli_call *call, struct err *err)
{
	CLEANUP(json_decref) json_t *object = NULL;
	struct cli_server server;
	int r;

	r = cli_server_open(&server, err);
	if (r < 0)
		return r;
	r = request(&server, call, &object, err);
	cli_server_close(&server);
	return r < 0 ? r : cli_query_print_object(call, object, err);
}

int cli_action_read(struct cli_call *call, struct err *err)
{
	bool all = strcmp(call->words[0], "all") == 0;
	CLEANUP_FREE char *path = all ? strdup("/api/v1/notices/read")
				      : cli_server_path("/api/v1/notices/%s/read", call->words[0]);
	CLEANUP(json_decref) json_t *reply = NULL;
	CLEANUP(json_decref) json_t *body = json_object();
	struct cli_server server;
	int r;

	if (!path || !body)
		return err_set(err, ENOMEM, "notice read");
	r = cli_server_open(&server, err);
	if (r < 0)
		return r;
	r = cli_server_change(&server, path, body, &reply, err);
	cli_server_close(&server);
	return r < 0 || call->output != CLI_OUTPUT_JSON ? r : cli_query_print_json(reply, err);
}
