/* A page is a pure function of (run, index, generation), and the generations are kept
 * elsewhere in memory: a torn page, a page of another instant and a page of another process are all
 * seen. */
#include "guest_load.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>

/* Pages and generations are touched under this lock, one page at a time. */
static pthread_mutex_t pages_lock = PTHREAD_MUTEX_INITIALIZER;
static uint64_t *pages;
static uint32_t *generations;
static uint64_t page_count, hot_count;

static uint64_t page_seed(uint64_t index, uint32_t generation)
{
	return guest_mix(guest_run ^ guest_mix(index ^ ((uint64_t)generation << 32)));
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
		/* The first few are enough; the count goes on. */
		if (guest_count.bad++ < 8)
			guest_say("badpage index=%" PRIu64 " generation=%" PRIu32 " up=%.3f", index,
				  generations[index], guest_now_s());
	}
	guest_count.checked++;
	if (rewrite) {
		page_fill(index, ++generations[index]);
		guest_count.written++;
	}
	pthread_mutex_unlock(&pages_lock);
}

void *guest_memory_rewrite(void *rate)
{
	uint64_t random = guest_run, per_tick, owed = 0;

	for (;;) {
		owed += *(const uint64_t *)rate * TICK_MS;
		per_tick = owed / 1000;
		owed %= 1000;
		for (uint64_t i = 0; i < per_tick; i++)
			page_visit(guest_random_below(&random, hot_count), true);
		guest_sleep_ms(TICK_MS);
	}
	return NULL;
}

/* Slow enough to leave the processor to others: 64 pages every 20 ms are 12.5 MiB/s. */
void *guest_memory_sweep(void *unused)
{
	(void)unused;
	for (;;) {
		for (uint64_t i = 0; i < page_count; i++) {
			page_visit(i, false);
			if (i % 64 == 0)
				guest_sleep_ms(20);
		}
		guest_count.passes++;
		guest_sleep_ms(100);
	}
	return NULL;
}

bool guest_memory_init(uint64_t mem_mib, uint64_t hot_mib)
{
	page_count = mem_mib * PAGES_PER_MIB;
	hot_count = hot_mib * PAGES_PER_MIB;
	pages = mmap(NULL, page_count * PAGE_BYTES, PROT_READ | PROT_WRITE,
		     MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	generations = calloc(page_count, sizeof(*generations));
	if (pages == MAP_FAILED || !generations)
		return false;
	for (uint64_t i = 0; i < page_count; i++)
		page_fill(i, ++generations[i]);
	return true;
}

bool guest_memory_dirty(uint64_t mib)
{
	static uint64_t next;
	uint64_t cold = page_count - hot_count;

	for (uint64_t i = 0; cold && i < mib * PAGES_PER_MIB; i++)
		page_visit(hot_count + next++ % cold, true);
	return cold > 0;
}

uint64_t guest_memory_damage(void)
{
	uint64_t index = page_count - 1;

	pthread_mutex_lock(&pages_lock);
	pages[index * PAGE_WORDS + PAGE_WORDS / 2] ^= 1;
	pthread_mutex_unlock(&pages_lock);
	return index;
}

bool guest_memory_hold(uint64_t count)
{
	enum {
		STRIDE = 37
	}; /* a prime: every page's turn comes, unless count is a multiple of it */
	uint8_t *held = mmap(NULL, count * PAGE_BYTES, PROT_READ | PROT_WRITE,
			     MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (held == MAP_FAILED || !count || count % STRIDE == 0)
		return false;
	madvise(held, count * PAGE_BYTES, MADV_NOHUGEPAGE);
	for (uint64_t i = 0; i < count; i++) {
		uint64_t n = i * STRIDE % count;
		uint64_t *page = (uint64_t *)(held + n * PAGE_BYTES);

		for (uint64_t k = 0; k < PAGE_WORDS; k++)
			page[k] = guest_mix(n << 32 | k);
		snprintf((char *)page, 64, "godwit holds page %05" PRIu64, n);
	}
	return true;
}
