/* io.h - reading and writing that finishes what it began.
 *
 * Short counts and EINTR are handled here and nowhere else. Files that must be whole or absent are replaced:
 * temp file → fdatasync → rename → fsync of the folder, so that a power cut leaves the old or the new bytes.
 */
#ifndef GODWIT_COMMON_IO_H
#define GODWIT_COMMON_IO_H

#include <stdint.h>
#include <stddef.h>
#include <sys/types.h>

#include "common/base.h"
#include "common/err.h"

enum { IO_SHORT = 1 }; /* outcome: the file ended first */

/*
 * Read exactly @len bytes. Return 0, IO_SHORT, or -errno (no text: the caller knows what it reads). These four are for
 * blocking descriptors: one that does not block ends a transfer half-way with -EAGAIN.
 */
int io_read_full(int fd, void *buf, size_t len);
int io_pread_full(int fd, void *buf, size_t len, uint64_t offset);

/* Write exactly @len bytes. Return 0 or -errno. */
int io_write_full(int fd, const void *buf, size_t len);
int io_pwrite_full(int fd, const void *buf, size_t len, uint64_t offset);

/**
 * io_read_file(path, max, out, len, err):
 * out  a new buffer, one zero byte behind its @len bytes; the caller's
 *
 * Return 0, -EFBIG when the file is larger than @max, or -errno.
 */
int io_read_file(const char *path, size_t max, uint8_t **out, size_t *len, struct err *err);

/**
 * io_replace_file(path, data, len, mode, err):
 * Replace @path as a whole, durably. mode: permission bits of the new file (0600 for secrets).
 *
 * Return 0 or -errno; then the old file is untouched. (Only when the very last step fails, the fsync of the folder, is
 * the new file there already; a power cut decides which one stays.) A crash can leave ".NAME.XXXXXX.tmp" behind.
 */
int io_replace_file(const char *path, const void *data, size_t len, mode_t mode, struct err *err);

/* Remove what crashes of io_replace_file left in a folder that nobody else is writing to. Return 0 or -errno. */
int io_remove_leftovers(const char *folder, struct err *err);

/* fsync the folder that holds @path, so that a rename in it is durable. */
int io_sync_parent(const char *path, struct err *err);
int io_sync_folder(const char *path, struct err *err);

/* mkdir -p: @mode (less the umask) for each folder that is made. Return 0 or -errno. */
int io_make_folders(const char *path, mode_t mode, struct err *err);

/* As many files open at once as this process may have: what it gets at first is for programs that use select(2). */
void io_allow_many_files(void);

/* printf into a new string, the caller's; NULL: out of memory. */
char *io_printf(const char *format, ...) __attribute__((format(printf, 1, 2)));

#endif
