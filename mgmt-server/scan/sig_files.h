/* sig_files.h - the files of a signature folder: which belong to it, how old they are, and a digest that names the set.
 *
 * A file from ClamAV (.cvd, .cld) says itself when it was built, another one is as old as its modification time.
 * Source: libclamav's cvd.c for the header ("ClamAV-VDB:" and fields between colons, 512 bytes).
 */
#ifndef GODWIT_SCAN_SIG_FILES_H
#define GODWIT_SCAN_SIG_FILES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/base.h"
#include "common/err.h"

struct sig_file {
	char name[128];
	uint64_t bytes;
	uint64_t built_s; /* seconds since 1970 */
	uint64_t version; /* of a .cvd or .cld; 0: it has none */
};

struct sig_files {
	struct sig_file *files; /* by name */
	size_t count;
	uint64_t built_s; /* of the newest */
	char digest[65];  /* SHA-256 of all names, sizes and times */
};

/* Would libclamav load a file of that name, and is the name harmless? */
bool sig_files_name_valid(const char *name);

/* Return 0; -ENOENT: the folder is not there or holds no signatures; -errno. */
int sig_files_list(const char *folder, struct sig_files *out, struct err *err);
void sig_files_deinit(struct sig_files *files);

/* header: the first @len bytes of a .cvd or .cld. Return 0, or -EINVAL. */
int sig_files_header(const char *header, size_t len, uint64_t *version, uint64_t *built_s);

#endif
