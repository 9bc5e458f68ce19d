/* upkeep_tasks.c - see upkeep.h. What the tasks do. */
#include <errno.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/log.h"
#include "mgmt-server/core/change.h"
#include "mgmt-server/core/notices.h"
#include "mgmt-server/core/objects.h"
#include "mgmt-server/core/recovery.h"
#include "mgmt-server/core/upkeep_inside.h"
#include "snapshot/store_mirror.h"

/* ---- Notices ---- */

static void notice(struct server *s, const char *severity, const char *kind, const char *desktop,
		   json_t *details, const char *text)
{
	CLEANUP_CHANGE struct change change = { .held = false };
	struct notices_order order = {
		.severity = severity, .kind = kind, .desktop = desktop, .details = details
	};
	struct err err = { 0 };
	int r = change_begin(&change, s, &err);

	if (r == 0)
		r = notices_add(&change, &order, text, &err);
	else
		json_decref(details);
	if (r == 0)
		r = change_commit(&change, &err);
	if (r < 0)
		log_error("a notice was not kept: %s (%s)", text, err_text(&err));
}

/* ---- Verify ---- */

struct damage {
	struct upkeep *upkeep;
	json_t *found; /* array */
	size_t more;
};

static int take_desktop(void *arg, const struct catalogue_snapshot *snapshot, struct err *err)
{
	json_t *entry = arg, *desktops = json_object_get(entry, "desktops"), *known;
	size_t i;

	(void)err;
	json_array_append_new(json_object_get(entry, "snapshots"), json_string(snapshot->id));
	json_array_foreach (desktops, i, known) {
		if (strcmp(json_string_value(known), snapshot->desktop) == 0)
			return DB_STOP;
	}
	json_array_append_new(desktops, json_string(snapshot->desktop));
	return DB_STOP;
}

/* A line of the store's names snapshots by their ids; people know desktops. */
static void damage_found(void *arg, const char *text)
{
	struct damage *d = arg;
	CLEANUP(db_read_end) struct db_conn *c = NULL;
	CLEANUP_FREE char *words = strdup(text);
	char *save, *word;
	json_t *entry;

	log_error("damage in the store: %s", text);
	if (json_array_size(d->found) == UPKEEP_DAMAGE_MAX || !words) {
		d->more++;
		return;
	}
	entry = json_pack("{ss so s[] s[]}", "text", text, "found", objects_time(clock_wall_ms()),
			  "snapshots", "desktops");
	c = db_read(d->upkeep->server->db);
	for (word = strtok_r(words, " ,;:()", &save); word;
	     word = strtok_r(NULL, " ,;:()", &save)) {
		if (manifest_id_valid(word))
			catalogue_snapshot_get(c, NULL, word, take_desktop, entry, NULL);
	}
	json_array_append_new(d->found, entry);
}

static void tell_damage(struct upkeep *u, const json_t *found)
{
	json_t *entry, *desktop;
	size_t i, j;

	json_array_foreach (found, i, entry) {
		json_t *desktops = json_object_get(entry, "desktops");

		if (json_array_size(desktops) == 0)
			notice(u->server, "alarm", "store-damage", NULL, json_deep_copy(entry),
			       json_string_value(json_object_get(entry, "text")));
		json_array_foreach (desktops, j, desktop)
			notice(u->server, "alarm", "store-damage", json_string_value(desktop),
			       json_deep_copy(entry),
			       json_string_value(json_object_get(entry, "text")));
	}
}

static void count_repaired(void *arg, const char *text)
{
	log_warning("repaired from the mirror: %s", text);
	++*(uint64_t *)arg;
}

/* One run over the packs. Return 0 or -errno; *found: array, the caller's. */
static int verify_once(struct upkeep_task *t, json_t **found, struct err *err)
{
	struct damage damage = { .upkeep = t->upkeep, .found = json_array() };
	struct store_verify order = { .bytes_per_second =
					      t->upkeep->server->config.store_verify_rate,
				      .progress = &t->progress,
				      .damage = damage_found,
				      .arg = &damage };
	uint64_t damaged = 0;
	int r = store_verify(t->upkeep->server->store, &order, &damaged, err);

	if (damage.more > 0)
		log_error("damage in the store: %zu more places, which `godwit-store verify` lists",
			  damage.more);
	*found = damage.found;
	return r;
}

static int run_verify(struct upkeep_task *t, json_t **result, struct err *err)
{
	struct server *s = t->upkeep->server;
	json_t *found = NULL;
	uint64_t repaired = 0;
	size_t hurt;
	int r = verify_once(t, &found, err);

	hurt = json_array_size(found);
	if (r == 0 && hurt > 0 && s->config.store_mirror[0]) {
		const struct store_mirror_repair order = { .store = s->store,
							   .mirror = s->config.store_mirror,
							   .progress = &t->progress,
							   .repaired = count_repaired,
							   .arg = &repaired };

		t->progress.bytes_per_second = s->config.store_verify_rate;
		pthread_mutex_lock(&t->upkeep->order);
		r = store_mirror_repair(&order, err);
		pthread_mutex_unlock(&t->upkeep->order);
		if (r < 0) { /* what was found still counts */
			log_error("repair from the mirror: %s", err_text(err));
			r = 0;
		}
		json_decref(found);
		if (r == 0)
			r = verify_once(t, &found, err);
	}
	if (r == 0)
		tell_damage(t->upkeep, found);
	if (r == 0 && repaired > 0 && json_array_size(found) == 0)
		notice(s, "warning", "store-repaired", NULL, NULL,
		       "damage in the store was found and repaired from the mirror");
	pthread_mutex_lock(&t->upkeep->lock);
	if (r == 0) {
		json_decref(t->upkeep->damage);
		t->upkeep->damage = json_incref(found);
	}
	pthread_mutex_unlock(&t->upkeep->lock);
	*result = json_pack("{sI sI sI}", "damaged", (json_int_t)json_array_size(found), "found",
			    (json_int_t)hurt, "repaired_packs", (json_int_t)repaired);
	json_decref(found);
	return r;
}

/* ---- GC, mirror ---- */

static int run_gc(struct upkeep_task *t, json_t **result, struct err *err)
{
	const struct store_gc order = { .progress = &t->progress };
	struct store_gc_result done = { 0 };
	int r;

	pthread_mutex_lock(&t->upkeep->order);
	r = store_gc(t->upkeep->server->store, &order, &done, err);
	pthread_mutex_unlock(&t->upkeep->order);
	*result = json_pack("{sI sI sI sI sI}", "packs_deleted", (json_int_t)done.packs_deleted,
			    "packs_rewritten", (json_int_t)done.packs_rewritten, "packs_waiting",
			    (json_int_t)done.packs_waiting, "freed_bytes",
			    (json_int_t)done.freed_bytes, "written_bytes",
			    (json_int_t)done.written_bytes);
	return r;
}

static bool mirror_due(struct upkeep *u)
{
	return u->server->config.store_mirror[0] != '\0';
}

static int run_mirror(struct upkeep_task *t, json_t **result, struct err *err)
{
	const struct server_config *config = &t->upkeep->server->config;
	const struct store_mirror order = { .dest = config->store_mirror,
					    .bytes_per_second = config->store_mirror_rate,
					    .progress = &t->progress };
	struct store_mirror_result done = { 0 };
	int r;

	pthread_mutex_lock(&t->upkeep->order);
	r = store_mirror(t->upkeep->server->store, &order, &done, err);
	pthread_mutex_unlock(&t->upkeep->order);
	*result = json_pack("{sI sI sI sI}", "packs_copied", (json_int_t)done.packs_copied,
			    "bytes_copied", (json_int_t)done.bytes_copied, "packs_deleted",
			    (json_int_t)done.packs_deleted, "packs_damaged",
			    (json_int_t)done.packs_damaged);
	return r;
}

struct newer {
	uint64_t than_ms;
	json_int_t count;
};

static int count_newer(void *arg, const struct catalogue_snapshot *snapshot, struct err *err)
{
	struct newer *n = arg;

	(void)err;
	n->count += snapshot->created_ms >= n->than_ms;
	return snapshot->created_ms >= n->than_ms ? 0 : DB_STOP;
}

void upkeep_mirror_lag(struct upkeep *u, const struct upkeep_task *t, json_t *object)
{
	CLEANUP(db_read_end) struct db_conn *c = NULL;
	struct newer newer = { .than_ms = t->good_wall_ms };
	uint64_t now = clock_wall_ms();

	json_object_set_new(object, "path", objects_text(u->server->config.store_mirror));
	if (!u->server->config.store_mirror[0])
		return;
	c = db_read(u->server->db);
	catalogue_snapshot_each(c, NULL, INT64_MAX, count_newer, &newer, NULL);
	json_object_set_new(object, "lag_snapshots", json_integer(newer.count));
	json_object_set_new(object, "lag_s",
			    newer.count > 0 && t->good_wall_ms && now > t->good_wall_ms
				    ? json_integer((json_int_t)((now - t->good_wall_ms) / 1000))
			    : newer.count > 0 ? json_null()
					      : json_integer(0));
}

/* ---- The catalogue ---- */

static bool copy_due(struct upkeep *u)
{
	return db_commits(u->server->db) != u->saved_commits;
}

static int run_copy(struct upkeep_task *t, json_t **result, struct err *err)
{
	struct upkeep *u = t->upkeep;
	uint64_t commits = db_commits(u->server->db);
	int r = recovery_save(u->server, err);

	if (r == 0)
		u->saved_commits = commits;
	*result = json_object();
	return r;
}

static bool check_urgent(struct upkeep *u)
{
	return db_damaged(u->server->db) && !atomic_load(&u->server->begin_anew);
}

/* Damage under a running server: it begins anew, and comes back from the copy (recovery.h). */
static int run_check(struct upkeep_task *t, json_t **result, struct err *err)
{
	struct server *s = t->upkeep->server;
	int r = db_check(s->db, err);

	*result = json_object();
	if (r == -EBADMSG) {
		log_error("%s: this server starts again and takes the newest copy", err_text(err));
		atomic_store(&s->begin_anew, true);
		kill(getpid(), SIGTERM);
	}
	return r;
}

#define EVERY(member) offsetof(struct server_config, member)

const struct upkeep_kind upkeep_kinds[UPKEEP_TASKS] = {
	{ "verify", EVERY(store_verify_every_ms), NULL, NULL, run_verify },
	{ "gc", EVERY(store_gc_every_ms), NULL, NULL, run_gc },
	{ "mirror", EVERY(store_mirror_every_ms), mirror_due, NULL, run_mirror },
	{ "catalogue-copy", EVERY(store_copy_every_ms), copy_due, NULL, run_copy },
	{ "catalogue-check", EVERY(store_check_every_ms), NULL, check_urgent, run_check },
};
