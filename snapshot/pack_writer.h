/* pack_writer.h - a pack being written, by several threads at once.
 *
 * Places are given out under the caller's lock; encrypting and writing happen outside of it. The file has a temporary
 * name until it is sealed: fdatasync, then rename into the packs' folder (whose fsync is the caller's: one for several).
 * Not sealed, it is removed.
 */
#ifndef GODWIT_SNAPSHOT_PACK_WRITER_H
#define GODWIT_SNAPSHOT_PACK_WRITER_H

#include "snapshot/pack.h"

struct pack_writer;

struct pack_writer_options {
	const char *temp_folder, *pack_folder;
	const struct store_key *key;
	const uint8_t *store_id;
	const char *domain;
};
int pack_writer_new(struct pack_writer **out, const struct pack_writer_options *options,
		    struct err *err);
void pack_writer_free(struct pack_writer *writer);
DEFINE_CLEANUP(struct pack_writer *, pack_writer_free);

/* The pack so far. Records that pack_writer_write has returned for can be read from it. */
struct pack *pack_writer_pack(struct pack_writer *writer);

/* Is there room for @len more bytes of payload? (An empty pack has room for anything.) Under the caller's lock. */
bool pack_writer_has_room(const struct pack_writer *writer, size_t len);

/* Give out the next place. Under the caller's lock. */
uint32_t pack_writer_reserve(struct pack_writer *writer, enum pack_record_type type,
			     const struct chunk_encoded *chunk);

/* Which record holds chunk @id? Under the caller's lock. False: none. */
bool pack_writer_find(const struct pack_writer *writer, const struct chunk_id *id,
		      uint32_t *record);

/* Encrypt and write records [first, first + n), reserved one after the other, payloads in @chunks. Any thread. */
int pack_writer_write(struct pack_writer *writer, uint32_t first,
		      const struct chunk_encoded *chunks, size_t n, struct err *err);

/* Footer, fdatasync, rename. Nobody else uses the writer any more. */
int pack_writer_seal(struct pack_writer *writer, struct err *err);

#endif
