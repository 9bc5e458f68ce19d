/* ova_file.h - where the disks lie in an OVA: an uncompressed tar of a description (.ovf) and disk images.
 *
 * The file is untrusted: sizes and offsets are checked against the file's. Source: DMTF DSP0243 section 5.2; POSIX ustar.
 */
#ifndef GODWIT_SNAPSHOT_OVA_FILE_H
#define GODWIT_SNAPSHOT_OVA_FILE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/err.h"

enum { OVA_FILE_DISKS_MAX = 32, OVA_FILE_NAME_MAX = 100, OVA_FILE_BLOCK = 512 };

struct ova_file_disk {
	char name[OVA_FILE_NAME_MAX + 1];
	uint64_t offset, size; /* bytes in the OVA */
};

/* The images named *.vmdk, in their order. Return 0, -EINVAL for what is no such tar, or -errno. */
int ova_file_disks(int fd, struct ova_file_disk *disks, size_t *count, struct err *err);

/* One tar header; for fuzzing as well. *is_end: the block of zeros that ends an archive. Return 0 or -EINVAL. */
int ova_file_parse_header(const uint8_t header[OVA_FILE_BLOCK], struct ova_file_disk *member,
			  bool *is_end, struct err *err);

#endif
