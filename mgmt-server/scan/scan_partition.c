#include "mgmt-server/scan/scan_partition.h"

#include <string.h>
#include <strings.h>

#include "common/base.h"

/* Source: libblkid/src/superblocks for the names. */
static const struct scan_partition_rule by_type[] = {
	{ "ext2", SCAN_WAY_READER, "godwit-scan-ext" },
	{ "ext3", SCAN_WAY_READER, "godwit-scan-ext" },
	{ "ext4", SCAN_WAY_READER, "godwit-scan-ext" },
	{ "ext4dev", SCAN_WAY_READER, "godwit-scan-ext" },
	{ "ntfs", SCAN_WAY_READER, "godwit-scan-ntfs" },
	{ "vfat", SCAN_WAY_READER, "godwit-scan-fat" },
	{ "exfat", SCAN_WAY_READER, "godwit-scan-fat" },
	{ "xfs", SCAN_WAY_VM, "" },
	{ "btrfs", SCAN_WAY_VM, "" },
	{ "f2fs", SCAN_WAY_VM, "" },
	{ "jfs", SCAN_WAY_VM, "" },
	{ "reiserfs", SCAN_WAY_VM, "" },
	{ "squashfs", SCAN_WAY_VM, "" },
	{ "erofs", SCAN_WAY_VM, "" },
	{ "iso9660", SCAN_WAY_VM, "" },
	{ "udf", SCAN_WAY_VM, "" },
	{ "hfsplus", SCAN_WAY_VM, "" },
	{ "LVM2_member", SCAN_WAY_VM_GROUP, "" },
	{ "swap", SCAN_WAY_RAW, "swap" },
	{ "swsuspend", SCAN_WAY_RAW, "swap" },
	{ "zero", SCAN_WAY_ZEROS, "zeros" },
	{ "crypto_LUKS", SCAN_WAY_INCOMPLETE, "encrypted" },
	{ "BitLocker", SCAN_WAY_INCOMPLETE, "encrypted" },
	{ "beyond-end", SCAN_WAY_INCOMPLETE, "truncated" },
};

/* Partitions that hold no file system, by what their table calls them. Source: UEFI specification table 5-7; GRUB's
 * manual "BIOS installation"; Microsoft's "Windows and GPT FAQ". */
static const struct scan_partition_rule by_table_type[] = {
	{ "21686148-6449-6e6f-744e-656564454649", SCAN_WAY_RAW, "BIOS boot" },
	{ "e3c9e316-0b5c-4db8-817d-f92df00215ae", SCAN_WAY_RAW, "Microsoft reserved" },
	{ "9e1a2d38-c612-4316-aa26-8b49521e5a8b", SCAN_WAY_RAW, "PReP boot" },
};

static const struct scan_partition_rule unknown = { "", SCAN_WAY_INCOMPLETE, "unknown" };

const struct scan_partition_rule *scan_partition_rule(const char *type, const char *table_type)
{
	for (size_t i = 0; i < ARRAY_LEN(by_type); i++) {
		if (!strcmp(type, by_type[i].type))
			return &by_type[i];
	}
	for (size_t i = 0; !type[0] && i < ARRAY_LEN(by_table_type); i++) {
		if (!strcasecmp(table_type, by_table_type[i].type))
			return &by_table_type[i];
	}
	return &unknown;
}
