/* guest_load.c - the program inside test guests: state in memory and on disk that checks itself.
 *
 * Memory: a working set of 4 KiB pages. Each page is a pure function of (run, index, generation),
 * and the generation each page must have is kept in a table elsewhere in memory, so a torn page, a
 * page of another instant and a page of another process are all seen. The first `hot` MiB are
 * verified and rewritten at `rate` pages a second; the rest is verified in a slow sweep. Disk:
 * numbered 4 KiB blocks go to a raw partition with O_DIRECT|O_SYNC, each followed by block 0, the
 * header that names the last number. Before a write, the header and one older block are read back
 * and compared with what this process knows it wrote: a disk that is not of the same instant as the
 * memory shows at once. `run` is random for each start of the program: the same run with a higher
 * counter means that memory went on.
 *
 * Usage: guest_load [NAME=VALUE]...   (options_table below says which)
 * Commands come as lines on stdin or from the FIFO commands=PATH, see command_table.
 * Output lines are words, the second one says what kind of line it is; README.md documents them.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/fs.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>

enum {
	PAGE_BYTES = 4096,
	PAGE_WORDS = PAGE_BYTES / 8,
	PAGES_PER_MIB = (1 << 20) / PAGE_BYTES,
	TICK_MS = 10,
	LINE_BYTES = 1024,
};

static const uint64_t block_magic = 0x6b636f6c42647747u; /* "GwdBlock" */

static struct {
	uint64_t mem_mib, hot_mib, rate, disk_rate, report_ms;
	const char *disk, *folder, *commands, *off;
} options = {.mem_mib = 48,
	     .hot_mib = 16,
	     .rate = 500,
	     .disk_rate = 20,
	     .report_ms = 250,
	     .folder = "/",
	     .off = "poweroff"};

static uint64_t run;

/* Everything that report() prints; each counter has one writer at a time. */
static struct {
	_Atomic uint64_t written, checked, bad, passes;
	_Atomic uint64_t issued, acked, disk_bad;
} count;

/* Pages and generations are touched under this lock, one page at a time. */
static pthread_mutex_t pages_lock = PTHREAD_MUTEX_INITIALIZER;
static uint64_t *pages;
static uint32_t *generations;
static uint64_t page_count, hot_count;

/* One write(2) a line, so that lines of several threads never mix. */
__attribute__((format(printf, 1, 2))) static void say(const char *format, ...)
{
	char line[LINE_BYTES];
	va_list args;
	int len, head;

	head = snprintf(line, sizeof(line), "load ");
	va_start(args, format);
	len = vsnprintf(line + head, sizeof(line) - (size_t)head - 1, format, args);
	va_end(args);
	len += head;
	if (len > (int)sizeof(line) - 2)
		len = (int)sizeof(line) - 2;
	line[len++] = '\n';
	if (write(STDOUT_FILENO, line, (size_t)len) != len)
		exit(1); /* nobody can hear us any more */
}

static double now_s(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static void sleep_ms(uint64_t ms)
{
	struct timespec t = {.tv_sec = (time_t)(ms / 1000), .tv_nsec = (long)(ms % 1000) * 1000000};

	while (nanosleep(&t, &t) < 0 && errno == EINTR)
		;
}

/* splitmix64: neighbouring inputs give unrelated outputs. */
static uint64_t mix(uint64_t x)
{
	x += 0x9e3779b97f4a7c15u;
	x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
	x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
	return x ^ (x >> 31);
}

static uint64_t random_below(uint64_t *state, uint64_t limit)
{
	*state = mix(*state);
	return *state % limit;
}

/* ---- memory
 * -------------------------------------------------------------------------------------------------
 */

static uint64_t page_seed(uint64_t index, uint32_t generation)
{
	return mix(run ^ mix(index ^ ((uint64_t)generation << 32)));
}

static void page_fill(uint64_t index, uint32_t generation)
{
	uint64_t *page = pages + index * PAGE_WORDS;
	uint64_t seed = page_seed(index, generation);

	for (uint64_t k = 0; k < PAGE_WORDS; k++)
		page[k] = seed ^ (k * 0x9e3779b97f4a7c15u);
}

static bool page_is_good(uint64_t index, uint32_t generation)
{
	const uint64_t *page = pages + index * PAGE_WORDS;
	uint64_t seed = page_seed(index, generation);

	for (uint64_t k = 0; k < PAGE_WORDS; k++)
		if (page[k] != (seed ^ (k * 0x9e3779b97f4a7c15u)))
			return false;
	return true;
}

static void page_visit(uint64_t index, bool rewrite)
{
	pthread_mutex_lock(&pages_lock);
	if (!page_is_good(index, generations[index])) {
		/* Said once for each page: it is made good again by the next rewrite only. */
		if (count.bad++ < 8)
			say("badpage index=%" PRIu64 " generation=%" PRIu32 " up=%.3f", index,
			    generations[index], now_s());
	}
	count.checked++;
	if (rewrite) {
		page_fill(index, ++generations[index]);
		count.written++;
	}
	pthread_mutex_unlock(&pages_lock);
}

static void *rewrite_hot_pages(void *unused)
{
	uint64_t random = run, per_tick, owed = 0;

	(void)unused;
	for (;;) {
		owed += options.rate * TICK_MS;
		per_tick = owed / 1000;
		owed %= 1000;
		for (uint64_t i = 0; i < per_tick; i++)
			page_visit(random_below(&random, hot_count), true);
		sleep_ms(TICK_MS);
	}
	return NULL;
}

/* Slow enough to leave the processor to others: 64 pages every 20 ms are 12.5 MiB/s. */
static void *sweep_cold_pages(void *unused)
{
	(void)unused;
	for (;;) {
		for (uint64_t i = hot_count; i < page_count; i++) {
			page_visit(i, false);
			if (i % 64 == 0)
				sleep_ms(20);
		}
		count.passes++;
		sleep_ms(100);
	}
	return NULL;
}

static void memory_init(void)
{
	page_count = options.mem_mib * PAGES_PER_MIB;
	hot_count = options.hot_mib * PAGES_PER_MIB;
	pages = mmap(NULL, page_count * PAGE_BYTES, PROT_READ | PROT_WRITE,
		     MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	generations = calloc(page_count, sizeof(*generations));
	if (pages == MAP_FAILED || !generations) {
		say("error start: no memory for mem=%" PRIu64, options.mem_mib);
		exit(1);
	}
	for (uint64_t i = 0; i < page_count; i++)
		page_fill(i, ++generations[i]);
}

/* ---- disk
 * ---------------------------------------------------------------------------------------------------
 */

/* Blocks 1 … ring hold number n at 1 + n % ring; block 0 is the header. */
struct disk {
	int fd;
	uint64_t ring;
	uint64_t *block; /* one aligned block */
	uint64_t first; /* numbers up to this one were found on the disk, not written by this run */
};

static bool block_write(struct disk *d, uint64_t position, uint64_t number)
{
	d->block[0] = block_magic;
	d->block[1] = number;
	for (uint64_t k = 2; k < PAGE_WORDS; k++)
		d->block[k] = mix(number + k);
	return pwrite(d->fd, d->block, PAGE_BYTES, (off_t)(position * PAGE_BYTES)) == PAGE_BYTES;
}

static bool block_is_good(struct disk *d, uint64_t position, uint64_t number)
{
	if (pread(d->fd, d->block, PAGE_BYTES, (off_t)(position * PAGE_BYTES)) != PAGE_BYTES)
		return false;
	if (d->block[0] != block_magic || d->block[1] != number)
		return false;
	for (uint64_t k = 2; k < PAGE_WORDS; k++)
		if (d->block[k] != mix(number + k))
			return false;
	return true;
}

static void disk_complain(const char *what, uint64_t number, const struct disk *d)
{
	if (count.disk_bad++ < 8)
		say("baddisk what=%s number=%" PRIu64 " found=%" PRIu64 " up=%.3f", what, number,
		    d->block[0] == block_magic ? d->block[1] : 0, now_s());
}

/* Return false when the disk can't be used at all. */
static bool disk_open(struct disk *d)
{
	uint64_t bytes = 0, last = 0;

	d->fd = open(options.disk, O_RDWR | O_DIRECT | O_SYNC | O_CLOEXEC);
	if (d->fd < 0 || ioctl(d->fd, BLKGETSIZE64, &bytes) < 0 || bytes < 16 * PAGE_BYTES ||
	    posix_memalign((void **)&d->block, PAGE_BYTES, PAGE_BYTES) != 0) {
		say("error disk: open %s (%" PRIu64 " bytes): %s", options.disk, bytes,
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
	count.issued = count.acked = last;
	say("disk start=%" PRIu64 " ring=%" PRIu64, last, d->ring);
	return true;
}

static void disk_step(struct disk *d, uint64_t *random)
{
	uint64_t acked = count.acked, number = acked + 1, older, mine;

	if (acked > d->first) {
		if (!block_is_good(d, 0, acked))
			disk_complain("header", acked, d);
		mine = acked - d->first < d->ring ? acked - d->first : d->ring;
		older = acked - random_below(random, mine);
		if (!block_is_good(d, 1 + older % d->ring, older))
			disk_complain("block", older, d);
	}
	count.issued = number;
	if (!block_write(d, 1 + number % d->ring, number) || !block_write(d, 0, number)) {
		say("error disk: write block %" PRIu64 ": %s", number, strerror(errno));
		count.issued = acked;
		sleep_ms(1000);
		return;
	}
	count.acked = number;
}

static void *write_disk(void *unused)
{
	struct disk d = {.fd = -1};
	uint64_t random = run;

	(void)unused;
	if (!disk_open(&d))
		return NULL;
	for (;;) {
		disk_step(&d, &random);
		sleep_ms(1000 / options.disk_rate);
	}
	return NULL;
}

/* ---- commands
 * -----------------------------------------------------------------------------------------------
 */

static int open_in_folder(const char *name, int flags)
{
	char path[LINE_BYTES];

	snprintf(path, sizeof(path), "%s/%s", options.folder, name);
	return open(path, flags | O_CLOEXEC, 0644);
}

static void fail(const char *what)
{
	say("error %s: %s", what, strerror(errno));
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
		say("ok mark %s", text);
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
		say("ok read %.*s", (int)(len < 512 ? len : 512), text);
	if (fd >= 0)
		close(fd);
}

static void command_dirty(const char *text)
{
	static uint64_t next;
	uint64_t mib = strtoull(text, NULL, 10), cold = page_count - hot_count;

	if (cold == 0) {
		say("error dirty: hot=%" PRIu64 " leaves no other pages", options.hot_mib);
		return;
	}
	for (uint64_t i = 0; i < mib * PAGES_PER_MIB; i++)
		page_visit(hot_count + next++ % cold, true);
	say("ok dirty mib=%" PRIu64, mib);
}

/* So that a test can see that the checks check. */
static void command_damage(const char *unused)
{
	uint64_t index = page_count - 1;

	(void)unused;
	pthread_mutex_lock(&pages_lock);
	pages[index * PAGE_WORDS + PAGE_WORDS / 2] ^= 1;
	pthread_mutex_unlock(&pages_lock);
	say("ok damage index=%" PRIu64, index);
}

/* The file's content follows from its seed, which is also its first word. */
static void file_block(uint64_t *block, uint64_t seed, uint64_t number)
{
	for (uint64_t k = 0; k < PAGE_WORDS; k++)
		block[k] = mix(seed + number) ^ (k * 0x9e3779b97f4a7c15u);
	if (number == 0)
		block[0] = seed;
}

static void command_fill(const char *text)
{
	static uint64_t block[PAGE_WORDS] __attribute__((aligned(PAGE_BYTES)));
	uint64_t mib = strtoull(text, NULL, 10), seed = mix(run + count.checked);
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
		say("ok fill mib=%" PRIu64 " seed=%016" PRIx64, mib, seed);
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
		say("%s check blocks=%" PRIu64 " wrong=%" PRIu64 " seed=%016" PRIx64,
		    wrong || len ? "error" : "ok", number, wrong, seed);
	if (fd >= 0)
		close(fd);
}

static void command_poweroff(const char *unused)
{
	(void)unused;
	say("ok poweroff");
	if (system(options.off) != 0)
		say("error poweroff: the command '%s' failed", options.off);
}

static const struct {
	const char *name;
	void (*act)(const char *argument);
} command_table[] = {
    {"mark", command_mark},     /* mark TEXT: write TEXT into the marker file, durably */
    {"read", command_read},     /* say what the marker file on the disk holds */
    {"dirty", command_dirty},   /* dirty N: rewrite N MiB of the cold working set */
    {"fill", command_fill},     /* fill N: write a file of N MiB, durably */
    {"check", command_check},   /* read that file from the disk and verify it */
    {"damage", command_damage}, /* flip one bit of the working set */
    {"poweroff", command_poweroff},
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
		say("error command: there is no '%s'", line);
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

/* ---- start
 * --------------------------------------------------------------------------------------------------
 */

static const struct {
	const char *name;
	uint64_t *number; /* or … */
	const char **text;
	uint64_t min, max;
} options_table[] = {
    {"mem", &options.mem_mib, NULL, 1, 1 << 20}, /* MiB of working set */
    {"hot", &options.hot_mib, NULL, 1, 1 << 20}, /* MiB of it that are rewritten all the time */
    {"rate", &options.rate, NULL, 0, 1000000},   /* pages rewritten a second */
    {"disk", NULL, &options.disk, 0, 0},         /* raw partition for numbered blocks */
    {"disk_rate", &options.disk_rate, NULL, 1, 1000},   /* blocks written a second */
    {"report_ms", &options.report_ms, NULL, 20, 60000}, /* time between counter lines */
    {"folder", NULL, &options.folder, 0, 0},            /* where the marker file lives */
    {"commands", NULL, &options.commands, 0, 0},        /* FIFO; stdin otherwise */
    {"off", NULL, &options.off, 0, 0}, /* shell command that powers the guest off */
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

static void start(void *(*body)(void *))
{
	pthread_t thread;

	if (pthread_create(&thread, NULL, body, NULL) != 0) {
		say("error start: no thread");
		exit(1);
	}
}

static void report(uint64_t n, double gap_s)
{
	say("n=%" PRIu64 " run=%016" PRIx64 " up=%.3f gap_ms=%.0f written=%" PRIu64
	    " checked=%" PRIu64 " bad=%" PRIu64 " passes=%" PRIu64 " issued=%" PRIu64
	    " acked=%" PRIu64 " disk_bad=%" PRIu64,
	    n, run, now_s(), gap_s * 1e3, count.written, count.checked, count.bad, count.passes,
	    count.issued, count.acked, count.disk_bad);
}

/* A tick every 10 ms sees how long the guest stood still; a line every report_ms says it. */
static void tick(void)
{
	double last = now_s(), reported = last, t, gap = 0;

	for (uint64_t n = 0;;) {
		sleep_ms(TICK_MS);
		t = now_s();
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
			say("error start: bad option '%s'", word);
			return 2;
		}
	}
	if (options.hot_mib > options.mem_mib)
		options.hot_mib = options.mem_mib;
	if (getrandom(&run, sizeof(run), 0) != (ssize_t)sizeof(run))
		return 1;
	console_init();
	memory_init();
	command_read("");
	say("ready run=%016" PRIx64 " mem_mib=%" PRIu64 " hot_mib=%" PRIu64 " up=%.3f", run,
	    options.mem_mib, options.hot_mib, now_s());
	start(rewrite_hot_pages);
	start(sweep_cold_pages);
	start(take_commands);
	if (options.disk)
		start(write_disk);
	tick();
}
