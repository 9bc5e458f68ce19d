/* Partition tables as sfdisk writes them, and what is made of damaged ones. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/io.h"
#include "mgmt-server/scan/part_probe.h"

static char folder[] = "/tmp/godwit-parts-XXXXXX";

/* Each part as NUMBER@MiB+MiB:TYPE, where lengths are rounded down. */
static const struct {
	const char *name, *make, *want;
} cases[] = {
	{ "nothing", "true", "0@0+64:" },
	{ "a file system without a table", "mkfs.ext4 -q disk", "0@0+64:ext4" },
	{ "FAT without a table", "mkfs.vfat disk >/dev/null", "0@0+64:vfat" },
	{ "GPT",
	  "printf 'label: gpt\\nsize=10M\\nsize=20M\\n' | sfdisk -q disk && mkfs.ext4 -q -E "
	  "offset=11534336 disk 20M",
	  "1@1+10: 2@11+20:ext4" },
	{ "GPT whose first copy is gone",
	  "printf 'label: gpt\\nsize=10M\\n' | sfdisk -q disk && dd if=/dev/zero of=disk bs=512 "
	  "seek=1 count=1 conv=notrunc status=none",
	  "1@1+10:" },
	{ "MBR with logical partitions",
	  "printf 'label: "
	  "dos\\nstart=2048,size=20480,type=83\\nstart=22528,size=90112,type=5\\nstart=24576,size="
	  "20480,type=83\\n"
	  "start=47104,size=20480,type=83\\n' | sfdisk -q disk",
	  "1@1+10: 5@12+10: 6@23+10:" },
	{ "a partition beyond the end",
	  "printf 'label: dos\\nstart=2048,size=100000,type=83\\n' | sfdisk -q disk && truncate -s "
	  "20M disk",
	  "1@1+48:beyond-end" },
	{ "an extended partition that points at itself",
	  "printf 'label: dos\\nstart=2048,size=100000,type=5\\nstart=4096,size=2048,type=83\\n' | "
	  "sfdisk -q disk && "
	  "printf "
	  "'\\000\\000\\000\\000\\005\\000\\000\\000\\000\\000\\000\\000\\000\\000\\001\\000' | "
	  "dd of=disk bs=1 seek=$((2048*512+462)) conv=notrunc status=none",
	  "5@2+1:" },
	{ "LUKS", "printf 'LUKS\\272\\276\\000\\001' | dd of=disk conv=notrunc status=none",
	  "0@0+64:crypto_LUKS" },
};

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

static void describe(const struct part *parts, size_t n, char *text, size_t cap)
{
	size_t at = 0;

	for (size_t i = 0; i < n; i++)
		at += (size_t)snprintf(text + at, cap - at, "%s%u@%llu+%llu:%s", i ? " " : "",
				       parts[i].number, (unsigned long long)parts[i].offset >> 20,
				       (unsigned long long)parts[i].length >> 20, parts[i].type);
}

static void try_case(const char *name, const char *make, const char *want)
{
	static struct part parts[PART_PROBE_MAX];
	struct volume_channel *channel;
	struct service s;
	struct stat st;
	struct err err = { 0 };
	char text[4096] = "";
	pthread_t thread;
	size_t count;
	int pair[2], copy = memfd_create("copy", MFD_CLOEXEC);

	assert_int_equal(system("rm -f disk && truncate -s 64M disk"), 0);
	if (system(make) != 0)
		fail_msg("%s: cannot be made", name);
	s.image = open("disk", O_RDONLY | O_CLOEXEC);
	assert_int_equal(fstat(s.image, &st), 0);
	s.size = (uint64_t)st.st_size;
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
	s.fd = pair[0];
	assert_int_equal(pthread_create(&thread, NULL, serve, &s), 0);
	assert_int_equal(volume_channel_open(&channel, pair[1], 0, s.size, &err), 0);
	assert_int_equal(part_probe(channel, copy, parts, &count, &err), 0);
	close(copy);
	describe(parts, count, text, sizeof(text));
	volume_channel_close(channel);
	close(pair[1]);
	pthread_join(thread, NULL);
	close(pair[0]);
	close(s.image);
	if (strcmp(text, want))
		fail_msg("%s: '%s' instead of '%s'", name, text, want);
}

static void test_part_probe_tables(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
		try_case(cases[i].name, cases[i].make, cases[i].want);
}

static int set_up(void **state)
{
	(void)state;
	setenv("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", 1);
	assert_non_null(mkdtemp(folder));
	assert_int_equal(chdir(folder), 0);
	return 0;
}

static int tear_down(void **state)
{
	char command[64];

	(void)state;
	assert_int_equal(chdir("/"), 0);
	snprintf(command, sizeof(command), "rm -rf %s", folder);
	return system(command);
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(test_part_probe_tables) };

	return cmocka_run_group_tests(tests, set_up, tear_down);
}
