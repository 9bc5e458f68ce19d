/* watch_files.h - which files of a file system were encrypted between two snapshots of it?
 *
 * Three walks: the earlier one's names, the later one's names and the contents of what changed, the earlier one's contents of
 * the same files. A file is found again by its path, by its path with something appended, or by its inode. What cannot be
 * found again (new inode, new name) counts only if as many files vanished as random ones of one kind of name came.
 */
#ifndef GODWIT_SCAN_WATCH_FILES_H
#define GODWIT_SCAN_WATCH_FILES_H

#include "mgmt-server/scan/watch_reader.h"

struct watch_files_order {
	const char *libexec, *program;
	const struct volume_input *before, *after;
	uint64_t offset, length;             /* of the partition, in both */
	const struct volume_extent *changed; /* of the volume, ascending */
	size_t changed_count;
	const atomic_bool *cancel;
};

enum { WATCH_FILES_SUFFIX_MAX = 32, WATCH_FILES_EXAMPLES = 10 };

struct watch_files_result {      /* sums over file systems; zero-initialise */
	uint64_t files;          /* that there were */
	uint64_t changed;        /* contents that differ or may differ, new files too */
	uint64_t wholly, partly; /* encrypted, of those whose name has an extension */
	uint64_t unnamed;        /* encrypted, without one: caches and the like among them */
	uint64_t vanished;       /* with an extension, and not found again */
	uint64_t created_random; /* new, random, of no known kind */
	char suffix
		[WATCH_FILES_SUFFIX_MAX]; /* the extension that most encrypted or random new files got */
	uint64_t suffix_count;
	char *examples[WATCH_FILES_EXAMPLES]; /* heap: paths of encrypted files */
	size_t example_count;
};

void watch_files_result_deinit(struct watch_files_result *result);

/* Return 0; WATCH_READER_UNREADABLE with the reason in @err; -ECANCELED; -errno. */
int watch_files(const struct watch_files_order *order, struct watch_files_result *result,
		struct err *err);

#endif
