#include "mgmt-server/cli/cli_query.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/io.h"
#include "mgmt-server/cli/cli_server.h"

enum { PAGE = 1000, PAGE_PATH_MAX = 1024 };

int cli_query_print_json(const json_t *value, struct err *err)
{
	if (json_dumpf(value, stdout, JSON_INDENT(2) | JSON_ENCODE_ANY) < 0 ||
	    putchar('\n') == EOF || fflush(stdout) != 0)
		return err_set(err, EIO, "write the output");
	return 0;
}

static struct cli_table table_of(const struct cli_view *view)
{
	return (struct cli_table){
		.columns = view->columns,
		.column_count = view->count,
		.now_wall_ms = clock_wall_ms(),
		.width = cli_table_terminal_width(STDOUT_FILENO),
		.colour = cli_table_terminal_colour(STDOUT_FILENO),
	};
}

/* "?limit=…&desktop=anna&after=…" behind the command's path. */
static char *page_path(const struct cli_call *call, uint64_t limit, const char *after)
{
	char path[PAGE_PATH_MAX];
	size_t i;
	int n;

	n = snprintf(path, sizeof(path), "%s?limit=%llu", call->command->path,
		     (unsigned long long)limit);
	for (i = 0; i < call->command->option_count; i++) {
		const struct cli_option *option = &call->command->options[i];
		CLEANUP_FREE char *text = NULL;

		if (!option->json || !call->values[i].given)
			continue;
		text = cli_server_path("%s",
				       option->kind == CLI_FLAG ? "true" : call->values[i].text);
		if (!text)
			return NULL;
		n += snprintf(path + n, sizeof(path) - (size_t)n, "&%s=%s", option->json, text);
		if ((size_t)n >= sizeof(path))
			return NULL;
	}
	if (after) {
		CLEANUP_FREE char *text = cli_server_path("%s", after);

		return text ? io_printf("%s&after=%s", path, text) : NULL;
	}
	return strdup(path);
}

/* Add pages to @items until there are @limit or no more. */
static int fetch(struct cli_server *server, const struct cli_call *call, uint64_t limit,
		 json_t *items, struct err *err)
{
	CLEANUP_FREE char *after = NULL;

	while (json_array_size(items) < limit) {
		uint64_t missing = limit - json_array_size(items);
		CLEANUP_FREE char *path = page_path(call, missing < PAGE ? missing : PAGE, after);
		CLEANUP(json_decref) json_t *page = NULL;
		const json_t *next;
		int r;

		if (!path)
			return err_say(err, EINVAL, "the options are too long for a request");
		r = cli_server_json(server, "GET", path, NULL, &page, err);
		if (r < 0)
			return r;
		if (!json_is_array(json_object_get(page, "items")) ||
		    json_array_extend(items, json_object_get(page, "items")) < 0)
			return err_say(err, EBADMSG, "the server's answer to GET %s is no list",
				       path);
		next = json_object_get(page, "next");
		if (!json_is_string(next))
			return 0;
		base_free(after);
		after = strdup(json_string_value(next));
		if (!after)
			return err_set(err, ENOMEM, "list");
	}
	return 0;
}

int cli_query_list(struct cli_call *call, struct err *err)
{
	const struct cli_value *limit = cli_command_value(call, "limit");
	CLEANUP(json_decref) json_t *items = json_array();
	struct cli_server server;
	struct cli_table table;
	int r;

	if (!items)
		return err_set(err, ENOMEM, "list");
	r = cli_server_open(&server, err);
	if (r < 0)
		return r;
	r = fetch(&server, call, limit->given ? limit->number : UINT64_MAX, items, err);
	cli_server_close(&server);
	if (r < 0)
		return r;
	if (call->output == CLI_OUTPUT_JSON)
		return cli_query_print_json(items, err);
	if (json_array_size(items) == 0) {
		if (!call->quiet)
			fprintf(stderr, "%s\n", call->command->view->nothing);
		return 0;
	}
	table = table_of(call->command->view);
	r = cli_table_print(&table, items, stdout);
	return r < 0 ? err_set(err, -r, "write the output") : 0;
}

void cli_query_print_finding(const json_t *item)
{
	static const char *const keys[] = { "volume", "partition", "path", "stream", "signature" };
	char text[ARRAY_LEN(keys)][CLI_FORMAT_MAX];

	if (json_is_string(item)) {
		cli_format_value(item, CLI_FORMAT_TEXT, 0, text[0], sizeof(text[0]));
		printf("  incomplete: %s\n", text[0]);
		return;
	}
	for (size_t i = 0; i < ARRAY_LEN(keys); i++)
		cli_format_value(json_object_get(item, keys[i]), CLI_FORMAT_TEXT, 0, text[i],
				 sizeof(text[i]));
	printf("  infected: %s %s %s%s%s: %s\n", text[0], text[1], text[2],
	       strcmp(text[3], "-") ? ":" : "", strcmp(text[3], "-") ? text[3] : "", text[4]);
}

/* Who pinned or holds a snapshot, and why. */
static void print_marks(const json_t *object, const char *key, const char *title)
{
	static const char *const keys[] = { "source", "why", "by" };
	char text[ARRAY_LEN(keys)][CLI_FORMAT_MAX];
	const json_t *mark;
	size_t i, k;

	json_array_foreach (json_object_get(object, key), i, mark) {
		for (k = 0; k < ARRAY_LEN(keys); k++)
			cli_format_value(json_object_get(mark, keys[k]), CLI_FORMAT_TEXT, 0,
					 text[k], sizeof(text[k]));
		if (i == 0)
			printf("\n%s\n", title);
		printf("  %s: %s (by %s)\n", text[0], text[1], text[2]);
	}
}

/* Parts of an object that are lists or objects of their own. */
static int print_parts(const json_t *object, struct err *err)
{
	static const struct cli_column volume_columns[] = {
		{ "VOLUME", "name", CLI_FORMAT_TEXT, .shrinks = true },
		{ "KIND", "kind", CLI_FORMAT_TEXT, .right = false },
		{ "SIZE", "size", CLI_FORMAT_BYTES, .right = true },
	};
	static const struct cli_view volumes = { volume_columns, ARRAY_LEN(volume_columns), NULL };
	const json_t *list = json_object_get(object, "volumes");
	const json_t *result = json_object_get(object, "result");
	struct cli_table table = table_of(&volumes);
	const json_t *scan = json_object_get(object, "scan"), *item;
	size_t i;
	int r = 0;

	if (json_array_size(list) > 0) {
		putchar('\n');
		r = cli_table_print(&table, list, stdout);
	}
	print_marks(object, "pins", "Pins");
	print_marks(object, "holds", "Holds");
	if (r == 0 && json_array_size(json_object_get(scan, "findings")) +
			      json_array_size(json_object_get(scan, "reasons")))
		puts("\nScan");
	json_array_foreach (json_object_get(scan, "findings"), i, item)
		cli_query_print_finding(item);
	json_array_foreach (json_object_get(scan, "reasons"), i, item)
		cli_query_print_finding(item);
	if (r == 0 && json_object_size(result) > 0) {
		puts("\nResult");
		r = cli_table_print_keys(result, "  ", stdout);
	}
	return r < 0 ? err_set(err, -r, "write the output") : 0;
}

int cli_query_print_object(const struct cli_call *call, const json_t *object, struct err *err)
{
	struct cli_table table = table_of(call->command->view);
	int r;

	if (call->output == CLI_OUTPUT_JSON)
		return cli_query_print_json(object, err);
	r = cli_table_print_record(&table, object, stdout);
	return r < 0 ? err_set(err, -r, "write the output") : print_parts(object, err);
}

int cli_query_show(struct cli_call *call, struct err *err)
{
	CLEANUP_FREE char *path =
		cli_server_path(call->command->path, call->words[0] ? call->words[0] : "");
	CLEANUP(json_decref) json_t *object = NULL;
	struct cli_server server;
	int r;

	if (!path)
		return err_set(err, ENOMEM, "show");
	r = cli_server_open(&server, err);
	if (r < 0)
		return r;
	r = cli_server_json(&server, "GET", path, NULL, &object, err);
	cli_server_close(&server);
	if (r < 0)
		return r;
	return cli_query_print_object(call, object, err);
}
