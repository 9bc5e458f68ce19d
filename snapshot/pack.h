/* pack.h - packs: the files that hold everything a store keeps.
 *
 * Header, records, an encrypted footer that lists the records, a trailer. A pack is written once under a temporary name and
 * never changes after it got its own; its name is random and never used again. Readers trust nothing: lengths are
 * bounded, checksums tell rot, authenticated encryption tells forgery, and the caller compares content with its id.
 * Source: snapshot/FORMAT.md, "Packs".
 */
#ifndef GODWIT_SNAPSHOT_PACK_H
#define GODWIT_SNAPSHOT_PACK_H

#include <stdatomic.h>

#include "common/base.h"
#include "snapshot/chunk.h"
#include "snapshot/manifest.h"
#include "snapshot/pack_crypt.h"
#include "snapshot/store_key.h"

enum {
	PACK_VERSION = 1,
	PACK_NAME_LEN = 16,
	PACK_NAME_TEXT_LEN = 2 * PACK_NAME_LEN + 1,
	PACK_DOMAIN_LEN = 64,
	PACK_HEADER_CLEAR_LEN = 64,
	PACK_HEADER_LEN = PACK_HEADER_CLEAR_LEN + PACK_DOMAIN_LEN + PACK_CRYPT_TAG_LEN,
	PACK_RECORD_HEADER_LEN = 24,
	PACK_RECORD_EXTRA = PACK_RECORD_HEADER_LEN + CHUNK_ID_LEN + PACK_CRYPT_TAG_LEN,
	PACK_ENTRY_LEN = 44,
	PACK_FOOTER_HEAD_LEN = 8,
	PACK_TRAILER_LEN = 32,
	PACK_DATA_MAX = 64 << 20, /* records end before this … */
	PACK_RECORDS_MAX = 32768, /* … and are at most so many */
};

enum pack_record_type { PACK_CHUNK = 1, PACK_MANIFEST = 2, PACK_NOTE = 3 };

struct pack_name {
	uint8_t bytes[PACK_NAME_LEN];
};

struct pack_entry {
	struct chunk_id id;    /* SHA-256 of the plaintext, also of manifests and notes */
	uint32_t offset;       /* of the record in the file */
	uint32_t raw_len, len; /* bytes: plaintext, payload */
	uint8_t type, codec;
};

/* An open pack. Everything but `refs` is constant once it is complete; the writer appends entries under its own rules. */
struct pack {
	atomic_uint refs;
	struct pack_name name;
	char name_text[PACK_NAME_TEXT_LEN];
	char domain[PACK_DOMAIN_LEN];
	uint8_t header[PACK_HEADER_CLEAR_LEN];
	uint8_t key[PACK_CRYPT_KEY_LEN];
	uint8_t key_id[STORE_KEY_ID_LEN];
	int fd;
	uint64_t size; /* bytes of the file */
	uint32_t count;
	uint32_t capacity;
	struct pack_entry *entries;
	_Atomic(uint16_t *) slots; /* pack_find's table; NULL: not made yet */
};

enum { PACK_STORE_ID_LEN = 16 };

const uint8_t *pack_store_id(const struct pack *pack); /* of PACK_STORE_ID_LEN bytes */
void pack_name_text(const struct pack_name *name, char text[PACK_NAME_TEXT_LEN]);

/* Make pack->header, key and the bytes of the whole header for a new pack. out: uint8_t[PACK_HEADER_LEN]. */
int pack_header_make(struct pack *pack, const struct store_key *key,
		     const uint8_t store_id[PACK_STORE_ID_LEN], uint8_t *out, struct err *err);

/**
 * pack_header_parse(pack, bytes, keys, store_id, err):
 * Check and decrypt a header (uint8_t[PACK_HEADER_LEN], decrypted in place) into @pack.
 *
 * store_id  NULL: any store's
 *
 * Return 0, -EBADMSG for damage, -EACCES when no key of @keys opens it, or -errno.
 */
int pack_header_parse(struct pack *pack, uint8_t *bytes, const struct store_keys *keys,
		      const uint8_t *store_id, struct err *err);

/* The plaintext of a footer ↔ entries. footer_parse checks every bound; data_end: where the records end. */
int pack_footer_parse(struct pack *pack, const uint8_t *bytes, size_t len, uint64_t data_end,
		      struct err *err);
size_t pack_footer_len(uint32_t count);
void pack_footer_make(const struct pack *pack, uint8_t *bytes);

struct pack_trailer {
	uint64_t footer_offset;
	uint32_t footer_len, footer_crc, count;
};
void pack_trailer_make(const struct pack_trailer *trailer, uint8_t bytes[PACK_TRAILER_LEN]);
/* Return 0 or -EBADMSG. */
int pack_trailer_parse(struct pack_trailer *trailer, const uint8_t bytes[PACK_TRAILER_LEN],
		       uint64_t file_size, struct err *err);

/* The record of @entry as it stands in the file. out: uint8_t[PACK_RECORD_EXTRA + entry->len]. */
int pack_record_make(const struct pack *pack, const struct pack_entry *entry,
		     const uint8_t *payload, uint8_t *out, struct err *err);

/* Is @bytes (uint8_t[PACK_RECORD_HEADER_LEN]) the header of a record? entry: type, codec and lengths are set, within their bounds if so. */
bool pack_record_head(const uint8_t *bytes, struct pack_entry *entry);
/* Decrypt, in place, the rest of a record whose header is good: its id is then at PACK_RECORD_HEADER_LEN, its payload behind that.
 *
 * entry  offset and lengths count
 * bytes  uint8_t[PACK_RECORD_EXTRA + entry->len]
 *
 * Return 0, -EBADMSG or -errno.
 */
int pack_record_open(const struct pack *pack, const struct pack_entry *entry, uint8_t *bytes,
		     struct err *err);

/**
 * pack_record_parse(pack, entry, bytes, chunk, err):
 * Check and decrypt one record in place. chunk->data then points into @bytes; its content is not yet compared with its id.
 *
 * entry  what the footer says; the record must agree
 * bytes  uint8_t[PACK_RECORD_EXTRA + entry->len]
 *
 * Return 0 or -EBADMSG with pack, offset and chunk named.
 */
int pack_record_parse(const struct pack *pack, const struct pack_entry *entry, uint8_t *bytes,
		      struct chunk_encoded *chunk, struct err *err);

/* The same without a pass over the body for its checksum: a tag that is right says more than that could. */
int pack_record_decrypt(const struct pack *pack, const struct pack_entry *entry, uint8_t *bytes,
			struct chunk_encoded *chunk, struct err *err);

/* Open a complete pack: header, trailer and footer are read and checked. Return 0, -EBADMSG, -EACCES, -ENOENT, -errno. */
int pack_open(struct pack **out, const char *path, const struct store_keys *keys,
	      const uint8_t *store_id, struct err *err);
/* The same without a look at the footer: whatever records can still be found. Return 0, -EBADMSG for a damaged header, …. */
int pack_salvage(struct pack **out, const char *path, const struct store_keys *keys,
		 const uint8_t *store_id, struct err *err);
struct pack *pack_ref(struct pack *pack);
void pack_unref(struct pack *pack);
DEFINE_CLEANUP(struct pack *, pack_unref);

/* Read and check record @i; buf: uint8_t[CHUNK_MAX + PACK_RECORD_EXTRA], chunk->data points into it. */
int pack_read(const struct pack *pack, uint32_t i, uint8_t *buf, struct chunk_encoded *chunk,
	      struct err *err);

/**
 * pack_find(pack, id, record):
 * Which record of a complete pack is chunk @id? The first call makes a table, 4 bytes or so for each record.
 *
 * Return true with *record set; false also when memory is short.
 */
bool pack_find(struct pack *pack, const struct chunk_id *id, uint32_t *record);

static inline size_t pack_record_len(const struct pack_entry *entry)
{
	return (size_t)PACK_RECORD_EXTRA + entry->len;
}

#endif
