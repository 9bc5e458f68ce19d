/* guest_load.c - the program inside test guests: state in memory and on disk that checks itself.
 *
 * Memory: a working set of 4 KiB pages that are verified in a slow sweep; the first `hot` MiB are
 * rewritten at `rate` pages a second (guest_memory.c). Disk: numbered blocks on a raw partition
 * (guest_disk.c). `run` is random for each start: the same run with a higher counter means that
 * memory went on.
 *
 * Usage: guest_load [NAME=VALUE]..., see options_table. Commands come as lines on stdin or from the
 * FIFO commands=PATH, see command_table. README.md documents the lines that are printed.
 */
#include "guest_load.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <termios.h>
#include <unistd.h>

static struct {
	uint64_t mem_mib, hot_mib, rate, report_ms;
	struct guest_disk_options disk;
	const char *folder, *commands, *off;
} options = { .mem_mib = 48,
	      .hot_mib = 16,
	      .rate = 500,
	      .report_ms = 250,
	      .disk = { .rate = 20 },
	      .folder = "/",
	      .off = "poweroff" };

/* ---- commands ---- */

static int open_in_folder(const char *name, int flags)
{
	char path[LINE_BYTES];

	snprintf(path, sizeof(path), "%s/%s", options.folder, name);
	return open(path, flags | O_CLOEXEC, 0644);
}

static void fail(const char *what)
{
	guest_say("error %s: %s", what, strerror(errno));
}

static void command_mark(const char *text)
{
	int fd = open_in_folder("marker", O_WRONLY | O_CREAT | O_TRUNC);
	ssize_t len = (ssize_t)strlen(text);
	bool ok = fd >= 0 && write(fd, text, (size_t)len) == len && fsync(fd) == 0;

	if (fd >= 0)
		close(fd);
	if (ok)
		sync(); /* the folder entry as well */
	if (ok)
		guest_say("ok mark %s", text);
	else
		fail("mark");
}

/* Past the page cache: what is said is what the disk holds. */
static void command_read(const char *unused)
{
	static char text[PAGE_BYTES] __attribute__((aligned(PAGE_BYTES)));
	int fd = open_in_folder("marker", O_RDONLY | O_DIRECT);
	ssize_t len = fd >= 0 ? read(fd, text, sizeof(text)) : -1;

	(void)unused;
	if (len < 0)
		fail("read");
	else
		guest_say("ok read %.*s", (int)(len < 512 ? len : 512), text);
	if (fd >= 0)
		close(fd);
}

static void command_dirty(const char *text)
{
	uint64_t mib = strtoull(text, NULL, 10);

	if (guest_memory_dirty(mib))
		guest_say("ok dirty mib=%" PRIu64, mib);
	else
		guest_say("error dirty: hot=%" PRIu64 " leaves no other pages", options.hot_mib);
}

static void command_damage(const char *unused)
{
	(void)unused;
	guest_say("ok damage index=%" PRIu64, guest_memory_damage());
}

static void command_hold(const char *text)
{
	uint64_t count = strtoull(text, NULL, 10);

	if (guest_memory_hold(count))
		guest_say("ok hold pages=%" PRIu64, count);
	else
		fail("hold");
}

/* The file's content follows from its seed, which is also its first word. */
static void file_block(uint64_t *block, uint64_t seed, uint64_t number)
{
	for (uint64_t k = 0; k < PAGE_WORDS; k++)
		block[k] = guest_mix(seed + number) ^ (k * 0x9e3779b97f4a7c15u);
	if (number == 0)
		block[0] = seed;
}

static void command_fill(const char *text)
{
	static uint64_t block[PAGE_WORDS] __attribute__((aligned(PAGE_BYTES)));
	uint64_t mib = strtoull(text, NULL, 10), seed = guest_mix(guest_run + guest_count.checked);
	int fd = open_in_folder("filled", O_WRONLY | O_CREAT | O_TRUNC | O_DIRECT);
	bool ok = fd >= 0;

	for (uint64_t i = 0; ok && i < mib * PAGES_PER_MIB; i++) {
		file_block(block, seed, i);
		ok = write(fd, block, PAGE_BYTES) == PAGE_BYTES;
	}
	ok = ok && fsync(fd) == 0;
	if (fd >= 0)
		close(fd);
	if (ok) {
		sync();
		guest_say("ok fill mib=%" PRIu64 " seed=%016" PRIx64, mib, seed);
	} else {
		fail("fill");
	}
}

static void command_check(const char *unused)
{
	static uint64_t block[PAGE_WORDS] __attribute__((aligned(PAGE_BYTES)));
	static uint64_t want[PAGE_WORDS];
	int fd = open_in_folder("filled", O_RDONLY | O_DIRECT);
	uint64_t number = 0, wrong = 0, seed = 0;
	ssize_t len = -1;

	(void)unused;
	while (fd >= 0 && (len = read(fd, block, PAGE_BYTES)) == PAGE_BYTES) {
		if (number == 0)
			seed = block[0];
		file_block(want, seed, number++);
		wrong += memcmp(block, want, PAGE_BYTES) != 0;
	}
	if (len < 0)
		fail("check");
	else
		guest_say("%s check blocks=%" PRIu64 " wrong=%" PRIu64 " seed=%016" PRIx64,
			  wrong || len ? "error" : "ok", number, wrong, seed);
	if (fd >= 0)
		close(fd);
}

static void command_poweroff(const char *unused)
{
	(void)unused;
	guest_say("ok poweroff");
	if (system(options.off) != 0)
		guest_say("error poweroff: the command '%s' failed", options.off);
}

static const struct {
	const char *name;
	void (*act)(const char *argument);
} command_table[] = {
	{ "mark", command_mark },     /* mark TEXT: write TEXT into the marker file, durably */
	{ "read", command_read },     /* say what the marker file on the disk holds */
	{ "dirty", command_dirty },   /* dirty N: rewrite N MiB of the cold working set */
	{ "fill", command_fill },     /* fill N: write a file of N MiB, durably */
	{ "check", command_check },   /* read that file from the disk and verify it */
	{ "damage", command_damage }, /* flip one bit of the working set */
	{ "hold", command_hold }, /* hold N: N pages of text that are not contiguous physically */
	{ "poweroff", command_poweroff },
};

static void run_command(char *line)
{
	char *argument;

	line[strcspn(line, "\r\n")] = '\0';
	argument = strchr(line, ' ');
	if (argument)
		*argument++ = '\0';
	for (size_t i = 0; i < sizeof(command_table) / sizeof(command_table[0]); i++) {
		if (strcmp(line, command_table[i].name) == 0) {
			command_table[i].act(argument ? argument : "");
			return;
		}
	}
	if (line[0])
		guest_say("error command: there is no '%s'", line);
}

static void *take_commands(void *unused)
{
	char line[LINE_BYTES];
	FILE *in;

	(void)unused;
	/* A FIFO is opened for writing too: it then never ends when a writer closes it. */
	in = options.commands ? fopen(options.commands, "r+") : stdin;
	if (!in) {
		fail(options.commands);
		return NULL;
	}
	while (fgets(line, sizeof(line), in))
		run_command(line);
	return NULL;
}

/* Nobody types here: without an echo, each line on the console is one of ours. Where there is a
 * login prompt, it has just been printed and our first line must not stand behind it. */
static void console_init(void)
{
	struct termios t;

	if (options.commands) {
		if (write(STDOUT_FILENO, "\n", 1) != 1)
			exit(1);
		return;
	}
	if (tcgetattr(STDIN_FILENO, &t) < 0)
		return;
	t.c_lflag &= ~(tcflag_t)(ECHO | ECHONL);
	t.c_oflag &= ~(tcflag_t)OPOST;
	tcsetattr(STDIN_FILENO, TCSANOW, &t);
}

/* ---- start ---- */

static const struct {
	const char *name;
	uint64_t *number; /* or … */
	const char **text;
	uint64_t min, max;
} options_table[] = {
	{ "mem", &options.mem_mib, NULL, 1, 1 << 20 }, /* MiB of working set */
	{ "hot", &options.hot_mib, NULL, 1,
	  1 << 20 },                                 /* MiB of it that are rewritten all the time */
	{ "rate", &options.rate, NULL, 0, 1000000 }, /* pages rewritten a second */
	{ "disk", NULL, &options.disk.path, 0, 0 },  /* raw partition for numbered blocks */
	{ "disk_rate", &options.disk.rate, NULL, 1, 1000 },   /* blocks written a second */
	{ "report_ms", &options.report_ms, NULL, 20, 60000 }, /* time between counter lines */
	{ "folder", NULL, &options.folder, 0, 0 },            /* where the marker file lives */
	{ "commands", NULL, &options.commands, 0, 0 },        /* FIFO; stdin otherwise */
	{ "off", NULL, &options.off, 0, 0 }, /* shell command that powers the guest off */
};

static bool take_option(char *word)
{
	char *value = strchr(word, '='), *end;
	uint64_t number;

	if (!value)
		return false;
	*value++ = '\0';
	for (size_t i = 0; i < sizeof(options_table) / sizeof(options_table[0]); i++) {
		if (strcmp(word, options_table[i].name) != 0)
			continue;
		if (options_table[i].text) {
			*options_table[i].text = value;
			return true;
		}
		number = strtoull(value, &end, 10);
		if (*end || number < options_table[i].min || number > options_table[i].max)
			return false;
		*options_table[i].number = number;
		return true;
	}
	return false;
}

static void start(void *(*body)(void *), void *argument)
{
	pthread_t thread;

	if (pthread_create(&thread, NULL, body, argument) != 0) {
		guest_say("error start: no thread");
		exit(1);
	}
}

static void report(uint64_t n, double gap_s)
{
	guest_say("n=%" PRIu64 " run=%016" PRIx64 " up=%.3f gap_ms=%.0f written=%" PRIu64
		  " checked=%" PRIu64 " bad=%" PRIu64 " passes=%" PRIu64 " link=%s issued=%" PRIu64
		  " acked=%" PRIu64 " disk_bad=%" PRIu64,
		  n, guest_run, guest_now_s(), gap_s * 1e3, guest_count.written,
		  guest_count.checked, guest_count.bad, guest_count.passes, guest_link(),
		  guest_count.issued, guest_count.acked, guest_count.disk_bad);
}

/* A tick every 10 ms sees how long the guest stood still; a line every report_ms says it. */
static void tick(void)
{
	double last = guest_now_s(), reported = last, t, gap = 0;

	for (uint64_t n = 0;;) {
		guest_sleep_ms(TICK_MS);
		t = guest_now_s();
		if (t - last > gap)
			gap = t - last;
		last = t;
		if ((t - reported) * 1e3 >= (double)options.report_ms) {
			report(++n, gap);
			reported = t;
			gap = 0;
		}
	}
}

int main(int argc, char **argv)
{
	for (int i = 1; i < argc; i++) {
		char *word = argv[i];

		if (!take_option(word)) {
			guest_say("error start: bad option '%s'", word);
			return 2;
		}
	}
	if (options.hot_mib > options.mem_mib)
		options.hot_mib = options.mem_mib;
	if (getrandom(&guest_run, sizeof(guest_run), 0) != (ssize_t)sizeof(guest_run))
		return 1;
	console_init();
	if (!guest_memory_init(options.mem_mib, options.hot_mib)) {
		guest_say("error start: no memory for mem=%" PRIu64, options.mem_mib);
		return 1;
	}
	command_read("");
	guest_say("ready run=%016" PRIx64 " mem_mib=%" PRIu64 " hot_mib=%" PRIu64 " up=%.3f",
		  guest_run, options.mem_mib, options.hot_mib, guest_now_s());
	start(guest_memory_rewrite, &options.rate);
	start(guest_memory_sweep, NULL);
	start(take_commands, NULL);
	if (options.disk.path)
		start(guest_disk_write, &options.disk);
	tick();
}
