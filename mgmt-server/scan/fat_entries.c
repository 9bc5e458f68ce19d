#include "mgmt-server/scan/fat_entries.h"

#include <string.h>
#include <time.h>

#include "common/le.h"

enum {
	ATTRIBUTE_VOLUME = 0x08,
	ATTRIBUTE_FOLDER = 0x10,
	ATTRIBUTE_LONG_NAME = 0x0f,
	ATTRIBUTES = 0x3f, /* the other two bits are reserved */
	DELETED = 0xe5,
	UNUSED = 0,
	LAST_PIECE = 0x40, /* which comes first */
	PIECE_UNITS = 13,
	PIECES_MAX = FAT_NAMES_UNITS_MAX / PIECE_UNITS,
};

/* Where the fields of an entry are. */
enum {
	AT_ATTRIBUTES = 11,
	AT_CASE = 12,
	AT_SUM = 13, /* in an entry of a long name */
	AT_CTIME = 14,
	AT_CDATE = 16,
	AT_CLUSTER_HIGH = 20,
	AT_MTIME = 22,
	AT_MDATE = 24,
	AT_CLUSTER = 26,
	AT_SIZE = 28,
};

int64_t fat_entries_time(uint16_t date, uint16_t time)
{
	struct tm tm = {
		.tm_year = 80 + (date >> 9),
		.tm_mon = (date >> 5 & 0xf) - 1,
		.tm_mday = date & 0x1f,
		.tm_hour = time >> 11,
		.tm_min = time >> 5 & 0x3f,
		.tm_sec = (time & 0x1f) * 2,
	};

	return date ? timegm(&tm) : 0;
}

static uint8_t sum_of(const uint8_t *short_name)
{
	uint8_t sum = 0;

	for (size_t i = 0; i < FAT_NAMES_SHORT_LEN; i++)
		sum = (uint8_t)((uint8_t)(sum << 7 | sum >> 1) + short_name[i]);
	return sum;
}

/* ---- long names ---- */

static void take_units(uint16_t *to, const uint8_t *raw)
{
	static const uint8_t places[PIECE_UNITS] = {
		1, 3, 5, 7, 9, 14, 16, 18, 20, 22, 24, 28, 30
	};

	for (size_t i = 0; i < PIECE_UNITS; i++)
		to[i] = le_get16(raw + places[i]);
}

static void take_piece(struct fat_entries *e, const uint8_t *raw)
{
	unsigned number = raw[0] & (0xffU - LAST_PIECE);

	if (raw[0] & LAST_PIECE && number >= 1 && number <= PIECES_MAX) {
		e->count = number;
		e->sum = raw[AT_SUM];
		e->erased = false;
	} else if (!e->count || e->erased || !number || number != e->expected ||
		   raw[AT_SUM] != e->sum) {
		e->count = 0;
		return;
	}
	e->expected = number - 1;
	take_units(e->units + (size_t)(number - 1) * PIECE_UNITS, raw);
}

/* The pieces of a deleted file lie in the same order, but without their numbers: each goes before the earlier ones. */
static void take_erased_piece(struct fat_entries *e, const uint8_t *raw)
{
	if (!e->erased || raw[AT_SUM] != e->sum || e->count == PIECES_MAX)
		e->count = 0;
	memmove(e->units + PIECE_UNITS, e->units, e->count * PIECE_UNITS * sizeof(*e->units));
	take_units(e->units, raw);
	e->count++;
	e->expected = 0;
	e->erased = true;
	e->sum = raw[AT_SUM];
}

/* Of a deleted file the first character of the short name is lost, and so the sum proves nothing. */
static bool long_name_fits(const struct fat_entries *e, const uint8_t *raw, bool deleted)
{
	return e->count && !e->expected && e->erased == deleted &&
	       (deleted || sum_of(raw) == e->sum);
}

/* ---- files ---- */

/* The first two entries of every folder but the root. */
static bool is_dots(const uint8_t *raw, uint64_t at)
{
	static const char *const names[] = { ".          ", "..         " };

	return at < 2 && raw[AT_ATTRIBUTES] & ATTRIBUTE_FOLDER &&
	       !memcmp(raw, names[at], FAT_NAMES_SHORT_LEN);
}

static void describe(struct fat_entries *e, const uint8_t *raw, bool deleted, struct fat_entry *out)
{
	uint8_t name[FAT_NAMES_SHORT_LEN];

	out->folder = raw[AT_ATTRIBUTES] & ATTRIBUTE_FOLDER;
	out->deleted = deleted;
	out->contiguous = false;
	out->cluster = le_get16(raw + AT_CLUSTER);
	if (e->wide)
		out->cluster |= (uint32_t)(le_get16(raw + AT_CLUSTER_HIGH) & 0xfff) << 16;
	out->size = out->valid = out->folder ? 0 : le_get32(raw + AT_SIZE);
	out->mtime = fat_entries_time(le_get16(raw + AT_MDATE), le_get16(raw + AT_MTIME));
	out->ctime = fat_entries_time(le_get16(raw + AT_CDATE), le_get16(raw + AT_CTIME));
	out->name_len = 0;
	if (long_name_fits(e, raw, deleted))
		out->name_len = fat_names_long(e->units, (size_t)e->count * PIECE_UNITS, out->name);
	if (out->name_len)
		return;
	memcpy(name, raw, sizeof(name));
	if (deleted)
		name[0] = '_';
	out->name_len = fat_names_short(name, raw[AT_CASE], out->name);
}

/* A label names no clusters; a file that was made one by a bit is still read. */
static bool is_label(const struct fat_entries *e, const uint8_t *raw)
{
	return raw[AT_ATTRIBUTES] & ATTRIBUTE_VOLUME && !le_get16(raw + AT_CLUSTER) &&
	       !(e->wide && le_get16(raw + AT_CLUSTER_HIGH)) && !le_get32(raw + AT_SIZE);
}

int fat_entries_take(struct fat_entries *e, const uint8_t raw[FAT_ENTRY_LEN], struct fat_entry *out)
{
	bool piece = (raw[AT_ATTRIBUTES] & ATTRIBUTES) == ATTRIBUTE_LONG_NAME;
	bool deleted = raw[0] == DELETED;
	uint64_t at = e->taken++;
	int found = 0;

	if (piece && raw[0] != UNUSED) {
		if (deleted)
			take_erased_piece(e, raw);
		else
			take_piece(e, raw);
		return 0;
	}
	if (raw[0] != UNUSED && !is_label(e, raw) && (!deleted || e->wants_deleted)) {
		describe(e, raw, deleted, out);
		found = is_dots(raw, at) ? FAT_ENTRIES_DOTS : FAT_ENTRIES_FOUND;
	}
	e->count = 0;
	return found;
}
