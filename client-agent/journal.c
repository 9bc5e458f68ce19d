#include "client-agent/journal.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/io.h"

static const char *const phase_names[] = {
	[JOURNAL_UPLOADING] = "uploading",
	[JOURNAL_COMMITTED] = "committed",
	[JOURNAL_DONE] = "done",
	[JOURNAL_FAILED] = "failed",
};

static int path_of(char **out, const char *state_dir, const char *job, const char *step,
		   struct err *err)
{
	*out = io_printf("%s/jobs/%s.%s.json", state_dir, job, step);
	return *out ? 0 : err_set(err, ENOMEM, "remember job %s", job);
}

void journal_deinit(struct journal *journal)
{
	json_decref(journal->result);
	*journal = (struct journal){ 0 };
}

static int take(const json_t *doc, const char *path, struct journal *out, struct err *err)
{
	const char *phase = NULL, *session = NULL, *message = NULL;
	json_t *result = NULL;
	const struct json_field fields[] = {
		{ "phase", JSON_KIND_STRING, false, &phase },
		{ "session", JSON_KIND_STRING, false, &session },
		{ "message", JSON_KIND_STRING, false, &message },
		{ "result", JSON_KIND_OBJECT, false, &result },
	};
	size_t i;
	int r;

	r = json_fields(doc, fields, ARRAY_LEN(fields), path, err);
	if (r < 0)
		return r;
	for (i = JOURNAL_UPLOADING; i < ARRAY_LEN(phase_names); i++) {
		if (strcmp(phase, phase_names[i]) == 0)
			out->phase = (enum journal_phase)i;
	}
	if (out->phase == JOURNAL_NONE)
		return err_say(err, EINVAL, "%s: no phase '%s'", path, phase);
	snprintf(out->session, sizeof(out->session), "%s", session);
	snprintf(out->message, sizeof(out->message), "%s", message);
	out->result = json_incref(result);
	return 0;
}

int journal_load(const char *state_dir, const char *job, const char *step, struct journal *out,
		 struct err *err)
{
	CLEANUP(json_decref) json_t *doc = NULL;
	CLEANUP_FREE char *path = NULL;
	int r;

	*out = (struct journal){ 0 };
	r = path_of(&path, state_dir, job, step, err);
	if (r < 0)
		return r;
	r = json_parse_file(&doc, path, 1 << 20, err);
	if (r == 0)
		r = take(doc, path, out, err);
	else if (r == -ENOENT)
		r = 0;
	if (r == 0 && !out->result)
		out->result = json_object();
	return r == 0 && !out->result ? err_set(err, ENOMEM, "read %s", path) : r;
}

int journal_save(const char *state_dir, const char *job, const char *step,
		 const struct journal *journal, struct err *err)
{
	CLEANUP(json_decref) json_t *doc = NULL;
	CLEANUP_FREE char *path = NULL;
	CLEANUP_FREE char *text = NULL;
	CLEANUP_FREE char *folder = io_printf("%s/jobs", state_dir);
	int r;

	r = path_of(&path, state_dir, job, step, err);
	if (r < 0)
		return r;
	doc = json_pack("{s:s, s:s, s:s, s:O}", "phase", phase_names[journal->phase], "session",
			journal->session, "message", journal->message, "result", journal->result);
	text = doc ? json_text(doc) : NULL;
	if (!text || !folder)
		return err_set(err, ENOMEM, "remember job %s", job);
	r = io_make_folders(folder, 0700, err);
	return r < 0 ? r : io_replace_file(path, text, strlen(text), 0600, err);
}

int journal_remove(const char *state_dir, const char *job, const char *step, struct err *err)
{
	CLEANUP_FREE char *path = NULL;
	int r = path_of(&path, state_dir, job, step, err);

	if (r == 0 && unlink(path) < 0 && errno != ENOENT)
		r = err_set(err, errno, "remove %s", path);
	return r;
}
