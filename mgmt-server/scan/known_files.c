#include "mgmt-server/scan/known_files.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/io.h"

struct header {
	uint64_t mode, changed_count, file_count;
};

int known_files_send(const struct known_files *k, struct err *err)
{
	const struct header h = { .mode = k->mode,
				  .changed_count = k->changed_count,
				  .file_count = k->file_count };
	size_t changed = k->changed_count * sizeof(*k->changed),
	       files = k->file_count * sizeof(*k->files);
	CLEANUP_FD int fd = memfd_create("known-files", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	int r = fd < 0 ? -errno : io_write_full(fd, &h, sizeof(h));

	if (r == 0 && changed)
		r = io_write_full(fd, k->changed, changed);
	if (r == 0 && files)
		r = io_write_full(fd, k->files, files);
	if (r == 0 &&
	    fcntl(fd, F_ADD_SEALS, F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE) < 0)
		r = -errno;
	if (r < 0)
		return err_set(err, -r, "tell a reader what is known");
	return TAKE_FD(fd);
}

int known_files_map(struct known_files *k, int fd, struct err *err)
{
	const struct header *h;
	struct stat st;

	*k = (struct known_files){ 0 };
	if (fstat(fd, &st) < 0 || (size_t)st.st_size < sizeof(*h))
		return err_say(err, EBADMSG, "what is known of the volume did not arrive");
	k->map_len = (size_t)st.st_size;
	k->map = mmap(NULL, k->map_len, PROT_READ, MAP_PRIVATE, fd, 0);
	if (k->map == MAP_FAILED) {
		k->map = NULL;
		return err_set(err, errno, "map what is known of the volume");
	}
	h = k->map;
	k->mode = (enum known_files_mode)h->mode;
	k->changed = (const struct volume_extent *)(h + 1);
	k->changed_count = h->changed_count;
	k->files = (const struct known_file *)(k->changed + k->changed_count);
	k->file_count = h->file_count;
	if (sizeof(*h) + k->changed_count * sizeof(*k->changed) +
		    k->file_count * sizeof(*k->files) !=
	    k->map_len) {
		known_files_unmap(k);
		return err_say(err, EBADMSG, "what is known of the volume arrived in pieces");
	}
	return 0;
}

void known_files_unmap(struct known_files *k)
{
	if (k->map)
		munmap(k->map, k->map_len);
	*k = (struct known_files){ 0 };
}

const struct known_file *known_files_find(const struct known_files *k, uint64_t inode)
{
	size_t low = 0, high = k->file_count;

	while (low < high) {
		size_t middle = low + (high - low) / 2;

		if (k->files[middle].inode < inode)
			low = middle + 1;
		else
			high = middle;
	}
	return low < k->file_count && k->files[low].inode == inode ? &k->files[low] : NULL;
}
