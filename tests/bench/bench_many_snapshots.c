/* bench_many_snapshots.c STORE SNAPSHOTS: fill an empty store with that many small snapshots of a hundred desktops, one an hour each.
 *
 * A snapshot is a volume of 4 blocks of which one changed since the one before. Nothing is synced, so that it does not take hours.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/clock.h"
#include "snapshot/store.h"

enum { DESKTOPS = 100, BLOCKS = 4, HOUR_MS = 3600000 };

/* Not durable: this is a figure of the store's size, not of the disk. */
int fsync(int fd)
{
	(void)fd;
	return 0;
}

int fdatasync(int fd)
{
	(void)fd;
	return 0;
}

static void die(const struct err *err)
{
	fprintf(stderr, "bench_many_snapshots: %s\n", err_text(err));
	exit(1);
}

struct disk {
	unsigned desktop, version;
};

/* Block i holds numbers: of the desktop, of itself, and of the version that last changed it. */
static int disk_read(void *ctx, uint8_t *buf, size_t len, uint64_t offset, struct err *err)
{
	const struct disk *d = ctx;

	(void)err;
	memset(buf, 0, len);
	for (size_t at = 0; at < len; at += CHUNK_GRID_DISK) {
		unsigned block = (unsigned)((offset + at) / CHUNK_GRID_DISK);
		unsigned last = d->version < block ? 0 : d->version - (d->version - block) % BLOCKS;
		const unsigned content[] = { d->desktop + 1, block + 1, last };

		memcpy(buf + at, content, sizeof(content));
	}
	return 0;
}

static void snapshot(struct store *store, struct disk disk, uint64_t at_ms, struct manifest *m)
{
	const struct volume_input input = { &disk, BLOCKS * CHUNK_GRID_DISK, disk_read, NULL };
	struct volume_put order = { .input = &input, .codec = CHUNK_CODEC_ZSTD, .threads = 1 };
	struct store_session *session;
	struct err err = { 0 };

	manifest_init(m);
	snprintf(m->desktop, sizeof(m->desktop), "desktop-%u", disk.desktop);
	m->created_wall_ms = at_ms;
	m->volume_count = 1;
	m->volumes[0] = (struct volume){ .name = "disk0", .grid = CHUNK_GRID_DISK };
	if (store_session_open(&session, store, m->desktop, &err) < 0)
		die(&err);
	order.sink = store_session_sink(session);
	if (volume_put(&order, &m->volumes[0], NULL, &err) < 0 ||
	    store_session_commit(session, m, &err) < 0)
		die(&err);
	store_session_close(session);
	manifest_deinit(m);
}

int main(int argc, char **argv)
{
	unsigned total = argc == 3 ? (unsigned)atoi(argv[2]) : 0;
	uint64_t began_ms = clock_wall_ms() - (uint64_t)(total / DESKTOPS + 1) * HOUR_MS;
	struct err err = { 0 };
	struct manifest m;
	struct store *store;

	if (!total) {
		fprintf(stderr, "usage: bench_many_snapshots STORE SNAPSHOTS\n");
		return 2;
	}
	if (store_open(&store, argv[1], NULL, STORE_WRITE, &err) < 0)
		die(&err);
	for (unsigned i = 0; i < total; i++)
		snapshot(store, (struct disk){ i % DESKTOPS, i / DESKTOPS },
			 began_ms + (uint64_t)(i / DESKTOPS) * HOUR_MS + i % DESKTOPS, &m);
	store_close(store);
	return 0;
}
