/* content_runs.h - a content given by where its bytes lie in the volume, instead of by the bytes themselves.
 *
 * A reader that finds a file's bytes at a place of its partition, as they are, names the place: that is a run. The parent, which
 * trusts no reader, reads the volume itself (content_source.h). What no run covers is zeros. A list ascends in the file
 * and nothing in it overlaps there; where a reader goes back, what came before is read first, so that the order of
 * what it says decides, as it does with bytes.
 * Wire: CONTENT_RUN_LEN bytes each, u64 offset in the file, u64 offset in the partition, u64 length, little-endian.
 */
#ifndef GODWIT_SCAN_CONTENT_RUNS_H
#define GODWIT_SCAN_CONTENT_RUNS_H

#include <stddef.h>
#include <stdint.h>

enum { CONTENT_RUN_LEN = 24, CONTENT_RUNS_MAX = 1 << 16 };

struct content_run {
	uint64_t offset; /* in the file */
	uint64_t at;     /* in the partition */
	uint64_t length; /* 1 or more; neither sum overflows */
};

/* Zero-initialise before use. */
struct content_runs {
	struct content_run *items; /* heap; at most CONTENT_RUNS_MAX */
	size_t count, capacity;
};

void content_runs_deinit(struct content_runs *runs);

/* Without the memory for the next ones being given back. */
void content_runs_clear(struct content_runs *runs);

/* The first byte of the file behind all of them. */
uint64_t content_runs_end(const struct content_runs *runs);

enum { CONTENT_RUNS_AGAIN = 1 };
/* Return 0; CONTENT_RUNS_AGAIN: it is not behind the others, or they are too many: clear them first; or -ENOMEM. */
int content_runs_add(struct content_runs *runs, const struct content_run *run);

void content_run_encode(const struct content_run *run, uint8_t wire[CONTENT_RUN_LEN]);
/* Return 0, or -EBADMSG: it has no length, or ends beyond what 64 bits can count. */
int content_run_decode(struct content_run *run, const uint8_t wire[CONTENT_RUN_LEN]);

/* What a run counts of a partition's length: whole sectors, because no two files of a sound file system share one. */
uint64_t content_run_cost(uint64_t length);

#endif
