/* memory_chunks.h - a chunk source and sink in memory, for tests of what stands on top of them. */
#ifndef GODWIT_TESTS_MEMORY_CHUNKS_H
#define GODWIT_TESTS_MEMORY_CHUNKS_H

#include "snapshot/chunk_io.h"

struct memory_chunks;

struct memory_chunks *memory_chunks_new(void);
void memory_chunks_free(struct memory_chunks *chunks);
struct chunk_source memory_chunks_source(struct memory_chunks *chunks);
struct chunk_sink memory_chunks_sink(struct memory_chunks *chunks);

size_t memory_chunks_count(struct memory_chunks *chunks);
size_t memory_chunks_puts(struct memory_chunks *chunks); /* chunks handed over, ever */
size_t memory_chunks_gets(struct memory_chunks *chunks); /* chunks fetched, ever */
/* Make @id's content something else, or absent. */
void memory_chunks_damage(struct memory_chunks *chunks, const struct chunk_id *id);
void memory_chunks_remove(struct memory_chunks *chunks, const struct chunk_id *id);

#endif
