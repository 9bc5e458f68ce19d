/* ntfs_reparse.h - what a reparse point says of where a file's contents are.
 *
 * A file with one is opened through a driver of Windows, which may have the contents elsewhere: in a stream of the file
 * (CompactOS), in the volume's chunk store (deduplication), in the cloud. Its data on disk is then zeros or a part. Only
 * tags that are known to leave the data where it is are taken for plain files; all others make a scan incomplete.
 * Source: [MS-FSCC] 2.1.2; Windows' headers for tags.
 */
#ifndef GODWIT_SCAN_NTFS_REPARSE_H
#define GODWIT_SCAN_NTFS_REPARSE_H

#include <stddef.h>
#include <stdint.h>

enum ntfs_reparse_where {
	NTFS_REPARSE_HERE, /* the file's own data is what Windows shows, or it names another file */
	NTFS_REPARSE_COMPACT,   /* in the stream WofCompressedData */
	NTFS_REPARSE_CLOUD,     /* here when all of it is */
	NTFS_REPARSE_ELSEWHERE, /* not to be had from the file */
};

struct ntfs_reparse {
	enum ntfs_reparse_where where;
	uint32_t tag, algorithm; /* of CompactOS */
	const char *what;        /* for people: who has the contents */
};

enum { NTFS_REPARSE_LEN_MAX = 16 << 10 }; /* bytes of a reparse point */

/* @value: the attribute, whole. */
struct ntfs_reparse ntfs_reparse_parse(const uint8_t *value, size_t len);

#endif
