#include "mgmt-server/scan/fat_boot.h"

#include <errno.h>
#include <stdbool.h>
#include <string.h>

#include "common/base.h"
#include "common/le.h"

enum {
	ENTRY_LEN = 32,
	SECTOR_MIN = 512,
	SECTOR_MAX = 4096,
	FAT32_NOT_MIRRORED = 0x80,
	FAT32_ACTIVE = 0x0f,
	EXFAT_CLUSTER_SHIFT_MAX = 25,
	EXFAT_FATS_MAX = 2,
};

/* The most clusters that each has, and the bits of an entry of its table. */
static const struct {
	uint32_t clusters_max, entry_bits;
} kinds[] = {
	[FAT_BOOT_12] = { 0xff4, 12 },
	[FAT_BOOT_16] = { 0xfff4, 16 },
	[FAT_BOOT_32] = { 0xffffff5, 32 },
	[FAT_BOOT_EX] = { 0xfffffff5, 32 },
};

static bool is_power_of_2(uint32_t n)
{
	return n && !(n & (n - 1));
}

uint32_t fat_boot_last(const struct fat_boot *b)
{
	return FAT_BOOT_FIRST_CLUSTER - 1 + b->cluster_count;
}

/* No more clusters than the table has entries for. */
static void fit_clusters(struct fat_boot *b, uint64_t clusters)
{
	uint64_t entries = b->fat_length * 8 / kinds[b->type].entry_bits;
	uint64_t most = entries > FAT_BOOT_FIRST_CLUSTER ? entries - FAT_BOOT_FIRST_CLUSTER : 0;

	b->cluster_count = (uint32_t)(clusters < most ? clusters : most);
}

/* ---- FAT12, FAT16, FAT32 ---- */

static const char *check_bpb(const uint8_t *s)
{
	uint32_t sector = le_get16(s + 11);

	if (sector < SECTOR_MIN || sector > SECTOR_MAX || !is_power_of_2(sector))
		return "its sector size is impossible";
	if (!is_power_of_2(s[13]))
		return "its cluster size is impossible";
	if (!le_get16(s + 14) || !s[16])
		return "it has no reserved sectors or no file allocation table";
	if (s[21] != 0xf0 && s[21] < 0xf8)
		return "its media byte is impossible";
	if (le_get16(s + 17) * (uint32_t)ENTRY_LEN % sector)
		return "its root folder is no number of sectors";
	return NULL;
}

static const char *parse_fat(struct fat_boot *b, const uint8_t *s)
{
	uint64_t sectors = le_get16(s + 19) ? le_get16(s + 19) : le_get32(s + 32);
	uint64_t fat_sectors = le_get16(s + 22), clusters;
	const char *why = check_bpb(s);

	if (why)
		return why;
	b->sector_size = le_get16(s + 11);
	b->cluster_size = b->sector_size * s[13];
	b->volume_size = sectors * b->sector_size;
	b->fat_count = s[16];
	if (!fat_sectors) {
		b->type = FAT_BOOT_32;
		fat_sectors = le_get32(s + 36);
		b->root_cluster = le_get32(s + 44);
		b->fat_active = s[40] & FAT32_NOT_MIRRORED ? s[40] & FAT32_ACTIVE : 0;
	}
	b->fat_offset = (uint64_t)le_get16(s + 14) * b->sector_size;
	b->fat_length = fat_sectors * b->sector_size;
	b->root_offset = b->fat_offset + b->fat_count * b->fat_length;
	b->heap_offset = b->root_offset + le_get16(s + 17) * (uint64_t)ENTRY_LEN;
	if (!fat_sectors || b->fat_active >= b->fat_count || b->heap_offset > b->volume_size)
		return "its file allocation tables do not fit";
	clusters = (b->volume_size - b->heap_offset) / b->cluster_size;
	if (b->type != FAT_BOOT_32)
		b->type = clusters > kinds[FAT_BOOT_12].clusters_max ? FAT_BOOT_16 : FAT_BOOT_12;
	if (b->type == FAT_BOOT_32)
		b->root_offset = 0; /* what lies between the tables and the clusters is no folder */
	else
		b->root_length = b->heap_offset - b->root_offset;
	fit_clusters(b, clusters);
	return b->cluster_count > kinds[b->type].clusters_max ? "it has too many clusters" : NULL;
}

/* ---- exFAT ---- */

static const char *parse_exfat(struct fat_boot *b, const uint8_t *s)
{
	uint64_t sectors = le_get64(s + 72);
	unsigned sector_shift = s[108], cluster_shift = s[109];
	uint32_t clusters = le_get32(s + 92);

	b->type = FAT_BOOT_EX;
	if (sector_shift < 9 || sector_shift > 12)
		return "its sector size is impossible";
	if (cluster_shift > EXFAT_CLUSTER_SHIFT_MAX - sector_shift)
		return "its cluster size is impossible";
	if (sectors > UINT64_MAX >> sector_shift)
		return "its size is impossible";
	b->sector_size = 1U << sector_shift;
	b->cluster_size = b->sector_size << cluster_shift;
	b->volume_size = sectors << sector_shift;
	b->fat_offset = (uint64_t)le_get32(s + 80) << sector_shift;
	b->fat_length = (uint64_t)le_get32(s + 84) << sector_shift;
	b->heap_offset = (uint64_t)le_get32(s + 88) << sector_shift;
	b->root_cluster = le_get32(s + 96);
	b->fat_count = s[110];
	b->fat_active = s[106] & 1;
	if (!b->fat_count || b->fat_count > EXFAT_FATS_MAX || b->fat_active >= b->fat_count ||
	    !b->fat_length || b->fat_offset + b->fat_count * b->fat_length > b->heap_offset)
		return "its file allocation tables do not fit";
	if (b->heap_offset > b->volume_size ||
	    clusters > (b->volume_size - b->heap_offset) / b->cluster_size ||
	    clusters > kinds[FAT_BOOT_EX].clusters_max)
		return "it has too many clusters";
	fit_clusters(b, clusters);
	return b->cluster_count < clusters ? "its file allocation table is too short" : NULL;
}

int fat_boot_parse(struct fat_boot *b, const uint8_t sector[FAT_BOOT_LEN], struct err *err)
{
	static const char exfat[] = "EXFAT   ";
	bool ex = !memcmp(sector + 3, exfat, sizeof(exfat) - 1);
	const char *why;

	*b = (struct fat_boot){ .type = FAT_BOOT_12 };
	why = ex ? parse_exfat(b, sector) : parse_fat(b, sector);
	return why ? err_say(err, EINVAL, "the boot sector of %s makes no sense: %s",
			     ex ? "exFAT" : "FAT", why)
		   : 0;
}
