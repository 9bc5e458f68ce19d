#include "mgmt-server/scan/content_room.h"

#include <assert.h>
#include <errno.h>
#include <time.h>
#include <unistd.h>

enum { LOOK_AGAIN_S = 1 }; /* for a cancellation, which wakes nobody */

void content_room_init(struct content_room *room, uint64_t max, const atomic_bool *cancel)
{
	uint64_t machine = (uint64_t)sysconf(_SC_PHYS_PAGES) * (uint64_t)sysconf(_SC_PAGESIZE);

	*room = (struct content_room){ .max = max ? max : machine / 2, .cancel = cancel };
	pthread_mutex_init(&room->lock, NULL);
	pthread_cond_init(&room->freed, NULL);
}

void content_room_deinit(struct content_room *room)
{
	pthread_cond_destroy(&room->freed);
	pthread_mutex_destroy(&room->lock);
}

int content_room_take(struct content_room *room, uint64_t held, uint64_t bytes)
{
	int r = 0;

	if (held > room->max || bytes > room->max - held)
		return CONTENT_ROOM_TOO_LARGE;
	if (room->cancel && atomic_load(room->cancel))
		return -ECANCELED;
	pthread_mutex_lock(&room->lock);
	while (bytes > room->max - room->used && r == 0) {
		struct timespec until;

		clock_gettime(CLOCK_REALTIME, &until);
		until.tv_sec += LOOK_AGAIN_S;
		pthread_cond_timedwait(&room->freed, &room->lock, &until);
		if (room->cancel && atomic_load(room->cancel))
			r = -ECANCELED;
	}
	if (r == 0)
		room->used += bytes;
	pthread_mutex_unlock(&room->lock);
	return r;
}

void content_room_give(struct content_room *room, uint64_t bytes)
{
	if (!bytes)
		return;
	pthread_mutex_lock(&room->lock);
	assert(bytes <= room->used);
	room->used -= bytes;
	pthread_cond_broadcast(&room->freed);
	pthread_mutex_unlock(&room->lock);
}
