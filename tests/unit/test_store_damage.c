/* Damage in every byte of what a store keeps: found, named, repaired from a mirror, never returned as data and never built upon.
 * And what a process that only reads sees of one that writes beside it.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/io.h"
#include "snapshot/store.h"
#include "snapshot/store_key.h"
#include "snapshot/store_mirror.h"

enum { SIZE_MAX_BYTES = 4 * CHUNK_GRID_DISK, PACKS_MAX = 16 };

static char folder[64], path[80], mirror[80], key[80];
static struct err err;

static int setup(void **state)
{
	(void)state;
	strcpy(folder, "/tmp/godwit-test-damage.XXXXXX");
	if (!mkdtemp(folder))
		return -1;
	snprintf(path, sizeof(path), "%s/s", folder);
	snprintf(mirror, sizeof(mirror), "%s/m", folder);
	snprintf(key, sizeof(key), "%s/s.key", folder);
	return store_init(path, NULL, &err);
}

static int teardown(void **state)
{
	char command[128];

	(void)state;
	snprintf(command, sizeof(command), "rm -rf '%s'", folder);
	return system(command);
}

#define must(call)                                                                                 \
	do {                                                                                       \
		err = (struct err){ 0 };                                                           \
		if ((call) < 0)                                                                    \
			fail_msg("%s", err_text(&err));                                            \
	} while (0)

/* ---- Snapshots ---------------------------------------------------------------------------------------------- */

/* A volume of noise made from a number. */
struct noise {
	uint32_t seed;
	size_t size;
};

static int noise_read(void *ctx, uint8_t *buf, size_t len, uint64_t offset, struct err *e)
{
	const struct noise *n = ctx;

	(void)e;
	for (size_t i = 0; i < len; i++) {
		uint64_t x = (offset + i) * 2654435761u + n->seed * 40503u;

		buf[i] = (uint8_t)(x >> 13 ^ x >> 5);
	}
	return 0;
}

static struct store *open_store(const char *where, enum store_mode mode)
{
	struct store *store;

	must(store_open(&store, where, key, mode, &err));
	return store;
}

static void put(struct noise noise, char id[MANIFEST_ID_LEN])
{
	const struct volume_input input = { &noise, noise.size, noise_read, NULL };
	struct volume_put order = { .input = &input, .codec = CHUNK_CODEC_NONE, .threads = 1 };
	struct store *store = open_store(path, STORE_WRITE);
	struct store_session *session;
	struct manifest m;

	manifest_init(&m);
	strcpy(m.desktop, "alice");
	m.volume_count = 1;
	m.volumes[0] = (struct volume){ .name = "disk0", .grid = CHUNK_GRID_DISK };
	must(store_session_open(&session, store, "alice", &err));
	order.sink = store_session_sink(session);
	must(volume_put(&order, &m.volumes[0], NULL, &err));
	must(store_session_commit(session, &m, &err));
	memcpy(id, m.id, MANIFEST_ID_LEN);
	manifest_deinit(&m);
	store_session_close(session);
	store_close(store);
}

/* Read it back: 0 and right, or an error; wrong bytes fail the test. */
static int get(struct store *store, const char *id, struct noise noise)
{
	static uint8_t have[SIZE_MAX_BYTES], want[SIZE_MAX_BYTES];
	struct volume_reader *reader = NULL;
	struct manifest m;
	int r;

	r = store_manifest(store, id, &m, &err);
	if (r)
		return r;
	r = volume_reader_open(&reader, &m.volumes[0], store_source(store), &err);
	if (r == 0) {
		assert_int_equal(m.volumes[0].size, noise.size);
		r = volume_reader_read(reader, have, noise.size, 0, &err);
	}
	volume_reader_close(reader);
	manifest_deinit(&m);
	if (r < 0)
		return r;
	noise_read(&noise, want, noise.size, 0, NULL);
	assert_memory_equal(have, want, noise.size);
	return 0;
}

static void forget(const char *id)
{
	struct store *store = open_store(path, STORE_WRITE);

	must(store_forget(store, &id, 1, &err));
	store_close(store);
}

static int collect(const struct store_gc *order, struct store_gc_result *result)
{
	struct store *store = open_store(path, STORE_WRITE);
	int r = store_gc(store, order, result, &err);

	store_close(store);
	return r;
}

static struct store_mirror_result copy_to_mirror(void)
{
	struct store *store = open_store(path, STORE_READ);
	const struct store_mirror order = { .dest = mirror };
	struct store_mirror_result result;

	must(store_mirror(store, &order, &result, &err));
	store_close(store);
	return result;
}

static size_t listed(const char *where)
{
	struct store *store = open_store(where, STORE_READ);
	struct store_stat stat;

	must(store_stat(store, &stat, &err));
	store_close(store);
	return stat.snapshots;
}

/* ---- Damage ------------------------------------------------------------------------------------------------- */

/* The files of a folder, by size; at most PACKS_MAX. */
static size_t files_of(const char *where, char files[PACKS_MAX][300])
{
	DIR *dir = opendir(where);
	struct dirent *e;
	size_t n = 0;

	assert_non_null(dir);
	while ((e = readdir(dir)))
		if (e->d_name[0] != '.') {
			assert_true(n < PACKS_MAX);
			snprintf(files[n++], sizeof(*files), "%s/%s", where, e->d_name);
		}
	closedir(dir);
	return n;
}

static size_t packs_of(const char *where, char files[PACKS_MAX][300])
{
	char packs[100];

	snprintf(packs, sizeof(packs), "%s/packs", where);
	return files_of(packs, files);
}

static off_t size_of(const char *file)
{
	struct stat st;

	assert_int_equal(stat(file, &st), 0);
	return st.st_size;
}

static void flip(const char *file, off_t at, unsigned bit)
{
	FILE *f = fopen(file, "r+b");
	int c;

	assert_non_null(f);
	assert_int_equal(fseek(f, at, SEEK_SET), 0);
	c = fgetc(f);
	assert_int_equal(fseek(f, at, SEEK_SET), 0);
	fputc(c ^ 1 << bit, f);
	assert_int_equal(fclose(f), 0);
}

struct found {
	const char *name; /* what must be named */
	bool named;
};

static void found_damage(void *arg, const char *text)
{
	struct found *found = arg;

	found->named |= strstr(text, found->name) != NULL;
}

static uint64_t verify(const char *where, const char *name, bool *named)
{
	struct store *store = open_store(where, STORE_READ);
	struct found found = { .name = name };
	const struct store_verify order = { .damage = found_damage, .arg = &found };
	uint64_t damaged;

	must(store_verify(store, &order, &damaged, &err));
	store_close(store);
	*named = found.named;
	return damaged;
}

static int repair_with(struct volume_progress *progress)
{
	struct store *store = open_store(path, STORE_WRITE);
	const struct store_mirror_repair order = { .store = store,
						   .mirror = mirror,
						   .progress = progress };
	int r = store_mirror_repair(&order, &err);

	store_close(store);
	return r;
}

static void repair(void)
{
	must(repair_with(NULL));
}

static void lose_index(const char *where)
{
	char command[128];

	snprintf(command, sizeof(command), "rm -rf '%s/index'", where);
	assert_int_equal(system(command), 0);
}

/* ---- Tests -------------------------------------------------------------------------------------------------- */

/* Every byte of every pack, with the index and without it: named by verify, and a read is right or refused. */
static void test_store_damage_every_byte_of_a_pack(void **state)
{
	const struct noise a = { 1, 300 }, b = { 2, 200 };
	char id_a[MANIFEST_ID_LEN], id_b[MANIFEST_ID_LEN], packs[PACKS_MAX][300];
	unsigned flips = 0;
	size_t n;

	(void)state;
	put(a, id_a);
	put(b, id_b);
	forget(id_b);
	copy_to_mirror();
	n = packs_of(path, packs);
	assert_int_equal(n, 3);
	for (size_t p = 0; p < n; p++) {
		const char *name = strrchr(packs[p], '/') + 1;
		char text[33];

		snprintf(text, sizeof(text), "%.32s", name);
		for (off_t at = 0; at < size_of(packs[p]); at++, flips++) {
			struct store *store;
			bool named;

			flip(packs[p], at, flips % 8);
			if (flips % 16 == 0)
				lose_index(path);
			if (!verify(path, text, &named) || !named)
				fail_msg("byte %ld of %s: damage was not found", (long)at, name);
			store = open_store(path, STORE_READ);
			get(store, id_a, a);
			store_close(store);
			if (flips % 32 == 0) {
				repair();
				assert_int_equal(verify(path, text, &named), 0);
				assert_int_equal(listed(path), 1);
			} else {
				flip(packs[p], at, flips % 8);
			}
		}
	}
	assert_true(flips > 1500);
}

/* Of the index: costs time and nothing else. */
static void test_store_damage_every_byte_of_the_index(void **state)
{
	const struct noise a = { 1, 3 * CHUNK_GRID_DISK }, b = { 2, 2000 };
	char id_a[MANIFEST_ID_LEN], id_b[MANIFEST_ID_LEN], files[PACKS_MAX][300], index[100];
	unsigned flips = 0;
	size_t n;

	(void)state;
	put(a, id_a);
	put(b, id_b);
	forget(id_b);
	snprintf(index, sizeof(index), "%s/index", path);
	n = files_of(index, files);
	assert_true(n >= 2);
	for (size_t i = 0; i < n; i++) {
		for (off_t at = 0; at < size_of(files[i]); at += 1 + (at > 100) * 6, flips++) {
			struct store *store;

			flip(files[i], at, flips % 8);
			store = open_store(path, STORE_READ);
			if (get(store, id_a, a) != 0)
				fail_msg("byte %ld of %s: %s", (long)at, files[i], err_text(&err));
			assert_int_equal(get(store, id_b, b), STORE_ABSENT);
			store_close(store);
			flip(files[i], at, flips % 8);
		}
	}
	assert_true(flips > 500);
}

/* A manifest that cannot be read may need what nobody else does: GC must not go on, nor a mirror delete. */
static void test_store_damage_stops_deletion(void **state)
{
	const struct noise a = { 1, 3 * CHUNK_GRID_DISK }, b = { 2, 2 * CHUNK_GRID_DISK };
	char id_a[MANIFEST_ID_LEN], id_b[MANIFEST_ID_LEN], packs[PACKS_MAX][300];
	const struct store_gc full = { .repack_percent = 100 };
	struct store_gc_result result;
	struct store *store;
	size_t n;

	(void)state;
	put(a, id_a);
	put(b, id_b);
	copy_to_mirror();
	n = packs_of(path, packs);
	assert_int_equal(n, 2);
	/* The trailer of both: nothing can be listed. */
	for (size_t i = 0; i < n; i++)
		flip(packs[i], size_of(packs[i]) - 1, 0);
	lose_index(path);
	assert_int_equal(collect(&full, &result), -EBADMSG);
	assert_non_null(strstr(err_text(&err), "--accept-loss"));
	assert_int_equal(copy_to_mirror().packs_deleted, 0);
	repair();
	assert_int_equal(collect(&full, &result), 0);
	store = open_store(path, STORE_READ);
	assert_int_equal(get(store, id_a, a), 0);
	assert_int_equal(get(store, id_b, b), 0);
	store_close(store);
}

/* What GC rewrote is damaged before the mirror has it: the mirror's own copy of the old pack must stay. */
static void test_store_damage_is_not_mirrored_by_deletion(void **state)
{
	const struct noise a = { 1, 3 * CHUNK_GRID_DISK }, b = { 2, 2 * CHUNK_GRID_DISK };
	char id_a[MANIFEST_ID_LEN], id_b[MANIFEST_ID_LEN], packs[PACKS_MAX][300];
	const struct store_gc rekey = { .rekey = true, .repack_percent = 100 };
	struct store_keys keys;
	struct store_gc_result result;
	struct store *store;
	size_t n;

	(void)state;
	put(a, id_a);
	copy_to_mirror();
	put(b, id_b);
	/* Another key, so that everything is rewritten. */
	must(store_key_load(&keys, key, &err));
	must(store_key_add(&keys, &err));
	must(store_key_save(&keys, key, &err));
	store_key_wipe(&keys);
	must(collect(&rekey, &result));
	assert_true(result.packs_rewritten >= 1);
	n = packs_of(path, packs);
	for (size_t i = 0; i < n; i++)
		flip(packs[i], 2000, 3);
	assert_int_equal(copy_to_mirror().packs_deleted, 0);
	store = open_store(mirror, STORE_READ);
	assert_int_equal(get(store, id_a, a), 0);
	store_close(store);
	/* When it is sound again the mirror follows. */
	for (size_t i = 0; i < n; i++)
		flip(packs[i], 2000, 3);
	assert_true(copy_to_mirror().packs_deleted >= 1);
	store = open_store(mirror, STORE_READ);
	assert_int_equal(get(store, id_a, a), 0);
	assert_int_equal(get(store, id_b, b), 0);
	store_close(store);
}

/* A note that was damaged says again what it said once it is repaired. */
static void test_store_damage_repaired_note_counts(void **state)
{
	const struct noise a = { 1, 300 };
	char id[MANIFEST_ID_LEN], packs[PACKS_MAX][300];
	size_t n, note = 0;

	(void)state;
	put(a, id);
	forget(id);
	copy_to_mirror();
	n = packs_of(path, packs);
	for (size_t i = 1; i < n; i++)
		if (size_of(packs[i]) < size_of(packs[note]))
			note = i;
	flip(packs[note], 220, 0); /* in its only record */
	lose_index(path);
	assert_int_equal(listed(path), 1);
	repair();
	assert_int_equal(listed(path), 0);
	lose_index(path);
	assert_int_equal(listed(path), 0);
}

/* An interrupted rewrite leaves a second copy of a manifest: the note that forgets it must outlive both. */
static void test_store_damage_note_outlives_every_copy(void **state)
{
	const struct noise a = { 1, 3 * CHUNK_GRID_DISK }, b = { 1, 2 * CHUNK_GRID_DISK };
	char id_a[MANIFEST_ID_LEN], id_b[MANIFEST_ID_LEN], packs[PACKS_MAX][300], command[700];
	const struct store_gc all = { .repack_percent = 100 }, careful = { .repack_percent = 1 };
	struct store_gc_result result;

	(void)state;
	put(a, id_a);
	put(b, id_b); /* shares all of its blocks with A: that pack stays */
	assert_int_equal(packs_of(path, packs), 2);
	snprintf(command, sizeof(command), "cp -r '%s/packs' '%s/before'", path, folder);
	assert_int_equal(system(command), 0);
	forget(id_a);
	must(collect(&all, &result));
	/* The kill: what was to be deleted is still there. */
	snprintf(command, sizeof(command), "cp '%s'/before/* '%s/packs/'", folder, path);
	assert_int_equal(system(command), 0);
	lose_index(path);
	for (int i = 0; i < 4; i++) {
		must(collect(&careful, &result));
		assert_int_equal(listed(path), 1);
		lose_index(path);
		assert_int_equal(listed(path), 1);
	}
}

/* A reader beside a writer whose GC moves what it knows, and lets go of what it lists. */
static void test_store_damage_none_for_a_reader_beside_gc(void **state)
{
	const struct noise a = { 1, 1 * CHUNK_GRID_DISK }, c = { 1, 4 * CHUNK_GRID_DISK };
	char id_a[MANIFEST_ID_LEN], id_c[MANIFEST_ID_LEN];
	const struct store_gc all = { .repack_percent = 100 };
	struct store_verify order = { 0 };
	struct store *early, *late;
	struct store_gc_result result;
	uint64_t damaged;

	(void)state;
	put(c, id_c);
	put(a, id_a);
	early = open_store(path, STORE_READ);
	late = open_store(path, STORE_READ);
	forget(id_c);
	must(collect(&all, &result));
	assert_true(result.packs_rewritten >= 1);
	assert_int_equal(get(early, id_a, a), 0);
	must(store_verify(late, &order, &damaged, &err));
	assert_int_equal(damaged, 0);
	assert_int_equal(get(late, id_a, a), 0);
	assert_int_equal(get(late, id_c, c), STORE_ABSENT);
	store_close(early);
	store_close(late);
}

/* Runs are merged when there are four: a damaged one among them is made again. */
static void test_store_damage_of_a_run_stops_no_merge(void **state)
{
	char ids[5][MANIFEST_ID_LEN], files[PACKS_MAX][300], index[100];
	struct store *store;
	size_t n;

	(void)state;
	snprintf(index, sizeof(index), "%s/index", path);
	for (uint32_t i = 0; i < 5; i++) {
		const struct noise noise = { i, 3 * CHUNK_GRID_DISK };

		if (i == 3) {
			n = files_of(index, files);
			for (size_t k = 0; k < n; k++)
				if (strstr(files[k], "/run-"))
					flip(files[k], 100, 0);
		}
		put(noise, ids[i]);
	}
	store = open_store(path, STORE_READ);
	for (uint32_t i = 0; i < 5; i++)
		assert_int_equal(get(store, ids[i], (struct noise){ i, 3 * CHUNK_GRID_DISK }), 0);
	store_close(store);
}

/* The rate holds for everything that is read, of both stores; only a lower bound, as the machine may be busy. */
static void test_store_damage_repair_keeps_rate_and_cancel(void **state)
{
	struct volume_progress cancelled = { .cancel = true },
			       slow = { .bytes_per_second = 2 << 20 };
	const struct noise noise = { 1, 3 * CHUNK_GRID_DISK };
	char id[MANIFEST_ID_LEN], packs[PACKS_MAX][300];
	uint64_t began_ms, size;
	bool named;

	(void)state;
	put(noise, id);
	copy_to_mirror();
	assert_int_equal(packs_of(path, packs), 1);
	size = (uint64_t)size_of(packs[0]);
	flip(packs[0], (off_t)size - 5000, 1); /* in the last chunk */
	assert_int_equal(repair_with(&cancelled), -ECANCELED);
	assert_int_not_equal(verify(path, "", &named), 0);
	began_ms = clock_now_ms();
	must(repair_with(&slow));
	/* Its own, the mirror's to check it, to copy it, and the copy; the last of each may not be waited for. */
	assert_true(clock_now_ms() - began_ms >= 3 * size * 1000 / slow.bytes_per_second);
	assert_true(slow.done_bytes > 3 * size && slow.done_bytes <= slow.total_bytes);
	assert_int_equal(verify(path, "", &named), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_store_damage_every_byte_of_a_pack, setup,
						teardown),
		cmocka_unit_test_setup_teardown(test_store_damage_every_byte_of_the_index, setup,
						teardown),
		cmocka_unit_test_setup_teardown(test_store_damage_stops_deletion, setup, teardown),
		cmocka_unit_test_setup_teardown(test_store_damage_is_not_mirrored_by_deletion,
						setup, teardown),
		cmocka_unit_test_setup_teardown(test_store_damage_repaired_note_counts, setup,
						teardown),
		cmocka_unit_test_setup_teardown(test_store_damage_note_outlives_every_copy, setup,
						teardown),
		cmocka_unit_test_setup_teardown(test_store_damage_none_for_a_reader_beside_gc,
						setup, teardown),
		cmocka_unit_test_setup_teardown(test_store_damage_of_a_run_stops_no_merge, setup,
						teardown),
		cmocka_unit_test_setup_teardown(test_store_damage_repair_keeps_rate_and_cancel,
						setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
