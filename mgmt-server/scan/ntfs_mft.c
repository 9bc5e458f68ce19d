#include "mgmt-server/scan/ntfs_mft.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "common/le.h"
#include "mgmt-server/scan/ntfs_damage.h"
#include "mgmt-server/scan/ntfs_record.h"

enum {
	PIECE = 1 << 20,
	NAME_SPACE_DOS = 2,
	NAME_MAX_BYTES = 255 * 3,
	RUNS_MAX = 4096, /* of the table itself */
};

struct seen {
	uint8_t digest[FILE_DIGEST_LEN];
	uint8_t kind;
	bool touched;
};

struct ntfs_mft {
	struct reader *reader;
	struct name_tree *names;
	struct file_digest *digest; /* NULL: no earlier scan is known */
	struct ntfs_geometry geometry;
	uint8_t boot[NTFS_RECORD_BOOT_LEN];
	struct ntfs_run runs[RUNS_MAX];
	size_t run_count;
	struct seen *records;
	uint64_t count, written; /* from @written on nothing was ever in them */
	struct ntfs_damage damage;
};

void ntfs_mft_free(struct ntfs_mft *m)
{
	if (!m)
		return;
	file_digest_free(m->digest);
	ntfs_damage_deinit(&m->damage);
	free(m->records);
	free(m);
}

/* ---- one file ---- */

struct weighed {
	struct ntfs_mft *mft;
	struct seen *seen;
};

static bool weigh_run(void *ctx, const struct ntfs_run *run)
{
	const struct weighed *w = ctx;

	if (!run->hole)
		w->seen->touched |= reader_touched(w->mft->reader, run->offset, run->length);
	return true;
}

static size_t put_utf8(char *to, uint32_t c)
{
	if (c < 0x80) {
		to[0] = (char)c;
		return 1;
	}
	if (c < 0x800) {
		to[0] = (char)(0xc0 | c >> 6);
		to[1] = (char)(0x80 | (c & 63));
		return 2;
	}
	if (c < 0x10000) {
		to[0] = (char)(0xe0 | c >> 12);
		to[1] = (char)(0x80 | (c >> 6 & 63));
		to[2] = (char)(0x80 | (c & 63));
		return 3;
	}
	to[0] = (char)(0xf0 | c >> 18);
	to[1] = (char)(0x80 | (c >> 12 & 63));
	to[2] = (char)(0x80 | (c >> 6 & 63));
	to[3] = (char)(0x80 | (c & 63));
	return 4;
}

/* Return the length, or 0 for what is not UTF-16. */
static size_t name_of(const uint8_t *units, unsigned count, char *name)
{
	size_t len = 0;

	for (unsigned i = 0; i < count; i++) {
		uint32_t c = le_get16(units + 2 * i);

		if (c >= 0xd800 && c < 0xe000) {
			uint32_t low = i + 1 < count ? le_get16(units + 2 * (i + 1)) : 0;

			if (c >= 0xdc00 || low < 0xdc00 || low >= 0xe000)
				return 0;
			c = 0x10000 + ((c - 0xd800) << 10) + (low - 0xdc00);
			i++;
		}
		if (!c)
			return 0;
		len += put_utf8(name + len, c);
	}
	return len;
}

/* Source: [MS-FSCC] has no on-disk form; libfsntfs's "file name attribute". Return 1: odd. */
static int add_name(struct ntfs_mft *m, uint64_t record, const struct ntfs_attribute *a)
{
	char name[NAME_MAX_BYTES + 4];
	uint32_t len;
	const uint8_t *value = ntfs_record_value(a, &len);
	size_t n;

	if (!value || len < 66 || len < 66 + 2u * value[64])
		return 1;
	if (value[65] == NAME_SPACE_DOS)
		return 0;
	n = name_of(value + 66, value[64], name);
	if (!n)
		return 1;
	return name_tree_add(m->names, record, le_get64(value) & ((1ULL << 48) - 1), name, n);
}

/* Return 0, 1: the attribute is nothing for us. */
static int take_attribute(struct ntfs_mft *m, const struct ntfs_attribute *a, struct seen *seen)
{
	struct weighed weighed = { m, seen };

	if (a->type == NTFS_ATTRIBUTE_LIST)
		return 1;
	if (a->type == NTFS_ATTRIBUTE_NAME)
		return 0; /* in a pass of its own: a name changes nothing of the contents */
	if (!a->resident && !ntfs_record_runs(&m->geometry, a, weigh_run, &weighed))
		return 1;
	if (a->type == NTFS_ATTRIBUTE_STANDARD && a->resident) {
		uint32_t len;
		const uint8_t *value = ntfs_record_value(a, &len);

		if (!value || len < 36)
			return 1;
		/* Modification, change of the record, flags; not when it was last read. */
		if (m->digest) {
			file_digest_add(m->digest, value + 8, 16);
			file_digest_add(m->digest, value + 32, 4);
		}
		return 0;
	}
	if (m->digest)
		file_digest_add(m->digest, a->bytes, a->len);
	return 0;
}

/* All attributes, first without their names: nothing is remembered of a record that turns out to be odd. */
static int take_attributes(struct ntfs_mft *m, uint64_t number, const uint8_t *record, bool names,
			   struct seen *seen)
{
	struct ntfs_record_walk walk;
	struct ntfs_attribute a;
	int r = 0;

	if (!ntfs_record_begin(&walk, record, m->geometry.record_size))
		return 1;
	while (r == 0 && ntfs_record_next(&walk, &a)) {
		if (!names)
			r = take_attribute(m, &a, seen);
		else if (a.type == NTFS_ATTRIBUTE_NAME)
			r = add_name(m, number, &a);
	}
	return walk.sound ? r : 1;
}

static bool is_zero(const uint8_t *bytes, size_t len)
{
	return !bytes[0] && !memcmp(bytes, bytes + 1, len - 1);
}

/* A base has an attribute list, which makes it odd. */
static bool may_be_base(const void *arg, uint64_t number)
{
	const struct ntfs_mft *m = arg;

	return number < m->count && m->records[number].kind == NTFS_MFT_ODD;
}

static int take_record(struct ntfs_mft *m, uint64_t number, uint8_t *record)
{
	struct seen *seen = &m->records[number];
	int r;

	seen->kind = NTFS_MFT_ODD;
	if (is_zero(record, m->geometry.record_size)) {
		seen->kind = NTFS_MFT_UNUSED;
		return 0;
	}
	if (memcmp(record, "FILE", 4) != 0) {
		seen->kind = NTFS_MFT_UNUSED;
		if (number < m->written)
			ntfs_damage_add(&m->damage, number);
		return 0;
	}
	if (!ntfs_record_fix_up(record, m->geometry.record_size))
		return 0;
	if (!ntfs_record_in_use(record)) {
		seen->kind = NTFS_MFT_UNUSED;
		return 0;
	}
	if (ntfs_record_base(record)) {
		seen->kind = NTFS_MFT_UNUSED;
		return ntfs_damage_continues(&m->damage, number, ntfs_record_base(record));
	}
	if (m->digest) {
		file_digest_begin(m->digest, "ntfs");
		file_digest_add(m->digest, m->boot + 11, 3); /* sector and cluster size */
		file_digest_number(m->digest, le_get16(record + 22));
	}
	r = take_attributes(m, number, record, false, seen);
	if (r == 0 && m->digest)
		r = file_digest_end(m->digest, seen->digest);
	if (r == 0)
		r = take_attributes(m, number, record, true, seen);
	if (r == 0)
		seen->kind = NTFS_MFT_PLAIN;
	return r < 0 ? r : 0;
}

/* ---- the table ---- */

static bool add_run(void *ctx, const struct ntfs_run *run)
{
	struct ntfs_mft *m = ctx;

	if (run->hole)
		return true;
	if (m->run_count == RUNS_MAX)
		return false;
	m->runs[m->run_count++] = *run;
	return true;
}

/* A table that says it has more than lies in its runs, or in the volume, is none. */
static uint64_t most_records(const struct ntfs_mft *m)
{
	uint64_t size = volume_channel_size(reader_volume(m->reader)), bytes = 0;

	for (size_t i = 0; i < m->run_count; i++)
		bytes += m->runs[i].length < size ? m->runs[i].length : size;
	return (bytes < size ? bytes : size) / m->geometry.record_size;
}

/* Where the table lies, from its own first record. False: not as we know it. */
static bool locate(struct ntfs_mft *m, uint8_t *record)
{
	struct volume_channel *volume = reader_volume(m->reader);
	uint64_t size = volume_channel_size(volume);
	struct ntfs_record_walk walk;
	struct ntfs_attribute a;
	bool found = false;

	if (volume_channel_read(volume, m->boot, sizeof(m->boot), 0) < 0 ||
	    !ntfs_record_geometry(&m->geometry, m->boot, size) ||
	    volume_channel_read(volume, record, m->geometry.record_size, m->geometry.table_offset) <
		    0 ||
	    !ntfs_record_fix_up(record, m->geometry.record_size) ||
	    !ntfs_record_begin(&walk, record, m->geometry.record_size))
		return false;
	while (ntfs_record_next(&walk, &a)) {
		if (a.type == NTFS_ATTRIBUTE_LIST)
			return false;
		if (a.type != NTFS_ATTRIBUTE_DATA || a.name_len)
			continue;
		if (found || a.resident || !ntfs_record_runs(&m->geometry, &a, add_run, m))
			return false;
		m->count = le_get64(a.bytes + 48) / m->geometry.record_size;
		m->written = le_get64(a.bytes + 56) / m->geometry.record_size;
		found = true;
	}
	return found && walk.sound && m->count <= most_records(m);
}

static int read_table(struct ntfs_mft *m, uint8_t *piece)
{
	struct volume_channel *volume = reader_volume(m->reader);
	uint64_t number = 0;

	for (size_t i = 0; i < m->run_count; i++) {
		uint64_t done = 0;

		/* A cluster can be smaller than a record: such tables are left to libfsntfs. */
		if (m->runs[i].length % m->geometry.record_size)
			return NTFS_MFT_NOT_PLAIN;
		while (done < m->runs[i].length && number < m->count) {
			uint64_t left = m->runs[i].length - done;
			size_t len = left < PIECE ? (size_t)left : PIECE;
			bool readable = volume_channel_read(volume, piece, len,
							    m->runs[i].offset + done) == 0;
			int r = 0;

			for (size_t at = 0; r == 0 && at < len && number < m->count;
			     at += m->geometry.record_size, number++) {
				if (readable)
					r = take_record(m, number, piece + at);
				else
					m->records[number].kind = NTFS_MFT_ODD;
			}
			if (r < 0)
				return r;
			done += len;
		}
	}
	return number == m->count ? 0 : NTFS_MFT_NOT_PLAIN;
}

int ntfs_mft_read(struct ntfs_mft **out, struct reader *reader, struct name_tree *names,
		  struct err *err)
{
	CLEANUP(ntfs_mft_free) struct ntfs_mft *m = calloc(1, sizeof(*m));
	CLEANUP_FREE uint8_t *piece = malloc(PIECE);
	int r;

	if (!m || !piece)
		return err_set(err, ENOMEM, "read the master file table");
	m->reader = reader;
	m->names = names;
	m->digest = reader_known(reader) ? file_digest_new() : NULL;
	if (reader_known(reader) && !m->digest)
		return err_set(err, ENOMEM, "read the master file table");
	if (!locate(m, piece))
		return NTFS_MFT_NOT_PLAIN;
	m->records = calloc(m->count ? m->count : 1, sizeof(*m->records));
	if (!m->records)
		return NTFS_MFT_NOT_PLAIN; /* more records than memory: what libfsntfs says of it counts */
	r = read_table(m, piece);
	if (r < 0)
		return err_set(err, -r, "read the master file table");
	if (r > 0)
		return r;
	ntfs_damage_judge(&m->damage, may_be_base, m);
	r = ntfs_damage_tell(&m->damage, reader, err);
	if (r == 0)
		*out = TAKE(m);
	return r;
}

enum ntfs_mft_kind ntfs_mft_kind(const struct ntfs_mft *m, uint64_t record)
{
	return record < m->count ? (enum ntfs_mft_kind)m->records[record].kind : NTFS_MFT_ODD;
}

const uint8_t *ntfs_mft_digest(const struct ntfs_mft *m, uint64_t record, bool *touched)
{
	if (!m->digest || ntfs_mft_kind(m, record) != NTFS_MFT_PLAIN)
		return NULL;
	*touched = m->records[record].touched;
	return m->records[record].digest;
}

/* ---- where a file's data is ---- */

/* The record once more, put right. */
static bool read_record(const struct ntfs_mft *m, uint64_t number, uint8_t record[NTFS_RECORD_MAX])
{
	uint64_t at = number * m->geometry.record_size;

	for (size_t i = 0; i < m->run_count; i++) {
		if (at < m->runs[i].length)
			return volume_channel_read(reader_volume(m->reader), record,
						   m->geometry.record_size,
						   m->runs[i].offset + at) == 0 &&
			       ntfs_record_fix_up(record, m->geometry.record_size);
		at -= m->runs[i].length;
	}
	return false;
}

/* Its one attribute of unnamed data, when there is nothing else that would say what that data is. */
static bool find_data(const struct ntfs_mft *m, const uint8_t *record, struct ntfs_attribute *data)
{
	struct ntfs_record_walk walk;
	struct ntfs_attribute a;
	bool found = false;

	if (!ntfs_record_begin(&walk, record, m->geometry.record_size))
		return false;
	while (ntfs_record_next(&walk, &a)) {
		if (a.type == NTFS_ATTRIBUTE_LIST || a.type == NTFS_ATTRIBUTE_REPARSE)
			return false;
		if (a.type != NTFS_ATTRIBUTE_DATA || a.name_len)
			continue;
		if (found)
			return false;
		*data = a;
		found = true;
	}
	return walk.sound && found;
}

/* Source: libfsntfs's "non-resident attribute": flags at 12, first cluster at 16, compression unit at 34, data and initialised
 * size at 48 and 56. */
static bool is_as_its_clusters(const struct ntfs_attribute *a, uint64_t size)
{
	return !a->resident && !le_get16(a->bytes + 12) && !le_get64(a->bytes + 16) &&
	       !le_get16(a->bytes + 34) && le_get64(a->bytes + 48) == size &&
	       le_get64(a->bytes + 56) >= size;
}

struct given {
	ntfs_mft_run_fn *fn; /* NULL: only counted */
	void *arg;
	uint64_t offset, size;
	int result;
};

static bool give_run(void *ctx, const struct ntfs_run *run)
{
	struct given *g = ctx;
	uint64_t left = g->size - g->offset, len = run->length < left ? run->length : left;

	if (run->hole)
		return false;
	if (g->fn && len)
		g->result = g->fn(g->arg, run->offset, len, g->offset);
	g->offset += len;
	return g->result == 0;
}

int ntfs_mft_runs(const struct ntfs_mft *m, uint64_t number, uint64_t size, ntfs_mft_run_fn *fn,
		  void *arg)
{
	struct given counted = { .size = size };
	struct given given = { .fn = fn, .arg = arg, .size = size };
	uint8_t record[NTFS_RECORD_MAX];
	struct ntfs_attribute a;

	if (ntfs_mft_kind(m, number) != NTFS_MFT_PLAIN || !read_record(m, number, record) ||
	    !find_data(m, record, &a) || !is_as_its_clusters(&a, size) ||
	    !ntfs_record_runs(&m->geometry, &a, give_run, &counted) || counted.offset != size)
		return NTFS_MFT_NOT_PLAIN;
	ntfs_record_runs(&m->geometry, &a, give_run, &given);
	return given.result;
}
