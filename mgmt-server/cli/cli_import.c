#include "mgmt-server/cli/cli_import.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/io.h"
#include "mgmt-server/cli/cli_image.h"
#include "mgmt-server/cli/cli_progress.h"
#include "mgmt-server/cli/cli_query.h"
#include "mgmt-server/cli/cli_server.h"
#include "snapshot/store_client.h"

static const char prefix[] = "/api/v1";

enum { SESSION_FILE_MAX = 4096, DRAW_MS = 200 };

/* One import; everything in it is freed by deinit. */
struct import {
	const struct cli_call *call;
	const char *name; /* of the desktop */
	struct cli_server server;
	struct cli_image *image;
	json_t *machine;
	uint64_t epoch;
	struct store_client_session *session;
	char *session_path;
	struct volume volume;
	struct volume_put_stats stats;
	struct volume_progress progress;
	struct err put_err;
	int put_result;
	atomic_bool put_ended;
};

static void import_deinit(struct import *import)
{
	store_client_session_free(import->session);
	cli_image_close(import->image);
	cli_server_close(&import->server);
	json_decref(import->machine);
	free(import->session_path);
}

/* ---- The desktop ---- */

/* A desktop of that name is there. Is it the empty one of an import that did not end? */
static int take_over(struct import *import, json_t **desktop, struct err *err)
{
	CLEANUP_FREE char *path = cli_server_path("/api/v1/desktops/%s", import->name);
	const struct cli_command *command = import->call->command;
	const char *state;
	size_t i;
	int r;

	if (!path)
		return err_set(err, ENOMEM, "import %s", import->name);
	r = cli_server_json(&import->server, "GET", path, NULL, desktop, err);
	if (r < 0)
		return r;
	state = json_string_value(json_object_get(*desktop, "state"));
	if (!state || strcmp(state, "empty") != 0)
		return err_say(err, EEXIST,
			       "desktop %s is there already and not empty; choose another name",
			       import->name);
	for (i = 0; i < command->option_count; i++) {
		if (import->call->values[i].given && command->options[i].json)
			return err_say(err, EEXIST,
				       "desktop %s is there already, empty; fill it without --%s, "
				       "which it got when it was made",
				       import->name, command->options[i].name);
	}
	return 0;
}

static int make_desktop(struct import *import, struct err *err)
{
	const struct cli_call *call = import->call;
	CLEANUP(json_decref)
	json_t *body =
		cli_options_body(call->command->options, call->values, call->command->option_count);
	CLEANUP(json_decref) json_t *desktop = NULL;
	int r;

	if (!body || json_object_set_new(body, "name", json_string(import->name)) < 0)
		return err_set(err, ENOMEM, "import %s", import->name);
	r = cli_server_change(&import->server, "/api/v1/desktops", body, &desktop, err);
	if (r == -EEXIST)
		r = take_over(import, &desktop, err);
	if (r < 0)
		return r;
	import->machine = json_incref(json_object_get(desktop, "machine"));
	import->epoch = (uint64_t)json_integer_value(json_object_get(desktop, "epoch"));
	return 0;
}

/* ---- The session ---- */

static int remember_session(struct import *import, struct err *err)
{
	CLEANUP(json_decref)
	json_t *file = json_pack("{s:s, s:s}", "url", import->server.login.url, "session",
				 store_client_session_id(import->session));
	CLEANUP_FREE char *text = file ? json_text(file) : NULL;
	CLEANUP_FREE char *folder = cli_login_path("imports", err);
	int r;

	if (!text || !folder)
		return err_set(err, ENOMEM, "remember the upload");
	r = io_make_folders(folder, 0700, err);
	return r < 0 ? r : io_replace_file(import->session_path, text, strlen(text), 0600, err);
}

/* The session of an earlier try at this server, or NULL. What can't be read is no reason to fail: a new one will do. */
static char *earlier_session(const struct import *import)
{
	CLEANUP(json_decref) json_t *file = NULL;
	const char *url = NULL, *session = NULL;
	const struct json_field fields[] = {
		{ "url", JSON_KIND_STRING, false, &url },
		{ "session", JSON_KIND_STRING, false, &session },
	};

	if (json_parse_file(&file, import->session_path, SESSION_FILE_MAX, NULL) < 0 ||
	    json_fields(file, fields, ARRAY_LEN(fields), "", NULL) < 0 ||
	    strcmp(url, import->server.login.url) != 0)
		return NULL;
	return strdup(session);
}

static int open_session(struct import *import, struct err *err)
{
	CLEANUP_FREE char *file_name = io_printf("imports/%s.json", import->name);
	CLEANUP_FREE char *earlier = NULL;
	struct store_client_open order = {
		.http = import->server.http,
		.prefix = prefix,
		.desktop = import->name,
		.epoch = import->epoch,
	};
	int r;

	if (!file_name)
		return err_set(err, ENOMEM, "import %s", import->name);
	import->session_path = cli_login_path(file_name, err);
	if (!import->session_path)
		return -err->code;
	earlier = earlier_session(import);
	if (earlier) {
		order.session = earlier;
		r = store_client_session_open(&import->session, &order, err);
		if (r == 0) {
			if (!import->call->quiet)
				fprintf(stderr,
					"Going on with the upload that was begun before.\n");
			return 0;
		}
		if (r != -ESTALE && r != -ENOENT)
			return r;
		order.session = NULL;
	}
	r = store_client_session_open(&import->session, &order, err);
	return r < 0 ? r : remember_session(import, err);
}

/* ---- The image ---- */

static void *put_thread(void *arg)
{
	struct import *import = arg;
	struct volume_input input = cli_image_input(import->image);
	struct volume_put order = {
		.input = &input,
		.sink = store_client_session_sink(import->session),
		.codec = CHUNK_CODEC_ZSTD,
		.progress = &import->progress,
	};

	import->put_result = volume_put(&order, &import->volume, &import->stats, &import->put_err);
	atomic_store(&import->put_ended, true);
	return NULL;
}

/* Read and send, showing how far it is, until the end or Ctrl-C. */
static int put_image(struct import *import, struct err *err)
{
	struct cli_progress progress = { .quiet = import->call->quiet };
	char label[CLI_PROGRESS_TEXT_MAX];
	pthread_t thread;
	int r;

	snprintf(label, sizeof(label), "importing %s", import->name);
	r = pthread_create(&thread, NULL, put_thread, import);
	if (r != 0)
		return err_set(err, r, "start the upload");
	while (!atomic_load(&import->put_ended)) {
		if (atomic_load(&cli_server_interrupted))
			atomic_store(&import->progress.cancel, true);
		cli_progress_show(&progress, label, atomic_load(&import->progress.done_bytes),
				  atomic_load(&import->progress.total_bytes));
		clock_sleep_ms(DRAW_MS);
	}
	pthread_join(thread, NULL);
	cli_progress_end(&progress);
	if (import->put_result < 0) {
		*err = import->put_err;
		return import->put_result;
	}
	return 0;
}

static int commit(struct import *import, struct manifest *manifest, struct err *err)
{
	int r;

	snprintf(manifest->desktop, sizeof(manifest->desktop), "%s", import->name);
	manifest->created_wall_ms = clock_wall_ms();
	manifest->kind = MANIFEST_IMPORT;
	manifest->epoch = import->epoch;
	manifest->machine = json_incref(import->machine);
	manifest->volume_count = 1;
	manifest->volumes[0] = import->volume;
	r = store_client_session_commit(import->session, manifest, err);
	if (r == 0)
		unlink(import->session_path);
	return r;
}

static int report(const struct import *import, const struct manifest *manifest, uint64_t started_ms,
		  struct err *err)
{
	double seconds = (double)(clock_now_ms() - started_ms) / 1000;
	char read[32], fresh[32], stored[32], took[32];

	if (import->call->output == CLI_OUTPUT_JSON) {
		CLEANUP(json_decref)
		json_t *value = json_pack(
			"{s:s, s:s, s:s, s:I, s:I, s:I, s:I, s:f}", "desktop", import->name,
			"snapshot", manifest->id, "format", cli_image_format(import->image), "size",
			(json_int_t)import->volume.size, "read_bytes",
			(json_int_t)import->stats.read_bytes, "new_bytes",
			(json_int_t)import->stats.new_bytes, "stored_bytes",
			(json_int_t)import->stats.stored_bytes, "seconds", seconds);

		return value ? cli_query_print_json(value, err)
			     : err_set(err, ENOMEM, "write the output");
	}
	cli_format_bytes(import->stats.read_bytes, read, sizeof(read));
	cli_format_bytes(import->stats.new_bytes, fresh, sizeof(fresh));
	cli_format_bytes(import->stats.stored_bytes, stored, sizeof(stored));
	cli_format_ms(seconds * 1000, took, sizeof(took));
	printf("desktop %s is imported in %s: %s read, %s new to the server, %s sent\n"
	       "snapshot %s\n",
	       import->name, took, read, fresh, stored, manifest->id);
	if (!import->call->quiet)
		fprintf(stderr, "Start it with: godwit desktop start %s\n", import->name);
	return 0;
}

static int upload(struct import *import, struct err *err)
{
	uint64_t started_ms = clock_now_ms();
	struct manifest manifest;
	int r;

	import->volume = (struct volume){ .kind = VOLUME_DISK, .grid = CHUNK_GRID_DISK };
	snprintf(import->volume.name, sizeof(import->volume.name), "disk0");
	manifest_init(&manifest);
	r = open_session(import, err);
	if (r == 0)
		r = put_image(import, err);
	if (r == 0)
		r = commit(import, &manifest, err);
	if (r == 0)
		r = report(import, &manifest, started_ms, err);
	else if (import->session && !import->call->quiet)
		fprintf(stderr,
			"What was sent is kept: the same command again goes on from there.\n");
	manifest_deinit(&manifest);
	return r;
}

int cli_import_run(struct cli_call *call, struct err *err)
{
	const struct cli_value *format = cli_command_value(call, "format");
	struct import import = { .call = call, .name = call->words[0] };
	struct cli_image_options image = {
		.path = call->words[1],
		.format = format->given ? format->text : NULL,
		.follow_backing = cli_command_value(call, "follow-backing")->given,
	};
	int r;

	/* The image first: a typing error in its name must not leave an empty desktop behind. */
	r = cli_image_open(&import.image, &image, err);
	if (r == 0)
		r = cli_server_open(&import.server, err);
	if (r == 0)
		r = make_desktop(&import, err);
	if (r == 0)
		r = upload(&import, err);
	if (r == -ECANCELED)
		err_say(err, ECANCELED, "interrupted");
	import_deinit(&import);
	return r;
}
