#include "snapshot/file_input.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/io.h"

enum { READ_AHEAD = 32 << 20 }; /* bytes that are asked for before they are needed */

struct file_input {
	char *path;
	int fd;
	uint64_t size;
	atomic_uint_fast64_t asked; /* read-ahead was requested up to here */
};

int file_input_open(struct file_input **out, const char *path, struct err *err)
{
	CLEANUP(file_input_close) struct file_input *input = calloc(1, sizeof(*input));
	struct stat st;
	off_t end;

	if (!input)
		return err_set(err, ENOMEM, "open %s", path);
	input->fd = -1;
	input->path = strdup(path);
	if (!input->path)
		return err_set(err, ENOMEM, "open %s", path);
	/* Not blocking, as nobody may ever open the other end of a pipe; for files and disks it means nothing. */
	input->fd = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
	if (input->fd < 0 || fstat(input->fd, &st) < 0)
		return err_set(err, errno, "open %s", path);
	if (!S_ISREG(st.st_mode) && !S_ISBLK(st.st_mode))
		return err_say(err, EINVAL, "%s is neither a file nor a disk", path);
	/* Works for block devices, too, whose st_size is 0. */
	end = lseek(input->fd, 0, SEEK_END);
	if (end < 0)
		return err_set(err, errno, "find the size of %s", path);
	input->size = (uint64_t)end;
	*out = TAKE(input);
	return 0;
}

void file_input_close(struct file_input *input)
{
	if (!input)
		return;
	base_close(input->fd);
	free(input->path);
	free(input);
}

/* Keep the disk busy while the processors work. Threads read more or less one after the other; which of them asks for the
 * next stretch does not matter, and asking twice costs nothing.
 */
static void read_ahead(struct file_input *input, uint64_t offset)
{
	uint64_t asked = atomic_load(&input->asked);

	if (asked > offset + READ_AHEAD || asked < offset)
		asked = offset; /* the first time, or after a jump */
	if (asked > offset + READ_AHEAD / 2 || asked >= input->size)
		return;
	atomic_store(&input->asked, asked + READ_AHEAD);
	posix_fadvise(input->fd, (off_t)asked, READ_AHEAD, POSIX_FADV_WILLNEED);
}

static int read_at(void *ctx, uint8_t *buf, size_t len, uint64_t offset, struct err *err)
{
	struct file_input *input = ctx;
	int r;

	read_ahead(input, offset);
	r = io_pread_full(input->fd, buf, len, offset);
	if (r == IO_SHORT)
		return err_say(err, EIO, "%s became shorter while it was read", input->path);
	return r < 0 ? err_set(err, -r, "read %zu bytes at %llu of %s", len,
			       (unsigned long long)offset, input->path)
		     : 0;
}

static int extent(void *ctx, uint64_t offset, uint64_t *len, bool *zero, struct err *err)
{
	struct file_input *input = ctx;
	off_t data = lseek(input->fd, (off_t)offset, SEEK_DATA), hole;

	if (data < 0 && errno == ENXIO) { /* nothing but a hole up to the end */
		*zero = true;
		*len = input->size - offset;
		return 0;
	}
	if (data < 0 && errno != EINVAL)
		return err_set(err, errno, "find holes in %s", input->path);
	if (data > (off_t)offset) {
		*zero = true;
		*len = (uint64_t)data - offset;
		return 0;
	}
	/* Block devices and some file systems know no holes: then all is data. */
	hole = data < 0 ? (off_t)input->size : lseek(input->fd, (off_t)offset, SEEK_HOLE);
	if (hole <= (off_t)offset || hole > (off_t)input->size)
		hole = (off_t)input->size;
	*zero = false;
	*len = (uint64_t)hole - offset;
	return 0;
}

struct volume_input file_input_volume(struct file_input *input)
{
	return (struct volume_input){
		.ctx = input, .size = input->size, .read = read_at, .extent = extent
	};
}
