/* notices.h - what administrators and a desktop's owner must hear of: kept, shown, sent to watchers, and mailed.
 *
 * A notice is part of the change that it is about: both are durable, or neither.
 */
#ifndef GODWIT_MGMT_SERVER_NOTICES_H
#define GODWIT_MGMT_SERVER_NOTICES_H

#include "mgmt-server/catalogue/catalogue_notices.h"
#include "mgmt-server/core/change.h"

struct notices_order {
	const char *severity;                 /* "info", "warning", "alarm" */
	const char *kind;                     /* one word: "infected", "ransomware" … */
	const char *desktop, *snapshot, *job; /* NULL: none */
	json_t *details;                      /* object, or NULL; the reference is taken */
};

/* text: one line for people. Return 0 or -errno. */
int notices_add(struct change *change, struct notices_order *order, const char *text,
		struct err *err);

json_t *notices_object(const struct catalogue_notice *notice);
json_t *notices_object_of(struct db_conn *c, const char *seq); /* NULL: none */

#endif
