#include "mgmt-server/scan/ext_journal_sums.h"

#include <endian.h>
#include <ext2fs/ext2fs.h>
#include <string.h>

enum {
	COMPAT_CHECKSUM = 1,
	INCOMPAT_CSUM_V2 = 8,
	INCOMPAT_CSUM_V3 = 16,
	SUPERBLOCK_V2 = 4,

	TYPE_AT = 4,
	COMPAT_AT = 0x24,
	INCOMPAT_AT = 0x28,
	UUID_AT = 0x30,
	UUID_LEN = 16,
	KIND_AT = 0x50,
	KIND_CRC32C = 4,
	SUPERBLOCK_SUM_AT = 0xfc,
	SUPERBLOCK_LEN = 1024,

	TAIL_LEN = 4,
	COMMIT_KIND_AT = 12, /* then the length of the sum */
	COMMIT_KIND_CRC32 = 1,
	COMMIT_SUM_AT = 16,
	TAG_SUM_V2_AT = 4,
	TAG_SUM_V3_AT = 12,
};

static uint32_t be32(const uint8_t *p)
{
	uint32_t v;

	memcpy(&v, p, sizeof(v));
	return be32toh(v);
}

/* CRC-32C of @len bytes as if the four at @hole were zeros. */
static uint32_t sum_without(uint32_t seed, const uint8_t *data, size_t len, size_t hole)
{
	static const uint8_t zeros[4];
	uint32_t sum = ext2fs_crc32c_le(seed, data, hole);

	sum = ext2fs_crc32c_le(sum, zeros, sizeof(zeros));
	return ext2fs_crc32c_le(sum, data + hole + sizeof(zeros), len - hole - sizeof(zeros));
}

bool ext_journal_sums_init(struct ext_journal_sums *s, const uint8_t *superblock,
			   uint32_t blocksize)
{
	bool has_features = be32(superblock + TYPE_AT) == SUPERBLOCK_V2;
	uint32_t incompat = has_features ? be32(superblock + INCOMPAT_AT) : 0;

	*s = (struct ext_journal_sums){
		.blocksize = blocksize,
		.v2 = incompat & INCOMPAT_CSUM_V2,
		.v3 = incompat & INCOMPAT_CSUM_V3,
		.transaction = has_features && be32(superblock + COMPAT_AT) & COMPAT_CHECKSUM,
		.running = ~0U,
	};
	if (!s->v2 && !s->v3)
		return true;
	if ((s->v2 && s->v3) || s->transaction || superblock[KIND_AT] != KIND_CRC32C)
		return false;
	s->seed = ext2fs_crc32c_le(~0U, superblock + UUID_AT, UUID_LEN);
	return sum_without(~0U, superblock, SUPERBLOCK_LEN, SUPERBLOCK_SUM_AT) ==
	       be32(superblock + SUPERBLOCK_SUM_AT);
}

bool ext_journal_sums_tail(const struct ext_journal_sums *s, const uint8_t *block)
{
	size_t at = s->blocksize - TAIL_LEN;

	if (!s->v2 && !s->v3)
		return true;
	return sum_without(s->seed, block, s->blocksize, at) == be32(block + at);
}

bool ext_journal_sums_data(const struct ext_journal_sums *s, const uint8_t *tag, uint32_t sequence,
			   const uint8_t *data)
{
	uint32_t be = htobe32(sequence), sum;

	if (!s->v2 && !s->v3)
		return true;
	sum = ext2fs_crc32c_le(s->seed, (const unsigned char *)&be, sizeof(be));
	sum = ext2fs_crc32c_le(sum, data, s->blocksize);
	if (s->v3)
		return sum == be32(tag + TAG_SUM_V3_AT);
	return (sum & 0xffff) == be32(tag + TAG_SUM_V2_AT) >> 16;
}

void ext_journal_sums_add(struct ext_journal_sums *s, const uint8_t *block)
{
	if (s->transaction)
		s->running = ext2fs_crc32_be(s->running, block, s->blocksize);
}

bool ext_journal_sums_commit(struct ext_journal_sums *s, const uint8_t *block)
{
	uint8_t kind = block[COMMIT_KIND_AT], len = block[COMMIT_KIND_AT + 1];
	uint32_t want = be32(block + COMMIT_SUM_AT), running = s->running;

	s->running = ~0U;
	if (s->v2 || s->v3)
		return sum_without(s->seed, block, s->blocksize, COMMIT_SUM_AT) == want;
	if (!s->transaction)
		return true;
	/* A kernel that knows no checksums may have written this one into a journal that has them. */
	return (!kind && !len && !want) ||
	       (kind == COMMIT_KIND_CRC32 && len == sizeof(running) && running == want);
}
