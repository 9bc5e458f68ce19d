#include "mgmt-server/scan/fat_volume.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "common/base.h"
#include "common/le.h"

enum link { LINK_NEXT, LINK_END, LINK_FREE, LINK_BAD, LINK_OUTSIDE, LINK_UNREADABLE };

enum {
	EXFAT_BOOT_SECTORS = 12,   /* the last of them holds the checksum of the others */
	LINK_MASK_32 = 0x0fffffff, /* the other bits mean nothing on FAT32 */
};

/* ---- the table ---- */

/* The raw entry of @cluster, in 32 bits: what is above LAST_LINK - 7 there is so in each type. */
static int raw_link(const struct fat_volume *v, uint64_t table, uint64_t cluster, uint32_t *out)
{
	uint8_t raw[4] = { 0 };
	bool wide = v->boot.type == FAT_BOOT_32 || v->boot.type == FAT_BOOT_EX;
	uint64_t at = wide                          ? 4 * cluster
		      : v->boot.type == FAT_BOOT_16 ? 2 * cluster
						    : cluster + cluster / 2;
	int r = volume_channel_read(v->channel, raw, wide ? 4 : 2, table + at);

	if (r < 0)
		return r;
	*out = le_get32(raw);
	if (v->boot.type == FAT_BOOT_12)
		*out = cluster & 1 ? *out >> 4 : *out & 0xfff;
	if (v->boot.type == FAT_BOOT_32)
		*out &= LINK_MASK_32;
	return 0;
}

/* The largest value that an entry can have; from seven below it on it means an end, and eight below a bad cluster. */
static uint32_t link_max(const struct fat_volume *v)
{
	static const uint32_t max[] = { [FAT_BOOT_12] = 0xfff,
					[FAT_BOOT_16] = 0xffff,
					[FAT_BOOT_32] = LINK_MASK_32,
					[FAT_BOOT_EX] = UINT32_MAX };

	return max[v->boot.type];
}

static bool is_cluster(const struct fat_volume *v, uint64_t cluster)
{
	return cluster >= FAT_BOOT_FIRST_CLUSTER && cluster <= fat_boot_last(&v->boot);
}

static enum link link_of(const struct fat_volume *v, uint32_t cluster, uint32_t *next)
{
	uint32_t max = link_max(v);
	uint64_t table = v->boot.fat_offset + v->boot.fat_active * v->boot.fat_length;

	if (raw_link(v, table, cluster, next) < 0)
		return LINK_UNREADABLE;
	if (is_cluster(v, *next))
		return LINK_NEXT;
	if (*next > max - 8)
		return LINK_END;
	return !*next ? LINK_FREE : *next == max - 8 ? LINK_BAD : LINK_OUTSIDE;
}

/* ---- opening ---- */

static int check_tables(struct fat_volume *v, struct err *err)
{
	uint32_t max = link_max(v), first;

	for (unsigned i = 0; i < v->boot.fat_count && !v->doubt[0]; i++) {
		uint64_t table = v->boot.fat_offset + i * v->boot.fat_length;
		int r = raw_link(v, table, 0, &first);

		if (r < 0)
			return err_set(err, -r, "read the file allocation table");
		/* Entry 0 is the media byte, which is f0 or above, with ones before it. */
		if ((first | 0xf) != max)
			snprintf(v->doubt, sizeof(v->doubt),
				 "a file allocation table does not begin where the boot sector "
				 "says");
	}
	if (!v->doubt[0] && v->boot.fat_active)
		snprintf(v->doubt, sizeof(v->doubt),
			 "its file allocation tables differ, and drivers do not agree which one "
			 "counts");
	return 0;
}

/* Source: exFAT specification, section 3.4. */
static int check_exfat_boot(struct fat_volume *v, struct err *err)
{
	static uint8_t raw[EXFAT_BOOT_SECTORS * 4096];
	uint32_t sector = v->boot.sector_size, sum = 0;
	uint32_t end = (EXFAT_BOOT_SECTORS - 1) * sector;
	int r = volume_channel_read(v->channel, raw, end + sector, 0);

	if (r < 0)
		return err_set(err, -r, "read the boot sectors");
	for (uint32_t i = 0; i < end; i++) {
		if (i != 106 && i != 107 && i != 112) /* flags and per cent in use change */
			sum = (sum << 31 | sum >> 1) + raw[i];
	}
	for (uint32_t i = end; i < end + sector && !v->doubt[0]; i += 4) {
		if (le_get32(raw + i) != sum)
			snprintf(v->doubt, sizeof(v->doubt),
				 "the checksum of its boot sectors is wrong");
	}
	return 0;
}

int fat_volume_open(struct fat_volume *v, struct volume_channel *channel, struct err *err)
{
	uint8_t sector[FAT_BOOT_LEN];
	uint64_t size = volume_channel_size(channel);
	int r = volume_channel_read(channel, sector, sizeof(sector), 0);

	*v = (struct fat_volume){ .channel = channel };
	if (r < 0)
		return err_set(err, -r, "read the boot sector");
	r = fat_boot_parse(&v->boot, sector, err);
	if (r == 0 && v->boot.volume_size > size)
		snprintf(v->doubt, sizeof(v->doubt),
			 "truncated: the file system has %llu bytes, its partition %llu",
			 (unsigned long long)v->boot.volume_size, (unsigned long long)size);
	if (r == 0)
		r = check_tables(v, err);
	if (r == 0 && v->boot.type == FAT_BOOT_EX)
		r = check_exfat_boot(v, err);
	return r;
}

/* ---- chains ---- */

static void end_with(struct fat_chain *c, const char *problem)
{
	c->ended = true;
	snprintf(c->problem, sizeof(c->problem), "%s", problem);
}

static void follow_link(struct fat_chain *c)
{
	static const char *const problems[] = {
		[LINK_END] = "its chain of clusters ends too early",
		[LINK_FREE] = "its chain of clusters leads to one that is free",
		[LINK_BAD] = "its chain of clusters leads to one that is bad",
		[LINK_OUTSIDE] = "its chain of clusters leads out of the volume",
		[LINK_UNREADABLE] = "its chain of clusters cannot be read",
	};
	uint32_t next;
	enum link link = link_of(c->volume, c->next, &next);

	if (link == LINK_END && c->to_its_end) {
		c->ended = true;
	} else if (link != LINK_NEXT) {
		end_with(c, problems[link]);
	} else if (next == c->mark) {
		end_with(c, "its chain of clusters is a circle");
	} else {
		c->next = next;
		if (++c->steps == c->lap) {
			c->mark = next;
			c->lap *= 2;
			c->steps = 0;
		}
	}
}

static bool is_free(const struct fat_volume *v, uint32_t cluster)
{
	uint32_t next;

	return is_cluster(v, cluster) && link_of(v, cluster, &next) == LINK_FREE;
}

static void advance(struct fat_chain *c)
{
	if (c->way == FAT_CHAIN_LINKED) {
		follow_link(c);
		return;
	}
	c->next++;
	if (!is_cluster(c->volume, c->next))
		end_with(c, "its clusters lead out of the volume");
	else if (c->way == FAT_CHAIN_FREED && !is_free(c->volume, c->next))
		end_with(c, "its clusters are in use again");
}

void fat_chain_begin(struct fat_chain *c, const struct fat_volume *v, uint32_t first, uint64_t len,
		     enum fat_chain_way way)
{
	*c = (struct fat_chain){ .volume = v,
				 .way = way,
				 .to_its_end = len == (uint64_t)FAT_CHAIN_TO_ITS_END,
				 .next = first,
				 .left = len,
				 .mark = first,
				 .lap = 2 };
	if (!len)
		c->ended = true;
	else if (!is_cluster(v, first))
		end_with(c, "its first cluster is not on the volume");
	else if (way == FAT_CHAIN_FREED && !is_free(v, first))
		end_with(c, "its clusters are in use again");
}

int fat_chain_next(struct fat_chain *c, struct fat_run *run)
{
	uint64_t cluster_size = c->volume->boot.cluster_size, length = 0;
	uint32_t first = c->next, expected = first;

	if (c->ended)
		return FAT_CHAIN_ENDED;
	do {
		length += cluster_size;
		expected++;
		if (length >= c->left)
			c->ended =
				true; /* the rest of the chain, if there is one, does not matter */
		else
			advance(c);
	} while (!c->ended && c->next == expected);
	*run = (struct fat_run){
		.offset = c->volume->boot.heap_offset +
			  (uint64_t)(first - FAT_BOOT_FIRST_CLUSTER) * cluster_size,
		.length = length < c->left ? length : c->left,
	};
	if (!c->to_its_end)
		c->left -= run->length;
	return 0;
}
