/* qemu_stream_head.h - the head of a migration stream: what comes before the first page.
 *
 * Magic, configuration section (machine name and its subsections) and the RAM section's start with the list of blocks.
 * The bytes are untrusted: every length is bounded, every error names the offset. Nothing is copied but the names.
 * Source: QEMU 10.0 migration/savevm.c (vmstate_configuration), migration/ram.c (ram_save_setup).
 */
#ifndef GODWIT_SNAPSHOT_QEMU_STREAM_HEAD_H
#define GODWIT_SNAPSHOT_QEMU_STREAM_HEAD_H

#include <stddef.h>
#include <stdint.h>

#include "common/err.h"
#include "snapshot/qemu_stream.h"

enum {
	QEMU_STREAM_HEAD_MAX = 64 << 10, /* bytes; 64 blocks with the longest names need 17 KiB */
	QEMU_STREAM_HEAD_SHORT = 1,      /* outcome: so far right, but more bytes are needed */
};

/* Section types. Source: QEMU_VM_* in migration/savevm.h. */
enum {
	QEMU_STREAM_HEAD_EOF = 0x00,
	QEMU_STREAM_HEAD_START = 0x01,
	QEMU_STREAM_HEAD_PART = 0x02,
	QEMU_STREAM_HEAD_END = 0x03,
	QEMU_STREAM_HEAD_FULL = 0x04,
	QEMU_STREAM_HEAD_SUBSECTION = 0x05,
	QEMU_STREAM_HEAD_DESCRIPTION = 0x06,
	QEMU_STREAM_HEAD_CONFIGURATION = 0x07,
	QEMU_STREAM_HEAD_COMMAND = 0x08,
	QEMU_STREAM_HEAD_FOOTER = 0x7e,
};

/* What stands in the low bits of a RAM record's address. Source: RAM_SAVE_FLAG_* in migration/ram.c. */
enum {
	QEMU_STREAM_HEAD_RAM_ZERO = 0x02,
	QEMU_STREAM_HEAD_RAM_MEM_SIZE = 0x04,
	QEMU_STREAM_HEAD_RAM_PAGE = 0x08,
	QEMU_STREAM_HEAD_RAM_EOS = 0x10,
	QEMU_STREAM_HEAD_RAM_CONTINUE = 0x20,
	QEMU_STREAM_HEAD_RAM_MULTIFD_FLUSH = 0x200,
};

struct qemu_stream_head {
	size_t configuration_len; /* [0, this): magic and configuration; postcopy's commands go behind it */
	size_t len;               /* [0, this): the whole head; a RAM SECTION_PART follows */
	uint32_t ram_section;
	size_t block_count;
	struct qemu_stream_head_block {
		char name[QEMU_STREAM_NAME_MAX + 1];
		uint64_t size; /* bytes, a multiple of QEMU_STREAM_PAGE, not 0 */
	} blocks[QEMU_STREAM_BLOCKS_MAX];
};

/**
 * qemu_stream_head_parse(head, bytes, len, err):
 * bytes  from the stream's first on; more than the head is allowed
 *
 * Return 0, QEMU_STREAM_HEAD_SHORT, or -EBADMSG with offset and reason.
 */
int qemu_stream_head_parse(struct qemu_stream_head *head, const uint8_t *bytes, size_t len,
			   struct err *err);

/* Big-endian numbers, as everywhere in the stream. */
static inline uint32_t qemu_stream_head_be32(const uint8_t *p)
{
	return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

static inline uint64_t qemu_stream_head_be64(const uint8_t *p)
{
	return (uint64_t)qemu_stream_head_be32(p) << 32 | qemu_stream_head_be32(p + 4);
}

#endif
