/* reader.h - what a program that reads one file system implements, and what it may use.
 *
 * Each reader links reader_main.c, which takes the descriptors (3: volume channel, 4: entry channel), the partition's
 * offset and size, enters the sandbox and calls reader_walk. Every byte of the volume is hostile: loops, absurd sizes,
 * names with any byte, depth without end. A reader reports what it could not read; it never guesses.
 */
#ifndef GODWIT_SCAN_READER_H
#define GODWIT_SCAN_READER_H

#include <stdbool.h>
#include <stdint.h>

#include "common/err.h"
#include "mgmt-server/scan/known_files.h"
#include "mgmt-server/scan/volume_channel.h"

enum {
	READER_SCRATCH_MAX = 256 << 20, /* bytes besides holes */
	READER_INPUT_FD = 3,            /* the volume channel, or the port of the micro-VM */
	READER_PATH_MAX = 64 << 10,     /* bytes; a deeper path is reported by its inode */
	READER_FILE_MAX =
		1u << 31, /* logical bytes handed over as content; beyond: pieces, and incomplete */
};

enum reader_flags {
	READER_DELETED = 1,    /* reported on request only */
	READER_UNREADABLE = 2, /* no content: `reason` says why; makes the scan incomplete */
	READER_ENCRYPTED = 4,  /* EFS and the like; incomplete */
	READER_TRUNCATED = 8,  /* content is only the part that could be read */
	READER_UNCHANGED =
		16, /* as the earlier scan saw it: no content; all streams of that inode */
	READER_HAS_DIGEST = 32,
};

struct reader_file {
	const char *path; /* bytes as on disk, "/" separated, without a leading one */
	size_t path_len;
	const char *stream; /* "" or the name of an alternate stream */
	uint64_t inode; /* content that hard links share is reported once, under its first name */
	uint64_t size;  /* logical bytes */
	int64_t mtime, ctime; /* seconds since 1970; 0: unknown */
	unsigned flags;
	const char *reason;
	const uint8_t *digest; /* FILE_DIGEST_LEN bytes; NULL: it must be read the next time too */
};

struct reader;

/* The volume (offsets relative to the partition). */
struct volume_channel *reader_volume(struct reader *r);
/* An empty file of the reader's own for what a library wants to have in one; at most READER_SCRATCH_MAX. */
int reader_scratch(const struct reader *r);
bool reader_wants_deleted(const struct reader *r);

/**
 * reader_begin(r, file, err) / reader_data(r, buf, len, offset, err) / reader_end(r, err):
 * Report one file: open its entry, give its data in any order (holes are simply not given), close it. Files without
 * content (READER_UNREADABLE) need no data. The parent hashes exactly `size` bytes, holes as zeros.
 *
 * Return 0, or -errno when the parent is gone: then reader_walk returns it.
 */
int reader_begin(struct reader *r, const struct reader_file *file, struct err *err);
int reader_data(struct reader *r, const void *buf, size_t len, uint64_t offset, struct err *err);
int reader_end(struct reader *r, struct err *err);

/**
 * reader_run(r, at, len, offset, err):
 * Instead of reader_data, when the file's bytes from @offset on are exactly those at @at of the volume. What was given
 * last counts, as with data. Return 0; READER_AS_BYTES: this one must be given as data; or -errno.
 */
enum { READER_AS_BYTES = 1 };
int reader_run(struct reader *r, uint64_t at, uint64_t len, uint64_t offset, struct err *err);

/* Instead of reader_end, after a read error in the middle of a file. */
int reader_end_unreadable(struct reader *r, const char *reason, struct err *err);

/* What is known from an earlier scan of this volume (known_files.h); NULL: nothing, and no digests are wanted. */
const struct known_files *reader_known(const struct reader *r);

/* Did any of these bytes change since then? Yes, when nothing is known. */
bool reader_touched(const struct reader *r, uint64_t offset, uint64_t len);

enum reader_need {
	READER_NEED_CONTENT,
	READER_NEED_NAME,    /* known and unchanged: reader_unchanged() */
	READER_NEED_NOTHING, /* nobody asked for this one: leave it out */
};

/* @digest NULL: it cannot be told whether it changed. */
enum reader_need reader_need(const struct reader *r, uint64_t inode, const uint8_t *digest);
int reader_unchanged(struct reader *r, const struct reader_file *file, struct err *err);

/* Something about the volume as a whole makes the scan incomplete: a directory that cannot be read, a bad checksum. */
int reader_incomplete(struct reader *r, const char *reason, struct err *err);

/* Before any file: is the micro-VM there to read this volume with the kernel's own driver? Then a reader that cannot read
 * all of it may leave it to that one and end with 0: nothing else that it says counts. */
bool reader_has_kernel(const struct reader *r);
int reader_leave_to_kernel(struct reader *r, struct err *err);

struct reader_partition {
	unsigned number; /* 0: the whole volume */
	uint64_t offset, length;
	const char *type, *table_type, *label;
};
/* Of the partition reader only. */
int reader_partition(struct reader *r, const struct reader_partition *partition, struct err *err);

/* Implemented by each reader. 0: everything was walked; -errno: the volume cannot be read further, with the reason. */
int reader_walk(struct reader *r, struct err *err);

#endif
