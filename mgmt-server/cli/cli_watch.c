#include "mgmt-server/cli/cli_watch.h"

#include <errno.h>
#include <string.h>

#include "common/clock.h"
#include "mgmt-server/cli/cli_format.h"
#include "mgmt-server/cli/cli_progress.h"

enum { POLL_FIRST_MS = 100, POLL_MOST_MS = 1000 };

static const char *text_of(const json_t *object, const char *key)
{
	const char *text = json_string_value(json_object_get(object, key));

	return text ? text : "";
}

static uint64_t number_of(const json_t *object, const char *key)
{
	json_int_t number = json_integer_value(json_object_get(object, key));

	return number > 0 ? (uint64_t)number : 0;
}

static bool ended(const json_t *job)
{
	static const char *const states[] = { "done", "failed", "cancelled" };
	size_t i;

	for (i = 0; i < ARRAY_LEN(states); i++) {
		if (strcmp(text_of(job, "state"), states[i]) == 0)
			return true;
	}
	return false;
}

static void show(struct cli_progress *progress, const json_t *job)
{
	const char *message = text_of(job, "message"), *step = text_of(job, "step");
	char label[CLI_PROGRESS_TEXT_MAX];

	if (!*message)
		message = *step ? step : text_of(job, "state");
	snprintf(label, sizeof(label), "%s %s: %s", text_of(job, "kind"), text_of(job, "desktop"),
		 message);
	cli_progress_show(progress, label, number_of(job, "done_bytes"),
			  number_of(job, "total_bytes"));
}

int cli_watch_job(struct cli_server *server, const char *id, bool quiet, json_t **job,
		  struct err *err)
{
	CLEANUP_FREE char *path = cli_server_path("/api/v1/jobs/%s", id);
	struct cli_progress progress = { .quiet = quiet };
	uint64_t pause_ms = POLL_FIRST_MS;
	int r = 0;

	*job = NULL;
	if (!path)
		return err_set(err, ENOMEM, "watch job %s", id);
	for (;;) {
		json_t *seen = NULL;

		r = cli_server_json(server, "GET", path, NULL, &seen, err);
		if (r < 0)
			break;
		json_decref(*job);
		*job = seen;
		if (ended(seen))
			break;
		show(&progress, seen);
		if (atomic_load(&cli_server_interrupted)) {
			r = err_say(err, ECANCELED, "interrupted");
			break;
		}
		clock_sleep_ms(pause_ms);
		pause_ms = pause_ms * 3 / 2 > POLL_MOST_MS ? POLL_MOST_MS : pause_ms * 3 / 2;
	}
	cli_progress_end(&progress);
	if (r == -ECANCELED)
		return err_say(err, ECANCELED,
			       "not waiting any more. The job goes on; see godwit job watch %s",
			       id);
	return r < 0 ? err_wrap(err, r, "lost sight of job %s (it goes on without this command)",
				id)
		     : 0;
}

static void format_key(const json_t *job, const char *key, char *text, size_t size)
{
	cli_format_value(json_object_get(job, key), CLI_FORMAT_TEXT, 0, text, size);
}

/* " in 3.2 s", or nothing when the job does not say. */
static void format_took(const json_t *job, char *text, size_t size)
{
	uint64_t started, end;
	char took[32];

	text[0] = 0;
	if (clock_parse(text_of(job, "started"), &started) < 0 ||
	    clock_parse(text_of(job, "ended"), &end) < 0 || end < started)
		return;
	cli_format_ms((double)(end - started), took, sizeof(took));
	snprintf(text, size, " in %s", took);
}

void cli_watch_outcome(const json_t *job, const char *wanted)
{
	char kind[64], desktop[128], text[CLI_FORMAT_MAX], took[48];
	const char *state = text_of(job, "state");
	bool good = strcmp(state, wanted) == 0;
	FILE *out = good ? stdout : stderr;
	const char *prefix = good ? "" : "godwit: ";

	format_key(job, "kind", kind, sizeof(kind));
	format_key(job, "desktop", desktop, sizeof(desktop));
	format_took(job, took, sizeof(took));
	if (strcmp(state, "done") == 0) {
		format_key(job, "message", text, sizeof(text));
		fprintf(out, "%s%s of %s is done%s%s%s\n", prefix, kind, desktop, took,
			strcmp(text, "-") ? ": " : "", strcmp(text, "-") ? text : "");
	} else if (strcmp(state, "cancelled") == 0) {
		fprintf(out, "%s%s of %s was cancelled\n", prefix, kind, desktop);
	} else {
		format_key(job, "error", text, sizeof(text));
		fprintf(out, "%s%s of %s failed: %s\nSee godwit job show %s\n", prefix, kind,
			desktop, text, text_of(job, "id"));
	}
}
