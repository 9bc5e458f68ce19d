#include "mgmt-server/scan/ntfs_mft.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "common/le.h"

enum {
	ATTRIBUTE_STANDARD = 0x10,
	ATTRIBUTE_LIST = 0x20,
	ATTRIBUTE_NAME = 0x30,
	ATTRIBUTE_DATA = 0x80,
	ATTRIBUTE_REPARSE = 0xc0,
	ATTRIBUTE_END = -1,
	SECTOR = 512, /* of the update sequence, whatever the disk's is */
	RECORD_MIN = 1024,
	RECORD_MAX = 4096,
	PIECE = 1 << 20,
	IN_USE = 1,
	NAME_SPACE_DOS = 2,
	NAME_MAX_BYTES = 255 * 3,
	RUNS_MAX = 4096, /* of the table itself */
	CLUSTER_MAX = 2 << 20,
};

struct run {
	uint64_t offset, length; /* bytes; offset of the volume */
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
	uint64_t cluster, record_size, table_offset;
	uint8_t boot[SECTOR];
	struct run runs[RUNS_MAX];
	size_t run_count;
	struct seen *records;
	uint64_t count;
};

/* An attribute within its record, checked: [bytes, bytes + len) lies inside. */
struct attribute {
	uint32_t type;
	const uint8_t *bytes;
	uint32_t len;
	bool resident;
	uint8_t name_len;
};

void ntfs_mft_free(struct ntfs_mft *m)
{
	if (!m)
		return;
	file_digest_free(m->digest);
	free(m->records);
	free(m);
}

/* ---- records ---- */

/* Put the bytes back that the update sequence array holds. False: the record was written by halves, or is none. */
static bool fix_up(uint8_t *record, uint64_t size)
{
	unsigned at = le_get16(record + 4), count = le_get16(record + 6);

	if (memcmp(record, "FILE", 4) != 0 || count != size / SECTOR + 1 || at < 42 ||
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

/* The attribute at *offset; false at the end. *sound is cleared when it does not fit into its record. */
static bool next_attribute(const uint8_t *record, uint32_t used, uint32_t *offset,
			   struct attribute *a, bool *sound)
{
	if (*offset % 8 || *offset + 4 > used) {
		*sound = false;
		return false;
	}
	a->bytes = record + *offset;
	a->type = le_get32(a->bytes);
	if (a->type == (uint32_t)ATTRIBUTE_END)
		return false;
	if (*offset + 24 > used) {
		*sound = false;
		return false;
	}
	a->len = le_get32(a->bytes + 4);
	a->resident = a->bytes[8] == 0;
	a->name_len = a->bytes[9];
	if (a->len < 24 || a->len > used - *offset || a->bytes[8] > 1 ||
	    (!a->resident && a->len < 64)) {
		*sound = false;
		return false;
	}
	*offset += a->len;
	return true;
}

/* Of a run that has no clusters: its offset. */
#define HOLE UINT64_MAX

/* What each_run's caller has @arg for; false ends it. */
typedef bool run_fn(void *arg, uint64_t offset, uint64_t length);

static uint64_t number_of(const uint8_t *bytes, unsigned len, bool is_signed)
{
	uint64_t value = is_signed && len && bytes[len - 1] & 0x80 ? UINT64_MAX : 0;

	for (unsigned i = len; i--;)
		value = value << 8 | bytes[i];
	return value;
}

/* Call @fn for each run. False: the mapping pairs make no sense, or @fn said so. */
static bool each_run(const struct ntfs_mft *m, const struct attribute *a, run_fn *fn, void *arg)
{
	uint64_t size = volume_channel_size(reader_volume(m->reader)), lcn = 0;
	uint32_t at = le_get16(a->bytes + 32);

	while (at < a->len && a->bytes[at]) {
		unsigned count_len = a->bytes[at] & 15, lcn_len = a->bytes[at] >> 4;
		uint64_t count;

		if (!count_len || count_len > 8 || lcn_len > 8 ||
		    at + 1 + count_len + lcn_len > a->len)
			return false;
		count = number_of(a->bytes + at + 1, count_len, false);
		lcn += number_of(a->bytes + at + 1 + count_len, lcn_len, true);
		at += 1 + count_len + lcn_len;
		if (!count || count > UINT64_MAX / m->cluster)
			return false;
		if (!lcn_len) {
			if (!fn(arg, HOLE, count * m->cluster))
				return false;
			continue;
		}
		if (lcn > size / m->cluster || count > size / m->cluster - lcn ||
		    !fn(arg, lcn * m->cluster, count * m->cluster))
			return false;
	}
	return at < a->len;
}

/* ---- one file ---- */

struct weighed {
	const struct reader *reader;
	struct seen *seen;
};

static bool weigh_run(void *arg, uint64_t offset, uint64_t length)
{
	const struct weighed *w = arg;

	if (offset != HOLE)
		w->seen->touched |= reader_touched(w->reader, offset, length);
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
static int add_name(struct ntfs_mft *m, uint64_t record, const struct attribute *a)
{
	uint32_t at = le_get16(a->bytes + 20), len = le_get32(a->bytes + 16);
	char name[NAME_MAX_BYTES + 4];
	const uint8_t *value;
	size_t n;

	if (!a->resident || at > a->len || len > a->len - at || len < 66)
		return 1;
	value = a->bytes + at;
	if (len < 66 + 2u * value[64])
		return 1;
	if (value[65] == NAME_SPACE_DOS)
		return 0;
	n = name_of(value + 66, value[64], name);
	if (!n)
		return 1;
	return name_tree_add(m->names, record, le_get64(value) & ((1ULL << 48) - 1), name, n);
}

/* Return 0, 1: the attribute is nothing for us, or -errno. */
static int take_attribute(struct ntfs_mft *m, const struct attribute *a, struct seen *seen)
{
	struct weighed weighed = { m->reader, seen };

	if (a->type == ATTRIBUTE_LIST)
		return 1;
	if (a->type == ATTRIBUTE_NAME)
		return 0; /* in a pass of its own: a name changes nothing of the contents */
	if (!a->resident && !each_run(m, a, weigh_run, &weighed))
		return 1;
	if (a->type == ATTRIBUTE_STANDARD && a->resident) {
		uint32_t at = le_get16(a->bytes + 20);

		if (at > a->len || a->len - at < 36)
			return 1;
		/* Modification, change of the record, flags; not when it was last read. */
		if (m->digest) {
			file_digest_add(m->digest, a->bytes + at + 8, 16);
			file_digest_add(m->digest, a->bytes + at + 32, 4);
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
	uint32_t used = le_get32(record + 24), offset = le_get16(record + 20);
	struct attribute a;
	bool sound = true;
	int r = 0;

	if (used > m->record_size || offset < 42)
		return 1;
	while (r == 0 && next_attribute(record, used, &offset, &a, &sound)) {
		if (!names)
			r = take_attribute(m, &a, seen);
		else if (a.type == ATTRIBUTE_NAME)
			r = add_name(m, number, &a);
	}
	return sound ? r : 1;
}

static bool is_zero(const uint8_t *bytes, size_t len)
{
	return !bytes[0] && !memcmp(bytes, bytes + 1, len - 1);
}

static int take_record(struct ntfs_mft *m, uint64_t number, uint8_t *record)
{
	struct seen *seen = &m->records[number];
	int r;

	seen->kind = NTFS_MFT_ODD;
	if (is_zero(record, m->record_size)) {
		seen->kind = NTFS_MFT_UNUSED;
		return 0;
	}
	if (!fix_up(record, m->record_size))
		return 0;
	if (!(le_get16(record + 22) & IN_USE) || le_get64(record + 32)) {
		seen->kind = NTFS_MFT_UNUSED;
		return 0;
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

static bool add_run(void *arg, uint64_t offset, uint64_t length)
{
	struct ntfs_mft *m = arg;

	if (offset == HOLE)
		return true;
	if (m->run_count == RUNS_MAX)
		return false;
	m->runs[m->run_count++] = (struct run){ offset, length };
	return true;
}

static bool geometry(struct ntfs_mft *m)
{
	uint64_t sector = le_get16(m->boot + 11);
	int8_t per_cluster = (int8_t)m->boot[13], per_record = (int8_t)m->boot[64];

	if (memcmp(m->boot + 3, "NTFS    ", 8) != 0 || sector < 256 || sector > 4096)
		return false;
	m->cluster = per_cluster > 0     ? sector * (uint64_t)per_cluster
		     : per_cluster > -32 ? sector << -per_cluster
					 : 0;
	if (m->boot[13] == 0x80)
		m->cluster = sector * 128;
	if (!m->cluster || m->cluster > CLUSTER_MAX || m->cluster & (m->cluster - 1))
		return false;
	m->record_size = per_record > 0     ? m->cluster * (uint64_t)per_record
			 : per_record > -32 ? 1ULL << -per_record
					    : 0;
	m->table_offset = le_get64(m->boot + 48) * m->cluster;
	return m->record_size >= RECORD_MIN && m->record_size <= RECORD_MAX &&
	       !(m->record_size & (m->record_size - 1)) &&
	       le_get64(m->boot + 48) < UINT64_MAX / m->cluster;
}

/* A table that says it has more than lies in its runs, or in the volume, is none. */
static uint64_t most_records(const struct ntfs_mft *m)
{
	uint64_t size = volume_channel_size(reader_volume(m->reader)), bytes = 0;

	for (size_t i = 0; i < m->run_count; i++)
		bytes += m->runs[i].length < size ? m->runs[i].length : size;
	return (bytes < size ? bytes : size) / m->record_size;
}

/* Where the table lies, from its own first record. False: not as we know it. */
static bool locate(struct ntfs_mft *m, uint8_t *record)
{
	struct volume_channel *volume = reader_volume(m->reader);
	uint32_t used, offset;
	struct attribute a;
	bool sound = true, found = false;

	if (volume_channel_read(volume, m->boot, sizeof(m->boot), 0) < 0 || !geometry(m) ||
	    volume_channel_read(volume, record, m->record_size, m->table_offset) < 0 ||
	    !fix_up(record, m->record_size))
		return false;
	used = le_get32(record + 24);
	offset = le_get16(record + 20);
	if (used > m->record_size || offset < 42)
		return false;
	while (next_attribute(record, used, &offset, &a, &sound)) {
		if (a.type == ATTRIBUTE_LIST)
			return false;
		if (a.type != ATTRIBUTE_DATA || a.name_len)
			continue;
		if (found || a.resident || !each_run(m, &a, add_run, m))
			return false;
		m->count = le_get64(a.bytes + 48) / m->record_size;
		found = true;
	}
	return found && sound && m->count <= most_records(m);
}

static int read_table(struct ntfs_mft *m, uint8_t *piece)
{
	struct volume_channel *volume = reader_volume(m->reader);
	uint64_t number = 0;

	for (size_t i = 0; i < m->run_count; i++) {
		uint64_t done = 0;

		/* A cluster can be smaller than a record: such tables are left to libfsntfs. */
		if (m->runs[i].length % m->record_size)
			return NTFS_MFT_NOT_PLAIN;
		while (done < m->runs[i].length && number < m->count) {
			uint64_t left = m->runs[i].length - done;
			size_t len = left < PIECE ? (size_t)left : PIECE;
			bool readable = volume_channel_read(volume, piece, len,
							    m->runs[i].offset + done) == 0;
			int r = 0;

			for (size_t at = 0; r == 0 && at < len && number < m->count;
			     at += m->record_size, number++) {
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
static bool read_record(const struct ntfs_mft *m, uint64_t number, uint8_t record[RECORD_MAX])
{
	uint64_t at = number * m->record_size;

	for (size_t i = 0; i < m->run_count; i++) {
		if (at < m->runs[i].length)
			return volume_channel_read(reader_volume(m->reader), record, m->record_size,
						   m->runs[i].offset + at) == 0 &&
			       fix_up(record, m->record_size);
		at -= m->runs[i].length;
	}
	return false;
}

/* Its one attribute of unnamed data, when there is nothing else that would say what that data is. */
static bool find_data(const struct ntfs_mft *m, const uint8_t *record, struct attribute *data)
{
	uint32_t used = le_get32(record + 24), offset = le_get16(record + 20);
	struct attribute a;
	bool sound = true, found = false;

	if (used > m->record_size || offset < 42)
		return false;
	while (next_attribute(record, used, &offset, &a, &sound)) {
		if (a.type == ATTRIBUTE_LIST || a.type == ATTRIBUTE_REPARSE)
			return false;
		if (a.type != ATTRIBUTE_DATA || a.name_len)
			continue;
		if (found)
			return false;
		*data = a;
		found = true;
	}
	return sound && found;
}

/* Source: libfsntfs's "non-resident attribute": flags at 12, first cluster at 16, compression unit at 34, data and initialised
 * size at 48 and 56. */
static bool is_as_its_clusters(const struct attribute *a, uint64_t size)
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

static bool give_run(void *arg, uint64_t at, uint64_t length)
{
	struct given *g = arg;
	uint64_t left = g->size - g->offset, len = length < left ? length : left;

	if (at == HOLE)
		return false;
	if (g->fn && len)
		g->result = g->fn(g->arg, at, len, g->offset);
	g->offset += len;
	return g->result == 0;
}

int ntfs_mft_runs(const struct ntfs_mft *m, uint64_t number, uint64_t size, ntfs_mft_run_fn *fn,
		  void *arg)
{
	struct given counted = { .size = size };
	struct given given = { .fn = fn, .arg = arg, .size = size };
	uint8_t record[RECORD_MAX];
	struct attribute a;

	if (ntfs_mft_kind(m, number) != NTFS_MFT_PLAIN || !read_record(m, number, record) ||
	    !find_data(m, record, &a) || !is_as_its_clusters(&a, size) ||
	    !each_run(m, &a, give_run, &counted) || counted.offset != size)
		return NTFS_MFT_NOT_PLAIN;
	each_run(m, &a, give_run, &given);
	return given.result;
}
