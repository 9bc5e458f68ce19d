#include "mgmt-server/scan/ntfs_overlay.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "mgmt-server/scan/ntfs_reparse.h"
#include "mgmt-server/scan/reader.h"

enum {
	TABLE = 0, /* the record of the master file table itself */
	ATTRIBUTE_OFFLINE = 0x1000,
	ATTRIBUTE_RECALL_ON_OPEN = 0x40000,
	ATTRIBUTE_RECALL_ON_ACCESS = 0x400000,
	FLAG_COMPRESSED = 0x00ff, /* of an attribute's header */
	FLAG_ENCRYPTED = 0x4000,
};

#define STREAM "WofCompressedData"

struct ntfs_overlay {
	struct ntfs_value_source source;
	libfsntfs_file_entry_t *table; /* NULL: records cannot be read */
};

/* ---- records ---- */

static int read_record(void *ctx, uint64_t number, uint8_t *buf, struct err *err)
{
	const struct ntfs_overlay *o = ctx;
	uint64_t size = o->source.geometry.record_size;

	if (!o->table || number > INT64_MAX / size ||
	    libfsntfs_file_entry_read_buffer_at_offset(
		    o->table, buf, size, (off64_t)(number * size), NULL) != (ssize_t)size)
		return err_say(err, EIO, "record %llu cannot be read", (unsigned long long)number);
	return 0;
}

int ntfs_overlay_new(struct ntfs_overlay **out, libfsntfs_volume_t *volume,
		     struct volume_channel *channel, struct err *err)
{
	CLEANUP(ntfs_overlay_free) struct ntfs_overlay *o = calloc(1, sizeof(*o));
	uint8_t boot[NTFS_RECORD_BOOT_LEN];

	if (!o)
		return err_set(err, ENOMEM, "start to read NTFS");
	o->source =
		(struct ntfs_value_source){ .volume = channel, .record = read_record, .ctx = o };
	if (volume_channel_read(channel, boot, sizeof(boot), 0) == 0 &&
	    ntfs_record_geometry(&o->source.geometry, boot, volume_channel_size(channel)))
		(void)libfsntfs_volume_get_file_entry_by_index(volume, TABLE, &o->table, NULL);
	else
		o->source.geometry.record_size = NTFS_RECORD_MAX; /* for a buffer; none is read */
	*out = TAKE(o);
	return 0;
}

void ntfs_overlay_free(struct ntfs_overlay *o)
{
	if (!o)
		return;
	libfsntfs_file_entry_free(&o->table, NULL);
	free(o);
}

/* ---- one file ---- */

void ntfs_overlay_file_free(struct ntfs_overlay_file *f)
{
	if (!f)
		return;
	wof_stream_close(f->decoded);
	ntfs_value_close(f->stored);
	free(f);
}

/* What the headers of a file's attributes say. */
struct headers {
	bool reparse, compressed, encrypted;
};

static void look_at_header(struct headers *h, libfsntfs_attribute_t *attribute)
{
	uint32_t type = 0;
	uint16_t flags = 0;

	if (libfsntfs_attribute_get_type(attribute, &type, NULL) != 1)
		return;
	h->reparse |= type == NTFS_ATTRIBUTE_REPARSE;
	if (type != NTFS_ATTRIBUTE_DATA ||
	    libfsntfs_attribute_get_data_flags(attribute, &flags, NULL) != 1)
		return;
	h->compressed |= (flags & FLAG_COMPRESSED) != 0;
	h->encrypted |= (flags & FLAG_ENCRYPTED) != 0;
}

static struct headers headers_of(libfsntfs_file_entry_t *entry)
{
	struct headers h = { 0 };
	int count = 0;

	if (libfsntfs_file_entry_get_number_of_attributes(entry, &count, NULL) != 1)
		return h;
	for (int i = 0; i < count; i++) {
		libfsntfs_attribute_t *attribute = NULL;

		if (libfsntfs_file_entry_get_attribute_by_index(entry, i, &attribute, NULL) != 1) {
			h.reparse = true; /* perhaps: it is looked for */
			continue;
		}
		look_at_header(&h, attribute);
		libfsntfs_attribute_free(&attribute, NULL);
	}
	return h;
}

static void unreadable(struct ntfs_overlay_file *f, const char *what, const struct err *why)
{
	f->flags = READER_UNREADABLE;
	snprintf(f->reason, sizeof(f->reason), "%s: %s", what, err_text(why));
}

static int read_stored(void *ctx, void *buf, size_t len, uint64_t offset, struct err *err)
{
	return ntfs_value_read(ctx, buf, len, offset, err);
}

static void look_compact(struct ntfs_overlay_file *f, const struct ntfs_overlay *o, uint64_t record,
			 uint32_t algorithm, uint64_t size)
{
	const struct ntfs_value_key key = { record, NTFS_ATTRIBUTE_DATA, STREAM };
	struct wof_stream_options options = { .algorithm = algorithm,
					      .size = size,
					      .read = read_stored };
	struct err err = { 0 };
	int r = ntfs_value_open(&f->stored, &o->source, &key, &err);

	if (r == NTFS_VALUE_ABSENT)
		r = err_say(&err, EBADMSG, "the file has no stream " STREAM);
	if (r == 0) {
		options.ctx = f->stored;
		options.stored = ntfs_value_size(f->stored);
		r = wof_stream_open(&f->decoded, &options, &err);
	}
	if (r < 0)
		unreadable(f, "compressed by CompactOS", &err);
}

static bool has_holes(libfsntfs_file_entry_t *entry)
{
	int count = 0;

	if (libfsntfs_file_entry_get_number_of_extents(entry, &count, NULL) != 1)
		return true;
	for (int i = 0; i < count; i++) {
		uint32_t flags = 0;
		size64_t len;
		off64_t at;

		if (libfsntfs_file_entry_get_extent_by_index(entry, i, &at, &len, &flags, NULL) !=
			    1 ||
		    flags & LIBFSNTFS_EXTENT_FLAG_IS_SPARSE)
			return true;
	}
	return false;
}

/* Not all of a file in the cloud is here while Windows says so, or while there are holes in it. */
static bool is_here(libfsntfs_file_entry_t *entry)
{
	uint32_t attributes = 0;

	return libfsntfs_file_entry_get_file_attribute_flags(entry, &attributes, NULL) == 1 &&
	       !(attributes &
		 (ATTRIBUTE_OFFLINE | ATTRIBUTE_RECALL_ON_OPEN | ATTRIBUTE_RECALL_ON_ACCESS)) &&
	       !has_holes(entry);
}

static int read_reparse(struct ntfs_reparse *out, const struct ntfs_overlay *o, uint64_t record,
			struct err *err)
{
	const struct ntfs_value_key key = { record, NTFS_ATTRIBUTE_REPARSE, "" };
	CLEANUP(ntfs_value_close) struct ntfs_value *value = NULL;
	uint8_t bytes[NTFS_REPARSE_LEN_MAX];
	size_t len;
	int r = ntfs_value_open(&value, &o->source, &key, err);

	if (r == NTFS_VALUE_ABSENT)
		return err_say(err, EBADMSG, "it is not where it should be");
	if (r < 0)
		return r;
	if (ntfs_value_size(value) > sizeof(bytes))
		return err_say(err, EBADMSG, "it is too long");
	len = (size_t)ntfs_value_size(value);
	r = ntfs_value_read(value, bytes, len, 0, err);
	if (r == 0)
		*out = ntfs_reparse_parse(bytes, len);
	return r;
}

static void look(struct ntfs_overlay_file *f, const struct ntfs_overlay *o, uint64_t record,
		 libfsntfs_file_entry_t *entry)
{
	struct ntfs_reparse reparse = { 0 };
	struct err err = { 0 };
	size64_t size = 0;

	if (read_reparse(&reparse, o, record, &err) < 0) {
		unreadable(f, "its reparse point", &err);
		return;
	}
	if (libfsntfs_file_entry_get_size(entry, &size, NULL) != 1)
		return; /* told by who asks for it next */
	if (reparse.where == NTFS_REPARSE_COMPACT) {
		look_compact(f, o, record, reparse.algorithm, size);
		return;
	}
	if (!size || reparse.where == NTFS_REPARSE_HERE ||
	    (reparse.where == NTFS_REPARSE_CLOUD && is_here(entry)))
		return;
	f->flags = READER_TRUNCATED;
	snprintf(f->reason, sizeof(f->reason), "its contents are %s (reparse point 0x%08x)",
		 reparse.what, reparse.tag);
}

int ntfs_overlay_look(struct ntfs_overlay_file **out, struct ntfs_overlay *o, uint64_t record,
		      libfsntfs_file_entry_t *entry, struct err *err)
{
	struct headers h = headers_of(entry);
	struct ntfs_overlay_file *f;

	if (!h.reparse && !h.compressed && !h.encrypted)
		return 0;
	f = calloc(1, sizeof(*f));
	if (!f)
		return err_set(err, ENOMEM, "look at a file");
	f->encrypted = h.encrypted;
	f->compressed = h.compressed;
	if (h.reparse && libfsntfs_file_entry_has_default_data_stream(entry, NULL) == 1)
		look(f, o, record, entry);
	*out = f;
	return 0;
}

bool ntfs_overlay_is_unwritten(const struct ntfs_overlay *o, uint64_t record, const char *stream)
{
	const struct ntfs_value_key key = { record, NTFS_ATTRIBUTE_DATA, stream };
	bool unwritten;
	struct err err;

	return ntfs_value_is_unwritten(&o->source, &key, &unwritten, &err) == 0 && unwritten;
}
