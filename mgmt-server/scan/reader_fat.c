/* reader_fat.c - FAT12, FAT16, FAT32 and exFAT by libtsk.
 *
 * libtsk's own directory walk stops in silence at a depth of about 128, so directories are taken from a queue here, each
 * once; what it lists of each is counted against the raw entries (fat_entries.h). Source: The Sleuth Kit's library user's guide; Microsoft's FAT and exFAT specifications.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <tsk/libtsk.h>

#include "mgmt-server/scan/fat_entries.h"
#include "mgmt-server/scan/inode_set.h"
#include "mgmt-server/scan/reader.h"

enum { PIECE = 1 << 20 };

struct image {
	TSK_IMG_INFO info; /* first: libtsk hands it back */
	struct volume_channel *volume;
};

struct folder {
	TSK_INUM_T inode;
	char *path; /* heap, "" for the root */
};

struct walk {
	struct reader *reader;
	struct err *err;
	TSK_FS_INFO *fs;
	struct folder *queue; /* folders found; [next, count) are not read yet */
	size_t next, count, cap;
	struct inode_set seen;
	char *piece;
};

static ssize_t image_read(TSK_IMG_INFO *info, TSK_OFF_T offset, char *buf, size_t len)
{
	struct image *image = (struct image *)info;
	uint64_t size = volume_channel_size(image->volume);

	if (offset < 0 || (uint64_t)offset >= size)
		return -1;
	if (len > size - (uint64_t)offset)
		len = (size_t)(size - (uint64_t)offset);
	return volume_channel_read(image->volume, buf, len, (uint64_t)offset) < 0 ? -1
										  : (ssize_t)len;
}

static void image_close(TSK_IMG_INFO *info)
{
	(void)info;
}

static void image_stat(TSK_IMG_INFO *info, FILE *out)
{
	(void)info, (void)out;
}

static const char *reason_of_tsk(void)
{
	const char *text = tsk_error_get();

	return text ? text : "libtsk gives no reason";
}

static int add_folder(struct walk *w, TSK_INUM_T inode, char *path)
{
	int r = path ? inode_set_add(&w->seen, inode) : -ENOMEM;

	if (r == 0 && w->count == w->cap) {
		size_t cap = w->cap ? w->cap * 2 : 256;
		struct folder *queue = realloc(w->queue, cap * sizeof(*queue));

		if (!queue) {
			r = -ENOMEM;
		} else {
			w->queue = queue;
			w->cap = cap;
		}
	}
	if (r == 0)
		w->queue[w->count++] = (struct folder){ .inode = inode, .path = path };
	else
		free(path);
	return r < 0 ? err_set(w->err, -r, "remember a folder") : 0;
}

static char *join(const char *folder, const char *name)
{
	char *path = NULL;

	if (asprintf(&path, "%s%s%s", folder, folder[0] ? "/" : "", name) < 0)
		return NULL;
	return path;
}

static int give_content(struct walk *w, TSK_FS_FILE *file)
{
	TSK_OFF_T offset = 0;

	while (offset < file->meta->size) {
		TSK_OFF_T left = file->meta->size - offset;
		ssize_t n = tsk_fs_file_read(file, offset, w->piece,
					     left < PIECE ? (size_t)left : PIECE,
					     TSK_FS_FILE_READ_FLAG_NONE);
		int r;

		if (n <= 0)
			return reader_end_unreadable(w->reader, reason_of_tsk(), w->err);
		r = reader_data(w->reader, w->piece, (size_t)n, (uint64_t)offset, w->err);
		if (r < 0)
			return r;
		offset += n;
	}
	return reader_end(w->reader, w->err);
}

static int report(struct walk *w, TSK_FS_FILE *file, const char *path)
{
	struct reader_file entry = {
		.path = path,
		.path_len = strlen(path),
		.stream = "",
		.inode = file->meta->addr,
		.size = (uint64_t)file->meta->size,
		.mtime = file->meta->mtime,
		.ctime = file->meta->crtime,
		.flags = file->name->flags & TSK_FS_NAME_FLAG_UNALLOC ? READER_DELETED : 0,
	};
	int r;

	if (file->meta->size < 0 ||
	    (uint64_t)file->meta->size > volume_channel_size(reader_volume(w->reader))) {
		entry.flags |= READER_UNREADABLE;
		entry.reason = "its size is larger than the volume";
	}
	r = reader_begin(w->reader, &entry, w->err);
	if (r < 0)
		return r;
	return entry.flags & READER_UNREADABLE ? reader_end(w->reader, w->err)
					       : give_content(w, file);
}

static int take_entry(struct walk *w, const struct folder *folder, TSK_FS_FILE *file)
{
	bool deleted = file->name && file->name->flags & TSK_FS_NAME_FLAG_UNALLOC;
	char *path;
	int r;

	if (!file->name || !file->name->name || TSK_FS_ISDOT(file->name->name))
		return 0;
	if (deleted && !reader_wants_deleted(w->reader))
		return 0;
	path = join(folder->path, file->name->name);
	if (!path)
		return err_set(w->err, ENOMEM, "put a path together");
	if (!file->meta) {
		r = deleted ? 0
			    : reader_incomplete(w->reader,
						"an entry of a folder has no description", w->err);
		free(path);
		return r;
	}
	if (file->meta->type == TSK_FS_META_TYPE_DIR && !deleted)
		return add_folder(w, file->meta->addr, path);
	r = file->meta->type == TSK_FS_META_TYPE_REG ? report(w, file, path) : 0;
	free(path);
	return r;
}

/* Is it one of the folder's files and folders, not one of libtsk's inventions? A file that borrows one of these names is
 * missed in the count, which errs on the side of "incomplete". */
static bool is_listed(const TSK_FS_NAME *name)
{
	static const char label[] = " (Volume Label Entry)";
	static const char *const own[] = { "$ALLOC_BITMAP", "$UPCASE_TABLE", "$VOLUME_GUID",
					   "$TEX_FAT", "$ACT" };
	size_t len = name && name->name ? strlen(name->name) : 0;

	if (!len || TSK_FS_ISDOT(name->name) || name->flags & TSK_FS_NAME_FLAG_UNALLOC ||
	    (name->type != TSK_FS_NAME_TYPE_REG && name->type != TSK_FS_NAME_TYPE_DIR))
		return false;
	for (size_t i = 0; i < ARRAY_LEN(own); i++) {
		if (!strcmp(name->name, own[i]))
			return false;
	}
	return len < sizeof(label) - 1 ||
	       strcmp(name->name + len - (sizeof(label) - 1), label) != 0;
}

/* Nothing that a driver would show may be missing from libtsk's list. */
static int check_folder(struct walk *w, const struct folder *folder, TSK_FS_DIR *dir, size_t listed)
{
	struct fat_entries raw = { .exfat = w->fs->ftype == TSK_FS_TYPE_EXFAT };
	TSK_FS_FILE *file = dir->fs_file;
	TSK_OFF_T size = file && file->meta ? file->meta->size : 0;
	char reason[512];

	for (TSK_OFF_T offset = 0; offset < size && !raw.ended;) {
		ssize_t n =
			tsk_fs_file_read(file, offset, w->piece,
					 size - offset < PIECE ? (size_t)(size - offset) : PIECE,
					 TSK_FS_FILE_READ_FLAG_NONE);

		if (n < FAT_ENTRY_LEN)
			return reader_incomplete(w->reader, reason_of_tsk(), w->err);
		n -= n % FAT_ENTRY_LEN;
		fat_entries_take(&raw, (const uint8_t *)w->piece, (size_t)n);
		offset += n;
	}
	if (raw.files <= listed)
		return 0;
	snprintf(reason, sizeof(reason),
		 "%zu of %zu entries of the folder \"%.300s\" are damaged or not allowed on FAT",
		 raw.files - listed, raw.files, folder->path);
	return reader_incomplete(w->reader, reason, w->err);
}

static int read_folder(struct walk *w, const struct folder *folder)
{
	TSK_FS_DIR *dir = tsk_fs_dir_open_meta(w->fs, folder->inode);
	size_t listed = 0;
	int r = 0;

	if (!dir)
		return reader_incomplete(w->reader, reason_of_tsk(), w->err);
	for (size_t i = 0; r == 0 && i < tsk_fs_dir_getsize(dir); i++) {
		TSK_FS_FILE *file = tsk_fs_dir_get(dir, i);

		if (!file) {
			r = reader_incomplete(w->reader, reason_of_tsk(), w->err);
			continue;
		}
		listed += is_listed(file->name);
		r = take_entry(w, folder, file);
		tsk_fs_file_close(file);
	}
	if (r == 0)
		r = check_folder(w, folder, dir, listed);
	tsk_fs_dir_close(dir);
	return r;
}

static int walk_all(struct walk *w)
{
	int r = 0;

	if (w->fs->last_block != w->fs->last_block_act)
		r = reader_incomplete(w->reader,
				      "truncated: the file system is larger than its partition",
				      w->err);
	if (r == 0)
		r = add_folder(w, w->fs->root_inum, strdup(""));
	while (r == 0 && w->next < w->count) {
		struct folder folder = w->queue[w->next++]; /* by value: the queue may move */

		r = read_folder(w, &folder);
	}
	return r;
}

int reader_walk(struct reader *reader, struct err *err)
{
	struct image *image = calloc(1, sizeof(*image)); /* libtsk frees it */
	CLEANUP_FREE char *piece = malloc(PIECE);
	struct walk w = { .reader = reader, .err = err, .piece = piece };
	int r;

	if (!image || !piece)
		return err_set(err, ENOMEM, "start to read FAT");
	image->volume = reader_volume(reader);
	if (!tsk_img_open_external(image, (TSK_OFF_T)volume_channel_size(image->volume), 512,
				   image_read, image_close, image_stat))
		return err_say(err, EINVAL, "open the volume: %s", reason_of_tsk());
	w.fs = tsk_fs_open_img(&image->info, 0, TSK_FS_TYPE_FAT_DETECT);
	if (!w.fs)
		w.fs = tsk_fs_open_img(&image->info, 0, TSK_FS_TYPE_EXFAT);
	if (!w.fs)
		return err_say(err, EINVAL, "open the FAT file system: %s", reason_of_tsk());
	r = walk_all(&w);
	for (size_t i = 0; i < w.count; i++)
		free(w.queue[i].path);
	free(w.queue);
	inode_set_deinit(&w.seen);
	tsk_fs_close(w.fs);
	return r;
}
