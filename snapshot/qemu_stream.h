/* qemu_stream.h - QEMU's migration stream, taken apart into page-addressed RAM blocks and opaque rest, and put together.
 *
 * Only the RAM sections are understood: everything before the first page is the `head` (magic, configuration, RAM
 * section start with the block list), everything from the first device section on is the `tail`, both kept verbatim.
 * Nothing is copied: an index says where in the spooled file each page's bytes lie. The stream is untrusted.
 * Source: QEMU 10.0 docs/devel/migration, migration/ram.c; DESIGN.md section 6.
 */
#ifndef GODWIT_SNAPSHOT_QEMU_STREAM_H
#define GODWIT_SNAPSHOT_QEMU_STREAM_H

#include "common/base.h"
#include "snapshot/volume.h"

enum {
	QEMU_STREAM_PAGE = 4096,
	QEMU_STREAM_BLOCKS_MAX = 64,
	QEMU_STREAM_NAME_MAX = 255,
	QEMU_STREAM_TAIL_MAX = 256 << 20,
};

struct qemu_stream_block {
	char name[QEMU_STREAM_NAME_MAX + 1]; /* pc.ram, vga.vram, 0000:00:02.0/… */
	uint64_t size;                       /* bytes, a multiple of the page size */
	uint64_t *page_at; /* offset of each page in the file; 0: zeros or never sent */
	int fd;            /* the stream's */
};

struct qemu_stream {
	int fd;                     /* the spooled stream; not owned */
	uint32_t ram_section;       /* id of the RAM section */
	uint64_t head_len;          /* [0, head_len) */
	uint64_t tail_at, tail_len; /* [tail_at, tail_at + tail_len) */
	size_t block_count;
	struct qemu_stream_block blocks[QEMU_STREAM_BLOCKS_MAX];
};

/**
 * qemu_stream_index(out, fd, ram_max, err):
 * Index the complete stream in @fd (a memfd or file, read with pread). ram_max: the sum of block sizes that is accepted.
 *
 * Return 0, -EBADMSG naming the offset and what is wrong there ("… at offset 8211: page beyond the end of block pc.ram"),
 * -EMSGSIZE for too much RAM, or -errno.
 */
int qemu_stream_index(struct qemu_stream **out, int fd, uint64_t ram_max, struct err *err);
void qemu_stream_free(struct qemu_stream *stream);
DEFINE_CLEANUP(struct qemu_stream *, qemu_stream_free);

/* Block @i as the input of volume_put: page-addressed, zeros known without reading. Lives as long as @stream. */
struct volume_input qemu_stream_block_input(struct qemu_stream *stream, size_t i);
/* The head and the tail as inputs. */
struct volume_input qemu_stream_head_input(struct qemu_stream *stream);
struct volume_input qemu_stream_tail_input(struct qemu_stream *stream);

/**
 * qemu_stream_instant_reached(bytes, len):
 * Has the first RAM SECTION_PART begun within these first @len bytes of a background snapshot? Then all of memory is
 * write-protected and the guest may go on.
 *
 * Return 1 yes, 0 not yet, -EBADMSG when these bytes cannot be such a stream.
 */
int qemu_stream_instant_reached(const uint8_t *bytes, size_t len);

/**
 * qemu_stream_devices_len(tail, len, devices_len, err):
 * A tail is device sections, an end mark, and a JSON text that describes them for people. A stream that goes on after
 * the devices (postcopy's package) must do without the latter two.
 *
 * tail  the tail, or its last bytes with all of the description
 * devices_len  out, bytes of @tail before the end mark
 *
 * Return 0, or -EBADMSG when it does not end like a whole stream.
 */
int qemu_stream_devices_len(const uint8_t *tail, size_t len, size_t *devices_len, struct err *err);

struct qemu_stream_join_block {
	const char *name;
	uint64_t size;
	struct volume_reader *pages;
};
struct qemu_stream_join {
	const uint8_t *head, *tail;
	size_t head_len, tail_len, block_count;
	const struct qemu_stream_join_block *blocks; /* in the order of the head's list */
};
/**
 * qemu_stream_join(parts, fd, err):
 * Write a stream that `-incoming` loads into @fd. Pages of zeros are left out in blocks of 64 MiB and more only:
 * the destination's small and ROM blocks do not start as zeros.
 *
 * Return 0, -EBADMSG for a head that makes no sense, -EINVAL when the blocks are not those of its list, -errno of
 * reading or writing (-EPIPE when QEMU went away).
 */
int qemu_stream_join(const struct qemu_stream_join *parts, int fd, struct err *err);

#endif
