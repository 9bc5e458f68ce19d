#include "mgmt-server/scan/scan_partition.h"

#include <string.h>
#include <strings.h>

#include "common/base.h"

/* Source: libblkid/src/superblocks for the names. */
static const struct scan_partition_rule by_type[] = {
	{ "ext2", SCAN_WAY_READER, "godwit-scan-ext", "ext4" },
	{ "ext3", SCAN_WAY_READER, "godwit-scan-ext", "ext4" },
	{ "ext4", SCAN_WAY_READER, "godwit-scan-ext", "ext4" },
	{ "ext4dev", SCAN_WAY_READER, "godwit-scan-ext", "ext4" },
	{ "ntfs", SCAN_WAY_READER, "godwit-scan-ntfs", NULL },
	{ "vfat", SCAN_WAY_READER, "godwit-scan-fat", NULL },
	{ "exfat", SCAN_WAY_READER, "godwit-scan-fat", NULL },
	{ "xfs", SCAN_WAY_VM, "", NULL },
	{ "btrfs", SCAN_WAY_VM, "", NULL },
	{ "f2fs", SCAN_WAY_VM, "", NULL },
	{ "jfs", SCAN_WAY_VM, "", NULL },
	{ "reiserfs", SCAN_WAY_VM, "", NULL },
	{ "squashfs", SCAN_WAY_VM, "", NULL },
	{ "erofs", SCAN_WAY_VM, "", NULL },
	{ "iso9660", SCAN_WAY_VM, "", NULL },
	{ "udf", SCAN_WAY_VM, "", NULL },
	{ "hfsplus", SCAN_WAY_VM, "", NULL },
	{ "LVM2_member", SCAN_WAY_VM_GROUP, "", NULL },
	{ "swap", SCAN_WAY_RAW, "swap", NULL },
	{ "swsuspend", SCAN_WAY_RAW, "swap", NULL },
	{ "zero", SCAN_WAY_ZEROS, "zeros", NULL },
	{ "crypto_LUKS", SCAN_WAY_INCOMPLETE, "encrypted", NULL },
	{ "BitLocker", SCAN_WAY_INCOMPLETE, "encrypted", NULL },
	{ "beyond-end", SCAN_WAY_INCOMPLETE, "truncated", NULL },
};

/* Partitions that hold no file system, by what their table calls them. Source: UEFI specification table 5-7; GRUB's
 * manual "BIOS installation"; Microsoft's "Windows and GPT FAQ". */
static const struct scan_partition_rule by_table_type[] = {
	{ "21686148-6449-6e6f-744e-656564454649", SCAN_WAY_RAW, "BIOS boot", NULL },
	{ "e3c9e316-0b5c-4db8-817d-f92df00215ae", SCAN_WAY_RAW, "Microsoft reserved", NULL },
	{ "9e1a2d38-c612-4316-aa26-8b49521e5a8b", SCAN_WAY_RAW, "PReP boot", NULL },
};

static const struct scan_partition_rule unknown = { "", SCAN_WAY_INCOMPLETE, "unknown", NULL };

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
