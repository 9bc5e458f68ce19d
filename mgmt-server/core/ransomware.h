/* ransomware.h - the watch over what desktops write: every incremental is measured by godwit-scan and judged here.
 *
 * A snapshot that follows another waits in the catalogue until `godwit-scan changes` (a child, one at a time, nice 19) has compared
 * the two. ransomware_judge.h says what that means. An alarm pins the last snapshot before it (source "ransomware") and
 * every other one of the desktop (source "alarm"), new ones too, so that no retention rule and no command deletes any until
 * an administrator acknowledges it; it is told once. What cannot be measured is tried again a few times, and the
 * snapshot says why (state "failed").
 */
#ifndef GODWIT_MGMT_SERVER_RANSOMWARE_H
#define GODWIT_MGMT_SERVER_RANSOMWARE_H

#include "mgmt-server/core/change.h"

#define RANSOMWARE_SOURCE_GOOD  "ransomware" /* of the pin of the last good snapshot */
#define RANSOMWARE_SOURCE_BLOCK "alarm"      /* of the pins that keep everything else */

struct ransomware;

int ransomware_init(struct ransomware **out, struct err *err);
void ransomware_free(struct ransomware *ransomware);

/* A snapshot of the main line was committed; parent: "" for none. */
int ransomware_new(struct change *change, const char *desktop, const char *snapshot,
		   const char *parent, struct err *err);

/* Go on with what waits. Needs the fleet's lock to be free. */
void ransomware_tick(struct server *server);

/**
 * ransomware_acknowledge(change, desktop, false_alarm, user, err):
 * End the alarm. Real: the last good snapshot stays pinned as a person's pin. A false one: what it was about is usual.
 *
 * Return 0, -ENOENT: there is no alarm; -errno.
 */
int ransomware_acknowledge(struct change *change, const char *desktop, bool false_alarm,
			   const char *user, struct err *err);

/* "alarm" of a desktop and "changes" of a snapshot into @object; null when there is none. */
void ransomware_show_alarm(struct db_conn *c, const char *desktop, json_t *object);
void ransomware_show_changes(struct db_conn *c, const char *snapshot, json_t *object);

#endif
