/* postcopy_fetch.h - threads that fetch chunks of a machine's memory out of a slow store, demanded ones first.
 *
 * Two kinds of work. Demands come one by one and are answered by whichever thread is free; some threads are kept for
 * them alone. Background batches are given only to idle threads, so that nothing waits in a queue that a demand could
 * want to overtake; how large they are follows from how long they take, so that a demand finds the line to the store
 * busy for some ten milliseconds at most. What arrives waits to be taken, demanded chunks first.
 *
 * One thread (the caller's) gives work and takes chunks; it is woken by an eventfd. A thread that is inside the chunk
 * source can't be interrupted: postcopy_fetch_free waits for it.
 */
#ifndef GODWIT_MIGRATE_POSTCOPY_FETCH_H
#define GODWIT_MIGRATE_POSTCOPY_FETCH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/base.h"
#include "common/err.h"
#include "migrate/postcopy_pages.h"
#include "snapshot/volume.h"

enum { POSTCOPY_FETCH_BATCH_MAX = 256 };

struct postcopy_fetch;

/* A chunk that is here: to be freed by free(3). */
struct postcopy_fetch_chunk {
	void *next; /* postcopy_fetch.c's */
	struct postcopy_pages_chunk at;
	size_t len;     /* bytes; 0: the chunk is all zeros */
	uint8_t data[]; /* verified plaintext */
};

struct postcopy_fetch_block {
	struct volume_reader *reader; /* not owned */
	uint64_t size;                /* bytes */
	uint32_t grid;
};

/**
 * postcopy_fetch_new(out, source, blocks, n, err):
 * blocks  borrowed until postcopy_fetch_free
 */
int postcopy_fetch_new(struct postcopy_fetch **out, struct chunk_source source,
		       const struct postcopy_fetch_block *blocks, size_t n, struct err *err);
void postcopy_fetch_free(struct postcopy_fetch *fetch);
DEFINE_CLEANUP(struct postcopy_fetch *, postcopy_fetch_free);

/* Readable when chunks or a failure wait. */
int postcopy_fetch_wakeup_fd(const struct postcopy_fetch *fetch);

/* The guest waits for this chunk. Return 0 or -ENOMEM. */
int postcopy_fetch_demand(struct postcopy_fetch *fetch, struct postcopy_pages_chunk chunk,
			  struct err *err);

/* How many chunks the background may ask for now; 0: not yet. At most POSTCOPY_FETCH_BATCH_MAX. */
size_t postcopy_fetch_room(struct postcopy_fetch *fetch);

/* Fetch a batch. Only after postcopy_fetch_room said so, and not more. */
int postcopy_fetch_background(struct postcopy_fetch *fetch,
			      const struct postcopy_pages_chunk *chunks, size_t n, struct err *err);

/**
 * postcopy_fetch_take(fetch, out, err):
 * out  the next chunk that is here, demanded ones first; NULL: none at the moment
 *
 * Return 0, or the negative number of the first fetch that failed.
 */
int postcopy_fetch_take(struct postcopy_fetch *fetch, struct postcopy_fetch_chunk **out,
			struct err *err);

#endif
