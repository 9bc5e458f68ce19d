/* fat_volume.h - a FAT or exFAT volume: its file allocation table, and which stretches of the volume a file lies on.
 *
 * Everything that the volume says is taken for a claim: a chain of clusters that leaves the volume, comes back to where it
 * was, or ends before the file does, ends here with its reason, and what came before it counts.
 * Source: Microsoft's FAT specification ("FAT Data Structure") and exFAT specification (sections 3.1 and 4).
 */
#ifndef GODWIT_SCAN_FAT_VOLUME_H
#define GODWIT_SCAN_FAT_VOLUME_H

#include <stdbool.h>

#include "mgmt-server/scan/fat_boot.h"
#include "mgmt-server/scan/volume_channel.h"

struct fat_volume {
	struct fat_boot boot;
	struct volume_channel *channel;
	char doubt
		[160]; /* why not everything can be trusted that is read from here; "": nothing seems wrong */
};

/* @channel must outlive *v, which needs no closing. Return 0, or -errno: it cannot be read at all. */
int fat_volume_open(struct fat_volume *v, struct volume_channel *channel, struct err *err);

struct fat_run {
	uint64_t offset, length; /* bytes on the volume */
};

enum fat_chain_way {
	FAT_CHAIN_LINKED,     /* each cluster's entry in the table names the next */
	FAT_CHAIN_CONTIGUOUS, /* exFAT's NoFatChain */
	FAT_CHAIN_FREED, /* of a deleted file: those that follow the first, while none is in use */
};

enum { FAT_CHAIN_TO_ITS_END = -1, FAT_CHAIN_ENDED = 1 };

/* A walk along a chain. It takes no memory that grows; there may be several at a time. */
struct fat_chain {
	const struct fat_volume *volume;
	enum fat_chain_way way;
	bool to_its_end; /* the chain itself says how long it is: a folder's */
	bool ended;
	uint32_t next; /* cluster that has not been given yet */
	uint64_t left; /* bytes that are wanted and have not been given */
	uint32_t mark; /* Brent's: a cluster that was passed; who meets it again runs in a circle */
	uint64_t steps, lap;
	char problem[96]; /* why it ended before it should; "": it did not */
};

/* len: bytes, or (uint64_t)FAT_CHAIN_TO_ITS_END. */
void fat_chain_begin(struct fat_chain *c, const struct fat_volume *v, uint32_t first, uint64_t len,
		     enum fat_chain_way way);

/* The next stretch, as long as possible. Return 0, or FAT_CHAIN_ENDED: look at c->problem. */
int fat_chain_next(struct fat_chain *c, struct fat_run *run);

#endif
