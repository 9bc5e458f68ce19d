#include "snapshot/volume.h"

#include "common/clock.h"

enum { NAP_US = 100000 }; /* so that a cancel is noticed */

void volume_progress_pace(struct volume_progress *progress, uint64_t bytes)
{
	uint_fast64_t free_us, start_us, cost_us;

	if (!progress || !progress->bytes_per_second)
		return;
	/* Everybody reserves the next stretch of time behind those who came before, then waits for its beginning: what was not used
	 * is not saved up.
	 */
	cost_us = (uint_fast64_t)((unsigned __int128)bytes * 1000000 / progress->bytes_per_second);
	free_us = atomic_load(&progress->free_us);
	do {
		uint64_t now = clock_now_us();

		start_us = free_us > now ? free_us : now;
	} while (!atomic_compare_exchange_weak(&progress->free_us, &free_us, start_us + cost_us));
	for (uint64_t now; !atomic_load(&progress->cancel) && (now = clock_now_us()) < start_us;)
		clock_sleep_ms((start_us - now < NAP_US ? start_us - now : NAP_US) / 1000 + 1);
}
