#include "mgmt-server/scan/ntfs_record.h"

#include <string.h>

#include "common/le.h"

enum {
	ATTRIBUTE_END = -1,
	RESIDENT_LEN_MIN = 24,
	NON_RESIDENT_LEN_MIN = 64,
	HEADER_LEN_MIN = 42,
	SECTOR = 512, /* of the update sequence, whatever the disk's is */
	RECORD_MIN = 1024,
	CLUSTER_MAX = 2 << 20,
	IN_USE = 1,
};

static bool is_power_of_two(uint64_t n)
{
	return n && !(n & (n - 1));
}

bool ntfs_record_geometry(struct ntfs_geometry *out, const uint8_t boot[NTFS_RECORD_BOOT_LEN],
			  uint64_t volume_size)
{
	uint64_t sector = le_get16(boot + 11), table = le_get64(boot + 48);
	int8_t per_cluster = (int8_t)boot[13], per_record = (int8_t)boot[64];

	if (memcmp(boot + 3, "NTFS    ", 8) != 0 || sector < 256 || sector > 4096 || !per_cluster)
		return false;
	out->volume_size = volume_size;
	out->cluster = per_cluster > 0     ? sector * (uint64_t)per_cluster
		       : per_cluster > -32 ? sector << (unsigned)-per_cluster
					   : 0;
	if (boot[13] == 0x80)
		out->cluster = sector * 128;
	if (!is_power_of_two(out->cluster) || out->cluster > CLUSTER_MAX)
		return false;
	out->record_size = per_record > 0     ? out->cluster * (uint64_t)per_record
			   : per_record > -32 ? 1ULL << -per_record
					      : 0;
	out->table_offset = table * out->cluster;
	return is_power_of_two(out->record_size) && out->record_size >= RECORD_MIN &&
	       out->record_size <= NTFS_RECORD_MAX && table < UINT64_MAX / out->cluster;
}

bool ntfs_record_fix_up(uint8_t *record, uint64_t size)
{
	unsigned at = le_get16(record + 4), count = le_get16(record + 6);

	if (memcmp(record, "FILE", 4) != 0 || count != size / SECTOR + 1 || at < HEADER_LEN_MIN ||
	    at + 2 * count > SECTOR - 2)
		return false;
	for (unsigned i = 1; i < count; i++) {
		uint8_t *end = record + i * SECTOR - 2;

		if (memcmp(end, record + at, 2) != 0)
			return false;
		memcpy(end, record + at + 2 * i, 2);
	}
	return true;
}

bool ntfs_record_in_use(const uint8_t *record)
{
	return le_get16(record + 22) & IN_USE;
}

uint16_t ntfs_record_sequence(const uint8_t *record)
{
	return le_get16(record + 16);
}

uint64_t ntfs_record_base(const uint8_t *record)
{
	return le_get64(record + 32);
}

bool ntfs_record_begin(struct ntfs_record_walk *walk, const uint8_t *record, uint64_t size)
{
	*walk = (struct ntfs_record_walk){ .record = record,
					   .used = le_get32(record + 24),
					   .offset = le_get16(record + 20),
					   .sound = true };
	return walk->used <= size && walk->offset >= HEADER_LEN_MIN;
}

bool ntfs_record_next(struct ntfs_record_walk *walk, struct ntfs_attribute *a)
{
	uint32_t left = walk->offset < walk->used ? walk->used - walk->offset : 0;

	if (walk->offset % 8 || left < 4) {
		walk->sound = false;
		return false;
	}
	a->bytes = walk->record + walk->offset;
	a->type = le_get32(a->bytes);
	if (a->type == (uint32_t)ATTRIBUTE_END)
		return false;
	if (left < RESIDENT_LEN_MIN) {
		walk->sound = false;
		return false;
	}
	a->len = le_get32(a->bytes + 4);
	a->resident = a->bytes[8] == 0;
	a->name_len = a->bytes[9];
	if (a->len < RESIDENT_LEN_MIN || a->len > left || a->bytes[8] > 1 ||
	    (!a->resident && a->len < NON_RESIDENT_LEN_MIN)) {
		walk->sound = false;
		return false;
	}
	walk->offset += a->len;
	return true;
}

const uint8_t *ntfs_record_value(const struct ntfs_attribute *a, uint32_t *len)
{
	uint32_t at = le_get16(a->bytes + 20);

	*len = le_get32(a->bytes + 16);
	return a->resident && at <= a->len && *len <= a->len - at ? a->bytes + at : NULL;
}

static uint64_t number_of(const uint8_t *bytes, unsigned len, bool is_signed)
{
	uint64_t value = is_signed && len && bytes[len - 1] & 0x80 ? UINT64_MAX : 0;

	for (unsigned i = len; i--;)
		value = value << 8 | bytes[i];
	return value;
}

bool ntfs_record_runs(const struct ntfs_geometry *g, const struct ntfs_attribute *a,
		      ntfs_record_run_fn *fn, void *ctx)
{
	uint64_t clusters = g->volume_size / g->cluster, lcn = 0;
	uint32_t at = le_get16(a->bytes + 32);

	while (at < a->len && a->bytes[at]) {
		unsigned count_len = a->bytes[at] & 15, lcn_len = a->bytes[at] >> 4;
		struct ntfs_run run = { .hole = !lcn_len };
		uint64_t count;

		if (!count_len || count_len > 8 || lcn_len > 8 ||
		    at + 1 + count_len + lcn_len > a->len)
			return false;
		count = number_of(a->bytes + at + 1, count_len, false);
		lcn += number_of(a->bytes + at + 1 + count_len, lcn_len, true);
		at += 1 + count_len + lcn_len;
		if (!count || count > UINT64_MAX / g->cluster)
			return false;
		if (!run.hole && (lcn > clusters || count > clusters - lcn))
			return false;
		run.offset = run.hole ? 0 : lcn * g->cluster;
		run.length = count * g->cluster;
		if (!fn(ctx, &run))
			return false;
	}
	return at < a->len;
}
