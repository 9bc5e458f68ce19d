/* Packs written and read back; and a small pack in which every single byte was changed, one at a time. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/io.h"
#include "snapshot/pack_writer.h"

static const uint8_t store_id[PACK_STORE_ID_LEN] = "0123456789abcdef";
static struct store_keys keys;
static char folder[] = "/tmp/godwit-test-pack.XXXXXX";

static int setup(void **state)
{
	struct err err = { 0 };

	(void)state;
	return mkdtemp(folder) && store_key_add(&keys, &err) == 0 ? 0 : -1;
}

static int teardown(void **state)
{
	(void)state;
	return rmdir(folder);
}

enum { RECORDS = 5 };

/* Record i: 100 + i bytes of the letter 'a' + i. */
static void record(size_t i, uint8_t *raw, struct chunk_encoded *chunk)
{
	memset(raw, 'a' + (int)i, 100 + i);
	*chunk = (struct chunk_encoded){ .codec = CHUNK_CODEC_NONE,
					 .raw_len = (uint32_t)(100 + i),
					 .len = (uint32_t)(100 + i),
					 .data = raw };
	chunk_id_of(raw, 100 + i, &chunk->id);
}

/* A sealed pack of RECORDS records; its path is the caller's. */
static char *write_pack(void)
{
	const struct pack_writer_options options = { .temp_folder = folder,
						     .pack_folder = folder,
						     .key = store_key_newest(&keys),
						     .store_id = store_id,
						     .domain = "default" };
	struct pack_writer *writer;
	struct err err = { 0 };
	char *path;

	assert_int_equal(pack_writer_new(&writer, &options, &err), 0);
	for (size_t i = 0; i < RECORDS; i++) {
		struct chunk_encoded chunk;
		uint8_t raw[200];
		uint32_t number;

		record(i, raw, &chunk);
		assert_false(pack_writer_find(writer, &chunk.id, &number));
		assert_true(pack_writer_has_room(writer, chunk.len));
		number = pack_writer_reserve(writer, PACK_CHUNK, &chunk);
		assert_int_equal(number, i);
		assert_true(pack_writer_find(writer, &chunk.id, &number));
		assert_int_equal(pack_writer_write(writer, number, &chunk, 1, &err), 0);
	}
	assert_int_equal(pack_writer_seal(writer, &err), 0);
	path = io_printf("%s/%s.pack", folder, pack_writer_pack(writer)->name_text);
	pack_writer_free(writer);
	return path;
}

/* Read everything. Return 0 if all records are what was written, -EBADMSG …, or fail the test for wrong data. */
static int read_pack(const char *path, struct err *err)
{
	static uint8_t buf[CHUNK_MAX + PACK_RECORD_EXTRA];
	struct pack *pack;
	int r = pack_open(&pack, path, &keys, store_id, err);

	for (uint32_t i = 0; r == 0 && i < RECORDS; i++) {
		uint8_t raw[200], back[200];
		struct chunk_encoded want, got;

		assert_int_equal(pack->count, RECORDS);
		record(i, raw, &want);
		r = pack_read(pack, i, buf, &got, err);
		if (r < 0) {
			pack_unref(pack);
			return r;
		}
		assert_true(chunk_id_equal(&got.id, &want.id));
		assert_int_equal(chunk_decode(&got, back, err), 0);
		assert_memory_equal(back, raw, want.raw_len);
	}
	if (r == 0)
		pack_unref(pack);
	return r;
}

static void test_pack_round_trip(void **state)
{
	struct err err = { 0 };
	char *path = write_pack();

	(void)state;
	assert_int_equal(read_pack(path, &err), 0);
	unlink(path);
	free(path);
}

static void test_pack_every_flipped_byte_is_found(void **state)
{
	char *path = write_pack();
	struct err err = { 0 };
	uint8_t *bytes;
	size_t len;
	int fd;

	(void)state;
	assert_int_equal(io_read_file(path, 1 << 20, &bytes, &len, &err), 0);
	fd = open(path, O_WRONLY);
	for (size_t i = 0; i < len; i++) {
		uint8_t flipped = bytes[i] ^ (uint8_t)(1u << (i % 8));
		int r;

		assert_int_equal(io_pwrite_full(fd, &flipped, 1, i), 0);
		r = read_pack(path, &err);
		if (r != -EBADMSG && r != -EACCES)
			fail_msg("byte %zu of %zu: %d", i, len, r);
		assert_non_null(strstr(err_text(&err), "pack "));
		assert_int_equal(io_pwrite_full(fd, &bytes[i], 1, i), 0);
	}
	assert_int_equal(read_pack(path, &err), 0);
	for (size_t cut = 0; cut < len; cut += 7) {
		assert_int_equal(ftruncate(fd, (off_t)cut), 0);
		assert_int_equal(read_pack(path, &err), -EBADMSG);
	}
	close(fd);
	free(bytes);
	unlink(path);
	free(path);
}

static void test_pack_needs_its_key_and_store(void **state)
{
	struct store_keys other = { 0 };
	struct err err = { 0 };
	char *path = write_pack();
	struct pack *pack;

	(void)state;
	assert_int_equal(store_key_add(&other, &err), 0);
	assert_int_equal(pack_open(&pack, path, &other, store_id, &err), -EACCES);
	assert_non_null(strstr(err_text(&err), "key"));
	assert_int_equal(pack_open(&pack, path, &keys, (const uint8_t *)"another store id", &err),
			 -EBADMSG);
	assert_int_equal(pack_open(&pack, path, &keys, NULL, &err), 0);
	pack_unref(pack);
	unlink(path);
	free(path);
}

static void test_pack_has_the_name_of_its_file(void **state)
{
	char *path = write_pack(), *other = io_printf("%s/%032d.pack", folder, 0);
	struct err err = { 0 };

	(void)state;
	assert_int_equal(rename(path, other), 0);
	assert_int_equal(read_pack(other, &err), -EBADMSG);
	assert_non_null(strstr(err_text(&err), strrchr(path, '/') + 1));
	assert_int_equal(rename(other, path), 0);
	assert_int_equal(read_pack(path, &err), 0);
	unlink(path);
	free(other);
	free(path);
}

static void test_pack_holds_no_plaintext(void **state)
{
	char *path = write_pack();
	struct err err = { 0 };
	uint8_t *bytes;
	size_t len;

	(void)state;
	assert_int_equal(io_read_file(path, 1 << 20, &bytes, &len, &err), 0);
	for (size_t i = 0; i < RECORDS; i++) {
		struct chunk_encoded chunk;
		uint8_t raw[200];

		record(i, raw, &chunk);
		assert_null(memmem(bytes, len, raw, 16));
		assert_null(memmem(bytes, len, chunk.id.bytes,
				   8)); /* the id would tell who has the same file */
	}
	assert_null(memmem(bytes, len, "default", 7));
	free(bytes);
	unlink(path);
	free(path);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_pack_round_trip),
		cmocka_unit_test(test_pack_every_flipped_byte_is_found),
		cmocka_unit_test(test_pack_needs_its_key_and_store),
		cmocka_unit_test(test_pack_has_the_name_of_its_file),
		cmocka_unit_test(test_pack_holds_no_plaintext),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
