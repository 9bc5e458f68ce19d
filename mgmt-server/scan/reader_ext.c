/* reader_ext.c - ext2, ext3 and ext4 by libext2fs, as they are after the journal was replayed (ext_volume.h).
 *
 * Two passes over the inodes: directories give the names, then every regular file is reported. A file that an earlier
 * scan knows is looked at in two steps: its block map first, its blocks only when something changed. A block that the
 * journal has a newer version of is never taken for unchanged, in this scan or the next: what is at its own place may
 * come back. Source: kernel Documentation/filesystems/ext4; libext2fs.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "mgmt-server/scan/ext_volume.h"
#include "mgmt-server/scan/name_tree.h"
#include "mgmt-server/scan/reader.h"

enum { PIECE = 1 << 20 };

struct walk;

/* What is done with each run of a file: data at @physical for @blocks blocks from @logical on. */
typedef int run_fn(struct walk *w, uint64_t physical, uint64_t logical, uint64_t blocks,
		   uint64_t size);

struct walk {
	struct reader *reader;
	struct ext_volume ext;
	struct name_tree *names;
	uint8_t *piece; /* PIECE bytes */
	char *path;     /* READER_PATH_MAX bytes */
	struct file_digest *digest;
	bool touched; /* of the file whose block map is looked at: a block changed since the earlier scan */
	bool in_journal; /* … or is in the journal */
	int failed;      /* -errno from inside a libext2fs callback */
	struct err *err;
};

/* ---- pass one: names ---- */

static int name_seen(ext2_ino_t dir, int kind, struct ext2_dir_entry *entry, int offset,
		     int blocksize, char *buf, void *arg)
{
	struct walk *w = arg;
	size_t len = (size_t)ext2fs_dirent_name_len(entry);

	(void)kind, (void)offset, (void)blocksize, (void)buf;
	if (!entry->inode || (len == 1 && entry->name[0] == '.') ||
	    (len == 2 && !memcmp(entry->name, "..", 2)))
		return 0;
	w->failed = name_tree_add(w->names, entry->inode, dir, entry->name, len);
	return w->failed ? DIRENT_ABORT : 0;
}

static int incomplete_inode(struct walk *w, ext2_ino_t inode, const char *what, errcode_t e)
{
	char reason[256];

	snprintf(reason, sizeof(reason), "%s of inode %u: %s", what, inode, error_message(e));
	return reader_incomplete(w->reader, reason, w->err);
}

static int read_directory(struct walk *w, ext2_ino_t inode, struct ext2_inode *i)
{
	errcode_t e;

	if (!LINUX_S_ISDIR(i->i_mode) || !i->i_links_count)
		return 0;
	if (i->i_flags & EXT4_ENCRYPT_FL)
		return reader_incomplete(w->reader, "encrypted: a directory's names", w->err);
	w->failed = 0;
	e = ext2fs_dir_iterate2(w->ext.fs, inode, 0, NULL, name_seen, w);
	if (w->failed)
		return err_set(w->err, -w->failed, "read a directory");
	return e ? incomplete_inode(w, inode, "the directory", e) : 0;
}

/* ---- pass two: files ---- */

/* Data at @physical for @blocks blocks from @logical on, cut off at the file's end. */
static int give_bytes(struct walk *w, uint64_t physical, uint64_t logical, uint64_t blocks,
		      uint64_t size)
{
	uint32_t blocksize = w->ext.fs->blocksize, most = PIECE / blocksize;

	while (blocks && logical * blocksize < size) {
		unsigned n = (unsigned)(blocks < most ? blocks : most);
		uint64_t offset = logical * blocksize, len = (uint64_t)n * blocksize;
		int r = ext_volume_read(&w->ext, physical, n, w->piece);

		if (r < 0)
			return r;
		if (len > size - offset)
			len = size - offset;
		r = reader_data(w->reader, w->piece, (size_t)len, offset, w->err);
		if (r < 0) {
			w->failed = r;
			return r;
		}
		physical += n;
		logical += n;
		blocks -= n;
	}
	return 0;
}

/* The same by its place, where the volume holds it as it is: not what is still in the journal. */
static int give_run(struct walk *w, uint64_t physical, uint64_t logical, uint64_t blocks,
		    uint64_t size)
{
	uint64_t blocksize = w->ext.fs->blocksize;
	uint64_t most = volume_channel_size(reader_volume(w->reader)) / blocksize;
	int r = READER_AS_BYTES;

	if (physical < most && blocks <= most - physical &&
	    !ext_volume_replayed(&w->ext, physical, blocks))
		r = reader_run(w->reader, physical * blocksize, blocks * blocksize,
			       logical * blocksize, w->err);
	if (r < 0)
		w->failed = r;
	return r == READER_AS_BYTES ? give_bytes(w, physical, logical, blocks, size) : r;
}

static int each_extent(struct walk *w, ext2_ino_t inode, struct ext2_inode *i, uint64_t size,
		       run_fn *fn)
{
	uint64_t blocks_max = ext2fs_blocks_count(w->ext.fs->super), given = 0;
	struct ext2fs_extent extent;
	ext2_extent_handle_t handle;
	int op = EXT2_EXTENT_ROOT, r = 0;

	if (ext2fs_extent_open2(w->ext.fs, inode, i, &handle))
		return -EBADMSG;
	while (r == 0) {
		errcode_t e = ext2fs_extent_get(handle, op, &extent);

		op = EXT2_EXTENT_NEXT_LEAF;
		if (e == EXT2_ET_EXTENT_NO_NEXT || e == EXT2_ET_NO_CURRENT_NODE)
			break;
		if (e) {
			r = -EBADMSG;
			break;
		}
		if (!(extent.e_flags & EXT2_EXTENT_FLAGS_LEAF) ||
		    extent.e_flags & EXT2_EXTENT_FLAGS_SECOND_VISIT ||
		    extent.e_flags & EXT2_EXTENT_FLAGS_UNINIT)
			continue;
		/* An honest file has no more data than the file system; a hostile tree could name a block for ever. */
		given += extent.e_len;
		if (given > blocks_max || extent.e_pblk >= blocks_max ||
		    extent.e_len > blocks_max - extent.e_pblk)
			r = -EBADMSG;
		else
			r = fn(w, extent.e_pblk, extent.e_lblk, extent.e_len, size);
	}
	ext2fs_extent_free(handle);
	return r;
}

struct mapped {
	struct walk *walk;
	run_fn *fn;
	uint64_t size, start, physical, count, given; /* a run that is being collected */
	int result;
};

static int flush_run(struct mapped *m)
{
	if (m->count && m->result == 0)
		m->result = m->fn(m->walk, m->physical, m->start, m->count, m->size);
	m->count = 0;
	return m->result;
}

static int block_seen(ext2_filsys fs, blk64_t *block, e2_blkcnt_t logical, blk64_t ref, int offset,
		      void *arg)
{
	struct mapped *m = arg;

	(void)ref, (void)offset;
	if (*block >= ext2fs_blocks_count(fs->super) ||
	    m->given++ > ext2fs_blocks_count(fs->super)) {
		m->result = -EBADMSG;
		return BLOCK_ABORT;
	}
	if (m->count && *block == m->physical + m->count &&
	    (uint64_t)logical == m->start + m->count) {
		m->count++;
		return 0;
	}
	if (flush_run(m) < 0)
		return BLOCK_ABORT;
	m->start = (uint64_t)logical;
	m->physical = *block;
	m->count = 1;
	return 0;
}

static int each_mapped(struct walk *w, ext2_ino_t inode, uint64_t size, run_fn *fn)
{
	struct mapped m = { .walk = w, .size = size, .fn = fn };
	errcode_t e =
		ext2fs_block_iterate3(w->ext.fs, inode, BLOCK_FLAG_DATA_ONLY | BLOCK_FLAG_READ_ONLY,
				      NULL, block_seen, &m);

	if (m.result == 0 && e)
		m.result = -EBADMSG;
	return flush_run(&m);
}

static int give_inline(struct walk *w, ext2_ino_t inode, uint64_t size)
{
	size_t len = 0;

	if (size > PIECE || ext2fs_inline_data_size(w->ext.fs, inode, &len) || len > PIECE ||
	    ext2fs_inline_data_get(w->ext.fs, inode, NULL, w->piece, &len))
		return -EBADMSG;
	w->failed = reader_data(w->reader, w->piece, len < size ? len : (size_t)size, 0, w->err);
	return w->failed;
}

static int give_content(struct walk *w, ext2_ino_t inode, struct ext2_inode *i, uint64_t size)
{
	if (i->i_flags & EXT4_INLINE_DATA_FL)
		return give_inline(w, inode, size);
	if (i->i_flags & EXT4_EXTENTS_FL)
		return each_extent(w, inode, i, size, give_run);
	return each_mapped(w, inode, size, give_run);
}

/* ---- what changed ---- */

static int weigh_run(struct walk *w, uint64_t physical, uint64_t logical, uint64_t blocks,
		     uint64_t size)
{
	uint64_t blocksize = w->ext.fs->blocksize;

	(void)size;
	file_digest_number(w->digest, physical);
	file_digest_number(w->digest, logical);
	file_digest_number(w->digest, blocks);
	w->touched |= reader_touched(w->reader, physical * blocksize, blocks * blocksize);
	w->in_journal |= ext_volume_replayed(&w->ext, physical, blocks);
	return 0;
}

/* The file's digest, or NULL when it must be read anyway. Sets w->touched. */
static const uint8_t *weigh(struct walk *w, ext2_ino_t inode, struct ext2_inode *i,
			    uint8_t out[FILE_DIGEST_LEN])
{
	int r;

	/* Inline data goes on in an attribute, of which libext2fs does not say where it is. */
	if (!reader_known(w->reader) || i->i_flags & (EXT4_INLINE_DATA_FL | EXT4_ENCRYPT_FL))
		return NULL;
	w->touched = w->in_journal = false;
	file_digest_begin(w->digest, "ext");
	file_digest_number(w->digest, w->ext.fs->blocksize);
	file_digest_number(w->digest, EXT2_I_SIZE(i));
	file_digest_number(w->digest, i->i_mtime);
	file_digest_number(w->digest, i->i_ctime);
	file_digest_number(w->digest, i->i_flags);
	file_digest_number(w->digest, i->i_generation);
	r = i->i_flags & EXT4_EXTENTS_FL ? each_extent(w, inode, i, EXT2_I_SIZE(i), weigh_run)
					 : each_mapped(w, inode, EXT2_I_SIZE(i), weigh_run);
	if (r < 0 || w->in_journal || file_digest_end(w->digest, out) < 0)
		return NULL;
	return out;
}

static int report(struct walk *w, ext2_ino_t inode, struct ext2_inode *i)
{
	struct reader_file file = {
		.path = w->path,
		.stream = "",
		.inode = inode,
		.size = EXT2_I_SIZE(i),
		.mtime = i->i_mtime,
		.ctime = i->i_ctime,
	};
	uint8_t digest[FILE_DIGEST_LEN];
	enum reader_need need;
	int r;

	file.digest = weigh(w, inode, i, digest);
	need = reader_need(w->reader, inode, w->touched ? NULL : file.digest);
	if (need == READER_NEED_NOTHING)
		return 0;
	file.path_len = name_tree_path(w->names, inode, EXT2_ROOT_INO, w->path, READER_PATH_MAX);
	if (i->i_flags & EXT4_ENCRYPT_FL) {
		file.flags = READER_UNREADABLE | READER_ENCRYPTED;
		file.reason = "encrypted";
	}
	if (need == READER_NEED_NAME)
		return reader_unchanged(w->reader, &file, w->err);
	r = reader_begin(w->reader, &file, w->err);
	if (r < 0)
		return r;
	if (file.flags & READER_UNREADABLE)
		return reader_end(w->reader, w->err);

	w->failed = 0;
	r = give_content(w, inode, i, file.size);
	if (w->failed)
		return w->failed;
	if (r < 0)
		return reader_end_unreadable(
			w->reader, r == -EBADMSG ? "its block map is damaged" : strerror(-r),
			w->err);
	return reader_end(w->reader, w->err);
}

static int read_file(struct walk *w, ext2_ino_t inode, struct ext2_inode *i)
{
	bool reserved = inode < EXT2_FIRST_INODE(w->ext.fs->super);

	if (!LINUX_S_ISREG(i->i_mode) || reserved || inode == w->ext.fs->super->s_journal_inum)
		return 0;
	if (!i->i_links_count && !reader_wants_deleted(w->reader))
		return 0;
	return report(w, inode, i);
}

static int each_inode(struct walk *w, int (*fn)(struct walk *, ext2_ino_t, struct ext2_inode *))
{
	ext2_inode_scan scan;
	struct ext2_inode inode;
	ext2_ino_t number;
	errcode_t e;
	int r = 0;

	e = ext2fs_open_inode_scan(w->ext.fs, 0, &scan);
	if (e)
		return err_say(w->err, EIO, "read the inode tables: %s", error_message(e));
	while (r == 0) {
		e = ext2fs_get_next_inode(scan, &number, &inode);
		if (e == EXT2_ET_INODE_CSUM_INVALID || e == EXT2_ET_INODE_IS_GARBAGE)
			e = 0;
		if (e) {
			/* The scan goes on behind a table block that cannot be read; what was in it is not known. */
			r = incomplete_inode(w, number, "the inode table", e);
			if (e != EXT2_ET_BAD_BLOCK_IN_INODE_TABLE)
				break;
			continue;
		}
		if (!number)
			break;
		if (inode.i_mode && (inode.i_links_count || inode.i_dtime))
			r = fn(w, number, &inode);
	}
	ext2fs_close_inode_scan(scan);
	return r;
}

static int check_volume(struct walk *w)
{
	uint64_t need = ext2fs_blocks_count(w->ext.fs->super) * w->ext.fs->blocksize;
	char reason[256];

	if (w->ext.unreplayed.why) {
		snprintf(reason, sizeof(reason), "ext: %s", w->ext.unreplayed.why);
		return reader_incomplete(w->reader, reason, w->err);
	}
	if (need > volume_channel_size(reader_volume(w->reader))) {
		snprintf(reason, sizeof(reason),
			 "truncated: the file system has %llu bytes, its partition %llu",
			 (unsigned long long)need,
			 (unsigned long long)volume_channel_size(reader_volume(w->reader)));
		return reader_incomplete(w->reader, reason, w->err);
	}
	return 0;
}

int reader_walk(struct reader *reader, struct err *err)
{
	CLEANUP(name_tree_free) struct name_tree *names = name_tree_new();
	CLEANUP_FREE uint8_t *piece = malloc(PIECE);
	CLEANUP_FREE char *path = malloc(READER_PATH_MAX);
	CLEANUP(file_digest_free)
	struct file_digest *digest = reader_known(reader) ? file_digest_new() : NULL;
	struct walk w = { .reader = reader,
			  .names = names,
			  .piece = piece,
			  .path = path,
			  .digest = digest,
			  .err = err };
	int r;

	if (!names || !piece || !path || (reader_known(reader) && !digest))
		return err_set(err, ENOMEM, "start to read ext");
	r = ext_volume_open(&w.ext, reader_volume(reader), err);
	if (r == -ENOTSUP && reader_has_kernel(reader))
		return reader_leave_to_kernel(reader, err);
	if (r < 0)
		return r;
	if (w.ext.unreplayed.for_kernel && reader_has_kernel(reader)) {
		r = reader_leave_to_kernel(reader, err);
		ext_volume_close(&w.ext);
		return r;
	}
	r = check_volume(&w);
	if (r == 0)
		r = each_inode(&w, read_directory);
	if (r == 0)
		r = each_inode(&w, read_file);
	ext_volume_close(&w.ext);
	return r;
}
