/* upkeep_inside.h - shared by upkeep.c (when tasks run) and upkeep_tasks.c (what they do). */
#ifndef GODWIT_MGMT_SERVER_UPKEEP_INSIDE_H
#define GODWIT_MGMT_SERVER_UPKEEP_INSIDE_H

#include <pthread.h>

#include "mgmt-server/core/upkeep.h"

enum { UPKEEP_TASKS = 5, UPKEEP_DAMAGE_MAX = 100 };

struct upkeep_task {
	const struct upkeep_kind *kind;
	struct upkeep *upkeep;
	pthread_t thread;
	struct volume_progress progress; /* of the run under way */
	/* with the upkeep's lock */
	bool running, wanted;
	uint64_t next_ms;                      /* clock_now_ms */
	uint64_t since_wall_ms;                /* that it is counted: when a server first knew it */
	uint64_t begun_wall_ms, ended_wall_ms; /* of the last run; 0: never */
	uint64_t good_wall_ms; /* when the last run that succeeded began; 0: never */
	char error[256];       /* of the last run; "": it succeeded */
	json_t *result;        /* of the last that succeeded; NULL: none */
};

struct upkeep {
	struct server *server;
	pthread_mutex_t lock;
	pthread_cond_t changed;
	pthread_mutex_t order; /* GC and mirror: one at a time */
	bool stopping;
	struct upkeep_task tasks[UPKEEP_TASKS];
	json_t *damage;         /* array: what the last verify found */
	uint64_t saved_commits; /* of the catalogue, when it was copied */
};

struct upkeep_kind {
	const char *name;
	size_t every; /* offset of the period in struct server_config; 0 there: never by itself */
	bool (*due)(struct upkeep *u);    /* is there anything to do? NULL: always */
	bool (*urgent)(struct upkeep *u); /* before its time? NULL: never */
	int (*run)(struct upkeep_task *task, json_t **result, struct err *err);
};
extern const struct upkeep_kind upkeep_kinds[UPKEEP_TASKS];

/* The mirror's lag, into its task's object. */
void upkeep_mirror_lag(struct upkeep *u, const struct upkeep_task *task, json_t *object);

#endif
