/* guest_load.h - what the parts of guest_load share. */
#ifndef GODWIT_GUEST_LOAD_H
#define GODWIT_GUEST_LOAD_H

#include <inttypes.h>
#include <stdbool.h>
#include <stdint.h>

enum {
	PAGE_BYTES = 4096,
	PAGE_WORDS = PAGE_BYTES / 8,
	PAGES_PER_MIB = (1 << 20) / PAGE_BYTES,
	TICK_MS = 10,
	LINE_BYTES = 1024,
};

/* Everything that the counter line says; each counter has one writer at a time. */
struct guest_count {
	_Atomic uint64_t written, checked, bad, passes;
	_Atomic uint64_t issued, acked, disk_bad;
};
extern struct guest_count guest_count;

/* Random for each start of the program. */
extern uint64_t guest_run;

/* guest_base.c: "load ", the text and a newline in one write(2), so that lines of threads never
 * mix. */
void guest_say(const char *format, ...) __attribute__((format(printf, 1, 2)));
/* What the guest sees of its first network card's cable: "up", "down"; "none": no card that is in use. */
const char *guest_link(void);
double guest_now_s(void);
void guest_sleep_ms(uint64_t ms);
/* Neighbouring inputs give unrelated outputs. */
uint64_t guest_mix(uint64_t x);
uint64_t guest_random_below(uint64_t *state, uint64_t limit);

/* guest_memory.c: @mem_mib pages that check themselves; @hot_mib of them are rewritten all the
 * time. */
bool guest_memory_init(uint64_t mem_mib, uint64_t hot_mib);
void *guest_memory_rewrite(void *rate); /* threads; rate: uint64_t *, pages a second */
void *guest_memory_sweep(void *unused);
/* Rewrite @mib MiB of the pages that are not hot; false: there are none. */
bool guest_memory_dirty(uint64_t mib);
/* Flip a bit of one page, so that a test can see that the checks check; returns its index. */
uint64_t guest_memory_damage(void);
/* Hold @count more pages for good, page N of which begins with the text "godwit holds page 0000N"; they are touched in another
 * order, so that they do not follow each other in physical memory. */
bool guest_memory_hold(uint64_t count);

/* guest_disk.c: numbered blocks on a raw partition. */
struct guest_disk_options {
	const char *path;
	uint64_t rate; /* blocks a second */
};
void *guest_disk_write(void *options); /* thread; struct guest_disk_options * */

#endif
