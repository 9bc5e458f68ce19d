/* part_probe.h - what lies where on a disk: partitions and the types of their contents, by libblkid.
 *
 * libblkid reads from a descriptor, and a sandboxed reader has none of the volume. So the places where tables and
 * signatures can be are copied into a sparse file of the volume's size, and libblkid looks at that.
 * Source: libblkid's manual; UEFI specification chapter 5 (GPT).
 */
#ifndef GODWIT_SCAN_PART_PROBE_H
#define GODWIT_SCAN_PART_PROBE_H

#include "common/err.h"
#include "mgmt-server/scan/volume_channel.h"

enum { PART_PROBE_MAX = 256 };

struct part {
	unsigned number; /* as the kernel numbers it; 0: the whole volume, it has no table */
	uint64_t offset, length;
	char type
		[32]; /* libblkid's: ext4, ntfs, vfat, LVM2_member, crypto_LUKS …; "": nothing known */
	char table_type[40]; /* GPT type GUID or MBR type, e.g. 0x27 */
	char label[64];
	bool zero;        /* nothing but zeros where signatures would be */
	bool hides_table; /* the whole volume: there are partitions, too */
};

/* Fill @parts (of PART_PROBE_MAX) in order of offset; @copy is an empty file for it. Return 0 or -errno. */
int part_probe(struct volume_channel *volume, int copy, struct part *parts, size_t *count,
	       struct err *err);

#endif
