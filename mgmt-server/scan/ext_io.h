/* ext_io.h - what libext2fs reads a file system through, and writes it if it may: functions in place of a device.
 *
 * The functions know their volume themselves: whoever gives them has one at a time. A process may have several such
 * tables open (a mender reads with one and writes with another), but opens from one thread only.
 */
#ifndef GODWIT_SCAN_EXT_IO_H
#define GODWIT_SCAN_EXT_IO_H

#include <ext2fs/ext2fs.h>
#include <stddef.h>
#include <stdint.h>

/* Each returns 0 or -errno. */
struct ext_io {
	/* @len bytes at @offset; also the superblock, before the block size is known */
	int (*read)(void *buf, size_t len, uint64_t offset);
	/* @count blocks from @block on; NULL: they are read as bytes */
	int (*read_blocks)(void *buf, unsigned blocksize, uint64_t block, unsigned count);
	/* NULL: EROFS */
	int (*write)(const void *buf, size_t len, uint64_t offset);
};

/* ext2fs_open2() with @flags over @io, which must outlive *fs. Return 0 or libext2fs's code (error_message()). */
errcode_t ext_io_open(ext2_filsys *fs, const struct ext_io *io, int flags);

#endif
