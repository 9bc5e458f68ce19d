#include "mgmt-server/scan/ntfs_value.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "common/le.h"

enum {
	RUNS_MAX = 1 << 20, /* 24 MiB of them; NTFS itself gives up at about as many */
	LIST_MAX = 1 << 20, /* bytes of an attribute list; Windows' limit is 256 KiB */
	LIST_ENTRY_MIN = 26,
	NAME_MAX_UNITS = 255,
	FLAG_COMPRESSED = 0x00ff,
	FLAG_ENCRYPTED = 0x4000,
};

/* Where in the attribute a run begins, beside where on the volume. */
struct part {
	uint64_t at;
	struct ntfs_run run;
};

/* Parts are in order and without gaps: [0, mapped). size <= mapped unless it is resident; initialized <= size. */
struct ntfs_value {
	const struct ntfs_value_source *source;
	uint64_t size, initialized, mapped;
	unsigned flags; /* of its first piece */
	uint8_t *resident;
	struct part *parts;
	size_t part_count, part_cap;
	bool found;
};

void ntfs_value_close(struct ntfs_value *v)
{
	if (!v)
		return;
	free(v->resident);
	free(v->parts);
	free(v);
}

uint64_t ntfs_value_size(const struct ntfs_value *v)
{
	return v->size;
}

/* ---- one piece of the attribute: all there is, or what one of many records holds ---- */

static bool has_name(const uint8_t *units, unsigned count, const char *name)
{
	char ascii[NAME_MAX_UNITS + 1];

	for (unsigned i = 0; i < count; i++) {
		uint16_t unit = le_get16(units + 2 * i);

		if (!unit || unit > 127)
			return false;
		ascii[i] = (char)unit;
	}
	ascii[count] = 0;
	return strcasecmp(ascii, name) == 0;
}

static bool is_wanted(const struct ntfs_attribute *a, const struct ntfs_value_key *key)
{
	uint32_t at = le_get16(a->bytes + 10);

	return a->type == (uint32_t)key->type && at <= a->len && 2u * a->name_len <= a->len - at &&
	       has_name(a->bytes + at, a->name_len, key->name);
}

static bool add_part(void *ctx, const struct ntfs_run *run)
{
	struct ntfs_value *v = ctx;

	if (v->part_count == RUNS_MAX || run->length > UINT64_MAX / 2 - v->mapped)
		return false;
	if (v->part_count == v->part_cap) {
		size_t cap = v->part_cap ? v->part_cap * 2 : 16;
		struct part *parts = realloc(v->parts, cap * sizeof(*parts));

		if (!parts)
			return false;
		v->parts = parts;
		v->part_cap = cap;
	}
	v->parts[v->part_count++] = (struct part){ v->mapped, *run };
	v->mapped += run->length;
	return true;
}

static int take_resident(struct ntfs_value *v, const struct ntfs_attribute *a, struct err *err)
{
	uint32_t len;
	const uint8_t *value = ntfs_record_value(a, &len);

	if (!value)
		return err_say(err, EBADMSG, "its value does not fit into its record");
	v->resident = malloc(len ? len : 1);
	if (!v->resident)
		return err_set(err, ENOMEM, "read a resident value");
	memcpy(v->resident, value, len);
	v->size = v->initialized = len;
	return 0;
}

static int take_runs(struct ntfs_value *v, const struct ntfs_attribute *a, struct err *err)
{
	uint64_t cluster = v->source->geometry.cluster, last = le_get64(a->bytes + 24);

	if (le_get64(a->bytes + 16) != v->mapped / cluster)
		return err_say(err, EBADMSG, "there is a gap in its runs");
	if (!ntfs_record_runs(&v->source->geometry, a, add_part, v))
		return err_say(err, EBADMSG, "its runs make no sense");
	if (last + 1 != v->mapped / cluster)
		return err_say(err, EBADMSG, "its runs are not as long as they say");
	return 0;
}

static int take_piece(struct ntfs_value *v, const struct ntfs_attribute *a, struct err *err)
{
	if (v->found && (a->resident || v->resident))
		return err_say(err, EBADMSG, "there are two of it");
	if (!v->found)
		v->flags = le_get16(a->bytes + 12);
	if (!a->resident && !v->found) {
		v->size = le_get64(a->bytes + 48);
		v->initialized = le_get64(a->bytes + 56);
	}
	v->found = true;
	return a->resident ? take_resident(v, a, err) : take_runs(v, a, err);
}

static int check_whole(struct ntfs_value *v, struct err *err)
{
	if (!v->found)
		return NTFS_VALUE_ABSENT;
	if (!v->resident && v->size > v->mapped)
		return err_say(err, EBADMSG, "it is longer than its runs");
	if (v->initialized > v->size)
		return err_say(err, EBADMSG, "more of it was written than there is");
	return 0;
}

/* ---- records ---- */

static int read_record(const struct ntfs_value_source *source, uint64_t number, uint8_t *buf,
		       struct err *err)
{
	int r = source->record(source->ctx, number, buf, err);

	if (r < 0)
		return r;
	if (!ntfs_record_fix_up(buf, source->geometry.record_size) || !ntfs_record_in_use(buf))
		return err_say(err, EBADMSG, "record %llu is damaged, or free",
			       (unsigned long long)number);
	return 0;
}

/* All pieces that @record itself holds. */
static int take_from_record(struct ntfs_value *v, const struct ntfs_value_key *key,
			    const uint8_t *record, struct err *err)
{
	struct ntfs_record_walk walk;
	struct ntfs_attribute a;
	int r = 0;

	if (!ntfs_record_begin(&walk, record, v->source->geometry.record_size))
		return err_say(err, EBADMSG, "its record is damaged");
	while (r == 0 && ntfs_record_next(&walk, &a))
		r = is_wanted(&a, key) ? take_piece(v, &a, err) : 0;
	if (r == 0 && !walk.sound)
		return err_say(err, EBADMSG, "an attribute does not fit into its record");
	return r;
}

/* What an entry of an attribute list says. */
struct listed {
	uint64_t first_cluster, reference;
	uint16_t id;
};

static int take_listed(struct ntfs_value *v, const struct ntfs_value_key *key,
		       const uint8_t *record, const struct listed *l, struct err *err)
{
	struct ntfs_record_walk walk;
	struct ntfs_attribute a;

	if (!ntfs_record_begin(&walk, record, v->source->geometry.record_size))
		return err_say(err, EBADMSG, "a record that continues it is damaged");
	while (ntfs_record_next(&walk, &a)) {
		uint64_t first = a.resident ? 0 : le_get64(a.bytes + 16);

		if (is_wanted(&a, key) && le_get16(a.bytes + 14) == l->id &&
		    first == l->first_cluster)
			return take_piece(v, &a, err);
	}
	return err_say(err, EBADMSG, "a piece that its attribute list names is not there");
}

static uint64_t number_in(uint64_t reference)
{
	return reference & ((1ULL << 48) - 1);
}

/* @base: the file's first record, @other: space for another one. */
static int take_entry(struct ntfs_value *v, const struct ntfs_value_key *key, const uint8_t *base,
		      uint8_t *other, const struct listed *l, struct err *err)
{
	uint64_t number = number_in(l->reference), back;
	int r;

	if (number == key->record)
		return take_listed(v, key, base, l, err);
	r = read_record(v->source, number, other, err);
	if (r < 0)
		return r;
	back = ntfs_record_base(other);
	if (number_in(back) != key->record || back >> 48 != ntfs_record_sequence(base) ||
	    l->reference >> 48 != ntfs_record_sequence(other))
		return err_say(err, EBADMSG, "record %llu does not continue it",
			       (unsigned long long)number);
	return take_listed(v, key, other, l, err);
}

static int take_by_list(struct ntfs_value *v, const struct ntfs_value_key *key, const uint8_t *base,
			const uint8_t *list, size_t size, struct err *err)
{
	CLEANUP_FREE uint8_t *other = malloc(v->source->geometry.record_size);
	int r = 0;

	if (!other)
		return err_set(err, ENOMEM, "follow an attribute list");
	for (size_t at = 0; r == 0 && at < size;) {
		const uint8_t *e = list + at;
		size_t left = size - at, len = left < LIST_ENTRY_MIN ? 0 : le_get16(e + 4);
		struct listed l;

		if (len < LIST_ENTRY_MIN || len > left || e[7] > len ||
		    2u * e[6] > len - (size_t)e[7])
			return err_say(err, EBADMSG, "its attribute list is damaged");
		at += len;
		if (le_get32(e) != (uint32_t)key->type || !has_name(e + e[7], e[6], key->name))
			continue;
		l = (struct listed){ le_get64(e + 8), le_get64(e + 16), le_get16(e + 24) };
		r = take_entry(v, key, base, other, &l, err);
	}
	return r;
}

/* The file's attribute list itself: always in its first record, though perhaps in runs. */
static int open_list(struct ntfs_value **out, const struct ntfs_value_source *source,
		     const uint8_t *base, struct err *err)
{
	static const struct ntfs_value_key key = { .type = NTFS_ATTRIBUTE_LIST, .name = "" };
	CLEANUP(ntfs_value_close) struct ntfs_value *v = calloc(1, sizeof(*v));
	int r;

	if (!v)
		return err_set(err, ENOMEM, "read an attribute list");
	v->source = source;
	r = take_from_record(v, &key, base, err);
	if (r == 0)
		r = check_whole(v, err);
	if (r)
		return r < 0 ? err_wrap(err, r, "its attribute list") : r;
	if (v->size > LIST_MAX)
		return err_say(err, EBADMSG, "its attribute list is too long");
	*out = TAKE(v);
	return 0;
}

static int follow_list(struct ntfs_value *v, const struct ntfs_value_key *key, const uint8_t *base,
		       const struct ntfs_value *list, struct err *err)
{
	CLEANUP_FREE uint8_t *bytes = malloc(list->size ? list->size : 1);
	int r;

	if (!bytes)
		return err_set(err, ENOMEM, "read an attribute list");
	r = ntfs_value_read(list, bytes, list->size, 0, err);
	return r < 0 ? r : take_by_list(v, key, base, bytes, list->size, err);
}

/* Whatever its flags say: its bytes may not be what its clusters hold. */
static int find(struct ntfs_value **out, const struct ntfs_value_source *source,
		const struct ntfs_value_key *key, struct err *err)
{
	CLEANUP(ntfs_value_close) struct ntfs_value *v = calloc(1, sizeof(*v));
	CLEANUP(ntfs_value_close) struct ntfs_value *list = NULL;
	CLEANUP_FREE uint8_t *base = malloc(source->geometry.record_size);
	int r;

	if (!v || !base)
		return err_set(err, ENOMEM, "open an attribute");
	v->source = source;
	r = read_record(source, key->record, base, err);
	if (r == 0)
		r = open_list(&list, source, base, err);
	if (r < 0)
		return r;
	r = list ? follow_list(v, key, base, list, err) : take_from_record(v, key, base, err);
	if (r == 0)
		r = check_whole(v, err);
	if (r == 0)
		*out = TAKE(v);
	return r;
}

int ntfs_value_open(struct ntfs_value **out, const struct ntfs_value_source *source,
		    const struct ntfs_value_key *key, struct err *err)
{
	CLEANUP(ntfs_value_close) struct ntfs_value *v = NULL;
	int r = find(&v, source, key, err);

	if (r == 0 && v->flags & (FLAG_COMPRESSED | FLAG_ENCRYPTED))
		return err_say(err, EOPNOTSUPP, "it is %s",
			       v->flags & FLAG_ENCRYPTED ? "encrypted" : "compressed");
	if (r == 0)
		*out = TAKE(v);
	return r;
}

int ntfs_value_is_unwritten(const struct ntfs_value_source *source,
			    const struct ntfs_value_key *key, bool *unwritten, struct err *err)
{
	CLEANUP(ntfs_value_close) struct ntfs_value *v = NULL;
	int r = find(&v, source, key, err);

	*unwritten = r == 0 && v->size && !v->initialized;
	return r;
}

/* ---- bytes ---- */

/* The part that holds byte @offset, which is mapped. */
static const struct part *part_at(const struct ntfs_value *v, uint64_t offset)
{
	size_t low = 0, high = v->part_count;

	while (high - low > 1) {
		size_t middle = low + (high - low) / 2;

		if (v->parts[middle].at <= offset)
			low = middle;
		else
			high = middle;
	}
	return &v->parts[low];
}

static int read_clusters(const struct ntfs_value *v, uint8_t *buf, size_t len, uint64_t offset,
			 struct err *err)
{
	while (len) {
		const struct part *p = part_at(v, offset);
		uint64_t inside = offset - p->at, left = p->run.length - inside;
		size_t n = len < left ? len : (size_t)left;
		int r = 0;

		if (p->run.hole)
			memset(buf, 0, n);
		else
			r = volume_channel_read(v->source->volume, buf, n, p->run.offset + inside);
		if (r < 0)
			return err_set(err, -r, "read at byte %llu of the volume",
				       (unsigned long long)(p->run.offset + inside));
		buf += n;
		offset += n;
		len -= n;
	}
	return 0;
}

int ntfs_value_read(const struct ntfs_value *v, void *buf, size_t len, uint64_t offset,
		    struct err *err)
{
	size_t written = 0;

	if (offset > v->size || len > v->size - offset)
		return err_say(err, EINVAL, "it ends before byte %llu",
			       (unsigned long long)(offset + len));
	if (offset < v->initialized)
		written = len < v->initialized - offset ? len : (size_t)(v->initialized - offset);
	memset((uint8_t *)buf + written, 0, len - written);
	if (v->resident) {
		memcpy(buf, v->resident + offset, len);
		return 0;
	}
	return read_clusters(v, buf, written, offset, err);
}
