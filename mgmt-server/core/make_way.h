/* make_way.h - scans and hunts stand still while a desktop comes back: processors, disk and store are its own then.
 *
 * From the grant of the right to run until its guest has said something, or its job is over. All that stood in the last
 * hours counts: up to MAKE_WAY_MAX_MS, of which 1 ms is forgotten for each MAKE_WAY_FORGET ms since. So the relocation of a
 * whole building starves no scan, and what a scan's own time limits count too much stays below their slack (12 minutes for
 * the answer to one content, of which the engine may take 10). Nothing of this outlives the server: the children die with it.
 * Everything needs the fleet's lock.
 */
#ifndef GODWIT_MGMT_SERVER_MAKE_WAY_H
#define GODWIT_MGMT_SERVER_MAKE_WAY_H

#include <stdbool.h>
#include <stdint.h>

struct server;

enum { MAKE_WAY_MAX_MS = 60 * 1000, MAKE_WAY_FORGET = 20 };

struct make_way {          /* zeroed: nothing ever stood */
	uint64_t since_ms; /* clock_now_ms; 0: nothing stands */
	uint64_t
		stood_ms; /* what was not forgotten at @since_ms, or at @ended_ms when nothing stands */
	uint64_t ended_ms; /* when something stood last */
};

/* So long may scans stand at @now_ms; as long as they do, how much of it is left. Pure. */
uint64_t make_way_left(const struct make_way *way, uint64_t now_ms);

/* A desktop was given to an endpoint: it comes back now. */
void make_way_begin(struct server *server);
/* Nothing that would stand may be started. */
bool make_way_stands(const struct server *server);
/* Go on when nobody is waited for any more. */
void make_way_tick(struct server *server);

#endif
