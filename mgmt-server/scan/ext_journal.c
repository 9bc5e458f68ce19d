#include "mgmt-server/scan/ext_journal.h"

#include <endian.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

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
	struct ext_journal *journal;
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

static int read_log(struct cursor *c, uint32_t log_block)
{
	unsigned got;

	if (ext2fs_file_llseek(c->file, (uint64_t)log_block * c->fs->blocksize, EXT2_SEEK_SET,
			       NULL) ||
	    ext2fs_file_read(c->file, c->block, c->fs->blocksize, &got) || got != c->fs->blocksize)
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

/* Visit a descriptor's tags; each stands for one log block behind it. Return how many, or -errno. */
static int64_t each_tag(struct cursor *c, uint32_t descriptor, uint32_t sequence, bool apply)
{
	size_t len = tag_len(c->features), end = c->fs->blocksize, at = HEADER_LEN;
	uint32_t log_block = descriptor;
	int64_t count = 0;

	if (c->features & (FEATURE_CSUM_V2 | FEATURE_CSUM_V3))
		end -= 4;
	while (at + len <= end) {
		const uint8_t *tag = c->block + at;
		uint64_t block = be32(tag);
		uint32_t flags =
			c->features & FEATURE_CSUM_V3 ? be32(tag + 4) : be32(tag + 4) & 0xffff;

		if (c->features & FEATURE_CSUM_V3 || c->features & FEATURE_64BIT)
			block |= (uint64_t)be32(tag + 8) << 32;
		log_block = next(c, log_block);
		if (apply && block < ext2fs_blocks_count(c->fs->super)) {
			struct version *v = version_of(c->journal, block);
			blk64_t physical;

			if (!v)
				return -ENOMEM;
			if (ext2fs_bmap2(c->fs, c->fs->super->s_journal_inum, NULL, NULL, 0,
					 log_block, NULL, &physical))
				return -EIO;
			v->at = physical;
			v->sequence = sequence;
			v->escaped = flags & TAG_ESCAPED;
		}
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

/* One transaction from *log_block on. Pass one (apply false) only finds out whether it was committed: 1 yes, 0 no.
 * Revoke records count when they are applied: ext_journal_find compares sequences, so their order does not matter. */
static int transaction(struct cursor *c, uint32_t *log_block, uint32_t sequence, bool apply)
{
	uint32_t seen = 0, size = c->last - c->first;

	while (seen++ <= size) {
		int64_t n;
		int r = read_log(c, *log_block);

		if (r < 0)
			return r;
		if (be32(c->block) != MAGIC || be32(c->block + 8) != sequence)
			return 0;
		switch (be32(c->block + 4)) {
		case TYPE_DESCRIPTOR:
			n = each_tag(c, *log_block, sequence, apply);
			if (n < 0)
				return (int)n;
			for (int64_t i = 0; i < n && seen <= size; i++, seen++)
				*log_block = next(c, *log_block);
			break;
		case TYPE_REVOKE:
			r = apply ? revoke(c, sequence) : 0;
			if (r < 0)
				return r;
			break;
		case TYPE_COMMIT:
			*log_block = next(c, *log_block);
			return 1;
		default:
			return 0;
		}
		*log_block = next(c, *log_block);
	}
	return 0;
}

static int replay(struct cursor *c)
{
	uint32_t at = c->start, sequence = c->sequence, budget = c->last - c->first;

	while (budget--) {
		uint32_t end = at;
		int r = transaction(c, &end, sequence, false);

		if (r <= 0)
			return r;
		r = transaction(c, &at, sequence, true);
		if (r <= 0)
			return r;
		sequence++;
	}
	return 0;
}

/* The journal's own superblock. Return 1: there is something to replay, 0: there is not, -EBADMSG. */
static int load_superblock(struct cursor *c, const char **why)
{
	uint32_t type, fast = 0;
	int r = read_log(c, 0);

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
	if (c->features & FEATURE_FAST_COMMIT) {
		fast = be32(c->block + 84) ? be32(c->block + 84) : FAST_COMMIT_BLOCKS_PRESET;
		*why = "the journal may hold fast commits, which are not replayed";
	}
	if (c->features & ~(uint32_t)FEATURES_KNOWN)
		*why = "the journal has features that are not known";
	if (fast >= c->last)
		return -EBADMSG;
	c->last -= fast;
	if (!c->start)
		return 0;
	return c->first && c->first < c->last && c->start >= c->first && c->start < c->last
		       ? 1
		       : -EBADMSG;
}

int ext_journal_load(struct ext_journal **out, ext2_filsys fs, const char **why, struct err *err)
{
	CLEANUP(ext_journal_free) struct ext_journal *journal = calloc(1, sizeof(*journal));
	CLEANUP_FREE uint8_t *block = malloc(fs->blocksize);
	struct cursor c = { .fs = fs, .block = block, .journal = journal };
	int r;

	*out = NULL;
	if (!journal || !block || grow(journal) < 0)
		return err_set(err, ENOMEM, "replay the journal");
	if (!ext2fs_has_feature_journal_needs_recovery(fs->super))
		return 0;
	if (!fs->super->s_journal_inum) {
		*why = "its journal is on another device";
		return 0;
	}
	if (ext2fs_file_open(fs, fs->super->s_journal_inum, 0, &c.file)) {
		*why = "its journal cannot be opened";
		return 0;
	}
	r = load_superblock(&c, why);
	if (r == 1)
		r = replay(&c);
	ext2fs_file_close(c.file);
	if (r == -ENOMEM)
		return err_set(err, ENOMEM, "replay the journal");
	if (r < 0)
		*why = "its journal is damaged";

	*out = TAKE(journal);
	return 0;
}
