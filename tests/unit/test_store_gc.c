/* Garbage collection: a random life of a store against an oracle that knows every snapshot's content, and the interleavings with
 * sessions that matter.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <errno.h>
#include <limits.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "snapshot/store.h"

enum { BLOCKS = 40, GRID = CHUNK_GRID_DISK, SIZE = BLOCKS * GRID, SNAPSHOTS_MAX = 64 };

static char folder[64], path[80];

static int setup(void **state)
{
	struct err err = { 0 };

	(void)state;
	strcpy(folder, "/tmp/godwit-test-gc.XXXXXX");
	if (!mkdtemp(folder))
		return -1;
	snprintf(path, sizeof(path), "%s/s", folder);
	return store_init(path, NULL, &err);
}

static int teardown(void **state)
{
	char command[128];

	(void)state;
	snprintf(command, sizeof(command), "rm -rf '%s'", folder);
	return system(command);
}

/* A disk is a list of numbers: block i holds 64 KiB of noise made from blocks[i]; 0 is zeros. */
struct disk {
	unsigned blocks[BLOCKS];
};

static void block_fill(unsigned seed, uint8_t *buf, size_t len)
{
	uint32_t x = seed * 2654435761u;

	for (size_t i = 0; i < len; i += 4) {
		x = x * 1664525 + 1013904223;
		memcpy(buf + i, &x, 4);
		if (!seed)
			memset(buf + i, 0, 4);
	}
}

static int disk_read(void *ctx, uint8_t *buf, size_t len, uint64_t offset, struct err *err)
{
	const struct disk *d = ctx;

	(void)err;
	for (size_t at = 0; at < len; at += GRID)
		block_fill(d->blocks[(offset + at) / GRID], buf + at, GRID);
	return 0;
}

static struct store *open_store(void)
{
	struct store *store;
	struct err err = { 0 };

	if (store_open(&store, path, NULL, STORE_WRITE, &err) < 0)
		fail_msg("%s", err_text(&err));
	return store;
}

static void session_put(struct store_session *session, struct disk *d, struct manifest *m)
{
	const struct volume_input input = { d, SIZE, disk_read, NULL };
	struct volume_put order = { .input = &input,
				    .codec = CHUNK_CODEC_NONE,
				    .threads = 1,
				    .sink = store_session_sink(session) };
	struct err err = { 0 };

	manifest_init(m);
	strcpy(m->desktop, "alice");
	m->volume_count = 1;
	m->volumes[0] = (struct volume){ .name = "disk0", .grid = GRID };
	if (volume_put(&order, &m->volumes[0], NULL, &err) < 0)
		fail_msg("%s", err_text(&err));
}

static void put(struct store *store, struct disk *d, char id[MANIFEST_ID_LEN])
{
	struct store_session *session;
	struct err err = { 0 };
	struct manifest m;

	assert_int_equal(store_session_open(&session, store, "alice", &err), 0);
	session_put(session, d, &m);
	if (store_session_commit(session, &m, &err) < 0)
		fail_msg("%s", err_text(&err));
	memcpy(id, m.id, MANIFEST_ID_LEN);
	store_session_close(session);
}

static void check(struct store *store, const struct disk *d, const char *id)
{
	uint8_t got[GRID], want[GRID];
	struct volume_reader *reader;
	struct err err = { 0 };
	struct manifest m;

	if (store_manifest(store, id, &m, &err) != 0)
		fail_msg("snapshot %s is not there: %s", id, err_text(&err));
	assert_int_equal(volume_reader_open(&reader, manifest_volume(&m, "disk0"),
					    store_source(store), &err),
			 0);
	for (size_t i = 0; i < BLOCKS; i++) {
		if (volume_reader_read(reader, got, GRID, i * GRID, &err) < 0)
			fail_msg("snapshot %s block %zu: %s", id, i, err_text(&err));
		block_fill(d->blocks[i], want, GRID);
		assert_memory_equal(got, want, GRID);
	}
	volume_reader_close(reader);
	manifest_deinit(&m);
}

static struct store_gc_result collect(struct store *store, unsigned percent)
{
	const struct store_gc order = { .repack_percent = percent };
	struct store_gc_result result;
	struct err err = { 0 };

	if (store_gc(store, &order, &result, &err) < 0)
		fail_msg("%s", err_text(&err));
	return result;
}

static uint64_t stored_bytes(struct store *store)
{
	struct store_stat stat;
	struct err err = { 0 };

	assert_int_equal(store_stat(store, &stat, &err), 0);
	return stat.pack_bytes;
}

static void test_store_gc_gives_space_back(void **state)
{
	struct store *store = open_store();
	char a[MANIFEST_ID_LEN], b[MANIFEST_ID_LEN];
	const char *gone[] = { a };
	struct store_gc order = { .dry_run = true };
	struct store_gc_result result;
	struct disk d1, d2;
	struct err err = { 0 };
	uint64_t before;

	(void)state;
	for (unsigned i = 0; i < BLOCKS; i++) {
		d1.blocks[i] = 1 + i;
		d2.blocks[i] = i < 4 ? 1 + i : 1000 + i; /* four blocks are shared */
	}
	put(store, &d1, a);
	put(store, &d2, b);
	before = stored_bytes(store);
	assert_int_equal(collect(store, 50).packs_deleted, 0);
	assert_int_equal(store_forget(store, gone, 1, &err), 0);
	assert_int_equal(store_manifest(store, a, &(struct manifest){ 0 }, &err), STORE_ABSENT);

	assert_int_equal(store_gc(store, &order, &result, &err), 0);
	assert_int_equal(result.packs_rewritten, 1);
	assert_true(stored_bytes(store) >= before); /* a dry run deletes nothing */
	result = collect(store, 50);
	assert_int_equal(result.packs_rewritten, 1);
	assert_true(stored_bytes(store) < before * 6 / 10);
	check(store, &d2, b);
	store_close(store);
	store = open_store();
	check(store, &d2, b);
	assert_int_equal(store_manifest(store, a, &(struct manifest){ 0 }, &err), STORE_ABSENT);
	store_close(store);
	/* The note that said "forgotten" goes once the manifest is gone, and still nothing comes back. */
	store = open_store();
	collect(store, 50);
	store_close(store);
	assert_int_equal(store_reindex(path, NULL, NULL, &err), 0);
	store = open_store();
	assert_int_equal(store_manifest(store, a, &(struct manifest){ 0 }, &err), STORE_ABSENT);
	check(store, &d2, b);
	store_close(store);
}

/* A session was told that chunks are there, then GC finds them unneeded, then the session commits. */
static void test_store_gc_never_takes_what_a_session_was_promised(void **state)
{
	struct store *store = open_store();
	char a[MANIFEST_ID_LEN], b[MANIFEST_ID_LEN];
	const char *gone[] = { a };
	struct store_session *session;
	struct store_gc_result result;
	struct err err = { 0 };
	struct manifest m;
	struct disk d;

	(void)state;
	for (unsigned i = 0; i < BLOCKS; i++)
		d.blocks[i] = 1 + i;
	put(store, &d, a);
	assert_int_equal(store_session_open(&session, store, "alice", &err), 0);
	session_put(session, &d, &m); /* everything is already there: nothing is sent */
	assert_int_equal(store_forget(store, gone, 1, &err), 0);
	result = collect(store, 50);
	assert_int_equal(result.packs_deleted, 1);
	assert_int_equal(result.packs_waiting, 1); /* condemned, but this session is older */
	assert_int_equal(store_session_commit(session, &m, &err), 0);
	memcpy(b, m.id, sizeof(b));
	store_session_close(session);
	collect(store, 50);
	check(store, &d, b);
	store_close(store);
	store = open_store();
	check(store, &d, b);
	store_close(store);
}

/* What an open session has put is unneeded by any snapshot, and yet must stay; once it is closed it goes. */
static void test_store_gc_spares_open_sessions(void **state)
{
	struct store *store = open_store();
	struct store_session *session;
	char id[MANIFEST_ID_LEN];
	struct err err = { 0 };
	struct manifest m;
	struct disk d;

	(void)state;
	for (unsigned i = 0; i < BLOCKS; i++)
		d.blocks[i] = 1 + i;
	assert_int_equal(store_session_open(&session, store, "alice", &err), 0);
	session_put(session, &d, &m);
	collect(store, 50);
	assert_int_equal(store_session_commit(session, &m, &err), 0);
	memcpy(id, m.id, sizeof(id));
	collect(store, 50);
	store_session_close(session);
	collect(store, 50);
	check(store, &d, id);
	store_close(store);
}

static void test_store_gc_respects_pins_and_the_window(void **state)
{
	char other[100], a[MANIFEST_ID_LEN];
	const char *ids[] = { a };
	struct store *store = open_store();
	struct err err = { 0 };
	struct disk d = { { 1, 2, 3 } };

	(void)state;
	put(store, &d, a);
	assert_int_equal(store_pin(store, a, true, &err), 0);
	assert_int_equal(store_forget(store, ids, 1, &err), -EPERM);
	store_close(store);
	store = open_store();
	assert_true(store_is_pinned(store, a));
	usleep(2000); /* notes are ordered by their milliseconds */
	assert_int_equal(store_pin(store, a, false, &err), 0);
	assert_int_equal(store_forget(store, ids, 1, &err), 0);
	assert_int_equal(store_forget(store, ids, 1, &err), -ENOENT);
	store_close(store);

	snprintf(other, sizeof(other), "%s/w", folder);
	strcpy(path, other);
	assert_int_equal(store_init_with(path, NULL, 3600000, &err), 0);
	store = open_store();
	put(store, &d, a);
	assert_int_equal(store_forget(store, ids, 1, &err), -EPERM);
	assert_non_null(strstr(err_text(&err), "window"));
	store_close(store);
}

/* ---- A random life ----------------------------------------------------------------------------------------- */

struct oracle {
	char id[MANIFEST_ID_LEN];
	struct disk disk;
};

/* What earlier runs counted, with what came and went since, must be what counting all anew gives. */
static void counts_check(struct store *store, unsigned percent)
{
	const struct store_gc kept = { .dry_run = true, .repack_percent = percent };
	const struct store_gc anew = { .dry_run = true,
				       .repack_percent = percent,
				       .count_anew = true };
	struct store_gc_result a, b;
	struct err err = { 0 };

	assert_int_equal(store_gc(store, &kept, &a, &err), 0);
	assert_int_equal(store_gc(store, &anew, &b, &err), 0);
	assert_true(b.counted_anew);
	assert_int_equal(a.live_chunks, b.live_chunks);
	assert_int_equal(a.dead_chunks, b.dead_chunks);
	assert_int_equal(a.packs_deleted, b.packs_deleted);
	assert_int_equal(a.freed_bytes, b.freed_bytes);
}

/* The counts may be lost, damaged, or those of another day. */
static void refs_mistreat(void)
{
	char command[512];

	switch (rand() % 4) {
	case 0:
		snprintf(command, sizeof(command), "rm -f '%s'/index/refs", path);
		break;
	case 1:
		snprintf(command, sizeof(command),
			 "[ ! -e '%s/index/refs' ] || printf x | dd of='%s/index/refs' "
			 "bs=1 seek=%d conv=notrunc status=none",
			 path, path, rand() % 200);
		break;
	case 2:
		snprintf(command, sizeof(command),
			 "cp '%s/index/refs' '%s/refs.old' 2>/dev/null || true", path, folder);
		break;
	default:
		snprintf(command, sizeof(command),
			 "cp '%s/refs.old' '%s/index/refs' 2>/dev/null || true", folder, path);
		break;
	}
	assert_int_equal(system(command), 0);
}

static void test_store_gc_cost_follows_what_changed(void **state)
{
	struct store *store = open_store();
	struct store_gc_result first, second, third;
	static struct oracle known[8];
	const char *ids[1];
	struct err err = { 0 };

	(void)state;
	for (unsigned i = 0; i < 8; i++) {
		if (i)
			known[i].disk = known[i - 1].disk;
		for (unsigned k = 0; k < (i ? 2 : BLOCKS); k++)
			known[i].disk.blocks[(i * 2 + k) % BLOCKS] = 1000 * (i + 1) + k;
		put(store, &known[i].disk, known[i].id);
	}
	first = collect(store, 1);
	assert_true(first.counted_anew);
	assert_int_equal(first.snapshots_walked, 8);
	second = collect(store, 1);
	assert_false(second.counted_anew);
	assert_int_equal(second.snapshots_walked, 0);
	assert_int_equal(second.read_bytes, 0);
	assert_int_equal(second.live_chunks, first.live_chunks);
	ids[0] = known[3].id;
	assert_int_equal(store_forget(store, ids, 1, &err), 0);
	third = collect(store, 1);
	assert_false(third.counted_anew);
	assert_int_equal(third.snapshots_walked, 1);
	assert_true(third.read_bytes > 0 && third.read_bytes <= first.read_bytes / 4);
	counts_check(store, 1);
	store_close(store);
	/* And in another process. */
	store = open_store();
	second = collect(store, 1);
	assert_false(second.counted_anew);
	assert_int_equal(second.snapshots_walked, 0);
	for (unsigned i = 0; i < 8; i++)
		if (i != 3)
			check(store, &known[i].disk, known[i].id);
	store_close(store);
}

static void test_store_gc_random_life(void **state)
{
	/* STORE_GC_SEEDS: "FIRST LAST", for longer lives than a unit test's. */
	const char *range = getenv("STORE_GC_SEEDS");
	unsigned first = 1, last = 3;

	(void)state;
	if (range)
		assert_int_equal(sscanf(range, "%u %u", &first, &last), 2);
	for (unsigned seed = first; seed <= last; seed++) {
		static struct oracle known[SNAPSHOTS_MAX];
		struct store *store = open_store();
		struct err err = { 0 };
		size_t count = 0;

		srand(seed);
		for (int step = 0; step < 120; step++) {
			int what = rand() % 10;

			if (what < 5 && count < SNAPSHOTS_MAX) {
				struct oracle *o = &known[count];

				if (count && rand() % 4)
					o->disk = known[(size_t)rand() % count].disk;
				for (int i = rand() % 30; i > 0; i--)
					o->disk.blocks[rand() % BLOCKS] = (unsigned)(rand() % 200);
				put(store, &o->disk, o->id);
				count++;
			} else if (what < 8 && count) {
				size_t victim = (size_t)rand() % count;
				const char *ids[] = { known[victim].id };

				assert_int_equal(store_forget(store, ids, 1, &err), 0);
				known[victim] = known[--count];
			} else if (what == 8) {
				collect(store, (unsigned)(rand() % 100));
			} else {
				store_close(store);
				refs_mistreat();
				if (rand() % 2)
					assert_int_equal(store_reindex(path, NULL, NULL, &err), 0);
				store = open_store();
				counts_check(store, (unsigned)(rand() % 100));
			}
			if (step % 10 == 9)
				for (size_t i = 0; i < count; i++)
					check(store, &known[i].disk, known[i].id);
		}
		for (size_t i = 0; i < count; i++) {
			const char *ids[] = { known[i].id };

			check(store, &known[i].disk, known[i].id);
			assert_int_equal(store_forget(store, ids, 1, &err), 0);
		}
		collect(store, 50);
		collect(store, 50);
		collect(store, 50);
		assert_int_equal(stored_bytes(store), 0); /* nothing is needed, nothing is left */
		store_close(store);
	}
}

/* ---- Uploads and GC at the same time ------------------------------------------------------------------------ */

struct uploader {
	struct store *store;
	unsigned seed;
	struct oracle last;
	atomic_bool *stop;
	int rounds;
};

static void *uploader_run(void *arg)
{
	struct uploader *u = arg;
	struct oracle previous = { 0 };

	while (!atomic_load(u->stop) || u->rounds < 5) {
		struct oracle now = previous;
		struct err err = { 0 };
		const char *ids[] = { previous.id };

		for (int i = 0; i < 10; i++)
			now.disk.blocks[rand_r(&u->seed) % BLOCKS] =
				(unsigned)(rand_r(&u->seed) % 100);
		put(u->store, &now.disk, now.id);
		if (previous.id[0])
			assert_int_equal(store_forget(u->store, ids, 1, &err), 0);
		check(u->store, &now.disk, now.id);
		previous = now;
		u->rounds++;
	}
	u->last = previous;
	return NULL;
}

static void test_store_gc_beside_uploads(void **state)
{
	struct store *store = open_store();
	struct uploader uploaders[3];
	pthread_t threads[3];
	atomic_bool stop = false;

	(void)state;
	for (unsigned i = 0; i < 3; i++) {
		uploaders[i] = (struct uploader){ .store = store, .seed = i + 1, .stop = &stop };
		assert_int_equal(pthread_create(&threads[i], NULL, uploader_run, &uploaders[i]), 0);
	}
	for (int i = 0; i < 25; i++)
		collect(store, (unsigned)(i * 37 % 100));
	atomic_store(&stop, true);
	for (int i = 0; i < 3; i++)
		pthread_join(threads[i], NULL);
	collect(store, 50);
	for (int i = 0; i < 3; i++)
		check(store, &uploaders[i].last.disk, uploaders[i].last.id);
	store_close(store);
	store = open_store();
	for (int i = 0; i < 3; i++)
		check(store, &uploaders[i].last.disk, uploaders[i].last.id);
	store_close(store);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_store_gc_gives_space_back, setup, teardown),
		cmocka_unit_test_setup_teardown(
			test_store_gc_never_takes_what_a_session_was_promised, setup, teardown),
		cmocka_unit_test_setup_teardown(test_store_gc_spares_open_sessions, setup,
						teardown),
		cmocka_unit_test_setup_teardown(test_store_gc_respects_pins_and_the_window, setup,
						teardown),
		cmocka_unit_test_setup_teardown(test_store_gc_cost_follows_what_changed, setup,
						teardown),
		cmocka_unit_test_setup_teardown(test_store_gc_random_life, setup, teardown),
		cmocka_unit_test_setup_teardown(test_store_gc_beside_uploads, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
