/* known_files.h - what the parent tells a reader of an earlier scan: what changed since, and which files it knows.
 *
 * A sealed memfd that the reader maps. The parent is believed; the reader is not (README.md): it can only lie about the
 * volume it reads. In mode UNCHANGED a file whose digest (file_digest.h) is here and whose data lies outside of the
 * changed extents is not read again. In mode ONLY nothing but the named inodes is read, and nothing else is reported. In mode
 * NAMES no content is read where that can be helped.
 * Same machine, same build: native byte order.
 */
#ifndef GODWIT_SCAN_KNOWN_FILES_H
#define GODWIT_SCAN_KNOWN_FILES_H

#include "common/base.h"
#include "mgmt-server/scan/file_digest.h"
#include "snapshot/volume_diff.h"

enum known_files_mode { KNOWN_FILES_UNCHANGED, KNOWN_FILES_ONLY, KNOWN_FILES_NAMES };

struct known_file {
	uint64_t inode;
	uint8_t digest[FILE_DIGEST_LEN]; /* of no meaning in mode ONLY */
};

struct known_files {
	enum known_files_mode mode;
	const struct volume_extent *changed; /* relative to the partition, ascending */
	size_t changed_count;
	const struct known_file *files; /* ascending by inode, each once */
	size_t file_count;
	void *map; /* the reader's; NULL in the parent */
	size_t map_len;
};

/* Return a descriptor or -errno. */
int known_files_send(const struct known_files *known, struct err *err);

/* The reader's side: map what known_files_send made. Return 0 or -errno. */
int known_files_map(struct known_files *known, int fd, struct err *err);
void known_files_unmap(struct known_files *known);

/* NULL: not there. */
const struct known_file *known_files_find(const struct known_files *known, uint64_t inode);

#endif
