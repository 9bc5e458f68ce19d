/* ext_journal_sums.h - the checksums of a journal's blocks. Internal to ext_journal.
 *
 * A journal has none, one CRC-32 for each transaction (feature "checksum"), or a CRC-32C in every block (versions 2 and
 * 3). Where it has none, every question below is answered with yes.
 * Source: kernel Documentation/filesystems/ext4/journal.rst; include/linux/jbd2.h.
 */
#ifndef GODWIT_SCAN_EXT_JOURNAL_SUMS_H
#define GODWIT_SCAN_EXT_JOURNAL_SUMS_H

#include <stdbool.h>
#include <stdint.h>

struct ext_journal_sums {
	uint32_t seed, blocksize;
	bool v2, v3;      /* at most one */
	bool transaction; /* the old kind */
	uint32_t running; /* over the transaction's blocks so far */
};

/* superblock: the journal's, 1024 bytes. Return false when its own checksum is wrong or of a kind that is not known. */
bool ext_journal_sums_init(struct ext_journal_sums *s, const uint8_t *superblock,
			   uint32_t blocksize);

/* A descriptor or revocation block. */
bool ext_journal_sums_tail(const struct ext_journal_sums *s, const uint8_t *block);
/* tag: as it lies in the descriptor; data: as it lies in the log. */
bool ext_journal_sums_data(const struct ext_journal_sums *s, const uint8_t *tag, uint32_t sequence,
			   const uint8_t *data);

/* The old kind: every descriptor and data block of a transaction in their order, then its commit. */
void ext_journal_sums_add(struct ext_journal_sums *s, const uint8_t *block);
/* Begins the next transaction too. */
bool ext_journal_sums_commit(struct ext_journal_sums *s, const uint8_t *block);

#endif
