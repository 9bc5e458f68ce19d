#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <string.h>

#include "client-agent/chunk_cache.h"
#include "common/clock.h"

enum { LEN = 1000 };

/* The origin makes chunk N of N's bytes; it counts and can fail. */
static atomic_uint fetched;
static atomic_bool failing;
static unsigned delay_ms;

static int origin_get(void *ctx, const struct chunk_id *ids, size_t n, chunk_arrived *fn, void *arg,
		      struct err *err)
{
	uint8_t data[LEN];
	size_t i;
	int r = 0;

	(void)ctx;
	clock_sleep_ms(delay_ms);
	if (failing)
		return err_say(err, EIO, "the origin is away");
	for (i = 0; i < n && r == 0; i++) {
		fetched++;
		memset(data, ids[i].bytes[31], LEN);
		r = fn(arg, i, data, LEN, err);
	}
	return r;
}

static int check(void *arg, size_t i, const uint8_t *data, size_t len, struct err *err)
{
	const struct chunk_id *ids = arg;

	(void)err;
	assert_int_equal(len, LEN);
	assert_int_equal(data[0], ids[i].bytes[31]);
	assert_int_equal(data[LEN - 1], ids[i].bytes[31]);
	return 0;
}

static struct chunk_id id_of(uint8_t n)
{
	struct chunk_id id = { { 0 } };

	id.bytes[0] = 1; /* all in one bucket */
	id.bytes[31] = n;
	return id;
}

static struct chunk_cache *make(size_t max)
{
	struct chunk_cache *cache = NULL;

	fetched = 0;
	failing = false;
	delay_ms = 0;
	assert_int_equal(
		chunk_cache_new(&cache, (struct chunk_source){ .get = origin_get }, max, NULL), 0);
	return cache;
}

static int get(struct chunk_cache *cache, const struct chunk_id *ids, size_t n)
{
	struct chunk_source source = chunk_cache_source(cache);
	struct err err = { 0 };

	return source.get(source.ctx, ids, n, check, (void *)ids, &err);
}

static void test_chunk_cache_hits(void **state)
{
	struct chunk_cache *cache = make(10 * LEN);
	struct chunk_id ids[] = { id_of(1), id_of(2), id_of(1), id_of(3) };

	(void)state;
	assert_int_equal(get(cache, ids, 4), 0);
	assert_int_equal(fetched, 3); /* twice the same in one get */
	assert_int_equal(get(cache, ids, 4), 0);
	assert_int_equal(fetched, 3);
	chunk_cache_free(cache);
}

static void test_chunk_cache_is_bounded(void **state)
{
	struct chunk_cache *cache = make(4 * LEN);
	struct chunk_cache_stats stats;
	struct chunk_id ids[20];
	size_t i;

	(void)state;
	for (i = 0; i < 20; i++)
		ids[i] = id_of((uint8_t)(i + 1));
	assert_int_equal(get(cache, ids, 20), 0); /* more than fits at once */
	chunk_cache_stats(cache, &stats);
	assert_true(stats.bytes <= 4 * LEN);
	fetched = 0;
	assert_int_equal(get(cache, &ids[16], 4), 0); /* the newest are there */
	assert_int_equal(fetched, 0);
	assert_int_equal(get(cache, &ids[0], 1), 0);
	assert_int_equal(fetched, 1);
	assert_int_equal(get(cache, &ids[17], 3), 0); /* only the oldest of the four went */
	assert_int_equal(fetched, 1);
	chunk_cache_free(cache);
}

static void test_chunk_cache_forgets_failures(void **state)
{
	struct chunk_cache *cache = make(10 * LEN);
	struct chunk_id ids[] = { id_of(1), id_of(2) };

	(void)state;
	failing = true;
	assert_int_equal(get(cache, ids, 2), -EIO);
	failing = false;
	assert_int_equal(get(cache, ids, 2), 0);
	assert_int_equal(fetched, 2);
	chunk_cache_free(cache);
}

static void *get_in_thread(void *arg)
{
	struct chunk_id ids[] = { id_of(1), id_of(2), id_of(3) };
	unsigned i;

	for (i = 0; i < 50; i++)
		assert_int_equal(get(arg, ids, 3), 0);
	return NULL;
}

static void test_chunk_cache_joins_equal_requests(void **state)
{
	struct chunk_cache *cache = make(10 * LEN);
	pthread_t threads[4];
	size_t i;

	(void)state;
	delay_ms = 20;
	for (i = 0; i < 4; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, get_in_thread, cache), 0);
	for (i = 0; i < 4; i++)
		pthread_join(threads[i], NULL);
	assert_int_equal(fetched, 3);
	chunk_cache_free(cache);
}

/* A cache smaller than any chunk still works, from several threads. */
static void test_chunk_cache_without_room(void **state)
{
	struct chunk_cache *cache = make(0);
	struct chunk_cache_stats stats;
	pthread_t threads[4];
	size_t i;

	(void)state;
	for (i = 0; i < 4; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, get_in_thread, cache), 0);
	for (i = 0; i < 4; i++)
		pthread_join(threads[i], NULL);
	chunk_cache_stats(cache, &stats);
	assert_int_equal(stats.bytes, 0);
	chunk_cache_free(cache);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_chunk_cache_hits),
		cmocka_unit_test(test_chunk_cache_is_bounded),
		cmocka_unit_test(test_chunk_cache_forgets_failures),
		cmocka_unit_test(test_chunk_cache_joins_equal_requests),
		cmocka_unit_test(test_chunk_cache_without_room),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
