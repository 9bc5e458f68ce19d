/* upkeep.c - see upkeep.h. When tasks run, and what is remembered of it. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "common/clock.h"
#include "common/io.h"
#include "common/log.h"
#include "mgmt-server/core/objects.h"
#include "mgmt-server/core/upkeep_inside.h"

enum { RECORD_MAX = 1 << 20, FIRST_MS = 5000, RETRY_MS = 60000 };

static uint64_t period(const struct upkeep_task *t)
{
	return *(const uint64_t *)(const void *)((const char *)&t->upkeep->server->config +
						 t->kind->every);
}

/* ---- The record ---- */

static char *record_path(const struct upkeep *u)
{
	return io_printf("%s/upkeep.json", u->server->state);
}

/* With the lock. That it cannot be written is no reason to stop: a task then runs once more after a restart. */
static void record_save(struct upkeep *u)
{
	CLEANUP(json_decref) json_t *all = json_object();
	CLEANUP_FREE char *path = record_path(u), *text = NULL;
	struct err err = { 0 };
	size_t i;

	for (i = 0; i < UPKEEP_TASKS; i++) {
		const struct upkeep_task *t = &u->tasks[i];

		json_object_set_new(
			all, t->kind->name,
			json_pack("{sI sI sI sI ss sO*}", "since", (json_int_t)t->since_wall_ms,
				  "begun", (json_int_t)t->begun_wall_ms, "ended",
				  (json_int_t)t->ended_wall_ms, "good", (json_int_t)t->good_wall_ms,
				  "error", t->error, "result", t->result));
	}
	json_object_set(all, "damage", u->damage);
	text = json_text(all);
	if (!path || !text || io_replace_file(path, text, strlen(text), 0600, &err) < 0)
		log_warning("upkeep: its record was not written: %s", err_text(&err));
}

static void task_load(struct upkeep_task *t, const json_t *entry)
{
	const json_t *result = json_object_get(entry, "result");

	t->since_wall_ms = (uint64_t)json_integer_value(json_object_get(entry, "since"));
	t->begun_wall_ms = (uint64_t)json_integer_value(json_object_get(entry, "begun"));
	t->ended_wall_ms = (uint64_t)json_integer_value(json_object_get(entry, "ended"));
	t->good_wall_ms = (uint64_t)json_integer_value(json_object_get(entry, "good"));
	snprintf(t->error, sizeof(t->error), "%s",
		 json_string_value(json_object_get(entry, "error")) ?: "");
	t->result = json_is_object(result) ? json_deep_copy(result) : NULL;
}

/* One that cannot be read says nothing: everything is due. */
static void record_load(struct upkeep *u)
{
	CLEANUP_FREE char *path = record_path(u);
	CLEANUP(json_decref) json_t *all = NULL;
	uint64_t wall = clock_wall_ms(), now = clock_now_ms();
	size_t i;

	if (path)
		json_parse_file(&all, path, RECORD_MAX, NULL);
	for (i = 0; i < UPKEEP_TASKS; i++) {
		struct upkeep_task *t = &u->tasks[i];
		uint64_t age, last;

		task_load(t, json_object_get(all, t->kind->name));
		if (!t->since_wall_ms || t->since_wall_ms > wall)
			t->since_wall_ms = wall;
		last = t->begun_wall_ms ? t->begun_wall_ms : t->since_wall_ms;
		age = last <= wall ? wall - last : UINT64_MAX; /* clocks jump */
		/* Cut short, or due while nobody was here: soon, but not in the middle of starting. */
		t->next_ms = now + FIRST_MS;
		if (t->ended_wall_ms >= t->begun_wall_ms && age < period(t))
			t->next_ms += period(t) - age;
	}
	if (json_is_array(json_object_get(all, "damage")))
		u->damage = json_incref(json_object_get(all, "damage"));
}

/* ---- Running ---- */

/* With the lock, which is released meanwhile. */
static void run(struct upkeep *u, struct upkeep_task *t)
{
	json_t *result = NULL;
	struct err err = { 0 };
	int r;

	t->running = true;
	t->wanted = false;
	t->begun_wall_ms = clock_wall_ms();
	atomic_store(&t->progress.done_bytes, 0);
	atomic_store(&t->progress.total_bytes, 0);
	record_save(u);
	pthread_mutex_unlock(&u->lock);

	r = t->kind->run(t, &result, &err);

	pthread_mutex_lock(&u->lock);
	t->running = false;
	t->next_ms = clock_now_ms() + (r < 0 && RETRY_MS < period(t) ? RETRY_MS : period(t));
	if (r == -ECANCELED && u->stopping) {
		json_decref(result);
		return; /* as if it had not ended: it begins again at the next start */
	}
	t->ended_wall_ms = clock_wall_ms();
	snprintf(t->error, sizeof(t->error), "%s", r < 0 ? err_text(&err) : "");
	if (r < 0) {
		log_error("upkeep task=%s: %s", t->kind->name, t->error);
	} else {
		t->good_wall_ms = t->begun_wall_ms;
		json_decref(t->result);
		t->result = TAKE(result);
	}
	json_decref(result);
	record_save(u);
}

static bool is_due(struct upkeep *u, const struct upkeep_task *t)
{
	if (t->wanted || (t->kind->urgent && t->kind->urgent(u)))
		return true;
	return period(t) > 0 && clock_now_ms() >= t->next_ms && (!t->kind->due || t->kind->due(u));
}

static void *task_thread(void *arg)
{
	struct upkeep_task *t = arg;
	struct upkeep *u = t->upkeep;

	pthread_mutex_lock(&u->lock);
	while (!u->stopping) {
		struct timespec until;

		if (is_due(u, t)) {
			run(u, t);
			continue;
		}
		clock_gettime(CLOCK_REALTIME, &until);
		until.tv_sec++;
		pthread_cond_timedwait(&u->changed, &u->lock, &until);
	}
	pthread_mutex_unlock(&u->lock);
	return NULL;
}

int upkeep_new(struct upkeep **out, struct server *server, struct err *err)
{
	struct upkeep *u = calloc(1, sizeof(*u));
	size_t i;

	if (!u)
		return err_set(err, ENOMEM, "upkeep");
	u->server = server;
	pthread_mutex_init(&u->lock, NULL);
	pthread_mutex_init(&u->order, NULL);
	pthread_cond_init(&u->changed, NULL);
	for (i = 0; i < UPKEEP_TASKS; i++) {
		u->tasks[i].kind = &upkeep_kinds[i];
		u->tasks[i].upkeep = u;
	}
	record_load(u);
	if (!u->damage)
		u->damage = json_array();
	record_save(u);
	*out = u;
	for (i = 0; i < UPKEEP_TASKS; i++) {
		int r = pthread_create(&u->tasks[i].thread, NULL, task_thread, &u->tasks[i]);

		if (r) {
			u->tasks[i].thread = 0;
			return err_set(err, r, "start a thread");
		}
	}
	return 0;
}

void upkeep_free(struct upkeep *u)
{
	size_t i;

	pthread_mutex_lock(&u->lock);
	u->stopping = true;
	pthread_cond_broadcast(&u->changed);
	pthread_mutex_unlock(&u->lock);
	for (i = 0; i < UPKEEP_TASKS; i++) {
		atomic_store(&u->tasks[i].progress.cancel, true);
		if (u->tasks[i].thread)
			pthread_join(u->tasks[i].thread, NULL);
		json_decref(u->tasks[i].result);
	}
	json_decref(u->damage);
	pthread_cond_destroy(&u->changed);
	pthread_mutex_destroy(&u->order);
	pthread_mutex_destroy(&u->lock);
	free(u);
}

/* ---- For people ---- */

static json_t *task_object(struct upkeep *u, const struct upkeep_task *t)
{
	json_t *object = json_pack(
		"{sb sI so so so sO* sI sI}", "running", t->running, "every_s",
		(json_int_t)(period(t) / 1000), "begun", objects_time(t->begun_wall_ms), "ended",
		objects_time(t->ended_wall_ms), "error", objects_text(t->error), "result",
		t->result, "done_bytes",
		(json_int_t)(t->running ? atomic_load(&t->progress.done_bytes) : 0), "total_bytes",
		(json_int_t)(t->running ? atomic_load(&t->progress.total_bytes) : 0));

	if (object && strcmp(t->kind->name, "mirror") == 0)
		upkeep_mirror_lag(u, t, object);
	return object;
}

/* Each name once, of all places of damage. */
static json_t *hurt(const json_t *damage, const char *key)
{
	json_t *names = json_object(), *list = json_array(), *entry, *name;
	const char *word;
	size_t i, j;

	json_array_foreach (damage, i, entry) {
		json_array_foreach (json_object_get(entry, key), j, name)
			json_object_set_new(names, json_string_value(name), json_null());
	}
	json_object_foreach (names, word, entry)
		json_array_append_new(list, json_string(word));
	json_decref(names);
	return list;
}

json_t *upkeep_object(struct server *s)
{
	struct upkeep *u = s->upkeep;
	json_t *all = json_object();
	size_t i;

	pthread_mutex_lock(&u->lock);
	for (i = 0; i < UPKEEP_TASKS; i++)
		json_object_set_new(all, u->tasks[i].kind->name, task_object(u, &u->tasks[i]));
	json_object_set_new(all, "damage", json_deep_copy(u->damage));
	json_object_set_new(all, "hurt_snapshots", hurt(u->damage, "snapshots"));
	json_object_set_new(all, "hurt_desktops", hurt(u->damage, "desktops"));
	json_object_set_new(all, "damaged", json_integer((json_int_t)json_array_size(u->damage)));
	pthread_mutex_unlock(&u->lock);
	return all;
}

int upkeep_run(struct server *s, const char *name, struct err *err)
{
	struct upkeep *u = s->upkeep;
	size_t i;
	int r = 0;

	for (i = 0; i < UPKEEP_TASKS && strcmp(upkeep_kinds[i].name, name) != 0; i++)
		;
	if (i == UPKEEP_TASKS)
		return err_say(err, ENOENT, "there is no task %.63s", name);
	if (strcmp(name, "mirror") == 0 && !s->config.store_mirror[0])
		return err_say(err, ENOENT, "there is no mirror: [store] mirror names none");
	pthread_mutex_lock(&u->lock);
	if (u->tasks[i].running)
		r = err_say(err, EBUSY, "%s is under way", name);
	else
		u->tasks[i].wanted = true;
	pthread_cond_broadcast(&u->changed);
	pthread_mutex_unlock(&u->lock);
	return r;
}
