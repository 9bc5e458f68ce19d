/* content_room.h - how many bytes of contents a scan holds in memory at once, whatever its readers send.
 *
 * What is taken is given back when a content is done with. Whoever takes waits for that, so its reader waits too. One
 * thread takes at a time, any may give: then the content that is being received can always get all the room there is.
 * Source: mgmt-server/scan/README.md, "Memory that a scan may take".
 */
#ifndef GODWIT_SCAN_CONTENT_ROOM_H
#define GODWIT_SCAN_CONTENT_ROOM_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

struct content_room {
	pthread_mutex_t lock;
	pthread_cond_t freed;
	uint64_t max;              /* bytes */
	uint64_t used;             /* under lock; <= max */
	const atomic_bool *cancel; /* NULL: it never is */
};

/* @max 0: half of this machine's memory. */
void content_room_init(struct content_room *room, uint64_t max, const atomic_bool *cancel);
void content_room_deinit(struct content_room *room);

enum { CONTENT_ROOM_TOO_LARGE = 1 };
/**
 * content_room_take(room, held, bytes):
 * Take @bytes more for a content that holds @held already; wait until others have given enough back.
 *
 * Return 0, CONTENT_ROOM_TOO_LARGE: it would not fit if it were the only one, or -ECANCELED.
 */
int content_room_take(struct content_room *room, uint64_t held, uint64_t bytes);
void content_room_give(struct content_room *room, uint64_t bytes);

#endif
