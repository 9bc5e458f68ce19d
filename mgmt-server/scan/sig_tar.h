/* sig_tar.h - the regular files of a tar archive, one after another, with every length checked before it is believed.
 *
 * Understood are ustar and GNU archives of plain files and folders. Links, devices and names that do not fit a header
 * are refused, not skipped: a bundle of signatures has none. Source: POSIX.1-2017 pax, "ustar Interchange Format".
 */
#ifndef GODWIT_SCAN_SIG_TAR_H
#define GODWIT_SCAN_SIG_TAR_H

#include <stddef.h>
#include <stdint.h>

#include "common/err.h"

enum { SIG_TAR_NAME_MAX = 101 };

struct sig_tar_order {
	/* Up to @len bytes; return how many, 0 at the end, -errno. */
	int (*read)(void *arg, uint8_t *buf, size_t len);
	/* A file begins. name: without its folders. Return 0, SIG_TAR_SKIP, -errno. */
	int (*file)(void *arg, const char *name, uint64_t size, uint64_t modified_s,
		    struct err *err);
	int (*data)(void *arg, const uint8_t *buf, size_t len, struct err *err);
	int (*end)(void *arg, struct err *err); /* of that file */
	void *arg;
	uint64_t max_bytes; /* of all files together */
};
enum { SIG_TAR_SKIP = 1 };

/* Return 0, -EINVAL: this is no such archive, with the reason; -EFBIG; -errno of a callback. */
int sig_tar_read(const struct sig_tar_order *order, struct err *err);

#endif
