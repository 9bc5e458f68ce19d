/* memory_trip.h - a machine's memory into a real store and out of it again, the way agent and hypervisor do it.
 *
 * Shared by tests and benchmarks. Failures end the program with a message.
 */
#ifndef GODWIT_TESTS_MEMORY_TRIP_H
#define GODWIT_TESTS_MEMORY_TRIP_H

#include <pthread.h>

#include "migrate/postcopy_source.h"
#include "snapshot/qemu_stream.h"
#include "snapshot/store.h"
#include "tests/lib/vm_harness.h"

/* Background snapshot of @vm into a new memfd. The machine's disk as it was at that instant is copied from @disk to
 * @disk_copy (NULL: no copy). *pause_us: from stop to cont. */
int memory_trip_capture(struct vm_harness *vm, const char *disk, const char *disk_copy,
			uint64_t *pause_us);

/* Index @stream_fd and put it into @store as a live snapshot. Return how many bytes were stored. */
uint64_t memory_trip_put(struct store *store, int stream_fd, uint64_t ram_max,
			 struct manifest *out);

/* A source that is as slow as a network: so many plain bytes a second, so long until the first of each fetch. */
struct memory_trip_line {
	struct chunk_source inner;
	_Atomic(uint64_t) bytes_per_s; /* 0: no limit */
	uint64_t latency_ms;
	pthread_mutex_t lock;
	uint64_t free_at_us; /* when the line has carried all that was promised */
	atomic_uint_fast64_t bytes;
};
struct chunk_source memory_trip_line_source(struct memory_trip_line *line);

/* A thread that plays the source of the migration. */
struct memory_trip_server {
	pthread_t thread;
	struct postcopy_source order;
	struct postcopy_source_stats stats;
	atomic_bool cancel;
	int result;
	struct err err;
};
/* Let @vm listen (migrate-incoming or migrate-recover) and start to serve it. */
void memory_trip_serve(struct memory_trip_server *server, struct vm_harness *vm,
		       const struct manifest *manifest, struct chunk_source source, bool recover);
/* Wait for its end; the socket is closed, as it is when a page server dies. */
int memory_trip_serve_end(struct memory_trip_server *server);

/* Load a whole stream joined from @manifest into @vm, which waits for it; then let the guest go on. */
void memory_trip_load(struct vm_harness *vm, const struct manifest *manifest,
		      struct chunk_source source);

#endif
