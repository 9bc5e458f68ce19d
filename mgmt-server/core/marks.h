/* marks.h - pins and holds of snapshots. A pinned snapshot is never forgotten, pruned or collected; a held one is never
 * chosen by failover, start or resume unless it is named.
 *
 * The catalogue knows who wants a mark and why; the store knows only "pinned", and refuses to forget. A pin reaches the
 * store before the catalogue commits, and leaves it after: at any kill the store pins at least what the catalogue does.
 * What the store alone has pinned (a crash in between, or godwit-store) is taken over at the next start as source
 * "store". All but marks_adopt need a change.
 */
#ifndef GODWIT_MGMT_SERVER_MARKS_H
#define GODWIT_MGMT_SERVER_MARKS_H

#include "mgmt-server/core/change.h"

struct marks_order {
	const char *snapshot;
	const char *kind; /* MARKS_PIN, MARKS_HOLD */
	const char *
		source; /* who wants it; each source has its own mark: "person", "scan", "ransomware" */
	const char *why;  /* one line for people */
	const char *user; /* "system", or who asked */
};
#define MARKS_PIN  "pin"
#define MARKS_HOLD "hold"

/* Set it, or change its reason. Return 0, -ENOENT: no such snapshot; -errno. */
int marks_set(struct change *change, const struct marks_order *order, struct err *err);
/* Take it back; what another source marked stays. Return 0, -ENOENT: that source has no such mark there; -errno. */
int marks_clear(struct change *change, const struct marks_order *order, struct err *err);

/* After a commit or an abort: the store pins @snapshot if and only if the catalogue does. */
void marks_sync(struct server *server, const char *snapshot);

/* At start. */
int marks_adopt(struct server *server, struct err *err);

/* The marks of a snapshot as the API shows them, "pins" and "holds" into @object. */
void marks_show(struct db_conn *c, const char *snapshot, json_t *object);

#endif
