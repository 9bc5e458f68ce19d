/* mend_run.h - one infected file of a snapshot gets the content that it had in an older one.
 *
 * Neither snapshot is changed: what differs goes into a folder, as an incremental put wants it. Nothing is replaced
 * unless the engine finds the old content infected and the new one clean, and nothing is kept unless the file then reads
 * as the clean version, byte by byte.
 */
#ifndef GODWIT_SCAN_MEND_RUN_H
#define GODWIT_SCAN_MEND_RUN_H

#include <stdint.h>

#include "common/err.h"

struct mend_order {
	const char *store, *key;     /* key NULL: STORE.key */
	const char *snapshot, *from; /* the infected one; an older one */
	const char *file; /* VOLUME:PARTITION:PATH, bytes that are no text as in reports: \xff */
	const char *signatures; /* folder */
	const char *output;     /* folder, made: VOLUME.img and VOLUME.extents (mend_overlay.h) */
	const char *libexec;
};

struct mend_result {
	char volume[128];
	char signature[256];             /* what the old content is infected with */
	uint8_t infected[32], clean[32]; /* SHA-256 */
	uint64_t infected_size, clean_size;
	uint64_t changed_bytes; /* of whole blocks */
};

/* Return 0; -EPERM with a sentence for the user when it must not or cannot be mended; -errno. */
int mend_run(const struct mend_order *order, struct mend_result *result, struct err *err);

#endif
