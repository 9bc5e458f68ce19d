#include "mgmt-server/scan/ext_journal.h"

#include <endian.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "common/le.h"
#include "mgmt-server/scan/ext_journal_sums.h"

/* Everything in a journal is big-endian. Source: include/linux/jbd2.h. */
enum {
	MAGIC = 0xC03B3998u,
	TYPE_DESCRIPTOR = 1,
	TYPE_COMMIT = 2,
	TYPE_SUPERBLOCK_1 = 3,
	TYPE_SUPERBLOCK_2 = 4,
	TYPE_REVOKE = 5,
	HEADER_LEN = 12,

	FEATURE_64BIT = 2,
	FEATURE_ASYNC_COMMIT = 4,
	FEATURE_CSUM_V2 = 8,
	FEATURE_CSUM_V3 = 16,
	FEATURE_FAST_COMMIT = 32,
	FEATURES_KNOWN = 63,

	TAG_ESCAPED = 1,
	TAG_SAME_UUID = 2,
	TAG_LAST = 8,
	UUID_LEN = 16,
	FAST_COMMIT_BLOCKS_PRESET = 256,
	FAST_HEAD = 9 | 8 << 16,

	COMMIT_SECONDS_AT = 48,
};

struct version {
	uint64_t block; /* of the file system, + 1; 0: empty slot */
	uint64_t at;    /* where the newest version lies; 0: there is none (only revoked) */
	uint32_t sequence, revoked; /* of the newest version; newest revocation, + 1 (0: never) */
	bool escaped;
};

struct ext_journal {
	struct version *slots; /* open addressing; never more than half full */
	size_t slot_count, used;
};

struct cursor {
	ext2_filsys fs;
	ext2_file_t file;
	uint8_t *block;                 /* blocksize bytes */
	uint32_t features, first, last; /* log blocks [first, last) in a ring */
	uint32_t start, sequence;
	uint32_t end;  /* the first transaction that is not replayed */
	uint8_t *data; /* blocksize bytes: a data block behind the descriptor in @block */
	struct ext_journal_sums sums;
	struct ext_journal *journal;
	struct ext_journal_lack *lack;
};

static uint32_t be32(const uint8_t *p)
{
	uint32_t v;

	memcpy(&v, p, sizeof(v));
	return be32toh(v);
}

static uint64_t hash(uint64_t block)
{
	return (block * 0x9E3779B97F4A7C15ULL) >> 17;
}

static struct version *slot_of(const struct ext_journal *j, uint64_t block)
{
	size_t i = hash(block) & (j->slot_count - 1);

	while (j->slots[i].block && j->slots[i].block != block + 1)
		i = (i + 1) & (j->slot_count - 1);
	return &j->slots[i];
}

static int grow(struct ext_journal *j)
{
	struct ext_journal bigger = { .slot_count = j->slot_count ? j->slot_count * 2 : 1024 };

	bigger.slots = calloc(bigger.slot_count, sizeof(*bigger.slots));
	if (!bigger.slots)
		return -ENOMEM;
	for (size_t i = 0; i < j->slot_count; i++) {
		if (j->slots[i].block)
			*slot_of(&bigger, j->slots[i].block - 1) = j->slots[i];
	}
	bigger.used = j->used;
	free(j->slots);
	*j = bigger;
	return 0;
}

static struct version *version_of(struct ext_journal *j, uint64_t block)
{
	struct version *v;

	if (j->used * 2 >= j->slot_count && grow(j) < 0)
		return NULL;
	v = slot_of(j, block);
	if (!v->block) {
		v->block = block + 1;
		j->used++;
	}
	return v;
}

bool ext_journal_find(const struct ext_journal *j, uint64_t block, uint64_t *at, bool *escaped)
{
	const struct version *v = slot_of(j, block);

	if (!v->block || !v->at || (v->revoked && (int32_t)(v->sequence - (v->revoked - 1)) <= 0))
		return false;
	*at = v->at;
	*escaped = v->escaped;
	return true;
}

void ext_journal_free(struct ext_journal *j)
{
	if (!j)
		return;
	free(j->slots);
	free(j);
}

static uint64_t be64(const uint8_t *p)
{
	return (uint64_t)be32(p) << 32 | be32(p + 4);
}

static int read_log(struct cursor *c, uint32_t log_block, uint8_t *block)
{
	unsigned got;

	if (ext2fs_file_llseek(c->file, (uint64_t)log_block * c->fs->blocksize, EXT2_SEEK_SET,
			       NULL) ||
	    ext2fs_file_read(c->file, block, c->fs->blocksize, &got) || got != c->fs->blocksize)
		return -EIO;
	return 0;
}

static uint32_t next(const struct cursor *c, uint32_t log_block)
{
	return log_block + 1 < c->last ? log_block + 1 : c->first;
}

static size_t tag_len(uint32_t features)
{
	size_t len = 12;

	if (features & FEATURE_CSUM_V3)
		return 16;
	if (features & FEATURE_CSUM_V2)
		len += 2;
	return features & FEATURE_64BIT ? len : len - 4;
}

/* One data block: @tag says for which block of the file system. */
static int keep_version(struct cursor *c, const uint8_t *tag, uint32_t flags, uint32_t log_block,
			uint32_t sequence)
{
	uint64_t block = be32(tag);
	struct version *v;
	blk64_t physical;

	if (c->features & (FEATURE_CSUM_V3 | FEATURE_64BIT))
		block |= (uint64_t)be32(tag + 8) << 32;
	if (block >= ext2fs_blocks_count(c->fs->super))
		return 0;
	if (!ext_journal_sums_data(&c->sums, tag, sequence, c->data)) {
		/* As e2fsck: the rest is replayed, this block stays as it was. */
		c->lack->why = "a block in its journal has a wrong checksum";
		return 0;
	}
	if (ext2fs_bmap2(c->fs, c->fs->super->s_journal_inum, NULL, NULL, 0, log_block, NULL,
			 &physical))
		return -EIO;
	v = version_of(c->journal, block);
	if (!v)
		return -ENOMEM;
	v->at = physical;
	v->sequence = sequence;
	v->escaped = flags & TAG_ESCAPED;
	return 0;
}

/* Visit a descriptor's tags; each stands for one log block behind it. Return how many, or -errno. */
static int64_t each_tag(struct cursor *c, uint32_t descriptor, uint32_t sequence, bool apply)
{
	size_t len = tag_len(c->features), end = c->fs->blocksize, at = HEADER_LEN;
	bool read_data = apply ? c->sums.v2 || c->sums.v3 : c->sums.transaction;
	uint32_t log_block = descriptor;
	int64_t count = 0;

	if (c->features & (FEATURE_CSUM_V2 | FEATURE_CSUM_V3))
		end -= 4;
	while (at + len <= end) {
		const uint8_t *tag = c->block + at;
		uint32_t flags =
			c->features & FEATURE_CSUM_V3 ? be32(tag + 4) : be32(tag + 4) & 0xffff;
		int r = 0;

		log_block = next(c, log_block);
		if (read_data)
			r = read_log(c, log_block, c->data);
		if (r == 0 && apply)
			r = keep_version(c, tag, flags, log_block, sequence);
		else if (r == 0 && read_data)
			ext_journal_sums_add(&c->sums, c->data);
		if (r < 0)
			return r;
		count++;
		at += len + (flags & TAG_SAME_UUID ? 0 : UUID_LEN);
		if (flags & TAG_LAST)
			break;
	}
	return count;
}

static int revoke(struct cursor *c, uint32_t sequence)
{
	size_t len = c->features & FEATURE_64BIT ? 8 : 4;
	size_t end = be32(c->block + HEADER_LEN);

	if (end > c->fs->blocksize)
		return -EBADMSG;
	for (size_t at = HEADER_LEN + 4; at + len <= end; at += len) {
		uint64_t block = be32(c->block + at);
		struct version *v;

		if (len == 8)
			block = block << 32 | be32(c->block + at + 4);
		v = version_of(c->journal, block);
		if (!v)
			return -ENOMEM;
		if (!v->revoked || (int32_t)(sequence - (v->revoked - 1)) > 0)
			v->revoked = sequence + 1;
	}
	return 0;
}

enum {
	LOG_ENDS,
	COMMITTED,
	STALE,
	FAILED
}; /* what a transaction's blocks are, seen from the first */

/* A commit block in the first pass. @suspicious: a block before it had a wrong checksum. */
static int judge_commit(struct cursor *c, bool suspicious, uint64_t *newest)
{
	uint64_t seconds = be64(c->block + COMMIT_SECONDS_AT);
	bool right = ext_journal_sums_commit(&c->sums, c->block);

	if (suspicious)
		/* Left over from an earlier use of these blocks, or damaged. */
		return seconds >= *newest ? -EBADMSG : STALE;
	if (!right)
		return seconds < *newest ? STALE : FAILED;
	*newest = seconds;
	return COMMITTED;
}

/* One transaction from *log_block on, which is moved behind it. Pass one (apply false) only judges it. Revoke records
 * count when they are applied: ext_journal_find compares sequences, so their order does not matter.
 * Source: fs/jbd2/recovery.c, do_one_pass. */
static int transaction(struct cursor *c, uint32_t *log_block, uint32_t sequence, bool apply,
		       uint64_t *newest)
{
	uint32_t seen = 0, size = c->last - c->first;
	bool suspicious = false;

	while (seen++ <= size) {
		int64_t n;
		int r = read_log(c, *log_block, c->block);

		if (r < 0)
			return r;
		if (be32(c->block) != MAGIC || be32(c->block + 8) != sequence)
			return LOG_ENDS;
		switch (be32(c->block + 4)) {
		case TYPE_DESCRIPTOR:
			suspicious |= !ext_journal_sums_tail(&c->sums, c->block);
			if (!apply)
				ext_journal_sums_add(&c->sums, c->block);
			n = each_tag(c, *log_block, sequence, apply);
			if (n < 0)
				return (int)n;
			for (int64_t i = 0; i < n && seen <= size; i++, seen++)
				*log_block = next(c, *log_block);
			break;
		case TYPE_REVOKE:
			suspicious |= !ext_journal_sums_tail(&c->sums, c->block);
			r = apply ? revoke(c, sequence) : 0;
			if (r < 0)
				return r;
			break;
		case TYPE_COMMIT:
			*log_block = next(c, *log_block);
			return apply ? COMMITTED : judge_commit(c, suspicious, newest);
		default:
			return LOG_ENDS;
		}
		*log_block = next(c, *log_block);
	}
	return LOG_ENDS;
}

/* Find the first transaction that does not count. */
static int find_end(struct cursor *c)
{
	uint32_t at = c->start, budget = c->last - c->first;
	uint64_t newest = 0;

	c->end = c->sequence;
	while (budget--) {
		int r = transaction(c, &at, c->end, false, &newest);

		if (r == FAILED)
			c->lack->why = "a transaction in its journal has a wrong checksum; it and "
				       "those after it are not replayed";
		if (r != COMMITTED)
			return r < 0 ? r : 0;
		c->end++;
	}
	return 0;
}

/* Behind the log lie the fast commits since the last transaction, if there are any. */
static int look_for_fast_commits(struct cursor *c)
{
	const uint8_t *p = c->block;
	int r;

	if (!(c->features & FEATURE_FAST_COMMIT))
		return 0;
	r = read_log(c, c->last + 1, c->block); /* one block between them stays unused */
	if (r < 0)
		return r;
	/* This area is little-endian: tag, length (16 bits each), features, transaction. */
	if (le_get32(p) == FAST_HEAD && le_get32(p + 8) == c->end)
		*c->lack = (struct ext_journal_lack){
			"its journal holds fast commits, which only the kernel replays", true
		};
	return 0;
}

static int replay(struct cursor *c)
{
	uint32_t at = c->start;
	int r = find_end(c);

	if (r == 0)
		r = look_for_fast_commits(c);
	for (uint32_t sequence = c->sequence; r == 0 && sequence != c->end; sequence++) {
		r = transaction(c, &at, sequence, true, NULL);
		r = r == COMMITTED ? 0 : r < 0 ? r : -EBADMSG;
	}
	return r;
}

/* The journal's own superblock. Return 1: there is something to replay, 0: there is not, -EBADMSG. */
static int load_superblock(struct cursor *c)
{
	uint32_t type, fast = 0;
	int r = read_log(c, 0, c->block);

	if (r < 0)
		return r;
	type = be32(c->block + 4);
	if (be32(c->block) != MAGIC || (type != TYPE_SUPERBLOCK_1 && type != TYPE_SUPERBLOCK_2) ||
	    be32(c->block + 12) != c->fs->blocksize)
		return -EBADMSG;
	c->last = be32(c->block + 16);
	c->first = be32(c->block + 20);
	c->sequence = be32(c->block + 24);
	c->start = be32(c->block + 28);
	c->features = type == TYPE_SUPERBLOCK_2 ? be32(c->block + 40) : 0;
	if (c->features & ~(uint32_t)FEATURES_KNOWN)
		*c->lack = (struct ext_journal_lack){ "its journal has features that are not known",
						      true };
	if (!ext_journal_sums_init(&c->sums, c->block, c->fs->blocksize))
		return -EBADMSG;
	if (c->features & FEATURE_FAST_COMMIT)
		fast = be32(c->block + 84) ? be32(c->block + 84) : FAST_COMMIT_BLOCKS_PRESET;
	if (fast >= c->last)
		return -EBADMSG;
	c->last -= fast;
	if (!c->start)
		return 0;
	return c->first && c->first < c->last && c->start >= c->first && c->start < c->last
		       ? 1
		       : -EBADMSG;
}

int ext_journal_load(struct ext_journal **out, ext2_filsys fs, struct ext_journal_lack *lack,
		     struct err *err)
{
	CLEANUP(ext_journal_free) struct ext_journal *journal = calloc(1, sizeof(*journal));
	CLEANUP_FREE uint8_t *block = malloc(2 * (size_t)fs->blocksize);
	struct cursor c = { .fs = fs, .block = block, .journal = journal, .lack = lack };
	int r;

	*out = NULL;
	if (!journal || !block || grow(journal) < 0)
		return err_set(err, ENOMEM, "replay the journal");
	c.data = block + fs->blocksize;
	if (!ext2fs_has_feature_journal_needs_recovery(fs->super))
		return 0;
	if (!fs->super->s_journal_inum) {
		lack->why = "its journal is on another device";
		return 0;
	}
	if (ext2fs_file_open(fs, fs->super->s_journal_inum, 0, &c.file)) {
		lack->why = "its journal cannot be opened";
		return 0;
	}
	r = load_superblock(&c);
	if (r == 1)
		r = replay(&c);
	ext2fs_file_close(c.file);
	if (r == -ENOMEM)
		return err_set(err, ENOMEM, "replay the journal");
	if (r < 0)
		lack->why = "its journal is damaged";

	*out = TAKE(journal);
	return 0;
}
