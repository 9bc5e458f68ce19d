/* postcopy_wire.h - what source and destination of a postcopy migration say to each other, byte by byte.
 *
 * To the destination: commands and RAM pages, appended to a buffer. From it: the return path, parsed out of untrusted
 * bytes with every length bounded. No descriptors here.
 * Source: QEMU 10.0 migration/savevm.c (MIG_CMD_*), migration/migration.c (MIG_RP_MSG_*), migration/ram.c.
 */
#ifndef GODWIT_MIGRATE_POSTCOPY_WIRE_H
#define GODWIT_MIGRATE_POSTCOPY_WIRE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/err.h"

enum { POSTCOPY_WIRE_PAGE = 4096, POSTCOPY_WIRE_NAME_MAX = 255 };

/* ---- To the destination: a queue of bytes ---- */

struct postcopy_wire_out {
	uint8_t *bytes;
	size_t start, end, cap; /* [start, end) waits to be sent */
	bool failed;            /* out of memory: everything after it is dropped */
};

enum postcopy_wire_command {
	POSTCOPY_WIRE_OPEN_RETURN_PATH = 1,
	POSTCOPY_WIRE_PING = 2,
	POSTCOPY_WIRE_ADVISE = 3,
	POSTCOPY_WIRE_LISTEN = 4,
	POSTCOPY_WIRE_RUN = 5,
	POSTCOPY_WIRE_DISCARD = 6,
	POSTCOPY_WIRE_PACKAGED = 7,
	POSTCOPY_WIRE_RESUME = 9,
	POSTCOPY_WIRE_RECV_BITMAP = 10,
};

void postcopy_wire_deinit(struct postcopy_wire_out *out);
size_t postcopy_wire_pending(const struct postcopy_wire_out *out);
void postcopy_wire_put(struct postcopy_wire_out *out, const void *data, size_t len);
void postcopy_wire_put_be(struct postcopy_wire_out *out, uint64_t value, size_t len_bytes);
void postcopy_wire_put_name(struct postcopy_wire_out *out, const char *name);
/* A command and its length; exactly so many bytes must follow. */
void postcopy_wire_put_command(struct postcopy_wire_out *out, enum postcopy_wire_command command,
			       size_t len);
void postcopy_wire_put_section(struct postcopy_wire_out *out, uint8_t type, uint32_t section);
/* Forget that [0, size) of block @name was ever received; QEMU deadlocks if a block gets none of these. */
void postcopy_wire_put_discard(struct postcopy_wire_out *out, const char *name, uint64_t size);
/* One page. name NULL: the block is that of the page before. page NULL: zeros. */
void postcopy_wire_put_page(struct postcopy_wire_out *out, const char *name, uint64_t offset,
			    const uint8_t *page);

/* ---- From the destination ---- */

enum postcopy_wire_kind {
	POSTCOPY_WIRE_SHUT,    /* value: 0 everything is loaded, else it failed */
	POSTCOPY_WIRE_PONG,    /* value: that of the PING */
	POSTCOPY_WIRE_REQUEST, /* [offset, offset + len) of a block */
	POSTCOPY_WIRE_BITMAP,  /* the pages of a block that it has */
	POSTCOPY_WIRE_RESUMED,
};

struct postcopy_wire_message {
	enum postcopy_wire_kind kind;
	uint32_t value;
	char block[POSTCOPY_WIRE_NAME_MAX + 1]; /* "": the block of the request before */
	uint64_t offset, len;                   /* bytes, multiples of the page size, len > 0 */
	const uint8_t *bitmap; /* within the parsed bytes; bit n % 8 of byte n / 8 is page n */
	size_t bitmap_len;
};

enum { POSTCOPY_WIRE_SHORT = 1 }; /* outcome: more bytes are needed */

/**
 * postcopy_wire_parse(m, bytes, len, bitmap_max, used, err):
 * Take one message from the beginning of @bytes.
 *
 * bitmap_max  bytes, that of the largest block
 * used        out: how many bytes it took
 *
 * Return 0, POSTCOPY_WIRE_SHORT, or -EBADMSG.
 */
int postcopy_wire_parse(struct postcopy_wire_message *m, const uint8_t *bytes, size_t len,
			size_t bitmap_max, size_t *used, struct err *err);

/* The length of a bitmap of @pages pages, as QEMU pads it. */
static inline size_t postcopy_wire_bitmap_len(uint64_t pages)
{
	return (size_t)((pages + 63) / 64 * 8);
}

#endif
