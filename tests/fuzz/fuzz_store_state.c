/* index/state of a real store, with a checksum that fits, so that the parser behind it is reached: nonsense costs time only.
 * The first byte says whether the rest replaces the file from its header on, or is laid over the one that was written.
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/io.h"
#include "common/le.h"
#include "snapshot/crc32c.h"
#include "snapshot/store.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { HEADER_CLEAR = 16, STATE_MAX = 64 << 10 };

static char folder[64], path[80], state_path[96];
static uint8_t *sound;
static size_t sound_len;

static int nothing_read(void *ctx, uint8_t *buf, size_t len, uint64_t offset, struct err *err)
{
	(void)ctx;
	(void)err;
	for (size_t i = 0; i < len; i++)
		buf[i] = (uint8_t)((offset + i) % 251);
	return 0;
}

static void clean(void)
{
	char command[128];

	snprintf(command, sizeof(command), "rm -rf '%s'", folder);
	if (system(command) != 0)
		abort();
}

static void must(int r)
{
	if (r < 0)
		abort();
}

static void prepare(void)
{
	const struct volume_input input = { NULL, 100000, nothing_read, NULL };
	struct volume_put order = { .input = &input, .codec = CHUNK_CODEC_NONE, .threads = 1 };
	struct store_session *session;
	struct store *store;
	struct manifest m;
	struct err err = { 0 };

	strcpy(folder, "/tmp/godwit-fuzz-state.XXXXXX");
	if (!mkdtemp(folder))
		abort();
	atexit(clean);
	snprintf(path, sizeof(path), "%s/s", folder);
	snprintf(state_path, sizeof(state_path), "%s/index/state", path);
	must(store_init(path, NULL, &err));
	must(store_open(&store, path, NULL, STORE_WRITE, &err));
	must(store_session_open(&session, store, "fuzz", &err));
	manifest_init(&m);
	strcpy(m.desktop, "fuzz");
	m.volume_count = 1;
	m.volumes[0] = (struct volume){ .name = "disk0", .grid = CHUNK_GRID_DISK };
	order.sink = store_session_sink(session);
	must(volume_put(&order, &m.volumes[0], NULL, &err));
	must(store_session_commit(session, &m, &err));
	manifest_deinit(&m);
	store_session_close(session);
	store_close(store);
	must(io_read_file(state_path, STATE_MAX, &sound, &sound_len, &err));
}

static void state_write(const uint8_t *data, size_t size)
{
	static uint8_t bytes[2 * STATE_MAX];
	size_t len = sound_len - 4;
	FILE *f;

	memcpy(bytes, sound, len);
	if (size > STATE_MAX)
		size = STATE_MAX;
	/* Magic and key stay: without them nothing else is looked at. */
	if (size) {
		memcpy(bytes + HEADER_CLEAR, data + 1, size - 1);
		if (data[0] % 2 || HEADER_CLEAR + size - 1 > len)
			len = HEADER_CLEAR + size - 1;
	}
	le_put32(bytes + len, crc32c(0, bytes, len));
	f = fopen(state_path, "wb");
	if (!f || fwrite(bytes, 1, len + 4, f) != len + 4 || fclose(f) != 0)
		abort();
}

static int listed(void *arg, const struct manifest *m, struct err *err)
{
	(void)arg;
	(void)m;
	(void)err;
	return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const struct store_verify order = { .quick = true };
	struct err err = { 0 };
	struct store *store;
	uint64_t damaged;

	if (!folder[0])
		prepare();
	state_write(data, size);
	if (store_open(&store, path, NULL, STORE_READ, &err) < 0)
		return 0;
	store_list(store, listed, NULL, &err);
	store_verify(store, &order, &damaged, &err);
	store_close(store);
	return 0;
}
