/* catalogue_changes.h - what happened to desktops' disks between snapshots, as godwit-scan measured it, and open alarms. */
#ifndef GODWIT_MGMT_SERVER_CATALOGUE_CHANGES_H
#define GODWIT_MGMT_SERVER_CATALOGUE_CHANGES_H

#include "mgmt-server/catalogue/catalogue_access.h"

struct catalogue_changes {
	char snapshot[CATALOGUE_ID_LEN], desktop[CATALOGUE_NAME_LEN];
	char state[12]; /* waiting, measured, failed */
	uint64_t tries, due_ms;
	char level[12];   /* calm, unusual, alarm, false-alarm; "" before it was measured */
	double encrypted; /* files */
	double excess;    /* of files above the usual so far (ransomware_judge.h) */
	uint64_t changed_bytes, ended_ms;
	const char *why, *report; /* report: JSON; valid during a call */
};

int catalogue_changes_put(struct db_conn *c, const struct catalogue_changes *changes,
			  struct err *err);

typedef int catalogue_changes_fn(void *arg, const struct catalogue_changes *changes,
				 struct err *err);
/* Return 0 or -errno; @fn is not called when nothing is known of @snapshot. */
int catalogue_changes_get(struct db_conn *c, const char *snapshot, catalogue_changes_fn *fn,
			  void *arg, struct err *err);
/* Of those that are due the one that was committed first: what adds up is judged in that order. */
int catalogue_changes_due(struct db_conn *c, uint64_t now_ms, catalogue_changes_fn *fn, void *arg,
			  struct err *err);
/* Those of a desktop's main line that were measured and came before @snapshot, newest first, at most @limit. */
int catalogue_changes_before(struct db_conn *c, const char *desktop, const char *snapshot,
			     unsigned limit, catalogue_changes_fn *fn, void *arg, struct err *err);
/* What was an alarm was none after all: it is usual from now on. */
int catalogue_changes_forgive(struct db_conn *c, const char *desktop, struct err *err);
/* The sum begins anew. */
int catalogue_changes_reset(struct db_conn *c, const char *desktop, struct err *err);

struct catalogue_alarm {
	char desktop[CATALOGUE_NAME_LEN];
	char snapshot[CATALOGUE_ID_LEN],
		good[CATALOGUE_ID_LEN]; /* good: the last one before it; "": none */
	uint64_t since_ms;
	char why[256];
};

int catalogue_alarm_put(struct db_conn *c, const struct catalogue_alarm *alarm, struct err *err);
/* Return 0, CATALOGUE_NONE, -errno. */
int catalogue_alarm_get(struct db_conn *c, const char *desktop, struct catalogue_alarm *alarm,
			struct err *err);
int catalogue_alarm_drop(struct db_conn *c, const char *desktop, struct err *err);

#endif
