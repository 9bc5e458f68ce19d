#include "mgmt-server/scan/fat_walk.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "mgmt-server/scan/exfat_entries.h"
#include "mgmt-server/scan/fat_content.h"
#include "mgmt-server/scan/file_digest.h"
#include "mgmt-server/scan/inode_set.h"
#include "mgmt-server/scan/name_tree.h"

enum {
	PIECE = 64 << 10, /* of a folder; whole entries */
	NAME_MAX_BYTES = FAT_NAMES_BYTES_MAX,
	FOLDER_PATH_MAX = READER_PATH_MAX - NAME_MAX_BYTES - 1,
	REASON_MAX = 512,
	SHOWN_PATH_MAX = 300, /* in a reason */
};

struct folder {
	uint32_t cluster; /* the first; 0: FAT12's and FAT16's root */
	bool contiguous;
	uint64_t len; /* bytes, or FAT_CHAIN_TO_ITS_END */
};

struct walk {
	struct reader *reader;
	struct err *err;
	struct fat_volume volume;
	struct fat_content content;
	struct folder
		*queue; /* folders found; [next, count) are not read yet; the first is the root */
	size_t next, count, cap;
	struct inode_set known;  /* first clusters of the folders in the queue */
	struct inode_set read;   /* clusters of folders that were read */
	struct name_tree *names; /* of folders, by their first clusters */
	uint8_t *piece;          /* PIECE bytes of a folder */
	char *path; /* READER_PATH_MAX bytes: the folder's, then that of what is in it */
	size_t folder_len;
	/* The folder that is being read. */
	struct fat_entries fat;
	struct exfat_entries exfat;
	bool begins_with_itself;
	struct fat_entry entry;
};

static bool is_exfat(const struct walk *w)
{
	return w->volume.boot.type == FAT_BOOT_EX;
}

static int incomplete(struct walk *w, size_t path_len, const char *what)
{
	char reason[REASON_MAX];

	snprintf(reason, sizeof(reason), "the folder \"%.*s\": %s",
		 (int)(path_len < SHOWN_PATH_MAX ? path_len : SHOWN_PATH_MAX), w->path, what);
	return reader_incomplete(w->reader, reason, w->err);
}

/* ---- what is in a folder ---- */

static int add_folder(struct walk *w, const struct folder *folder, size_t path_len)
{
	int r = inode_set_add(&w->known, folder->cluster);

	if (r == INODE_SET_SEEN)
		return incomplete(w, path_len, "its clusters are another folder's");
	if (r == 0 && w->count == w->cap) {
		size_t cap = w->cap ? w->cap * 2 : 256;
		struct folder *queue = realloc(w->queue, cap * sizeof(*queue));

		if (queue) {
			w->queue = queue;
			w->cap = cap;
		}
		r = queue ? 0 : -ENOMEM;
	}
	if (r < 0)
		return err_set(w->err, -r, "remember a folder");
	w->queue[w->count++] = *folder;
	return 0;
}

/* The name goes behind the folder's path. Return the length of both. */
static size_t complete_path(struct walk *w, uint64_t inode)
{
	size_t len = w->folder_len;

	if (len)
		w->path[len++] = '/';
	if (!w->entry.name_len)
		w->entry.name_len = (size_t)snprintf(w->entry.name, sizeof(w->entry.name),
						     "<entry %llu>", (unsigned long long)inode);
	memcpy(w->path + len, w->entry.name, w->entry.name_len);
	return len + w->entry.name_len;
}

/* @at: where on the volume it is, which no other entry is. */
static int take_entry(struct walk *w, const struct folder *in, uint64_t at)
{
	const struct fat_entry *entry = &w->entry;
	uint64_t inode = at / FAT_ENTRY_LEN;
	size_t path_len = complete_path(w, inode);
	/* Drivers follow a chain to its end, whatever length the folder has in its own folder. */
	const bool has_length = is_exfat(w) && (entry->contiguous || !entry->cluster);
	const struct folder folder = {
		.cluster = entry->cluster,
		.contiguous = entry->contiguous,
		.len = has_length ? entry->size : (uint64_t)FAT_CHAIN_TO_ITS_END,
	};
	const struct fat_content_file file = {
		.entry = entry, .inode = inode, .path = w->path, .path_len = path_len
	};

	if (!entry->folder)
		return fat_content_report(&w->content, &file, w->err);
	if (entry->deleted)
		return 0;
	if (name_tree_add(w->names, entry->cluster, in->cluster, entry->name, entry->name_len) < 0)
		return err_set(w->err, ENOMEM, "remember a folder");
	return add_folder(w, &folder, path_len);
}

static bool in_root(const struct walk *w)
{
	return w->next == 1;
}

static int take_raw(struct walk *w, const struct folder *in, const uint8_t *raw, uint64_t at)
{
	int found = is_exfat(w) ? exfat_entries_take(&w->exfat, raw, &w->entry)
				: fat_entries_take(&w->fat, raw, &w->entry);

	if (found == FAT_ENTRIES_DOTS && in_root(w))
		found = FAT_ENTRIES_FOUND; /* it has none: what looks so is a folder */
	if (found == FAT_ENTRIES_DOTS && w->fat.taken == 1)
		w->begins_with_itself = w->entry.cluster == in->cluster;
	return found == FAT_ENTRIES_FOUND ? take_entry(w, in, at) : 0;
}

/* ---- folders ---- */

static int read_run(struct walk *w, const struct folder *folder, const struct fat_run *run)
{
	for (uint64_t done = 0; done < run->length;) {
		uint64_t left = run->length - done;
		size_t n = left < PIECE ? (size_t)left : PIECE;
		uint64_t at = run->offset + done;
		int r = volume_channel_read(w->volume.channel, w->piece, n, at);

		if (r < 0)
			return incomplete(w, w->folder_len, strerror(-r));
		for (size_t i = 0; r == 0 && i + FAT_ENTRY_LEN <= n; i += FAT_ENTRY_LEN)
			r = take_raw(w, folder, w->piece + i, at + i);
		if (r < 0)
			return r;
		done += n;
	}
	return 0;
}

/* The part of the run that no folder has had. Return 0, INODE_SET_SEEN when there is more, or -ENOMEM. */
static int claim(struct walk *w, struct fat_run *run)
{
	const struct fat_boot *boot = &w->volume.boot;

	for (uint64_t done = 0; done < run->length; done += boot->cluster_size) {
		int r = inode_set_add(&w->read, (run->offset + done - boot->heap_offset) /
							boot->cluster_size);

		if (r == INODE_SET_SEEN)
			run->length = done;
		if (r)
			return r;
	}
	return 0;
}

static int read_chain(struct walk *w, const struct folder *folder)
{
	struct fat_chain chain;
	struct fat_run run;
	int r = 0, claimed = 0;

	fat_chain_begin(&chain, &w->volume, folder->cluster, folder->len,
			folder->contiguous ? FAT_CHAIN_CONTIGUOUS : FAT_CHAIN_LINKED);
	while (r == 0 && claimed == 0 && fat_chain_next(&chain, &run) == 0) {
		claimed = claim(w, &run);
		r = claimed < 0 ? err_set(w->err, -claimed, "remember a folder")
				: read_run(w, folder, &run);
	}
	if (r == 0 && claimed == INODE_SET_SEEN)
		return incomplete(w, w->folder_len,
				  "its clusters are another folder's, or its own again");
	if (r == 0 && chain.problem[0])
		return incomplete(w, w->folder_len, chain.problem);
	return r;
}

/* What the entries say about themselves. A pointer to the wrong place would otherwise look like an empty folder. */
static int check_entries(struct walk *w, bool is_root)
{
	char text[96];

	exfat_entries_end(&w->exfat);
	if (w->exfat.damaged) {
		snprintf(text, sizeof(text), "%llu of its entries are damaged",
			 (unsigned long long)w->exfat.damaged);
		return incomplete(w, w->folder_len, text);
	}
	if (!is_exfat(w) && w->begins_with_itself == is_root)
		return incomplete(w, w->folder_len,
				  is_root ? "it begins as the root folder does not"
					  : "it does not begin with itself, as folders do");
	return 0;
}

static int read_folder(struct walk *w, const struct folder *folder, bool is_root)
{
	const struct fat_boot *boot = &w->volume.boot;
	const struct fat_run area = { boot->root_offset, boot->root_length };
	bool deleted = reader_wants_deleted(w->reader);
	int r;

	w->fat =
		(struct fat_entries){ .wide = boot->type == FAT_BOOT_32, .wants_deleted = deleted };
	w->exfat.want = 0;
	w->exfat.damaged = 0;
	w->exfat.wants_deleted = deleted;
	w->begins_with_itself = false;
	w->folder_len = name_tree_path(w->names, folder->cluster, w->queue[0].cluster, w->path,
				       FOLDER_PATH_MAX);
	r = is_root && area.length ? read_run(w, folder, &area) : read_chain(w, folder);
	return r < 0 ? r : check_entries(w, is_root);
}

static int walk_all(struct walk *w)
{
	const struct folder root = { .cluster = w->volume.boot.root_cluster,
				     .len = (uint64_t)FAT_CHAIN_TO_ITS_END };
	int r = 0;

	if (w->volume.doubt[0])
		r = reader_incomplete(w->reader, w->volume.doubt, w->err);
	if (r == 0)
		r = add_folder(w, &root, 0);
	while (r == 0 && w->next < w->count) {
		struct folder folder = w->queue[w->next++]; /* by value: the queue may move */

		r = read_folder(w, &folder, in_root(w));
	}
	return r;
}

int fat_walk(struct reader *reader, struct err *err)
{
	CLEANUP(name_tree_free) struct name_tree *names = name_tree_new();
	CLEANUP_FREE uint8_t *piece = malloc(PIECE), *data = malloc(FAT_CONTENT_PIECE);
	CLEANUP_FREE char *path = malloc(READER_PATH_MAX);
	CLEANUP(file_digest_free)
	struct file_digest *digest = reader_known(reader) ? file_digest_new() : NULL;
	CLEANUP_FREE struct walk *w = calloc(1, sizeof(*w));
	int r;

	if (!names || !piece || !data || !path || !w || (reader_known(reader) && !digest))
		return err_set(err, ENOMEM, "start to read FAT");
	*w = (struct walk){
		.reader = reader, .err = err, .names = names, .piece = piece, .path = path
	};
	r = fat_volume_open(&w->volume, reader_volume(reader), err);
	w->content = (struct fat_content){
		.reader = reader,
		.volume = &w->volume,
		.piece = data,
		.digest = digest,
		.budget = FAT_CONTENT_TIMES * volume_channel_size(reader_volume(reader)),
	};
	if (r == 0)
		r = walk_all(w);
	free(w->queue);
	inode_set_deinit(&w->known);
	inode_set_deinit(&w->read);
	return r;
}
