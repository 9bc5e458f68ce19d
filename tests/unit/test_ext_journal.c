/* Journals as mkfs.ext4 and debugfs write them: what ext_volume reads equals what e2fsck's own replay leaves on the disk. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <endian.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/io.h"
#include "mgmt-server/scan/ext_volume.h"

enum {
	BLOCK = 1024,
	JOURNAL_INODE = 8,
	TARGET = 4000,
	MAGIC = (int)0xC03B3998,
	TYPE_DESCRIPTOR = 1,
	TYPE_COMMIT = 2,
	TYPE_REVOKE = 5,
	START_AT = 28
};

static char folder[] = "/tmp/godwit-journal-XXXXXX";

/* What is done to the journal beyond what debugfs can. */
/* From BAD_COMMIT on it has to be said that something was not replayed. */
enum harm {
	NONE,
	TORN,
	WRAPPED,
	NO_MAGIC,
	BAD_COMMIT,
	BAD_DATA,
	BAD_DESCRIPTOR,
	BAD_REVOKE,
	BAD_SUPERBLOCK
};

static const struct {
	const char *name, *features, *open; /* mkfs -O, debugfs's journal_open */
	const char *writes
		[5]; /* debugfs; A, B: files of two blocks, M: one that begins with the journal's magic */
	enum harm harm;
	bool changed; /* block TARGET is another than before */
} cases[] = {
	{ "no checksums", "^64bit,^metadata_csum", "jo", { "jw -b 4000,4001 A" }, NONE, true },
	{ "no checksums, 64bit",
	  "64bit,^metadata_csum",
	  "jo",
	  { "jw -b 4000,4001 A" },
	  NONE,
	  true },
	{ "checksum v2",
	  "^64bit,^metadata_csum",
	  "jo -c -v 2",
	  { "jw -b 4000,4001 A" },
	  NONE,
	  true },
	{ "checksum v2, 64bit",
	  "64bit,metadata_csum",
	  "jo -c -v 2",
	  { "jw -b 4000,4001 A" },
	  NONE,
	  true },
	{ "checksum v3",
	  "^64bit,metadata_csum",
	  "jo -c -v 3",
	  { "jw -b 4000,4001 A" },
	  NONE,
	  true },
	{ "checksum v3, 64bit",
	  "64bit,metadata_csum",
	  "jo -c -v 3",
	  { "jw -b 4000,4001 A" },
	  NONE,
	  true },
	{ "the last write counts",
	  "64bit,metadata_csum",
	  "jo -c -v 3",
	  { "jw -b 4000,4001 A", "jw -b 4000,4001 B" },
	  NONE,
	  true },
	{ "revoked",
	  "64bit,metadata_csum",
	  "jo -c -v 3",
	  { "jw -b 4000,4001 A", "jw -r 4000" },
	  NONE,
	  false },
	{ "revoked, 32 bits",
	  "^64bit,^metadata_csum",
	  "jo",
	  { "jw -b 4000,4001 A", "jw -r 4000" },
	  NONE,
	  false },
	{ "revoked, written anew",
	  "64bit,metadata_csum",
	  "jo -c -v 3",
	  { "jw -b 4000,4001 A", "jw -r 4000", "jw -b 4000,4001 B" },
	  NONE,
	  true },
	{ "begins with the magic",
	  "64bit,metadata_csum",
	  "jo -c -v 3",
	  { "jw -b 4000,4001 M" },
	  NONE,
	  true },
	{ "torn after the first",
	  "64bit,metadata_csum",
	  "jo -c -v 3",
	  { "jw -b 4001,4002 A", "jw -b 4000,4003 B" },
	  TORN,
	  false },
	{ "wraps around",
	  "64bit,metadata_csum",
	  "jo -c -v 3",
	  { "jw -b 4000,4001 A", "jw -b 4002,4003 B", "jw -r 4002", "jw -b 4004,4005 A" },
	  WRAPPED,
	  true },
	{ "wraps around, no checksums",
	  "^64bit,^metadata_csum",
	  "jo",
	  { "jw -b 4000,4001 A", "jw -b 4002,4003 B" },
	  WRAPPED,
	  true },
	{ "an empty log",
	  "64bit,metadata_csum",
	  "jo -c -v 3",
	  { "jw -b 4000,4001 A" },
	  NO_MAGIC,
	  false },
	{ "the last commit's checksum is wrong",
	  "64bit,metadata_csum",
	  "jo -c -v 3",
	  { "jw -b 4001,4002 A", "jw -b 4000,4003 B" },
	  BAD_COMMIT,
	  false },
	{ "the last commit's checksum is wrong, v2",
	  "64bit,metadata_csum",
	  "jo -c -v 2",
	  { "jw -b 4000,4001 A", "jw -b 4001,4003 B" },
	  BAD_COMMIT,
	  true },
	{ "the last data block's checksum is wrong",
	  "64bit,metadata_csum",
	  "jo -c -v 3",
	  { "jw -b 4000,4001 A", "jw -b 4002,4000 B" },
	  BAD_DATA,
	  true },
	{ "the last data block's checksum is wrong, v2",
	  "^64bit,metadata_csum",
	  "jo -c -v 2",
	  { "jw -b 4001,4000 A" },
	  BAD_DATA,
	  false },
	{ "the last descriptor's checksum is wrong",
	  "64bit,metadata_csum",
	  "jo -c -v 3",
	  { "jw -b 4000,4001 A", "jw -b 4002,4003 B" },
	  BAD_DESCRIPTOR,
	  false },
	{ "a revocation's checksum is wrong",
	  "64bit,metadata_csum",
	  "jo -c -v 3",
	  { "jw -b 4000,4001 A", "jw -r 4000" },
	  BAD_REVOKE,
	  false },
	{ "the superblock's checksum is wrong",
	  "64bit,metadata_csum",
	  "jo -c -v 3",
	  { "jw -b 4000,4001 A" },
	  BAD_SUPERBLOCK,
	  false },
};

static void shell(const char *format, ...)
{
	CLEANUP_FREE char *command = NULL;
	va_list ap;

	va_start(ap, format);
	assert_true(vasprintf(&command, format, ap) > 0);
	va_end(ap);
	if (system(command) != 0)
		fail_msg("failed: %s", command);
}

static void write_file(const char *name, const void *data, size_t len)
{
	struct err err = { 0 };

	assert_int_equal(io_replace_file(name, data, len, 0600, &err), 0);
}

static int set_up(void **state)
{
	uint8_t two[2 * BLOCK];
	uint32_t magic = htobe32((uint32_t)MAGIC);

	(void)state;
	assert_non_null(mkdtemp(folder));
	assert_int_equal(chdir(folder), 0);
	memset(two, 'A', sizeof(two));
	write_file("A", two, sizeof(two));
	memcpy(two, &magic, sizeof(magic));
	write_file("M", two, sizeof(two));
	memset(two, 'B', sizeof(two));
	write_file("B", two, sizeof(two));
	return 0;
}

static int tear_down(void **state)
{
	(void)state;
	shell("rm -rf %s", folder);
	return 0;
}

static void make_image(size_t i)
{
	FILE *script;

	shell("rm -f image && truncate -s 8M image && mkfs.ext4 -q -b %d -J size=1 -O '%s' image "
	      "&& "
	      "dd if=/dev/zero bs=%d count=16 2>&- | tr '\\0' x | dd of=image bs=%d seek=%d "
	      "conv=notrunc status=none",
	      BLOCK, cases[i].features, BLOCK, BLOCK, TARGET);
	script = fopen("script", "w");
	assert_non_null(script);
	fprintf(script, "%s\n", cases[i].open);
	for (size_t k = 0; k < ARRAY_LEN(cases[i].writes) && cases[i].writes[k]; k++)
		fprintf(script, "%s\n", cases[i].writes[k]);
	fprintf(script, "jc\n");
	fclose(script);
	shell("debugfs -w -f script image >said 2>&1 && ! grep -i error said");
}

/* ---- The journal's own blocks ---- */

struct log {
	int fd;
	uint32_t count;
	uint64_t blocks[1024]; /* of the file system, where each block of the journal is */
};

static void open_log(struct log *log)
{
	ext2_filsys fs;

	*log = (struct log){ .fd = open("image", O_RDWR | O_CLOEXEC),
			     .count = ARRAY_LEN(log->blocks) };
	assert_int_equal(ext2fs_open("image", EXT2_FLAG_64BITS, 0, 0, unix_io_manager, &fs), 0);
	for (uint32_t i = 0; i < log->count; i++) {
		blk64_t at;

		assert_int_equal(ext2fs_bmap2(fs, JOURNAL_INODE, NULL, NULL, 0, i, NULL, &at), 0);
		log->blocks[i] = at;
	}
	ext2fs_close_free(&fs);
}

static void read_log(const struct log *log, uint32_t at, void *block)
{
	assert_int_equal(io_pread_full(log->fd, block, BLOCK, log->blocks[at] * BLOCK), 0);
}

static void write_log(const struct log *log, uint32_t at, const void *block)
{
	assert_int_equal(io_pwrite_full(log->fd, block, BLOCK, log->blocks[at] * BLOCK), 0);
}

/* Where the last block of that type is. */
static uint32_t last_of(const struct log *log, uint32_t type)
{
	uint32_t block[BLOCK / 4], last = 0;

	for (uint32_t at = 1; at < log->count; at++) {
		read_log(log, at, block);
		if (be32toh(block[0]) == (uint32_t)MAGIC && be32toh(block[1]) == type)
			last = at;
	}
	assert_true(last > 0);
	return last;
}

/* The last commit never reached the disk. */
static void tear(const struct log *log)
{
	uint32_t block[BLOCK / 4] = { 0 };

	write_log(log, last_of(log, TYPE_COMMIT), block);
}

static void flip(const struct log *log, uint32_t at, size_t byte)
{
	uint8_t block[BLOCK];

	read_log(log, at, block);
	block[byte] ^= 1;
	write_log(log, at, block);
}

enum { COMMIT_SUM_AT = 16, LAST_BYTE = BLOCK - 1, ERRNO_AT = 32 + 3 };

static void harm_commit(const struct log *log)
{
	flip(log, last_of(log, TYPE_COMMIT), COMMIT_SUM_AT);
}

static void harm_data(const struct log *log)
{
	flip(log, last_of(log, TYPE_COMMIT) - 1, LAST_BYTE);
}

static void harm_descriptor(const struct log *log)
{
	flip(log, last_of(log, TYPE_DESCRIPTOR), LAST_BYTE);
}

static void harm_revoke(const struct log *log)
{
	flip(log, last_of(log, TYPE_REVOKE), LAST_BYTE);
}

static void harm_superblock(const struct log *log)
{
	flip(log, 0, ERRNO_AT);
}

/* The same log, begun so near the journal's end that it goes on at its begin. */
static void wrap(const struct log *log)
{
	uint32_t ring = log->count - 1, shift = ring - 2;
	CLEANUP_FREE uint8_t *old = malloc((size_t)log->count * BLOCK);
	uint32_t block[BLOCK / 4];

	assert_non_null(old);
	for (uint32_t at = 0; at < log->count; at++)
		read_log(log, at, old + (size_t)at * BLOCK);
	for (uint32_t at = 1; at < log->count; at++)
		write_log(log, (at - 1 + shift) % ring + 1, old + (size_t)at * BLOCK);
	/* Its superblock may have a checksum (s_checksum, over the block with zeros in its place). */
	memcpy(block, old, BLOCK);
	assert_int_equal(be32toh(block[START_AT / 4]), 1);
	block[START_AT / 4] = htobe32(1 + shift);
	if (be32toh(block[10]) & 24) {
		block[0xfc / 4] = 0;
		block[0xfc / 4] = htobe32(ext2fs_crc32c_le(~0U, (unsigned char *)block, BLOCK));
	}
	write_log(log, 0, block);
}

static void strip(const struct log *log)
{
	uint32_t block[BLOCK / 4] = { 0 };

	write_log(log, 1, block);
}

static void harm_image(enum harm harm)
{
	static void (*const harms[])(const struct log *) = { [TORN] = tear,
							     [WRAPPED] = wrap,
							     [NO_MAGIC] = strip,
							     [BAD_COMMIT] = harm_commit,
							     [BAD_DATA] = harm_data,
							     [BAD_DESCRIPTOR] = harm_descriptor,
							     [BAD_REVOKE] = harm_revoke,
							     [BAD_SUPERBLOCK] = harm_superblock };
	struct log log;

	open_log(&log);
	if (harm != NONE)
		harms[harm](&log);
	close(log.fd);
}

/* ---- Reading it ---- */

static int read_image(void *ctx, uint8_t *buf, size_t len, uint64_t offset, struct err *err)
{
	(void)err;
	return io_pread_full(*(int *)ctx, buf, len, offset);
}

struct service {
	int fd, image;
	uint64_t size;
};

static void *serve(void *arg)
{
	struct service *s = arg;
	struct volume_input input = { .ctx = &s->image, .size = s->size, .read = read_image };
	struct err err = { 0 };

	volume_channel_serve(s->fd, &input, &err);
	return NULL;
}

/* What a replay changes besides: the superblocks of file system and journal say that it happened. */
static bool is_bookkeeping(const struct ext_volume *v, uint64_t block)
{
	blk64_t journal = 0;

	ext2fs_bmap2(v->fs, JOURNAL_INODE, NULL, NULL, 0, 0, NULL, &journal);
	return block <= 1 || block == journal;
}

static void compare(struct ext_volume *v, size_t i)
{
	int replayed = open("replayed", O_RDONLY | O_CLOEXEC);
	uint8_t ours[BLOCK], theirs[BLOCK];
	bool changed = false;

	assert_true(replayed >= 0);
	for (uint64_t block = 2; block < ext2fs_blocks_count(v->fs->super); block++) {
		if (is_bookkeeping(v, block))
			continue;
		assert_int_equal(ext_volume_read(v, block, 1, ours), 0);
		assert_int_equal(io_pread_full(replayed, theirs, BLOCK, block * BLOCK), 0);
		if (memcmp(ours, theirs, BLOCK))
			fail_msg("%s: block %llu is not what e2fsck makes of it", cases[i].name,
				 (unsigned long long)block);
		if (block == TARGET)
			changed = ours[BLOCK - 1] != 'x';
	}
	if (changed != cases[i].changed)
		fail_msg("%s: block %d was%s changed", cases[i].name, TARGET,
			 changed ? "" : " not");
	close(replayed);
}

static void try_case(size_t i)
{
	struct volume_channel *channel;
	struct service s = { .image = -1 };
	struct ext_volume v;
	struct err err = { 0 };
	struct stat st;
	pthread_t thread;
	int pair[2];

	make_image(i);
	harm_image(cases[i].harm);
	shell("cp image replayed && e2fsck -y -E journal_only replayed >said 2>&1 || [ $? -le 1 ]");
	s.image = open("image", O_RDONLY | O_CLOEXEC);
	assert_int_equal(fstat(s.image, &st), 0);
	s.size = (uint64_t)st.st_size;
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
	s.fd = pair[0];
	assert_int_equal(pthread_create(&thread, NULL, serve, &s), 0);
	assert_int_equal(volume_channel_open(&channel, pair[1], 0, s.size, &err), 0);
	assert_int_equal(ext_volume_open(&v, channel, &err), 0);
	if (!v.unreplayed.why != (cases[i].harm < BAD_COMMIT))
		fail_msg("%s: %s", cases[i].name,
			 v.unreplayed.why ? v.unreplayed.why : "nothing is said");
	compare(&v, i);
	ext_volume_close(&v);
	volume_channel_close(channel);
	close(pair[1]);
	pthread_join(thread, NULL);
	close(pair[0]);
	close(s.image);
}

static void test_ext_journal_replays_as_e2fsck_does(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(cases); i++)
		try_case(i);
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(
		test_ext_journal_replays_as_e2fsck_does) };

	setenv("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", 1);
	return cmocka_run_group_tests(tests, set_up, tear_down);
}
