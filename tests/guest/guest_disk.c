/* Numbered blocks go to the disk with O_DIRECT|O_SYNC, each followed by block 0, the header that
 * names the last number. Before a write, the header and one older block are read back and compared
 * with what this process knows it wrote: a disk that is not of the same instant as the memory shows
 * at once. */
#include "guest_load.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

static const uint64_t block_magic = 0x6b636f6c42647747u; /* "GwdBlock" */

/* Blocks 1 … ring hold number n at 1 + n % ring; block 0 is the header. */
struct disk {
	int fd;
	uint64_t ring;
	uint64_t *block; /* one aligned block */
	uint64_t first;  /* the last number that an earlier run wrote */
};

static bool block_write(struct disk *d, uint64_t position, uint64_t number)
{
	d->block[0] = block_magic;
	d->block[1] = number;
	for (uint64_t k = 2; k < PAGE_WORDS; k++)
		d->block[k] = guest_mix(number + k);
	return pwrite(d->fd, d->block, PAGE_BYTES, (off_t)(position * PAGE_BYTES)) == PAGE_BYTES;
}

static bool block_is_good(struct disk *d, uint64_t position, uint64_t number)
{
	if (pread(d->fd, d->block, PAGE_BYTES, (off_t)(position * PAGE_BYTES)) != PAGE_BYTES)
		return false;
	if (d->block[0] != block_magic || d->block[1] != number)
		return false;
	for (uint64_t k = 2; k < PAGE_WORDS; k++)
		if (d->block[k] != guest_mix(number + k))
			return false;
	return true;
}

static void disk_complain(const char *what, uint64_t number, const struct disk *d)
{
	if (guest_count.disk_bad++ < 8)
		guest_say("baddisk what=%s number=%" PRIu64 " found=%" PRIu64 " up=%.3f", what,
			  number, d->block[0] == block_magic ? d->block[1] : 0, guest_now_s());
}

/* Return false when the disk can't be used at all. */
static bool disk_open(struct disk *d, const char *path)
{
	uint64_t bytes = 0, last = 0;

	d->fd = open(path, O_RDWR | O_DIRECT | O_SYNC | O_CLOEXEC);
	if (d->fd < 0 || ioctl(d->fd, BLKGETSIZE64, &bytes) < 0 || bytes < 16 * PAGE_BYTES ||
	    posix_memalign((void **)&d->block, PAGE_BYTES, PAGE_BYTES) != 0) {
		guest_say("error disk: open %s (%" PRIu64 " bytes): %s", path, bytes,
			  strerror(errno));
		return false;
	}
	d->ring = bytes / PAGE_BYTES - 1;
	if (pread(d->fd, d->block, PAGE_BYTES, 0) == PAGE_BYTES && d->block[0] == block_magic)
		last = d->block[1];
	/* The header was written after the block it names, so that block must be there, whatever
	 * crashed. */
	if (last && !block_is_good(d, 1 + last % d->ring, last))
		disk_complain("start", last, d);
	d->first = last;
	guest_count.issued = guest_count.acked = last;
	guest_say("disk start=%" PRIu64 " ring=%" PRIu64, last, d->ring);
	return true;
}

static void disk_step(struct disk *d, uint64_t *random)
{
	uint64_t acked = guest_count.acked, number = acked + 1, older, mine;

	if (acked > d->first) {
		if (!block_is_good(d, 0, acked))
			disk_complain("header", acked, d);
		mine = acked - d->first < d->ring ? acked - d->first : d->ring;
		older = acked - guest_random_below(random, mine);
		if (!block_is_good(d, 1 + older % d->ring, older))
			disk_complain("block", older, d);
	}
	guest_count.issued = number;
	if (!block_write(d, 1 + number % d->ring, number) || !block_write(d, 0, number)) {
		guest_say("error disk: write block %" PRIu64 ": %s", number, strerror(errno));
		guest_count.issued = acked;
		guest_sleep_ms(1000);
		return;
	}
	guest_count.acked = number;
}

void *guest_disk_write(void *options)
{
	const struct guest_disk_options *o = options;
	struct disk d = { .fd = -1 };
	uint64_t random = guest_run;

	if (!disk_open(&d, o->path))
		return NULL;
	for (;;) {
		disk_step(&d, &random);
		guest_sleep_ms(1000 / o->rate);
	}
	return NULL;
}
