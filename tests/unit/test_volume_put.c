/* volume_put against volume_reader, volume_get_file and volume_walk: what goes in comes out, an incremental put gives the same
 * root as a full one, and costs what changed.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "snapshot/volume.h"
#include "tests/lib/memory_chunks.h"

/* A disk in memory that counts what is read. */
struct disk {
	uint8_t *data;
	uint64_t size;
	atomic_uint_fast64_t read;
	uint64_t hole_step; /* extents are reported at most so long; 0: no extents */
	uint64_t fail_at;   /* reads that cover this byte fail; UINT64_MAX: none */
};

static int disk_read(void *ctx, uint8_t *buf, size_t len, uint64_t offset, struct err *err)
{
	struct disk *d = ctx;

	assert_true(len >= 1 && offset < d->size && len <= d->size - offset);
	if (d->fail_at >= offset && d->fail_at < offset + len)
		return err_say(err, EIO, "bad sector");
	memcpy(buf, d->data + offset, len);
	atomic_fetch_add(&d->read, len);
	return 0;
}

static int disk_extent(void *ctx, uint64_t offset, uint64_t *len, bool *zero, struct err *err)
{
	struct disk *d = ctx;
	uint64_t n = 1;

	(void)err;
	*zero = d->data[offset] == 0;
	while (offset + n < d->size && n < d->hole_step && (d->data[offset + n] == 0) == *zero)
		n++;
	*len = n;
	return 0;
}

static struct volume_input disk_input(struct disk *d)
{
	return (struct volume_input){ d, d->size, disk_read, d->hole_step ? disk_extent : NULL };
}

static unsigned random_state;

static unsigned rnd(unsigned below)
{
	random_state = random_state * 1664525 + 1013904223;
	return (random_state >> 8) % below;
}

static void scribble(struct disk *d, uint64_t offset, uint64_t len)
{
	for (uint64_t i = offset; i < offset + len && i < d->size; i++)
		d->data[i] = (uint8_t)(rnd(255) + 1);
}

static void put(struct memory_chunks *c, struct disk *d, struct volume *v,
		const struct volume_put *how, struct volume_put_stats *stats)
{
	struct volume_input input = disk_input(d);
	struct volume_put order = { 0 };
	struct err err = { 0 };

	if (how)
		order = *how;
	order.input = &input;
	order.sink = memory_chunks_sink(c);
	order.codec = CHUNK_CODEC_ZSTD;
	order.threads = 3;
	if (volume_put(&order, v, stats, &err) != 0)
		fail_msg("%s", err_text(&err));
}

static void check_content(struct memory_chunks *c, const struct disk *d, const struct volume *v)
{
	int fd = memfd_create("restored", 0);
	uint8_t *back = malloc(d->size + 1);
	struct volume_reader *reader;
	struct err err = { 0 };

	assert_int_equal(v->size, d->size);
	assert_int_equal(volume_get_file(v, memory_chunks_source(c), fd, 2, NULL, &err), 0);
	assert_int_equal(lseek(fd, 0, SEEK_END), d->size);
	assert_int_equal(pread(fd, back, d->size, 0), d->size);
	assert_memory_equal(back, d->data, d->size);
	close(fd);

	assert_int_equal(volume_reader_open(&reader, v, memory_chunks_source(c), &err), 0);
	for (int i = 0; i < 50 && d->size; i++) {
		uint64_t offset = rnd((unsigned)d->size),
			 len = rnd((unsigned)(d->size - offset)) % 300000;

		memset(back, 0xee, len);
		assert_int_equal(volume_reader_read(reader, back, len, offset, &err), 0);
		assert_memory_equal(back, d->data + offset, len);
	}
	volume_reader_close(reader);
	free(back);
}

/* size, grid: around the edges of blocks, of leaf nodes (256 blocks) and of the second level (65536 blocks) */
static const struct {
	uint64_t size;
	uint32_t grid;
} shapes[] = {
	{ 0, 4096 },
	{ 1, 4096 },
	{ 4095, 4096 },
	{ 4096, 4096 },
	{ 4097, 4096 },
	{ 256 * 4096, 4096 },
	{ 256 * 4096 + 1, 4096 },
	{ 300 * 4096 + 7, 4096 },
	{ 3 << 20, 65536 },
	{ (3 << 20) + 9, CHUNK_MAX },
	{ 17 << 20, 4096 },
	{ UINT64_C(258) << 20, 4096 },
};

static void test_volume_put_and_read_back(void **state)
{
	(void)state;
	for (size_t s = 0; s < ARRAY_LEN(shapes); s++) {
		for (uint64_t step = 0; step <= 100000; step += 33333) {
			struct memory_chunks *c = memory_chunks_new();
			struct disk d = { calloc(1, shapes[s].size + 1), shapes[s].size, 0, step,
					  UINT64_MAX };
			struct volume v = { .name = "disk0", .grid = shapes[s].grid };

			if (shapes[s].size > (20 << 20) && step)
				step = 100000;
			random_state = (unsigned)s;
			for (int i = 0; i < 12 && d.size; i++)
				scribble(&d, rnd((unsigned)d.size), rnd(200000));
			put(c, &d, &v, NULL, NULL);
			check_content(c, &d, &v);
			memory_chunks_free(c);
			free(d.data);
		}
	}
}

static void test_volume_put_zeros_store_nothing(void **state)
{
	struct memory_chunks *c = memory_chunks_new();
	struct disk d = { calloc(1, 10 << 20), 10 << 20, 0, 1 << 20, UINT64_MAX };
	struct volume v = { .name = "disk0", .grid = 4096 };
	struct volume_put_stats stats = { 0 };

	(void)state;
	put(c, &d, &v, NULL, &stats);
	assert_true(chunk_id_is_zero(&v.root));
	assert_int_equal(memory_chunks_count(c), 0);
	assert_int_equal(stats.read_bytes, 0); /* holes are not read */
	check_content(c, &d, &v);
	memory_chunks_free(c);
	free(d.data);
}

/* One random change of a disk, as extents; the size may change as well. */
static size_t mutate(struct disk *d, struct volume_extent *extents, int resize)
{
	size_t n = rnd(6);

	if (resize) {
		uint64_t size =
			rnd(4) ? (uint64_t)rnd(9 << 20) + 1 : (uint64_t)(rnd(2304) + 1) * 4096;

		d->data = realloc(d->data, size);
		if (size > d->size)
			memset(d->data + d->size, 0, size - d->size);
		d->size = size;
	}
	for (size_t i = 0; i < n; i++) {
		extents[i].offset = rnd((unsigned)d->size);
		extents[i].length = rnd(3) ? rnd(9000) : rnd(2 << 20);
		if (rnd(4))
			scribble(d, extents[i].offset, extents[i].length);
		else
			for (uint64_t k = 0;
			     k < extents[i].length && extents[i].offset + k < d->size; k++)
				d->data[extents[i].offset + k] = 0;
	}
	return n;
}

static void test_volume_put_incremental_equals_full(void **state)
{
	(void)state;
	for (unsigned seed = 0; seed < 120; seed++) {
		struct memory_chunks *c = memory_chunks_new();
		struct disk d = { NULL, 0, 0, 0, UINT64_MAX };
		struct volume parent = { .name = "disk0", .grid = 4096 }, full, incremental;
		struct volume_extent extents[8];

		random_state = seed * 7919;
		mutate(&d, extents, 1);
		put(c, &d, &parent, NULL, NULL);
		for (int step = 0; step < 6; step++) {
			size_t n = mutate(&d, extents, seed % 2);
			struct volume_put how = { .parent = &parent,
						  .parent_source = memory_chunks_source(c),
						  .changed = extents,
						  .changed_count = n };

			full = incremental = parent;
			put(c, &d, &incremental, &how, NULL);
			put(c, &d, &full, NULL, NULL);
			if (!chunk_id_equal(&full.root, &incremental.root))
				fail_msg("seed %u step %d: the incremental root is another", seed,
					 step);
			how.changed = NULL;
			put(c, &d, &incremental, &how, NULL);
			assert_true(chunk_id_equal(&full.root, &incremental.root));
			parent = incremental;
		}
		check_content(c, &d, &parent);
		memory_chunks_free(c);
		free(d.data);
	}
}

static void test_volume_put_incremental_costs_what_changed(void **state)
{
	struct memory_chunks *c = memory_chunks_new();
	struct disk d = { malloc(64 << 20), 64 << 20, 0, 0, UINT64_MAX };
	struct volume parent = { .name = "disk0", .grid = 4096 }, v;
	struct volume_extent extent = { 12345678, 10 };
	struct volume_put how = { .parent = &parent,
				  .parent_source = memory_chunks_source(c),
				  .changed = &extent,
				  .changed_count = 1 };
	struct volume_put_stats stats = { 0 };
	size_t gets, puts;

	(void)state;
	random_state = 1;
	scribble(&d, 0, d.size);
	put(c, &d, &parent, NULL, NULL);
	scribble(&d, extent.offset, extent.length);
	v = parent;
	d.read = 0;
	gets = memory_chunks_gets(c);
	puts = memory_chunks_puts(c);
	put(c, &d, &v, &how, &stats);
	assert_int_equal(d.read, 4096);
	assert_int_equal(stats.read_bytes, 4096);
	assert_int_equal(stats.new_bytes,
			 4096 + 256 * 32 + 64 * 32); /* a block and its path of two nodes */
	assert_int_equal(memory_chunks_puts(c) - puts, 3);
	assert_true(memory_chunks_gets(c) - gets <= 4);
	check_content(c, &d, &v);

	/* Nothing changed: the same root, nothing read. */
	how.changed_count = 0;
	how.parent = &v;
	parent = v;
	d.read = 0;
	put(c, &d, &parent, &how, NULL);
	assert_true(chunk_id_equal(&v.root, &parent.root));
	assert_int_equal(d.read, 0);
	memory_chunks_free(c);
	free(d.data);
}

static void test_volume_put_reports_bad_input_and_cancel(void **state)
{
	struct memory_chunks *c = memory_chunks_new();
	struct disk d = { malloc(8 << 20), 8 << 20, 0, 0, 5 << 20 };
	struct volume_progress progress = { .cancel = true };
	struct volume v = { .name = "disk0", .grid = 4096 };
	struct volume_input input = disk_input(&d);
	struct volume_put order = { .input = &input, .sink = memory_chunks_sink(c), .threads = 2 };
	struct err err = { 0 };

	(void)state;
	scribble(&d, 0, d.size);
	assert_int_equal(volume_put(&order, &v, NULL, &err), -EIO);
	assert_non_null(strstr(err_text(&err), "bad sector"));
	d.fail_at = UINT64_MAX;
	order.progress = &progress;
	assert_int_equal(volume_put(&order, &v, NULL, &err), -ECANCELED);
	v.grid = 5000;
	assert_int_equal(volume_put(&order, &v, NULL, &err), -EINVAL);
	memory_chunks_free(c);
	free(d.data);
}

struct visits {
	size_t nodes, leaves;
	struct chunk_id first_leaf;
};

static int count_visit(void *arg, const struct chunk_id *id, bool is_node, struct err *err)
{
	struct visits *v = arg;

	(void)err;
	assert_false(chunk_id_is_zero(id));
	if (is_node)
		v->nodes++;
	else if (!v->leaves++)
		v->first_leaf = *id;
	return 0;
}

static void test_volume_walk_visits_what_differs(void **state)
{
	struct memory_chunks *c = memory_chunks_new();
	struct disk d = { malloc(8 << 20), 8 << 20, 0, 0, UINT64_MAX };
	struct volume a = { .name = "disk0", .grid = 4096 }, b;
	struct visits visits = { 0 };
	struct err err = { 0 };

	(void)state;
	random_state = 5;
	scribble(&d, 0, d.size);
	put(c, &d, &a, NULL, NULL);
	assert_int_equal(volume_walk(&a, NULL, memory_chunks_source(c), count_visit, &visits, &err),
			 0);
	assert_int_equal(visits.leaves, 2048);
	assert_int_equal(visits.nodes, 9);

	scribble(&d, 5000000, 1);
	b = a;
	put(c, &d, &b, NULL, NULL);
	memset(&visits, 0, sizeof(visits));
	assert_int_equal(volume_walk(&b, &a, memory_chunks_source(c), count_visit, &visits, &err),
			 0);
	assert_int_equal(visits.leaves, 1);
	assert_int_equal(visits.nodes, 2);
	memset(&visits, 0, sizeof(visits));
	assert_int_equal(volume_walk(&a, &a, memory_chunks_source(c), count_visit, &visits, &err),
			 0);
	assert_int_equal(visits.leaves + visits.nodes, 0);
	memory_chunks_free(c);
	free(d.data);
}

static void test_volume_reader_refuses_damaged_trees(void **state)
{
	struct memory_chunks *c = memory_chunks_new();
	struct disk d = { malloc(3 << 20), 3 << 20, 0, 0, UINT64_MAX };
	struct volume v = { .name = "disk0", .grid = 4096 };
	struct visits visits = { 0 };
	struct volume_reader *reader;
	struct err err = { 0 };
	uint8_t buf[100];

	(void)state;
	random_state = 9;
	scribble(&d, 0, d.size);
	put(c, &d, &v, NULL, NULL);
	volume_walk(&v, NULL, memory_chunks_source(c), count_visit, &visits, &err);

	memory_chunks_damage(c, &visits.first_leaf);
	volume_reader_open(&reader, &v, memory_chunks_source(c), &err);
	assert_int_equal(volume_reader_read(reader, buf, sizeof(buf), 0, &err), -EBADMSG);
	memory_chunks_remove(c, &visits.first_leaf);
	assert_int_equal(volume_reader_read(reader, buf, sizeof(buf), 0, &err), -ENOENT);
	assert_int_equal(volume_reader_read(reader, buf, sizeof(buf), 4096, &err), 0);
	assert_int_equal(volume_reader_read(reader, buf, sizeof(buf), (3 << 20) - 50, &err),
			 -EINVAL);
	volume_reader_close(reader);

	memory_chunks_damage(c, &v.root);
	volume_reader_open(&reader, &v, memory_chunks_source(c), &err);
	assert_int_equal(volume_reader_read(reader, buf, sizeof(buf), 0, &err), -EBADMSG);
	assert_non_null(strstr(err_text(&err), "disk0"));
	volume_reader_close(reader);
	memory_chunks_free(c);
	free(d.data);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_volume_put_and_read_back),
		cmocka_unit_test(test_volume_put_zeros_store_nothing),
		cmocka_unit_test(test_volume_put_incremental_equals_full),
		cmocka_unit_test(test_volume_put_incremental_costs_what_changed),
		cmocka_unit_test(test_volume_put_reports_bad_input_and_cancel),
		cmocka_unit_test(test_volume_walk_visits_what_differs),
		cmocka_unit_test(test_volume_reader_refuses_damaged_trees),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
