/* db_page.c - see db_page.h and db_checksum.h: checksums in files that nobody has open. */
#include "mgmt-server/catalogue/db_page.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/io.h"
#include "snapshot/crc32c.h"

enum { BODY = DB_CHECKSUM_PAGE - DB_CHECKSUM_RESERVED, HEADER_RESERVED_AT = 20 };

static const uint8_t magic[4] = { 0xC5, 0x97, 0xE1, 0x01 }; /* no text has these bytes */

uint32_t db_page_crc(uint64_t number, const void *page, size_t len)
{
	uint8_t head[8];
	size_t i;

	for (i = 0; i < sizeof(head); i++)
		head[i] = (uint8_t)(number >> 8 * i);
	return crc32c(crc32c(0, head, sizeof(head)), page, len);
}

static bool is_zero(const uint8_t *data, size_t len)
{
	return data[0] == 0 && memcmp(data, data + 1, len - 1) == 0;
}

void db_page_seal(uint64_t number, uint8_t page[DB_CHECKSUM_PAGE])
{
	uint32_t crc = db_page_crc(number, page, BODY);
	size_t i;

	memcpy(page + BODY, magic, sizeof(magic));
	for (i = 0; i < 4; i++)
		page[BODY + 4 + i] = (uint8_t)(crc >> 8 * i);
}

bool db_page_good(uint64_t number, const uint8_t page[DB_CHECKSUM_PAGE])
{
	uint8_t sealed[DB_CHECKSUM_PAGE];

	memcpy(sealed, page, BODY);
	db_page_seal(number, sealed);
	return memcmp(sealed, page, sizeof(sealed)) == 0 || is_zero(page, DB_CHECKSUM_PAGE);
}

int db_checksum_state(const char *path, enum db_checksum_state *state, struct err *err)
{
	CLEANUP_FD int fd = open(path, O_RDONLY | O_CLOEXEC);
	uint8_t page[DB_CHECKSUM_PAGE] = { 0 };
	ssize_t n;

	*state = DB_CHECKSUM_NEW;
	if (fd < 0)
		return errno == ENOENT ? 0 : err_set(err, errno, "open %s", path);
	n = pread(fd, page, sizeof(page), 0);
	if (n < 0)
		return err_set(err, errno, "read %s", path);
	if (n == 0)
		return 0;
	if (memcmp(page + BODY, magic, sizeof(magic)) == 0)
		*state = DB_CHECKSUM_SEALED;
	else if (page[HEADER_RESERVED_AT] != DB_CHECKSUM_RESERVED)
		*state = DB_CHECKSUM_PLAIN;
	else
		*state = is_zero(page + BODY, DB_CHECKSUM_RESERVED) ? DB_CHECKSUM_ROOM
								    : DB_CHECKSUM_SEALED;
	return 0;
}

/* ---- Sealing ---- */

static int seal_into(int in, int out, struct err *err)
{
	uint8_t page[DB_CHECKSUM_PAGE];
	uint64_t number;
	int r;

	for (number = 1;; number++) {
		ssize_t n = pread(in, page, sizeof(page), (off_t)((number - 1) * sizeof(page)));

		if (n == 0)
			break;
		if (n != sizeof(page))
			return n < 0 ? err_set(err, errno, "read page %llu",
					       (unsigned long long)number)
				     : err_say(err, EBADMSG, "page %llu is cut off",
					       (unsigned long long)number);
		if (!is_zero(page, sizeof(page)))
			db_page_seal(number, page);
		r = io_write_full(out, page, sizeof(page));
		if (r < 0)
			return err_set(err, -r, "write page %llu", (unsigned long long)number);
	}
	return fsync(out) < 0 ? err_set(err, errno, "fsync") : 0;
}

int db_checksum_seal(const char *path, struct err *err)
{
	CLEANUP_FREE char *copy = io_printf("%s.sealed", path);
	CLEANUP_FD int in = open(path, O_RDONLY | O_CLOEXEC), out = -1;
	int r;

	if (!copy || in < 0)
		return err_set(err, copy ? errno : ENOMEM, "open %s", path);
	out = open(copy, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	if (out < 0)
		return err_set(err, errno, "create %s", copy);
	r = seal_into(in, out, err);
	if (r == 0 && rename(copy, path) < 0)
		r = err_set(err, errno, "rename %s", copy);
	if (r == 0)
		r = io_sync_parent(path, err);
	return r < 0 ? err_wrap(err, r, "checksums for %s", path) : 0;
}

/* ---- The log ---- */

struct log {
	int fd;
	const char *path;
	bool big_endian; /* of the checksums' words */
	uint8_t salts[8];
	uint8_t frame[DB_PAGE_FRAME];
	uint32_t sum[2]; /* that the frame before says it has */
};

static uint32_t be32(const uint8_t *p)
{
	return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

static uint32_t word(const struct log *log, const uint8_t *p)
{
	return log->big_endian
		       ? be32(p)
		       : (uint32_t)p[3] << 24 | (uint32_t)p[2] << 16 | (uint32_t)p[1] << 8 | p[0];
}

static void add(const struct log *log, uint32_t sum[2], const uint8_t *data, size_t len)
{
	for (size_t i = 0; i < len; i += 8) {
		sum[0] += word(log, data + i) + sum[1];
		sum[1] += word(log, data + i + 4) + sum[0];
	}
}

/* Does log->frame follow a frame that had log->sum? */
static bool frame_fits(const struct log *log)
{
	uint32_t sum[2] = { log->sum[0], log->sum[1] };

	add(log, sum, log->frame, 8);
	add(log, sum, log->frame + DB_PAGE_FRAME_HEADER, DB_CHECKSUM_PAGE);
	return memcmp(log->frame + 8, log->salts, sizeof(log->salts)) == 0 &&
	       be32(log->frame + 16) == sum[0] && be32(log->frame + 20) == sum[1];
}

static bool log_next(struct log *log, uint64_t i)
{
	return io_pread_full(log->fd, log->frame, sizeof(log->frame),
			     DB_PAGE_LOG_HEADER + i * DB_PAGE_FRAME) == 0;
}

/* Frames are chained by their sums, so one after a bad one can still be told from garbage: by what the bad one says. */
static int walk(struct log *log, struct err *err)
{
	uint64_t i, bad = 0;
	bool any = false, ended = false; /* a bad one; the transaction that it is in */

	for (i = 0; log_next(log, i); i++) {
		bool fits = frame_fits(log);

		if (fits && ended)
			return err_say(
				err, EBADMSG,
				"%s: frame %llu (byte %llu) is damaged, and later transactions "
				"follow it",
				log->path, (unsigned long long)bad,
				(unsigned long long)(DB_PAGE_LOG_HEADER + bad * DB_PAGE_FRAME));
		if (!fits && !any) {
			any = true;
			bad = i;
		}
		ended |= any && be32(log->frame + 4) != 0 &&
			 memcmp(log->frame + 8, log->salts, sizeof(log->salts)) == 0;
		log->sum[0] = be32(log->frame + 16);
		log->sum[1] = be32(log->frame + 20);
	}
	return 0;
}

int db_checksum_wal(const char *path, struct err *err)
{
	CLEANUP_FREE char *name = io_printf("%s-wal", path);
	CLEANUP_FREE struct log *log = calloc(1, sizeof(*log));
	CLEANUP_FD int fd = name ? open(name, O_RDONLY | O_CLOEXEC) : -1;
	uint8_t header[DB_PAGE_LOG_HEADER];
	bool good;

	if (!name || !log)
		return err_set(err, ENOMEM, "look at the log of %s", path);
	if (fd < 0)
		return errno == ENOENT ? 0 : err_set(err, errno, "open %s", name);
	if (io_pread_full(fd, header, sizeof(header), 0) != 0)
		return 0; /* nothing was committed through it */
	log->fd = fd;
	log->path = name;
	log->big_endian = header[3] & 1;
	memcpy(log->salts, header + 16, sizeof(log->salts));
	add(log, log->sum, header, 24);
	good = (be32(header) & ~1u) == 0x377f0682 && be32(header + 8) == DB_CHECKSUM_PAGE &&
	       log->sum[0] == be32(header + 24) && log->sum[1] == be32(header + 28);
	if (!good && log_next(log, 0) && be32(log->frame) != 0)
		return err_say(err, EBADMSG,
			       "%s: its header is damaged, and transactions follow it", name);
	return good ? walk(log, err) : 0;
}
