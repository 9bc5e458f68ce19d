/* db_checksum.c - see db_checksum.h. A VFS that stands before SQLite's own. */
#include "mgmt-server/catalogue/db_checksum.h"

#include <errno.h>
#include <pthread.h>
#include <sqlite3.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/hex.h"
#include "mgmt-server/catalogue/db_page.h"

struct db_checksum {
	sqlite3_vfs vfs;
	sqlite3_vfs *real;
	char name[32];
	pthread_mutex_t lock; /* everything below */
	uint64_t *frames;     /* of the log: CRC of the page plus KNOWN; 0: not known */
	size_t frame_count;
	char damage[160];
};

enum file_kind { FILE_PAGES, FILE_LOG, FILE_OTHER };

struct file {
	sqlite3_file base;
	struct db_checksum *owner;
	enum file_kind kind;
	sqlite3_file *real; /* right behind */
};

#define KNOWN (UINT64_C(1) << 32)

static struct file *file_of(sqlite3_file *base)
{
	return (struct file *)base;
}

static int found(struct db_checksum *c, const char *what, uint64_t number, sqlite3_int64 at)
{
	pthread_mutex_lock(&c->lock);
	if (!c->damage[0])
		snprintf(c->damage, sizeof(c->damage),
			 "%s %llu (bytes %lld to %lld) does not match its checksum", what,
			 (unsigned long long)number, (long long)at,
			 (long long)at + DB_CHECKSUM_PAGE - 1);
	pthread_mutex_unlock(&c->lock);
	return SQLITE_IOERR_DATA;
}

bool db_checksum_damage(struct db_checksum *c, char *text, size_t len)
{
	bool any;

	pthread_mutex_lock(&c->lock);
	any = c->damage[0] != '\0';
	snprintf(text, len, "%s", c->damage);
	pthread_mutex_unlock(&c->lock);
	return any;
}

/* ---- The log ---- */

/* Which frame's page begins at @at; false: none does. */
static bool frame_at(sqlite3_int64 at, uint64_t *frame)
{
	*frame = (uint64_t)(at - DB_PAGE_LOG_HEADER) / DB_PAGE_FRAME;
	return at >= DB_PAGE_LOG_HEADER &&
	       (uint64_t)(at - DB_PAGE_LOG_HEADER) % DB_PAGE_FRAME == DB_PAGE_FRAME_HEADER;
}

/* page NULL: not known any more. What cannot be remembered for want of memory is not checked. */
static void remember(struct db_checksum *c, uint64_t frame, const void *page)
{
	pthread_mutex_lock(&c->lock);
	if (page && frame >= c->frame_count) {
		size_t count = frame + 256;
		uint64_t *frames = realloc(c->frames, count * sizeof(*frames));

		if (frames) {
			memset(frames + c->frame_count, 0,
			       (count - c->frame_count) * sizeof(*frames));
			c->frames = frames;
			c->frame_count = count;
		}
	}
	if (frame < c->frame_count)
		c->frames[frame] = page ? KNOWN | db_page_crc(0, page, DB_CHECKSUM_PAGE) : 0;
	pthread_mutex_unlock(&c->lock);
}

static void log_written(struct db_checksum *c, const void *buf, int len, sqlite3_int64 at)
{
	uint64_t frame, last;

	if (len == DB_CHECKSUM_PAGE && frame_at(at, &frame)) {
		remember(c, frame, buf);
		return;
	}
	if (at < DB_PAGE_LOG_HEADER || len <= DB_PAGE_FRAME_HEADER)
		return; /* headers: a page follows */
	last = (uint64_t)(at + len - DB_PAGE_LOG_HEADER) / DB_PAGE_FRAME;
	for (frame = (uint64_t)(at - DB_PAGE_LOG_HEADER) / DB_PAGE_FRAME; frame <= last; frame++)
		remember(c, frame, NULL);
}

static int log_read(struct db_checksum *c, const uint8_t *buf, int len, sqlite3_int64 at)
{
	uint64_t frame, want = 0;

	if (len == DB_PAGE_FRAME && frame_at(at + DB_PAGE_FRAME_HEADER, &frame)) {
		remember(c, frame,
			 buf + DB_PAGE_FRAME_HEADER); /* recovery, which checks it itself */
		return SQLITE_OK;
	}
	if (len != DB_CHECKSUM_PAGE || !frame_at(at, &frame))
		return SQLITE_OK;
	pthread_mutex_lock(&c->lock);
	if (frame < c->frame_count)
		want = c->frames[frame];
	pthread_mutex_unlock(&c->lock);
	return want && want != (KNOWN | db_page_crc(0, buf, DB_CHECKSUM_PAGE))
		       ? found(c, "the log's frame", frame, at)
		       : SQLITE_OK;
}

/* ---- Files ---- */

static bool whole_page(const struct file *f, int len, sqlite3_int64 at)
{
	return f->kind == FILE_PAGES && len == DB_CHECKSUM_PAGE && at % DB_CHECKSUM_PAGE == 0;
}

static int file_read(sqlite3_file *base, void *buf, int len, sqlite3_int64 at)
{
	struct file *f = file_of(base);
	uint64_t number = (uint64_t)at / DB_CHECKSUM_PAGE + 1;
	int r = f->real->pMethods->xRead(f->real, buf, len, at);

	if (r != SQLITE_OK)
		return r;
	if (f->kind == FILE_LOG)
		return log_read(f->owner, buf, len, at);
	return whole_page(f, len, at) && !db_page_good(number, buf)
		       ? found(f->owner, "page", number, at)
		       : SQLITE_OK;
}

static int file_write(sqlite3_file *base, const void *buf, int len, sqlite3_int64 at)
{
	struct file *f = file_of(base);
	uint8_t page[DB_CHECKSUM_PAGE];
	int r;

	if (whole_page(f, len, at)) {
		memcpy(page, buf, sizeof(page));
		db_page_seal((uint64_t)at / DB_CHECKSUM_PAGE + 1, page);
		buf = page;
	}
	r = f->real->pMethods->xWrite(f->real, buf, len, at);
	if (f->kind == FILE_LOG)
		log_written(f->owner, r == SQLITE_OK ? buf : NULL, len, at);
	return r;
}

#define PASS(name, parameters, ...)                                                                \
	static int file_##name parameters                                                          \
	{                                                                                          \
		sqlite3_file *real = file_of(base)->real;                                          \
		return real->pMethods->name(real, ##__VA_ARGS__);                                  \
	}
PASS(xTruncate, (sqlite3_file * base, sqlite3_int64 size), size)
PASS(xSync, (sqlite3_file * base, int flags), flags)
PASS(xFileSize, (sqlite3_file * base, sqlite3_int64 *size), size)
PASS(xLock, (sqlite3_file * base, int level), level)
PASS(xUnlock, (sqlite3_file * base, int level), level)
PASS(xCheckReservedLock, (sqlite3_file * base, int *out), out)
PASS(xFileControl, (sqlite3_file * base, int op, void *arg), op, arg)
PASS(xSectorSize, (sqlite3_file * base))
PASS(xDeviceCharacteristics, (sqlite3_file * base))
PASS(xShmMap, (sqlite3_file * base, int page, int size, int extend, void volatile **out), page,
     size, extend, out)
PASS(xShmLock, (sqlite3_file * base, int offset, int n, int flags), offset, n, flags)
PASS(xShmUnmap, (sqlite3_file * base, int remove), remove)

static void file_xShmBarrier(sqlite3_file *base)
{
	sqlite3_file *real = file_of(base)->real;

	real->pMethods->xShmBarrier(real);
}

static int file_close(sqlite3_file *base)
{
	sqlite3_file *real = file_of(base)->real;

	return real->pMethods ? real->pMethods->xClose(real) : SQLITE_OK;
}

/* Version 2: without xFetch nothing is read past us through a memory map. */
static const sqlite3_io_methods methods = { .iVersion = 2,
					    .xClose = file_close,
					    .xRead = file_read,
					    .xWrite = file_write,
					    .xTruncate = file_xTruncate,
					    .xSync = file_xSync,
					    .xFileSize = file_xFileSize,
					    .xLock = file_xLock,
					    .xUnlock = file_xUnlock,
					    .xCheckReservedLock = file_xCheckReservedLock,
					    .xFileControl = file_xFileControl,
					    .xSectorSize = file_xSectorSize,
					    .xDeviceCharacteristics = file_xDeviceCharacteristics,
					    .xShmMap = file_xShmMap,
					    .xShmLock = file_xShmLock,
					    .xShmBarrier = file_xShmBarrier,
					    .xShmUnmap = file_xShmUnmap };

/* ---- The VFS ---- */

static struct db_checksum *owner_of(sqlite3_vfs *vfs)
{
	return vfs->pAppData;
}

static int vfs_open(sqlite3_vfs *vfs, const char *path, sqlite3_file *base, int flags,
		    int *out_flags)
{
	struct db_checksum *c = owner_of(vfs);
	struct file *f = file_of(base);
	int r;

	*f = (struct file){ .owner = c, .real = (sqlite3_file *)(f + 1) };
	f->kind = flags & SQLITE_OPEN_MAIN_DB ? FILE_PAGES
		  : flags & SQLITE_OPEN_WAL   ? FILE_LOG
					      : FILE_OTHER;
	r = c->real->xOpen(c->real, path, f->real, flags, out_flags);
	if (f->real->pMethods)
		f->base.pMethods = &methods;
	return r;
}

static int vfs_delete(sqlite3_vfs *vfs, const char *path, int sync)
{
	return owner_of(vfs)->real->xDelete(owner_of(vfs)->real, path, sync);
}

static int vfs_access(sqlite3_vfs *vfs, const char *path, int flags, int *out)
{
	return owner_of(vfs)->real->xAccess(owner_of(vfs)->real, path, flags, out);
}

static int vfs_full(sqlite3_vfs *vfs, const char *path, int len, char *out)
{
	return owner_of(vfs)->real->xFullPathname(owner_of(vfs)->real, path, len, out);
}

static int vfs_random(sqlite3_vfs *vfs, int len, char *out)
{
	return owner_of(vfs)->real->xRandomness(owner_of(vfs)->real, len, out);
}

static int vfs_sleep(sqlite3_vfs *vfs, int us)
{
	return owner_of(vfs)->real->xSleep(owner_of(vfs)->real, us);
}

static int vfs_time(sqlite3_vfs *vfs, double *out)
{
	return owner_of(vfs)->real->xCurrentTime(owner_of(vfs)->real, out);
}

static int vfs_error(sqlite3_vfs *vfs, int len, char *out)
{
	return owner_of(vfs)->real->xGetLastError(owner_of(vfs)->real, len, out);
}

int db_checksum_new(struct db_checksum **out, struct err *err)
{
	struct db_checksum *c = calloc(1, sizeof(*c));
	sqlite3_vfs *real = sqlite3_vfs_find(NULL);
	char random[17];

	if (!c || !real) {
		free(c);
		return err_set(err, ENOMEM, "checksums of the catalogue");
	}
	hex_random(random, 8);
	snprintf(c->name, sizeof(c->name), "godwit-%s", random);
	pthread_mutex_init(&c->lock, NULL);
	c->real = real;
	c->vfs = (sqlite3_vfs){ .iVersion = 1,
				.szOsFile = (int)sizeof(struct file) + real->szOsFile,
				.mxPathname = real->mxPathname,
				.zName = c->name,
				.pAppData = c,
				.xOpen = vfs_open,
				.xDelete = vfs_delete,
				.xAccess = vfs_access,
				.xFullPathname = vfs_full,
				.xRandomness = vfs_random,
				.xSleep = vfs_sleep,
				.xCurrentTime = vfs_time,
				.xGetLastError = vfs_error };
	if (sqlite3_vfs_register(&c->vfs, 0) != SQLITE_OK) {
		db_checksum_free(c);
		return err_set(err, ENOMEM, "checksums of the catalogue");
	}
	*out = c;
	return 0;
}

void db_checksum_free(struct db_checksum *c)
{
	if (!c)
		return;
	sqlite3_vfs_unregister(&c->vfs);
	pthread_mutex_destroy(&c->lock);
	free(c->frames);
	free(c);
}

const char *db_checksum_vfs(const struct db_checksum *c)
{
	return c->name;
}
