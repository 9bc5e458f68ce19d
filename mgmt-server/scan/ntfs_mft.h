/* ntfs_mft.h - the master file table read straight: what each file is called and what its contents depend on.
 *
 * libfsntfs takes tens of microseconds for a record; here it is one, so that a volume of which little changed costs
 * little. Only plain records are understood: whatever is unusual (attribute lists, damage, names that are not valid
 * UTF-16) is left to libfsntfs and is never taken for unchanged. Source: [MS-FSCC]; libfsntfs's format description.
 */
#ifndef GODWIT_SCAN_NTFS_MFT_H
#define GODWIT_SCAN_NTFS_MFT_H

#include "mgmt-server/scan/name_tree.h"
#include "mgmt-server/scan/reader.h"

struct ntfs_mft;

enum ntfs_mft_kind {
	NTFS_MFT_UNUSED, /* free, or the continuation of another record */
	NTFS_MFT_PLAIN,
	NTFS_MFT_ODD, /* libfsntfs must look */
};

enum { NTFS_MFT_NOT_PLAIN = 1 }; /* the table itself is unusual */

/**
 * ntfs_mft_read(out, reader, names, err):
 * Read all records; the names of plain ones are added to @names.
 *
 * Return 0, NTFS_MFT_NOT_PLAIN, or -errno.
 */
int ntfs_mft_read(struct ntfs_mft **out, struct reader *reader, struct name_tree *names,
		  struct err *err);
void ntfs_mft_free(struct ntfs_mft *mft);
DEFINE_CLEANUP(struct ntfs_mft *, ntfs_mft_free);

/* Records beyond the table's end are odd. */
enum ntfs_mft_kind ntfs_mft_kind(const struct ntfs_mft *mft, uint64_t record);

/* FILE_DIGEST_LEN bytes; NULL: the record is not plain, or no earlier scan is known. *touched: a cluster of one of its
 * attributes changed. */
const uint8_t *ntfs_mft_digest(const struct ntfs_mft *mft, uint64_t record, bool *touched);

typedef int ntfs_mft_run_fn(void *arg, uint64_t at, uint64_t len, uint64_t offset);
/**
 * ntfs_mft_runs(mft, record, size, fn, arg):
 * Where the file's main data is in the volume, if those @size bytes are exactly what its clusters hold: nothing of it is
 * resident, compressed, encrypted, sparse, behind a reparse point or not written yet.
 *
 * fn  called for each run, at @offset of the file, until it does not return 0; the last one is cut off at @size
 *
 * Return 0; NTFS_MFT_NOT_PLAIN, and @fn was not called; or what @fn returned.
 */
int ntfs_mft_runs(const struct ntfs_mft *mft, uint64_t record, uint64_t size, ntfs_mft_run_fn *fn,
		  void *arg);

#endif
