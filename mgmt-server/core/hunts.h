/* hunts.h - searches over the whole fleet, one at a time, by godwit-scan over what scans remember (scan/scan_state.h).
 *
 * A hunt asks which desktops held a content, and when: by hash, answered without reading a disk, or by a rule, tried once
 * on each different content. A rescan tries the server's present signatures on each different content once, and every
 * snapshot gets the verdict they say. One that was under way when this server ended begins anew; what it had scanned
 * by then is remembered.
 */
#ifndef GODWIT_MGMT_SERVER_HUNTS_H
#define GODWIT_MGMT_SERVER_HUNTS_H

#include "mgmt-server/catalogue/catalogue_hunts.h"
#include "mgmt-server/core/change.h"

struct hunts;

enum { HUNTS_HASHES_MAX = 10000, HUNTS_RULE_MAX = 512 << 10, HUNTS_HASH_LEN = 64 };

int hunts_new(struct hunts **out, struct server *server, struct err *err);
/* Ends what runs. NULL: nothing. */
void hunts_free(struct hunts *hunts);

/* kind: hash, rule or rescan. id: out, char[CATALOGUE_ID_LEN]. Return 0 or -errno. */
int hunts_order(struct change *change, const char *kind, const char *what, const char *user,
		char *id, struct err *err);
/* Return 0, -ENOENT, -EEXIST: it is over; -errno. */
int hunts_cancel(struct change *change, const char *id, struct err *err);

void hunts_tick(struct server *server);
/* Stop the one that runs, or let it go on (make_way.h). Return how many there are. */
size_t hunts_stand(struct hunts *hunts, bool still);

/* As the API shows it; NULL: there is none. */
json_t *hunts_object(const struct catalogue_hunt *hunt, bool whole);
json_t *hunts_object_of(struct db_conn *c, const char *id);

#endif
