/* fat_boot.h - the boot sector of FAT12, FAT16, FAT32 and exFAT: where on the volume everything is.
 *
 * Pure: one sector in, numbers out. What is not refused is consistent in itself: all places and lengths lie within
 * `volume_size` (which may be more than there really is), every cluster from FAT_BOOT_FIRST_CLUSTER to fat_boot_last()
 * has its entry in the file allocation table, and no multiplication of them overflows.
 * Refused is what Linux does not mount. Source: Microsoft's FAT specification ("Boot Sector and BPB") and exFAT
 * specification (section 3); Linux's fs/fat/inode.c.
 */
#ifndef GODWIT_SCAN_FAT_BOOT_H
#define GODWIT_SCAN_FAT_BOOT_H

#include <stdint.h>

#include "common/err.h"

enum { FAT_BOOT_LEN = 512, FAT_BOOT_FIRST_CLUSTER = 2 };

enum fat_boot_type { FAT_BOOT_12, FAT_BOOT_16, FAT_BOOT_32, FAT_BOOT_EX };

/* Bytes, but for the clusters. */
struct fat_boot {
	enum fat_boot_type type;
	uint32_t sector_size, cluster_size; /* powers of two */
	uint64_t volume_size;
	uint64_t fat_offset, fat_length; /* of the first copy */
	unsigned fat_count,
		fat_active; /* the copy that is in use; it is kept in the others, too, if `mirrored` */
	int mirrored;
	uint64_t root_offset, root_length; /* FAT12 and FAT16: an area of its own; otherwise 0 */
	uint32_t root_cluster;             /* FAT32 and exFAT; not checked */
	uint64_t heap_offset;              /* of cluster FAT_BOOT_FIRST_CLUSTER */
	uint32_t cluster_count;            /* may be 0 */
};

/* Return 0, or -EINVAL with the reason. */
int fat_boot_parse(struct fat_boot *boot, const uint8_t sector[FAT_BOOT_LEN], struct err *err);

/* The highest cluster number; FAT_BOOT_FIRST_CLUSTER - 1 if there is none. */
uint32_t fat_boot_last(const struct fat_boot *boot);

#endif
