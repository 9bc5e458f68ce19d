#include "snapshot/overlay_file.h"

#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/io.h"

enum { HEADER_LEN = 64, HEADER_GRID = 8, HEADER_SIZE = 16, HEADER_ROOT = 24, WORD_BITS = 64 };

struct overlay_file {
	char *path;
	int fd, map_fd;
	size_t words;
	atomic_uint_fast64_t *bits;
	pthread_mutex_t flush_lock;
};

static void header_make(const struct volume *v, uint8_t header[HEADER_LEN])
{
	uint32_t grid = htole32(v->grid);
	uint64_t size = htole64(v->size);

	memset(header, 0, HEADER_LEN);
	memcpy(header, "GODWOVL1", 8);
	memcpy(header + HEADER_GRID, &grid, 4);
	memcpy(header + HEADER_SIZE, &size, 8);
	memcpy(header + HEADER_ROOT, v->root.bytes, CHUNK_ID_LEN);
}

static int bits_load(struct overlay_file *o, struct err *err)
{
	size_t len = o->words * sizeof(uint64_t);
	CLEANUP_FREE uint64_t *words = malloc(len);
	int r;

	if (!words)
		return err_set(err, ENOMEM, "open overlay %s", o->path);
	r = io_pread_full(o->map_fd, words, len, HEADER_LEN);
	if (r)
		return err_say(err, EINVAL, "overlay %s.map is too short", o->path);
	for (size_t i = 0; i < o->words; i++)
		atomic_init(&o->bits[i], le64toh(words[i]));
	return 0;
}

static int map_ready(struct overlay_file *o, const struct volume *volume, struct err *err)
{
	uint8_t want[HEADER_LEN], have[HEADER_LEN];
	struct stat st;
	int r;

	header_make(volume, want);
	if (fstat(o->map_fd, &st) < 0)
		return err_set(err, errno, "open overlay %s.map", o->path);
	if (st.st_size) {
		if (io_pread_full(o->map_fd, have, sizeof(have), 0) ||
		    memcmp(have, want, sizeof(have)) != 0)
			return err_say(err, EINVAL,
				       "overlay %s was made for another volume; take another file",
				       o->path);
		return bits_load(o, err);
	}
	if (ftruncate(o->fd, (off_t)volume->size) < 0 ||
	    ftruncate(o->map_fd, (off_t)(HEADER_LEN + o->words * sizeof(uint64_t))) < 0)
		return err_set(err, errno, "make overlay %s", o->path);
	r = io_pwrite_full(o->map_fd, want, sizeof(want), 0);
	if (r < 0 || fsync(o->fd) < 0 || fsync(o->map_fd) < 0)
		return err_set(err, r < 0 ? -r : errno, "make overlay %s", o->path);
	return io_sync_parent(o->path, err);
}

static int files_open(struct overlay_file *o, struct err *err)
{
	CLEANUP_FREE char *map = io_printf("%s.map", o->path);
	struct stat st;

	if (!map)
		return err_set(err, ENOMEM, "open overlay %s", o->path);
	o->fd = open(o->path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	if (o->fd < 0)
		return err_set(err, errno, "open overlay %s", o->path);
	/* It would be cut to the volume's size and written over. (The map is made right behind an overlay, before it gets its size.) */
	if (fstat(o->fd, &st) < 0)
		return err_set(err, errno, "open overlay %s", o->path);
	if (st.st_size && access(map, F_OK) < 0)
		return err_say(err, EEXIST,
			       "%s is there and is no overlay (%s is missing); take another file",
			       o->path, map);
	o->map_fd = open(map, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	if (o->map_fd < 0)
		return err_set(err, errno, "open overlay %s", map);
	if (flock(o->map_fd, LOCK_EX | LOCK_NB) < 0)
		return errno == EWOULDBLOCK
			       ? err_say(err, EBUSY, "overlay %s is in use by another process",
					 o->path)
			       : err_set(err, errno, "lock overlay %s", map);
	return 0;
}

int overlay_file_open(struct overlay_file **out, const char *path, const struct volume *volume,
		      struct err *err)
{
	CLEANUP(overlay_file_close) struct overlay_file *o = calloc(1, sizeof(*o));
	uint64_t blocks = volume->size / volume->grid + 1;
	int r;

	if (!o)
		return err_set(err, ENOMEM, "open overlay %s", path);
	o->fd = o->map_fd = -1;
	pthread_mutex_init(&o->flush_lock, NULL);
	o->words = (size_t)(blocks / WORD_BITS + 1);
	o->bits = calloc(o->words, sizeof(*o->bits));
	o->path = strdup(path);
	if (!o->bits || !o->path)
		return err_set(err, ENOMEM, "open overlay %s", path);
	r = files_open(o, err);
	if (r == 0)
		r = map_ready(o, volume, err);
	if (r < 0)
		return r;
	*out = TAKE(o);
	return 0;
}

void overlay_file_close(struct overlay_file *o)
{
	if (!o)
		return;
	if (o->map_fd >= 0)
		overlay_file_flush(o, NULL);
	base_close(o->fd);
	base_close(o->map_fd);
	pthread_mutex_destroy(&o->flush_lock);
	free(o->bits);
	free(o->path);
	free(o);
}

bool overlay_file_has(const struct overlay_file *o, uint64_t block)
{
	return atomic_load(&o->bits[block / WORD_BITS]) >> (block % WORD_BITS) & 1;
}

void overlay_file_mark(struct overlay_file *o, uint64_t block)
{
	atomic_fetch_or(&o->bits[block / WORD_BITS], UINT64_C(1) << (block % WORD_BITS));
}

int overlay_file_read(struct overlay_file *o, void *buf, size_t len, uint64_t offset,
		      struct err *err)
{
	int r = io_pread_full(o->fd, buf, len, offset);

	if (r == IO_SHORT)
		return err_say(err, EIO, "overlay %s is too short", o->path);
	return r < 0 ? err_set(err, -r, "read overlay %s", o->path) : 0;
}

int overlay_file_write(struct overlay_file *o, const void *buf, size_t len, uint64_t offset,
		       struct err *err)
{
	int r = io_pwrite_full(o->fd, buf, len, offset);

	return r < 0 ? err_set(err, -r, "write overlay %s", o->path) : 0;
}

int overlay_file_flush(struct overlay_file *o, struct err *err)
{
	size_t len = o->words * sizeof(uint64_t);
	CLEANUP_FREE uint64_t *words = malloc(len);
	int r = 0;

	if (!words)
		return err_set(err, ENOMEM, "flush overlay %s", o->path);
	pthread_mutex_lock(&o->flush_lock);
	/* Taken before the data is synced: a block marked later belongs to the next flush. */
	for (size_t i = 0; i < o->words; i++)
		words[i] = htole64(atomic_load(&o->bits[i]));
	if (fdatasync(o->fd) < 0)
		r = -errno;
	if (r == 0)
		r = io_pwrite_full(o->map_fd, words, len, HEADER_LEN);
	if (r == 0 && fdatasync(o->map_fd) < 0)
		r = -errno;
	pthread_mutex_unlock(&o->flush_lock);
	return r < 0 ? err_set(err, -r, "flush overlay %s", o->path) : 0;
}
