#include "mgmt-server/scan/exfat_entries.h"

#include <string.h>

#include "common/le.h"

enum {
	IN_USE = 0x80,
	SECONDARY = 0x40,
	BENIGN = 0x20, /* who does not know it may pass over it */
	FILE_ENTRY = 0x85,
	STREAM_ENTRY = 0xc0,
	NAME_ENTRY = 0xc1,
	NAME_UNITS = 15,
	NAME_UNITS_MAX = 255,
	ATTRIBUTE_FOLDER = 0x10,
	HAS_CLUSTERS = 0x01, /* flags of a stream */
	NO_FAT_CHAIN = 0x02,
	ZONE_VALID = 0x80, /* in quarters of an hour, seven bits and a sign */
};

/* Where the fields of a file's and a stream's entries are. */
enum {
	AT_SET_SUM = 2,
	AT_ATTRIBUTES = 4,
	AT_CREATED = 8,
	AT_MODIFIED = 12,
	AT_CREATED_ZONE = 22,
	AT_MODIFIED_ZONE = 23,
	AT_FLAGS = 1,
	AT_NAME_LEN = 3,
	AT_VALID = 8,
	AT_CLUSTER = 20,
	AT_SIZE = 24,
};

static const uint8_t *entry_of(const struct exfat_entries *e, unsigned number)
{
	return e->set + (size_t)number * FAT_ENTRY_LEN;
}

/* As it was while the file was there: the bit "in use" is part of the sum. Source: section 6.3.3. */
static bool sum_is_right(const struct exfat_entries *e)
{
	uint16_t sum = 0;

	for (size_t i = 0; i < (size_t)e->want * FAT_ENTRY_LEN; i++) {
		uint8_t byte = e->set[i];

		if (i == AT_SET_SUM || i == AT_SET_SUM + 1)
			continue;
		if (i % FAT_ENTRY_LEN == 0)
			byte |= IN_USE;
		sum = (uint16_t)((uint16_t)(sum << 15 | sum >> 1) + byte);
	}
	return sum == le_get16(e->set + AT_SET_SUM);
}

static int64_t time_of(const uint8_t *file, unsigned at, unsigned at_zone)
{
	int64_t time = fat_entries_time(le_get16(file + at + 2), le_get16(file + at));
	int quarters = file[at_zone] & ~ZONE_VALID;

	if (!time || !(file[at_zone] & ZONE_VALID))
		return time;
	return time - (quarters < 64 ? quarters : quarters - 128) * 15 * 60;
}

/* Return false when a piece of it is missing. */
static bool take_name(const struct exfat_entries *e, struct fat_entry *out)
{
	uint16_t units[NAME_UNITS_MAX];
	size_t len = entry_of(e, 1)[AT_NAME_LEN], have = 0;

	for (unsigned n = 2; n < e->want && have < len; n++) {
		const uint8_t *piece = entry_of(e, n);

		if ((piece[0] | IN_USE) != NAME_ENTRY)
			break;
		for (size_t i = 0; i < NAME_UNITS && have < len; i++)
			units[have++] = le_get16(piece + 2 + 2 * i);
	}
	out->name_len = fat_names_long(units, have, out->name);
	return len && have == len;
}

/* A whole set. Return false: it is damaged; *found tells whether something can be made of it. */
static bool describe(const struct exfat_entries *e, struct fat_entry *out, bool *found)
{
	const uint8_t *file = entry_of(e, 0), *stream = entry_of(e, 1);
	bool whole;

	*found = e->want > 1 && (stream[0] | IN_USE) == STREAM_ENTRY;
	if (!*found)
		return false;
	*out = (struct fat_entry){
		.folder = le_get16(file + AT_ATTRIBUTES) & ATTRIBUTE_FOLDER,
		.deleted = e->deleted,
		.contiguous = stream[AT_FLAGS] & NO_FAT_CHAIN,
		.cluster = stream[AT_FLAGS] & HAS_CLUSTERS ? le_get32(stream + AT_CLUSTER) : 0,
		.size = le_get64(stream + AT_SIZE),
		.valid = le_get64(stream + AT_VALID),
		.mtime = time_of(file, AT_MODIFIED, AT_MODIFIED_ZONE),
		.ctime = time_of(file, AT_CREATED, AT_CREATED_ZONE),
	};
	/* Drivers do not agree on what flags that do not exist yet mean for the clusters. */
	whole = out->valid <= out->size && !(stream[AT_FLAGS] & ~(HAS_CLUSTERS | NO_FAT_CHAIN));
	if (out->valid > out->size)
		out->valid = out->size;
	return take_name(e, out) && whole && sum_is_right(e);
}

static int finish(struct exfat_entries *e, struct fat_entry *out)
{
	bool found, whole = describe(e, out, &found);

	e->want = 0;
	if (e->deleted)
		return found && whole ? FAT_ENTRIES_FOUND : 0;
	e->damaged += !whole;
	return found ? FAT_ENTRIES_FOUND : 0;
}

void exfat_entries_end(struct exfat_entries *e)
{
	e->damaged += e->want && !e->deleted;
	e->want = 0;
}

static bool is_known(uint8_t type)
{
	static const uint8_t of_the_root[] = { 0x81, 0x82,
					       0x83 }; /* bitmap, up-case table, label */

	return memchr(of_the_root, type, sizeof(of_the_root)) || type & BENIGN;
}

int exfat_entries_take(struct exfat_entries *e, const uint8_t raw[FAT_ENTRY_LEN],
		       struct fat_entry *out)
{
	bool in_use = raw[0] & IN_USE;

	if (e->want && raw[0] & SECONDARY && in_use == !e->deleted) {
		memcpy(e->set + (size_t)e->have++ * FAT_ENTRY_LEN, raw, FAT_ENTRY_LEN);
		return e->have == e->want ? finish(e, out) : 0;
	}
	exfat_entries_end(e);
	if ((raw[0] | IN_USE) == FILE_ENTRY && (in_use || e->wants_deleted)) {
		e->deleted = !in_use;
		e->have = 1;
		e->want = 1U + raw[1];
		memcpy(e->set, raw, FAT_ENTRY_LEN);
		return e->have == e->want ? finish(e, out) : 0;
	}
	e->damaged += in_use && (raw[0] & SECONDARY || !is_known(raw[0]));
	return 0;
}
