/* reader_ntfs.c - NTFS by libfsntfs: contents (resident, sparse, compressed, CompactOS) and alternate data streams.
 *
 * The master file table is read from its first to its last record, so depth, loops and files without a folder cost
 * nothing; names are put together afterwards (name_tree.h). The table is read straight first (ntfs_mft.h): for the names, and
 * where plain data lies. When an earlier scan is known, libfsntfs opens only the records that changed or are unusual. Source: [MS-FSCC]; libfsntfs's
 * format description.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/le.h"
#include "mgmt-server/scan/name_tree.h"
#include "mgmt-server/scan/ntfs_mft.h"
#include "mgmt-server/scan/ntfs_overlay.h"
#include "mgmt-server/scan/ntfs_volume.h"
#include "mgmt-server/scan/reader.h"

enum {
	PIECE = 1 << 20,
	ROOT = 5,         /* record number of the root folder */
	FIRST_FREE = 24,  /* below are the file system's own files */
	RECORD_BITS = 48, /* of a file reference: the rest counts reuses */
	ATTRIBUTE_ENCRYPTED = 0x4000,
	NAME_SPACE_DOS = 2,          /* the 8.3 name of a file that has a long one too */
	NAME_LEN_MAX = 1024,         /* 255 UTF-16 units as UTF-8 */
	COMPRESSION_UNIT = 64 << 10, /* at most: 16 clusters of 4 KiB */
	BOOT_SECTOR_LEN = 512,
	BOOT_SECTOR_SIZE_AT = 11, /* 16 bits */
	BOOT_SECTORS_AT = 40,
	FILETIME_TO_1970_S = 11644473600,
};

struct walk {
	struct reader *reader;
	struct err *err;
	libfsntfs_volume_t *volume;
	struct name_tree *names;
	struct ntfs_mft *mft; /* NULL: libfsntfs reads everything */
	struct ntfs_overlay *overlay;
	struct ntfs_overlay_file *over; /* of the record at hand; NULL: libfsntfs is right */
	bool sound;                     /* that record is not damaged */
	struct content *content;        /* of it, that is being given */
	uint8_t *piece;
	char *path;
};

/* A content: the main data of a file or one of its streams, by one of these. libfsntfs has a set of functions for each. */
struct content {
	libfsntfs_file_entry_t *entry;   /* main data */
	libfsntfs_data_stream_t *stream; /* or this */
	struct wof_stream *decoded;      /* main data that libfsntfs would not read rightly */
	uint64_t size;
	bool plain; /* ntfs_mft may know where it is */
};

static uint64_t record_of(uint64_t reference)
{
	return reference & ((1ULL << RECORD_BITS) - 1);
}

static int incomplete_record(struct walk *w, uint64_t record, const char *what,
			     libfsntfs_error_t **error)
{
	char reason[512], text[700];

	ntfs_volume_reason(error, reason, sizeof(reason));
	snprintf(text, sizeof(text), "%s of record %llu: %s", what, (unsigned long long)record,
		 reason);
	return reader_incomplete(w->reader, text, w->err);
}

/* ---- pass one: names ---- */

static int add_name(struct walk *w, uint64_t record, libfsntfs_attribute_t *attribute)
{
	uint8_t name[NAME_LEN_MAX], space = 0;
	uint64_t parent;
	size_t len;

	if (libfsntfs_file_name_attribute_get_name_space(attribute, &space, NULL) != 1 ||
	    space == NAME_SPACE_DOS ||
	    libfsntfs_file_name_attribute_get_parent_file_reference(attribute, &parent, NULL) !=
		    1 ||
	    libfsntfs_file_name_attribute_get_utf8_name_size(attribute, &len, NULL) != 1 ||
	    len < 2 || len > sizeof(name) ||
	    libfsntfs_file_name_attribute_get_utf8_name(attribute, name, len, NULL) != 1)
		return 0;
	if (name_tree_add(w->names, record, record_of(parent), (const char *)name, len - 1) < 0)
		return err_set(w->err, ENOMEM, "remember a name");
	return 0;
}

static int add_names(struct walk *w, uint64_t record, libfsntfs_file_entry_t *entry, bool corrupted)
{
	int count = 0, r = 0;

	(void)corrupted;
	if (libfsntfs_file_entry_get_number_of_attributes(entry, &count, NULL) != 1)
		return 0;
	for (int i = 0; r == 0 && i < count; i++) {
		libfsntfs_attribute_t *attribute = NULL;
		uint32_t type = 0;

		if (libfsntfs_file_entry_get_attribute_by_index(entry, i, &attribute, NULL) != 1)
			continue;
		if (libfsntfs_attribute_get_type(attribute, &type, NULL) == 1 &&
		    type == LIBFSNTFS_ATTRIBUTE_TYPE_FILE_NAME)
			r = add_name(w, record, attribute);
		libfsntfs_attribute_free(&attribute, NULL);
	}
	return r;
}

/* ---- pass two: contents ---- */

/* Return how many bytes, or <= 0 with @reason set. */
static ssize_t content_read(struct content *c, void *buf, size_t len, uint64_t offset, char *reason,
			    size_t cap)
{
	libfsntfs_error_t *error = NULL;
	struct err err = { 0 };
	ssize_t n;

	if (c->decoded && wof_stream_read(c->decoded, buf, len, offset, &err) < 0) {
		snprintf(reason, cap, "%s", err_text(&err));
		return -1;
	}
	if (c->decoded)
		return (ssize_t)len;
	n = c->stream ? libfsntfs_data_stream_read_buffer_at_offset(c->stream, buf, len,
								    (off64_t)offset, &error)
		      : libfsntfs_file_entry_read_buffer_at_offset(c->entry, buf, len,
								   (off64_t)offset, &error);
	if (n <= 0)
		ntfs_volume_reason(&error, reason, cap);
	return n;
}

static int content_extents(struct content *c)
{
	int count = 0, r;

	if (c->decoded)
		return 0;
	r = c->stream ? libfsntfs_data_stream_get_number_of_extents(c->stream, &count, NULL)
		      : libfsntfs_file_entry_get_number_of_extents(c->entry, &count, NULL);
	return r == 1 ? count : 0;
}

/* The length of extent @i, and whether it is a hole that need not be read. */
static uint64_t content_extent(struct content *c, int i, bool *hole)
{
	off64_t at;
	size64_t len = 0;
	uint32_t flags = 0;
	int r = c->stream ? libfsntfs_data_stream_get_extent_by_index(c->stream, i, &at, &len,
								      &flags, NULL)
			  : libfsntfs_file_entry_get_extent_by_index(c->entry, i, &at, &len, &flags,
								     NULL);

	*hole = r == 1 && flags & LIBFSNTFS_EXTENT_FLAG_IS_SPARSE &&
		!(flags & LIBFSNTFS_EXTENT_FLAG_IS_COMPRESSED);
	return r == 1 ? len : 0;
}

enum { GIVEN_UP = 2 }; /* reader_end_unreadable was called; not NTFS_MFT_NOT_PLAIN */

/* Return 0, GIVEN_UP or -errno. */
static int give_range(struct walk *w, struct content *c, uint64_t offset, uint64_t end)
{
	while (offset < end) {
		size_t want = end - offset < PIECE ? (size_t)(end - offset) : PIECE;
		char reason[512];
		ssize_t n = content_read(c, w->piece, want, offset, reason, sizeof(reason));
		int r;

		if (n <= 0) {
			r = reader_end_unreadable(w->reader, reason, w->err);
			return r < 0 ? r : GIVEN_UP;
		}
		r = reader_data(w->reader, w->piece, (size_t)n, offset, w->err);
		if (r < 0)
			return r;
		offset += (uint64_t)n;
	}
	return 0;
}

/* In a compressed file the last clusters of a unit that shrank look like a hole, but belong to its data: only whole units
 * are one. */
static int give_hole(struct walk *w, struct content *c, uint64_t from, uint64_t to)
{
	uint64_t first = (from + COMPRESSION_UNIT - 1) / COMPRESSION_UNIT * COMPRESSION_UNIT;
	uint64_t last = to == c->size ? to : to / COMPRESSION_UNIT * COMPRESSION_UNIT;
	int r;

	if (first >= last)
		return give_range(w, c, from, to);
	r = give_range(w, c, from, first);
	return r ? r : give_range(w, c, last, to);
}

/* Return as give_range. */
static int give_run(void *arg, uint64_t at, uint64_t len, uint64_t offset)
{
	struct walk *w = arg;
	int r = reader_run(w->reader, at, len, offset, w->err);

	return r == READER_AS_BYTES ? give_range(w, w->content, offset, offset + len) : r;
}

/* Data that is as its clusters are, by its place. Return as give_range, or NTFS_MFT_NOT_PLAIN: give it otherwise. */
static int give_runs(struct walk *w, uint64_t record, struct content *c)
{
	w->content = c;
	return w->mft && c->plain ? ntfs_mft_runs(w->mft, record, c->size, give_run, w)
				  : NTFS_MFT_NOT_PLAIN;
}

/* Holes are skipped where libfsntfs names them: a sparse file of terabytes must not be read for ever. */
static int give_extents(struct walk *w, struct content *c)
{
	int extents = content_extents(c), r = 0;
	uint64_t offset = 0;

	for (int i = 0; r == 0 && i < extents && offset < c->size; i++) {
		bool hole;
		uint64_t len = content_extent(c, i, &hole);
		uint64_t end = len < c->size - offset ? offset + len : c->size;

		r = hole ? give_hole(w, c, offset, end) : give_range(w, c, offset, end);
		offset = end;
	}
	return r ? r : give_range(w, c, offset, c->size);
}

static int give_content(struct walk *w, uint64_t record, struct content *c)
{
	int r = give_runs(w, record, c);

	if (r == NTFS_MFT_NOT_PLAIN)
		r = give_extents(w, c);
	if (r)
		return r < 0 ? r : 0;
	return reader_end(w->reader, w->err);
}

/* Zeros, which need not be given. */
static bool is_unwritten(const struct walk *w, const struct reader_file *file)
{
	return w->over && w->over->compressed &&
	       ntfs_overlay_is_unwritten(w->overlay, file->inode, file->stream);
}

static int report(struct walk *w, const struct reader_file *file, struct content *c)
{
	int r = reader_begin(w->reader, file, w->err);

	if (r < 0)
		return r;
	if (file->flags & READER_UNREADABLE || is_unwritten(w, file))
		return reader_end(w->reader, w->err);
	return give_content(w, file->inode, c);
}

static int report_streams(struct walk *w, struct reader_file *file, libfsntfs_file_entry_t *entry)
{
	int count = 0, r = 0;

	if (libfsntfs_file_entry_get_number_of_alternate_data_streams(entry, &count, NULL) != 1)
		return 0;
	for (int i = 0; r == 0 && i < count; i++) {
		libfsntfs_data_stream_t *stream = NULL;
		libfsntfs_error_t *error = NULL;
		struct content content = { 0 };
		uint8_t name[NAME_LEN_MAX];
		size_t len = 0;
		size64_t size = 0;

		if (libfsntfs_file_entry_get_alternate_data_stream_by_index(entry, i, &stream,
									    &error) != 1 ||
		    libfsntfs_data_stream_get_size(stream, &size, &error) != 1) {
			r = incomplete_record(w, file->inode, "a stream", &error);
			libfsntfs_data_stream_free(&stream, NULL);
			continue;
		}
		if (libfsntfs_data_stream_get_utf8_name_size(stream, &len, NULL) != 1 || len < 1 ||
		    len > sizeof(name) ||
		    libfsntfs_data_stream_get_utf8_name(stream, name, len, NULL) != 1)
			snprintf((char *)name, sizeof(name), "<stream %d>", i);
		content = (struct content){ .stream = stream, .size = size };
		file->stream = (const char *)name;
		file->size = size;
		r = report(w, file, &content);
		libfsntfs_data_stream_free(&stream, NULL);
	}
	return r;
}

static int report_main(struct walk *w, struct reader_file file, libfsntfs_file_entry_t *entry)
{
	const struct ntfs_overlay_file *over = w->over;
	struct content content = { .entry = entry,
				   .decoded = over ? over->decoded : NULL,
				   .plain = w->sound && !over };
	libfsntfs_error_t *error = NULL;
	size64_t size = 0;

	if (libfsntfs_file_entry_has_default_data_stream(entry, NULL) != 1)
		return 0;
	if (libfsntfs_file_entry_get_size(entry, &size, &error) != 1)
		return incomplete_record(w, file.inode, "the size", &error);
	content.size = file.size = size;
	if (over && over->flags && !file.flags) {
		file.flags = over->flags;
		file.reason = over->reason;
	}
	return report(w, &file, &content);
}

static int64_t seconds(uint64_t filetime)
{
	return (int64_t)(filetime / 10000000) - (int64_t)FILETIME_TO_1970_S;
}

/* What to remember of the record, unless it is read the next time anyway. */
static const uint8_t *digest_of(const struct walk *w, uint64_t record)
{
	bool touched;

	return w->mft ? ntfs_mft_digest(w->mft, record, &touched) : NULL;
}

static int report_entry(struct walk *w, uint64_t record, libfsntfs_file_entry_t *entry,
			bool corrupted)
{
	struct reader_file file = { .path = w->path,
				    .stream = "",
				    .inode = record,
				    .digest = corrupted ? NULL : digest_of(w, record) };
	CLEANUP(ntfs_overlay_file_free) struct ntfs_overlay_file *over = NULL;
	uint64_t modified = 0, changed = 0;
	uint32_t attributes = 0;
	int r;

	if (record < FIRST_FREE && record != ROOT)
		return 0;
	libfsntfs_file_entry_get_file_attribute_flags(entry, &attributes, NULL);
	libfsntfs_file_entry_get_modification_time(entry, &modified, NULL);
	libfsntfs_file_entry_get_entry_modification_time(entry, &changed, NULL);
	file.mtime = seconds(modified);
	file.ctime = seconds(changed);
	file.path_len = name_tree_path(w->names, record, ROOT, w->path, READER_PATH_MAX);
	r = ntfs_overlay_look(&over, w->overlay, record, entry, w->err);
	if (r < 0)
		return r;
	w->over = over;
	if (attributes & ATTRIBUTE_ENCRYPTED || (over && over->encrypted)) {
		file.flags = READER_UNREADABLE | READER_ENCRYPTED;
		file.reason = "encrypted by EFS";
	}
	w->sound = !corrupted;
	if (over && over->flags)
		file.digest = NULL; /* to be looked at again */
	r = report_main(w, file, entry);
	if (r == 0)
		r = report_streams(w, &file, entry);
	w->over = NULL;
	return r;
}

enum pass { PASS_NAMES, PASS_CONTENTS };

/* Need libfsntfs look at the record in this pass? Otherwise it is done with: *r says how that went. */
static bool look_at(struct walk *w, uint64_t record, enum pass pass, int *r)
{
	struct reader_file file = { .path = w->path, .stream = "", .inode = record };
	bool touched = true;

	*r = 0;
	if (!w->mft)
		return pass == PASS_NAMES ||
		       reader_need(w->reader, record, NULL) != READER_NEED_NOTHING;
	switch (ntfs_mft_kind(w->mft, record)) {
	case NTFS_MFT_UNUSED:
		return false;
	case NTFS_MFT_ODD:
		return pass == PASS_NAMES ||
		       reader_need(w->reader, record, NULL) != READER_NEED_NOTHING;
	case NTFS_MFT_PLAIN:
		break;
	}
	if (pass == PASS_NAMES)
		return false; /* ntfs_mft_read found them */
	file.digest = ntfs_mft_digest(w->mft, record, &touched);
	switch (reader_need(w->reader, record, touched ? NULL : file.digest)) {
	case READER_NEED_CONTENT:
		return true;
	case READER_NEED_NAME:
		file.path_len = name_tree_path(w->names, record, ROOT, w->path, READER_PATH_MAX);
		*r = reader_unchanged(w->reader, &file, w->err);
		return false;
	case READER_NEED_NOTHING:
		return false;
	}
	return true;
}

/* Damage is told once: when the record is opened for the first time. */
static bool tells_damage(const struct walk *w, uint64_t record, enum pass pass)
{
	bool plain = w->mft && ntfs_mft_kind(w->mft, record) == NTFS_MFT_PLAIN;

	return plain ? pass == PASS_CONTENTS : pass == PASS_NAMES;
}

/* Records with a base are continuations of another; they were read with it. */
static bool stands_alone(libfsntfs_file_entry_t *entry)
{
	uint64_t base;

	return libfsntfs_file_entry_is_empty(entry, NULL) != 1 &&
	       libfsntfs_file_entry_is_allocated(entry, NULL) == 1 &&
	       (libfsntfs_file_entry_get_base_record_file_reference(entry, &base, NULL) != 1 ||
		!base);
}

static int take_record(struct walk *w, uint64_t record, enum pass pass,
		       int (*fn)(struct walk *, uint64_t, libfsntfs_file_entry_t *, bool))
{
	libfsntfs_file_entry_t *entry = NULL;
	libfsntfs_error_t *error = NULL;
	bool tell = tells_damage(w, record, pass), corrupted;
	int r = 0;

	if (libfsntfs_volume_get_file_entry_by_index(w->volume, record, &entry, &error) != 1) {
		r = tell ? incomplete_record(w, record, "the description", &error) : 0;
		libfsntfs_error_free(&error);
		return r;
	}
	if (stands_alone(entry)) {
		corrupted = libfsntfs_file_entry_is_corrupted(entry, NULL) == 1;
		if (tell && corrupted)
			r = incomplete_record(w, record, "the damaged description", &error);
		if (r == 0)
			r = fn(w, record, entry, corrupted);
	}
	libfsntfs_file_entry_free(&entry, NULL);
	return r;
}

static int each_record(struct walk *w, enum pass pass,
		       int (*fn)(struct walk *, uint64_t, libfsntfs_file_entry_t *, bool))
{
	libfsntfs_error_t *error = NULL;
	uint64_t count = 0;
	int r = 0;

	if (libfsntfs_volume_get_number_of_file_entries(w->volume, &count, &error) != 1)
		return incomplete_record(w, 0, "the master file table", &error);
	for (uint64_t record = 0; r == 0 && record < count; record++) {
		if (look_at(w, record, pass, &r))
			r = take_record(w, record, pass, fn);
	}
	return r;
}

/* The boot sector says how long the file system is; files whose clusters are cut off may be all that is missing. */
static int check_volume(struct walk *w)
{
	struct volume_channel *volume = reader_volume(w->reader);
	uint8_t boot[BOOT_SECTOR_LEN];
	uint64_t sectors, size = volume_channel_size(volume);
	uint32_t sector_len;
	char reason[128];

	if (size < sizeof(boot) || volume_channel_read(volume, boot, sizeof(boot), 0) < 0)
		return reader_incomplete(w->reader, "the boot sector cannot be read", w->err);
	sector_len = le_get32(boot + BOOT_SECTOR_SIZE_AT) & 0xffff;
	sectors = le_get64(boot + BOOT_SECTORS_AT);
	if (sector_len && sectors <= size / sector_len)
		return 0;
	snprintf(reason, sizeof(reason),
		 "truncated: the file system has %llu sectors, its partition %llu",
		 (unsigned long long)sectors,
		 (unsigned long long)(sector_len ? size / sector_len : 0));
	return reader_incomplete(w->reader, reason, w->err);
}

int reader_walk(struct reader *reader, struct err *err)
{
	CLEANUP(name_tree_free) struct name_tree *names = name_tree_new();
	CLEANUP(ntfs_mft_free) struct ntfs_mft *mft = NULL;
	struct ntfs_overlay *overlay = NULL;
	CLEANUP_FREE uint8_t *piece = malloc(PIECE);
	CLEANUP_FREE char *path = malloc(READER_PATH_MAX);
	struct walk w = {
		.reader = reader, .err = err, .names = names, .piece = piece, .path = path
	};
	int r;

	if (!names || !piece || !path)
		return err_set(err, ENOMEM, "start to read NTFS");
	r = ntfs_volume_open(&w.volume, reader_volume(reader), err);
	if (r < 0)
		return r;
	r = ntfs_overlay_new(&overlay, w.volume, reader_volume(reader), err);
	w.overlay = overlay;
	if (r == 0)
		r = check_volume(&w);
	if (r == 0) {
		r = ntfs_mft_read(&mft, reader, names, err);
		w.mft = mft;
	}
	if (r >= 0)
		r = each_record(&w, PASS_NAMES, add_names);
	if (r == 0)
		r = each_record(&w, PASS_CONTENTS, report_entry);
	ntfs_overlay_free(overlay); /* it has a file of the volume open */
	ntfs_volume_close(w.volume);
	return r;
}
