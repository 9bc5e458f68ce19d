/* The store through its public header: sessions, commits, domains, keys, two writers, damage. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/hex.h"
#include "common/io.h"
#include "snapshot/store.h"

static char folder[PATH_MAX];
static char path[PATH_MAX + 16];

static int setup(void **state)
{
	struct err err = { 0 };

	(void)state;
	strcpy(folder, "/tmp/godwit-test-store.XXXXXX");
	if (!mkdtemp(folder))
		return -1;
	snprintf(path, sizeof(path), "%s/s", folder);
	return store_init(path, NULL, &err);
}

static int teardown(void **state)
{
	char command[PATH_MAX + 32];

	(void)state;
	snprintf(command, sizeof(command), "rm -rf '%s'", folder);
	return system(command);
}

static struct store *open_store(enum store_mode mode)
{
	struct store *store;
	struct err err = { 0 };

	if (store_open(&store, path, NULL, mode, &err) < 0)
		fail_msg("%s", err_text(&err));
	return store;
}

static int read_bytes(void *ctx, uint8_t *buf, size_t len, uint64_t offset, struct err *err)
{
	(void)err;
	memcpy(buf, (const uint8_t *)ctx + offset, len);
	return 0;
}

enum { SIZE = 3 << 20 };

static uint8_t *content(unsigned seed)
{
	uint8_t *data = malloc(SIZE);

	for (size_t i = 0; i < SIZE; i++) {
		seed = seed * 1664525 + 1013904223;
		data[i] = (uint8_t)(seed >> 24);
	}
	return data;
}

/* Put @data as volume disk0. Return what the commit returned. */
static int put_in(struct store *store, const char *desktop, const char *domain, const uint8_t *data,
		  struct manifest *m, struct volume_put_stats *stats, struct err *err)
{
	const struct volume_input input = { (void *)(uintptr_t)data, SIZE, read_bytes, NULL };
	struct store_session *session;
	struct volume_put order = { .input = &input, .codec = CHUNK_CODEC_ZSTD };
	int r;

	assert_int_equal(store_session_open_in(&session, store, desktop, domain, err), 0);
	order.sink = store_session_sink(session);
	manifest_init(m);
	strcpy(m->desktop, desktop);
	m->volume_count = 1;
	m->volumes[0] = (struct volume){ .name = "disk0", .grid = CHUNK_GRID_DISK };
	assert_int_equal(volume_put(&order, &m->volumes[0], stats, err), 0);
	r = store_session_commit(session, m, err);
	store_session_close(session);
	return r;
}

static void put(struct store *store, const uint8_t *data, struct manifest *m,
		struct volume_put_stats *stats)
{
	struct err err = { 0 };

	if (put_in(store, "alice", "default", data, m, stats, &err) < 0)
		fail_msg("%s", err_text(&err));
}

static void check_content(struct store *store, const char *id, const uint8_t *data)
{
	struct volume_reader *reader;
	struct err err = { 0 };
	uint8_t *back = malloc(SIZE);
	struct manifest m;

	assert_int_equal(store_manifest(store, id, &m, &err), 0);
	assert_int_equal(volume_reader_open(&reader, manifest_volume(&m, "disk0"),
					    store_source(store), &err),
			 0);
	if (volume_reader_read(reader, back, SIZE, 0, &err) < 0)
		fail_msg("%s", err_text(&err));
	assert_memory_equal(back, data, SIZE);
	volume_reader_close(reader);
	manifest_deinit(&m);
	free(back);
}

static int count_listed(void *arg, const struct manifest *m, struct err *err)
{
	(void)m, (void)err;
	++*(int *)arg;
	return 0;
}

static int snapshots(struct store *store)
{
	struct err err = { 0 };
	int n = 0;

	assert_int_equal(store_list(store, count_listed, &n, &err), 0);
	return n;
}

static void test_store_keeps_what_was_committed(void **state)
{
	uint8_t *a = content(1), *b = content(2);
	struct store *store = open_store(STORE_WRITE);
	struct manifest m1, m2;

	(void)state;
	put(store, a, &m1, NULL);
	put(store, b, &m2, NULL);
	check_content(store, m1.id, a);
	store_close(store);
	store = open_store(STORE_READ);
	assert_int_equal(snapshots(store), 2);
	check_content(store, m1.id, a);
	check_content(store, m2.id, b);
	store_close(store);
	free(a);
	free(b);
}

static void test_store_same_content_is_kept_once(void **state)
{
	struct volume_put_stats first = { 0 }, second = { 0 };
	uint8_t *data = content(3);
	struct store *store = open_store(STORE_WRITE);
	struct manifest m;

	(void)state;
	put(store, data, &m, &first);
	store_close(store);
	store = open_store(STORE_WRITE);
	put(store, data, &m, &second);
	assert_true(first.new_bytes >= SIZE);
	assert_int_equal(second.new_bytes, 0);
	store_close(store);
	free(data);
}

/* A source writes each wish where it was wished for, one chunk several times if asked, and nothing where it does not fit. */
static void test_store_source_writes_to_the_callers_memory(void **state)
{
	enum { BLOCKS = SIZE / CHUNK_GRID_DISK, WISHES = 2 * BLOCKS + 1 };
	CLEANUP_FREE uint8_t *data = content(4), *back = calloc(WISHES, CHUNK_GRID_DISK);
	struct store *store = open_store(STORE_WRITE);
	struct chunk_id ids[WISHES];
	struct chunk_source source;
	struct err err = { 0 };
	size_t len[WISHES];
	uint8_t *to[WISHES];
	struct manifest m;

	(void)state;
	assert_non_null(back);
	put(store, data, &m, NULL);
	for (size_t i = 0; i < WISHES; i++) {
		chunk_id_of(data + i * 7 % BLOCKS * CHUNK_GRID_DISK, CHUNK_GRID_DISK, &ids[i]);
		to[i] = back + i * CHUNK_GRID_DISK;
		len[i] = CHUNK_GRID_DISK;
	}
	assert_int_equal(store_domain_source(store, "default", &source, &err), 0);
	len[WISHES - 1]--;
	assert_int_equal(source.get_to(source.ctx, ids, WISHES, to, len, &err), -EBADMSG);
	assert_true(chunk_is_zero(back, (size_t)WISHES * CHUNK_GRID_DISK));
	len[WISHES - 1]++;
	assert_int_equal(source.get_to(source.ctx, ids, WISHES, to, len, &err), 0);
	for (size_t i = 0; i < WISHES; i++)
		assert_memory_equal(to[i], data + i * 7 % BLOCKS * CHUNK_GRID_DISK,
				    CHUNK_GRID_DISK);
	store_close(store);
}

static void test_store_commit_refuses_what_is_missing(void **state)
{
	struct store *store = open_store(STORE_WRITE);
	struct store_session *session;
	struct err err = { 0 };
	struct manifest m;

	(void)state;
	assert_int_equal(store_session_open(&session, store, "alice", &err), 0);
	manifest_init(&m);
	strcpy(m.desktop, "alice");
	m.volume_count = 1;
	m.volumes[0] =
		(struct volume){ "disk0", VOLUME_DISK, 5 << 20, CHUNK_GRID_DISK, { { 42 } } };
	assert_int_equal(store_session_commit(session, &m, &err), -ENOENT);
	assert_non_null(strstr(err_text(&err), "disk0"));
	assert_non_null(strstr(err_text(&err), "2a000000"));
	strcpy(m.desktop, "bob");
	assert_int_equal(store_session_commit(session, &m, &err), -EINVAL);
	store_session_close(session);
	assert_int_equal(snapshots(store), 0);
	store_close(store);
}

static void test_store_refuses_chunks_that_lie(void **state)
{
	struct store *store = open_store(STORE_WRITE);
	struct chunk_encoded chunk = {
		.codec = CHUNK_CODEC_NONE, .raw_len = 5, .len = 5, .data = (const uint8_t *)"hello"
	};
	struct store_session *session;
	struct err err = { 0 };

	(void)state;
	store_session_open(&session, store, "alice", &err);
	chunk_id_of("jello", 5, &chunk.id);
	assert_int_equal(store_session_put_untrusted(session, &chunk, 1, &err), -EBADMSG);
	chunk_id_of("hello", 5, &chunk.id);
	assert_int_equal(store_session_put_untrusted(session, &chunk, 1, &err), 0);
	store_session_close(session);
	store_close(store);
}

/* Promise 8: neither commit nor fetch nor query of one domain tells about another. */
static void test_store_domains_do_not_see_each_other(void **state)
{
	uint8_t *data = content(4), present[1];
	struct store *store = open_store(STORE_WRITE);
	struct volume_put_stats first = { 0 }, second = { 0 };
	struct store_session *session;
	struct chunk_encoded chunk;
	struct err err = { 0 };
	struct manifest m, stolen;
	uint8_t *buf = malloc(CHUNK_MAX);

	(void)state;
	assert_int_equal(put_in(store, "alice", "one", data, &m, &first, &err), 0);

	/* Bob of another domain knows the root of Alice's disk. */
	store_session_open_in(&session, store, "bob", "two", &err);
	store_session_sink(session).query(session, &m.volumes[0].root, 1, present, &err);
	assert_int_equal(present[0], 0);
	manifest_init(&stolen);
	strcpy(stolen.desktop, "bob");
	stolen.volume_count = 1;
	stolen.volumes[0] = m.volumes[0];
	assert_int_equal(store_session_commit(session, &stolen, &err), -ENOENT);
	strcpy(stolen.parent, m.id); /* not even as a child of her snapshot */
	assert_int_equal(store_session_commit(session, &stolen, &err), -ENOENT);
	store_session_close(session);
	assert_int_equal(
		store_domain_get_encoded(store, "two", &m.volumes[0].root, buf, &chunk, &err),
		STORE_ABSENT);
	assert_int_equal(
		store_domain_get_encoded(store, "one", &m.volumes[0].root, buf, &chunk, &err), 0);

	/* The same content in another domain is stored again: no reply depends on hers. */
	assert_int_equal(put_in(store, "bob", "two", data, &stolen, &second, &err), 0);
	assert_int_equal(second.new_bytes, first.new_bytes);
	check_content(store, stolen.id, data);
	store_close(store);
	free(data);
	free(buf);
}

static void put_raw(struct store_session *session, const void *data, size_t len,
		    struct chunk_id *id)
{
	struct chunk_encoded chunk = { .raw_len = (uint32_t)len,
				       .len = (uint32_t)len,
				       .data = data };
	struct err err = { 0 };

	chunk_id_of(data, len, &chunk.id);
	*id = chunk.id;
	assert_int_equal(store_session_put_untrusted(session, &chunk, 1, &err), 0);
}

/* A tree of one's own that leads to somebody else's chunk, at any depth, is refused and the error says where. */
static void test_store_commit_names_what_a_tree_borrows(void **state)
{
	enum { BLOCK = CHUNK_GRID_DISK, LEAVES = 256 };
	static const struct {
		const char *what;
		bool deep; /* the foreign chunk hangs below an inner node, not below the root */
		bool bait; /* the session's parent is the foreign snapshot, which would vouch for it */
	} cases[] = {
		{ "below the root", false, false },
		{ "below the root, with the foreign snapshot as parent", false, true },
		{ "below an inner node", true, false },
		{ "below an inner node, with the foreign snapshot as parent", true, true },
	};
	struct store *store = open_store(STORE_WRITE);
	struct chunk_id node[LEAVES] = { 0 }, top[2] = { 0 }, secret, own;
	uint8_t *data = content(5), *mine = content(6);
	struct volume_put_stats stats = { 0 };
	struct store_session *session;
	char id[CHUNK_ID_TEXT_LEN];
	struct err err = { 0 };
	struct manifest m;

	(void)state;
	assert_int_equal(put_in(store, "alice", "one", data, &m, &stats, &err), 0);
	chunk_id_of(data, BLOCK, &secret);
	hex_encode(secret.bytes, CHUNK_ID_LEN, id);
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct manifest stolen;

		assert_int_equal(store_session_open_in(&session, store, "bob", "two", &err), 0);
		put_raw(session, mine, BLOCK, &own);
		manifest_init(&stolen);
		strcpy(stolen.desktop, "bob");
		if (cases[i].bait)
			strcpy(stolen.parent, m.id);
		stolen.volume_count = 1;
		stolen.volumes[0] = (struct volume){ .name = "disk0", .grid = CHUNK_GRID_DISK };
		node[0] = own;
		node[1] = secret;
		if (cases[i].deep) {
			put_raw(session, node, sizeof(node), &top[0]);
			put_raw(session, &own, sizeof(own), &top[1]);
			put_raw(session, top, sizeof(top), &stolen.volumes[0].root);
			stolen.volumes[0].size = (LEAVES + 1) * (uint64_t)BLOCK;
		} else {
			put_raw(session, node, 2 * sizeof(node[0]), &stolen.volumes[0].root);
			stolen.volumes[0].size = 2 * (uint64_t)BLOCK;
		}
		if (store_session_commit(session, &stolen, &err) != -ENOENT)
			fail_msg("%s: accepted", cases[i].what);
		assert_non_null(strstr(err_text(&err), "disk0"));
		assert_non_null(strstr(err_text(&err), id));
		/* What was not named by guessing but sent is his own, and only then. */
		put_raw(session, data, BLOCK, &secret);
		if (store_session_commit(session, &stolen, &err) < 0)
			fail_msg("%s: %s", cases[i].what, err_text(&err));
		store_session_close(session);
		assert_int_equal(store_forget(store, (const char *[]){ stolen.id }, 1, &err), 0);
		assert_int_equal(store_gc(store, &(struct store_gc){ .dry_run = false },
					  &(struct store_gc_result){ 0 }, &err),
				 0);
	}
	check_content(store, m.id, data);
	store_close(store);
	free(data);
	free(mine);
}

static void test_store_has_one_writer_and_needs_its_key(void **state)
{
	struct store *store = open_store(STORE_WRITE), *other;
	struct err err = { 0 };
	uint8_t *data = content(8);
	char key[PATH_MAX + 32];
	struct manifest m;

	(void)state;
	put(store, data, &m, NULL);
	free(data);
	assert_int_equal(store_open(&other, path, NULL, STORE_WRITE, &err), -EBUSY);
	store_close(open_store(STORE_READ));
	store_close(store);
	snprintf(key, sizeof(key), "%s/other.key", folder);
	assert_int_equal(store_open(&other, path, key, STORE_READ, &err), -ENOENT);
	snprintf(key, sizeof(key), "%s/t", folder);
	assert_int_equal(store_init(key, NULL, &err), 0);
	snprintf(key, sizeof(key), "%s/t.key", folder);
	assert_int_equal(store_open(&other, path, key, STORE_READ, &err), -EACCES);
	assert_non_null(strstr(err_text(&err), "t.key"));
	assert_int_equal(store_init(path, NULL, &err), -EEXIST);
}

static void test_store_sessions_that_end_early_leave_no_temporary_files(void **state)
{
	struct store *store = open_store(STORE_WRITE);
	struct chunk_encoded chunk = {
		.codec = CHUNK_CODEC_NONE, .raw_len = 5, .len = 5, .data = (const uint8_t *)"hello"
	};
	struct store_session *session;
	struct err err = { 0 };
	char temp[PATH_MAX + 32];
	struct dirent *e;
	DIR *dir;
	int files = 0;

	(void)state;
	store_session_open(&session, store, "alice", &err);
	chunk_id_of("hello", 5, &chunk.id);
	assert_int_equal(store_session_put_untrusted(session, &chunk, 1, &err), 0);
	store_session_close(session);
	snprintf(temp, sizeof(temp), "%s/tmp", path);
	dir = opendir(temp);
	while ((e = readdir(dir)))
		files += e->d_name[0] != '.';
	closedir(dir);
	assert_int_equal(files, 0);
	store_close(store);
}

struct damages {
	int count;
	char text[4][2048];
};

static void on_damage(void *arg, const char *text)
{
	struct damages *d = arg;

	if (d->count < 4)
		snprintf(d->text[d->count], sizeof(d->text[0]), "%s", text);
	d->count++;
}

static void test_store_verify_names_what_is_hurt(void **state)
{
	uint8_t *data = content(5), byte;
	struct store *store = open_store(STORE_WRITE);
	struct damages damages = { 0 };
	struct store_verify order = { .damage = on_damage, .arg = &damages };
	struct err err = { 0 };
	uint64_t count;
	char packs[PATH_MAX + 32], file[PATH_MAX + 300];
	struct manifest m;
	struct dirent *e;
	DIR *dir;
	int fd;

	(void)state;
	put(store, data, &m, NULL);
	assert_int_equal(store_verify(store, &order, &count, &err), 0);
	assert_int_equal(count, 0);

	snprintf(packs, sizeof(packs), "%s/packs", path);
	dir = opendir(packs);
	while ((e = readdir(dir)) && e->d_name[0] == '.')
		;
	assert_non_null(e);
	snprintf(file, sizeof(file), "%s/%s", packs, e->d_name);
	closedir(dir);
	fd = open(file, O_RDWR);
	assert_int_equal(pread(fd, &byte, 1, 100000), 1);
	byte ^= 4;
	assert_int_equal(pwrite(fd, &byte, 1, 100000), 1);
	assert_int_equal(store_verify(store, &order, &count, &err), 0);
	assert_int_equal(count, 1);
	assert_non_null(strstr(damages.text[0], "pack "));
	assert_non_null(strstr(damages.text[0], "offset "));
	assert_non_null(strstr(damages.text[0], "chunk "));
	assert_non_null(strstr(damages.text[0], m.id));
	/* Structure only: the flipped byte is in chunk data. */
	order.quick = true;
	assert_int_equal(store_verify(store, &order, &count, &err), 0);
	assert_int_equal(count, 0);
	assert_int_equal(ftruncate(fd, 200000), 0);
	assert_int_equal(store_verify(store, &order, &count, &err), 0);
	assert_true(count >= 1);
	close(fd);
	store_close(store);
	free(data);
}

/* The index is derived: gone, damaged or half written, it costs time and never data. */
static void test_store_survives_a_lost_or_damaged_index(void **state)
{
	static const char *const harm[] = { "rm -rf '%s/index'", "rm '%s'/index/run-*",
					    "rm '%s/index/state'",
					    "echo rubbish > '%s/index/state'",
					    "for f in '%s'/index/run-*; do printf x | dd of=$f "
					    "bs=1 seek=500 conv=notrunc status=none; done" };
	struct store *store = open_store(STORE_WRITE);
	uint8_t *a = content(11), *b = content(12);
	struct manifest m1, m2;

	(void)state;
	put(store, a, &m1, NULL);
	store_close(store);
	for (size_t i = 0; i < ARRAY_LEN(harm); i++) {
		struct volume_put_stats stats = { 0 };
		char command[PATH_MAX + 200], harmed[200];

		snprintf(harmed, sizeof(harmed), "%s", harm[i]);
		snprintf(command, sizeof(command), "%.*s%s%s", (int)(strstr(harmed, "%s") - harmed),
			 harmed, path, strstr(harmed, "%s") + 2);
		assert_int_equal(system(command), 0);
		store = open_store(STORE_READ);
		check_content(store, m1.id, a);
		store_close(store);
		store = open_store(STORE_WRITE);
		put(store, a, &m2, &stats);
		assert_int_equal(stats.new_bytes, 0); /* everything is still found */
		b[i]++;
		put(store, b, &m2, NULL);
		check_content(store, m2.id, b);
		store_close(store);
	}
	free(a);
	free(b);
}

static void test_store_reindex_shows_progress_and_can_be_cancelled(void **state)
{
	struct volume_progress cancelled = { .cancel = true }, progress = { 0 };
	struct store *store = open_store(STORE_WRITE);
	uint8_t *a = content(1), *b = content(2);
	struct err err = { 0 };
	struct store_stat stat;
	struct manifest m;

	(void)state;
	put(store, a, &m, NULL);
	put(store, b, &m, NULL);
	assert_int_equal(store_stat(store, &stat, &err), 0);
	store_close(store);
	assert_int_equal(store_reindex(path, NULL, &cancelled, &err), -ECANCELED);
	assert_int_equal(cancelled.done_bytes, 0);
	/* Nothing is lost by that: who opens it reads the footers. */
	store = open_store(STORE_READ);
	assert_int_equal(snapshots(store), 2);
	store_close(store);
	if (store_reindex(path, NULL, &progress, &err) < 0)
		fail_msg("%s", err_text(&err));
	assert_int_equal(progress.total_bytes, stat.pack_bytes);
	assert_int_equal(progress.done_bytes, stat.pack_bytes);
	store = open_store(STORE_READ);
	check_content(store, m.id, b);
	store_close(store);
	free(a);
	free(b);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_store_keeps_what_was_committed, setup,
						teardown),
		cmocka_unit_test_setup_teardown(test_store_same_content_is_kept_once, setup,
						teardown),
		cmocka_unit_test_setup_teardown(test_store_source_writes_to_the_callers_memory,
						setup, teardown),
		cmocka_unit_test_setup_teardown(test_store_commit_refuses_what_is_missing, setup,
						teardown),
		cmocka_unit_test_setup_teardown(test_store_refuses_chunks_that_lie, setup,
						teardown),
		cmocka_unit_test_setup_teardown(test_store_domains_do_not_see_each_other, setup,
						teardown),
		cmocka_unit_test_setup_teardown(test_store_commit_names_what_a_tree_borrows, setup,
						teardown),
		cmocka_unit_test_setup_teardown(test_store_has_one_writer_and_needs_its_key, setup,
						teardown),
		cmocka_unit_test_setup_teardown(
			test_store_sessions_that_end_early_leave_no_temporary_files, setup,
			teardown),
		cmocka_unit_test_setup_teardown(test_store_survives_a_lost_or_damaged_index, setup,
						teardown),
		cmocka_unit_test_setup_teardown(test_store_verify_names_what_is_hurt, setup,
						teardown),
		cmocka_unit_test_setup_teardown(
			test_store_reindex_shows_progress_and_can_be_cancelled, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
