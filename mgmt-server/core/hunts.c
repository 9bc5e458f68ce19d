/* hunts.c - see hunts.h. */
#include "mgmt-server/core/hunts.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/hex.h"
#include "common/io.h"
#include "common/log.h"
#include "mgmt-server/core/make_way.h"
#include "mgmt-server/core/objects.h"
#include "mgmt-server/core/scans.h"
#include "mgmt-server/core/scans_child.h"
#include "mgmt-server/core/signatures.h"

enum { END_WAIT_MS = 5000, ID_BYTES = 8 };

struct hunts {
	char *program, *state, *file; /* file: what is looked for, while one runs */
	struct scans_child child;
	char id[CATALOGUE_ID_LEN], kind[12]; /* "": none runs */
};

int hunts_new(struct hunts **out, struct server *server, struct err *err)
{
	struct hunts *h = calloc(1, sizeof(*h));
	char self[PATH_MAX];
	ssize_t n = readlink("/proc/self/exe", self, sizeof(self) - 1);

	self[n > 0 ? n : 0] = '\0';
	if (strrchr(self, '/'))
		*strrchr(self, '/') = '\0';
	if (h) {
		h->program = io_printf("%s/godwit-scan", self);
		h->state = io_printf("%s/scan", server->state);
		h->file = io_printf("%s/hunt.what", server->state);
	}
	if (!h || !h->program || !h->state || !h->file) {
		hunts_free(h);
		return err_set(err, ENOMEM, "prepare hunts");
	}
	*out = h;
	return 0;
}

void hunts_free(struct hunts *h)
{
	uint64_t end = clock_now_ms() + END_WAIT_MS;
	int status;

	if (!h)
		return;
	if (h->id[0]) {
		scans_child_ask_to_end(&h->child);
		while (scans_child_poll(&h->child, &status) == SCANS_CHILD_RUNS &&
		       clock_now_ms() < end)
			clock_sleep_ms(20);
		scans_child_end(&h->child);
	}
	free(h->program);
	free(h->state);
	free(h->file);
	free(h);
}

/* ---- orders ---- */

int hunts_order(struct change *change, const char *kind, const char *what, const char *user,
		char *id, struct err *err)
{
	struct catalogue_hunt hunt = { .what = what, .created_ms = clock_wall_ms() };
	int r;

	hex_random(hunt.id, ID_BYTES);
	snprintf(hunt.kind, sizeof(hunt.kind), "%s", kind);
	snprintf(hunt.user, sizeof(hunt.user), "%s", user);
	r = catalogue_hunt_add(change->db, &hunt, err);
	memcpy(id, hunt.id, sizeof(hunt.id));
	return r;
}

static int cancel_one(void *arg, const struct catalogue_hunt *hunt, struct err *err)
{
	struct change *change = arg;
	struct catalogue_hunt ended = *hunt;

	if (hunt->ended_ms)
		return err_say(err, EEXIST, "it is over: %s", hunt->state);
	snprintf(ended.state, sizeof(ended.state), "cancelled");
	ended.message = ended.error = ended.result = "";
	ended.ended_ms = clock_wall_ms();
	return catalogue_hunt_put(change->db, &ended, err);
}

int hunts_cancel(struct change *change, const char *id, struct err *err)
{
	int r = catalogue_hunt_get(change->db, id, cancel_one, change, err);

	return r == CATALOGUE_NONE ? err_say(err, ENOENT, "there is no hunt %.40s", id) : r;
}

/* ---- running ---- */

static int start(struct server *s, struct hunts *h, const struct catalogue_hunt *hunt,
		 struct err *err)
{
	const struct server_config *config = &s->config;
	bool rescan = strcmp(hunt->kind, "rescan") == 0, rule = strcmp(hunt->kind, "rule") == 0;
	CLEANUP_FREE char *signatures = rescan ? signatures_folder(s) : NULL;
	const char *const rescan_argv[] = {
		h->program,        "rescan",     config->store, "--key",
		config->store_key, "--state",    h->state,      "--signatures",
		signatures,        "--progress", NULL
	};
	const char *const hunt_argv[] = {
		h->program, "hunt",        "--state",    h->state,
		"--store",  config->store, "--key",      config->store_key,
		"--output", "json",        "--progress", rule ? "--yara" : "--list",
		h->file,    NULL
	};
	int r = 0;

	if (rescan && !signatures)
		return err_set(err, ENOMEM, "start a rescan");
	if (!rescan)
		r = io_replace_file(h->file, hunt->what, strlen(hunt->what), 0600, err);
	return r < 0 ? r
		     : scans_child_start(&h->child, rescan ? rescan_argv : hunt_argv,
					 (int)config->scan_nice, err);
}

static int end_with(struct change *change, const struct catalogue_hunt *hunt, const char *state,
		    const char *message, const char *error, const char *result, struct err *err)
{
	struct catalogue_hunt ended = *hunt;

	snprintf(ended.state, sizeof(ended.state), "%s", state);
	ended.message = message;
	ended.error = error;
	ended.result = result;
	ended.ended_ms = clock_wall_ms();
	log_info("hunt ended hunt=%s kind=%s state=%s%s%s", hunt->id, hunt->kind, state,
		 error[0] ? " error=" : "", error);
	return catalogue_hunt_put(change->db, &ended, err);
}

static int begin_one(void *arg, const struct catalogue_hunt *hunt, struct err *err)
{
	struct change *change = arg;
	struct server *s = change->server;
	struct hunts *h = s->hunts;
	struct catalogue_hunt running = *hunt;
	struct err why = { 0 };

	if (start(s, h, hunt, &why) < 0)
		return end_with(change, hunt, "failed", "", err_text(&why), "", err);
	memcpy(h->id, hunt->id, sizeof(h->id));
	memcpy(h->kind, hunt->kind, sizeof(h->kind));
	snprintf(running.state, sizeof(running.state), "running");
	running.started_ms = clock_wall_ms();
	return catalogue_hunt_put(change->db, &running, err);
}

static uint64_t number_of(const json_t *object, const char *key)
{
	return (uint64_t)json_integer_value(json_object_get(object, key));
}

/* A rescan's verdicts go where scans' do; the report keeps the sums. */
static int take_verdicts(struct change *change, const char *id, json_t *report, struct err *err)
{
	const json_t *snapshots = json_object_get(report, "snapshots"), *item;
	uint64_t infected = 0;
	size_t i;
	int r = 0;

	json_array_foreach (snapshots, i, item) {
		if (r == 0)
			r = scans_judged(change, id, report, item, err);
		infected += strcmp(json_string_value(json_object_get(item, "verdict")) ?: "",
				   "infected") == 0;
	}
	json_object_set_new(report, "judged", json_integer((json_int_t)i));
	json_object_set_new(report, "infected", json_integer((json_int_t)infected));
	json_object_del(report, "snapshots");
	return r;
}

static int take_report(struct change *change, const struct catalogue_hunt *hunt, json_t *report,
		       struct err *err)
{
	bool rescan = strcmp(hunt->kind, "rescan") == 0;
	int r = rescan ? take_verdicts(change, hunt->id, report, err) : 0;
	CLEANUP_FREE char *text = json_text(report);
	char message[160];

	if (!text)
		return err_set(err, ENOMEM, "keep what hunt %s found", hunt->id);
	if (rescan)
		snprintf(message, sizeof(message),
			 "%llu contents scanned, %llu snapshots judged, %llu infected",
			 (unsigned long long)number_of(report, "scanned_contents"),
			 (unsigned long long)number_of(report, "judged"),
			 (unsigned long long)number_of(report, "infected"));
	else
		snprintf(message, sizeof(message), "found in %zu places",
			 json_array_size(json_object_get(report, "hits")) +
				 (size_t)number_of(report, "more_hits"));
	return r < 0 ? r : end_with(change, hunt, "done", message, "", text, err);
}

struct ended {
	struct change *change;
	int status;
};

static int end_one(void *arg, const struct catalogue_hunt *hunt, struct err *err)
{
	const struct ended *ended = arg;
	struct hunts *h = ended->change->server->hunts;
	CLEANUP(json_decref) json_t *report = scans_child_line(&h->child);
	bool good = WIFEXITED(ended->status) && WEXITSTATUS(ended->status) < 3 && report;
	char said[SCANS_CHILD_SAID_MAX];

	if (hunt->ended_ms)
		return 0; /* cancelled */
	if (good)
		return take_report(ended->change, hunt, report, err);
	scans_child_said(&h->child, said);
	return end_with(ended->change, hunt, "failed", "",
			said[0] ? said : "godwit-scan ended without a report", "", err);
}

static int cancelled_seen(void *arg, const struct catalogue_hunt *hunt, struct err *err)
{
	(void)err;
	*(bool *)arg = hunt->ended_ms == 0;
	return DB_STOP;
}

static bool goes_on(struct server *s, const char *id)
{
	struct db_conn *c = db_read(s->db);
	bool on = false;

	catalogue_hunt_get(c, id, cancelled_seen, &on, NULL);
	db_read_end(c);
	return on;
}

static int take_end(struct server *s, int status, struct err *err)
{
	CLEANUP_CHANGE struct change change = { .held = false };
	struct ended ended = { &change, status };
	int r = change_begin(&change, s, err);

	if (r == 0)
		r = catalogue_hunt_get(change.db, s->hunts->id, end_one, &ended, err);
	return r < 0 ? r : change_commit(&change, err);
}

static int is_there(void *arg, const struct catalogue_hunt *hunt, struct err *err)
{
	(void)hunt, (void)err;
	*(bool *)arg = true;
	return DB_STOP;
}

static int begin_next(struct server *s, struct err *err)
{
	CLEANUP_CHANGE struct change change = { .held = false };
	struct db_conn *c = db_read(s->db);
	bool waits = false;
	int r = catalogue_hunt_next(c, is_there, &waits, err);

	db_read_end(c);
	if (r < 0 || !waits)
		return r < 0 ? r : 0;
	r = change_begin(&change, s, err);
	if (r == 0)
		r = catalogue_hunt_next(change.db, begin_one, &change, err);
	return r < 0 ? r : change_commit(&change, err);
}

size_t hunts_stand(struct hunts *h, bool still)
{
	if (h->id[0])
		scans_child_stand(&h->child, still);
	return h->id[0] != 0;
}

void hunts_tick(struct server *s)
{
	struct hunts *h = s->hunts;
	struct err err = { 0 };
	int status, r = 0;

	if (!h)
		return;
	if (h->id[0]) {
		if (!goes_on(s, h->id))
			scans_child_ask_to_end(&h->child);
		if (scans_child_poll(&h->child, &status) == SCANS_CHILD_RUNS)
			return;
		r = take_end(s, status, &err);
		scans_child_end(&h->child);
		unlink(h->file);
		h->id[0] = '\0';
	}
	if (r == 0 && !make_way_stands(s))
		r = begin_next(s, &err);
	if (r < 0)
		log_error("hunts: %s", err_text(&err));
}

/* ---- showing ---- */

json_t *hunts_object(const struct catalogue_hunt *h, bool whole)
{
	json_t *object =
		json_pack("{ss ss ss ss ss so so so so}", "id", h->id, "kind", h->kind, "state",
			  h->state, "user", h->user, "message", h->message, "error",
			  objects_text(h->error), "created", objects_time(h->created_ms), "started",
			  objects_time(h->started_ms), "ended", objects_time(h->ended_ms));
	json_t *result = NULL;

	if (object && whole) {
		if (!h->result[0] ||
		    json_parse(&result, h->result, strlen(h->result), "a hunt", NULL) < 0)
			result = json_null();
		json_object_set_new(object, "result", result);
	}
	return object;
}

static int take_object(void *arg, const struct catalogue_hunt *hunt, struct err *err)
{
	(void)err;
	*(json_t **)arg = hunts_object(hunt, true);
	return DB_STOP;
}

json_t *hunts_object_of(struct db_conn *c, const char *id)
{
	json_t *object = NULL;

	catalogue_hunt_get(c, id, take_object, &object, NULL);
	return object;
}
