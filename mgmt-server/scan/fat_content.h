/* fat_content.h - one file of a FAT volume is reported, with its contents.
 *
 * Its chain of clusters is walked twice: to see how much of it can be read and whether it changed since an earlier scan,
 * which has to be said first, and to read it.
 */
#ifndef GODWIT_SCAN_FAT_CONTENT_H
#define GODWIT_SCAN_FAT_CONTENT_H

#include "mgmt-server/scan/fat_entries.h"
#include "mgmt-server/scan/fat_volume.h"
#include "mgmt-server/scan/reader.h"

struct fat_content {
	struct reader *reader;
	const struct fat_volume *volume;
	uint8_t *piece;             /* FAT_CONTENT_PIECE bytes */
	struct file_digest *digest; /* NULL: nobody wants to know whether a file changed */
	/* Bytes that may still be walked. An honest volume has each once; a hostile one has millions of files on the same. */
	uint64_t budget;
};

enum {
	FAT_CONTENT_PIECE = 1 << 20,
	FAT_CONTENT_TIMES = 8 /* budget: so often the volume's size */
};

struct fat_content_file {
	const struct fat_entry *entry;
	uint64_t inode;
	const char *path;
	size_t path_len;
};

/* The stretches of the volume that hold the first @len bytes of a file, in their order (fat_volume.h). */
void fat_content_runs(const struct fat_content *c, const struct fat_entry *entry, uint64_t len,
		      struct fat_chain *out);

/* Return 0, or -errno when the parent is gone. */
int fat_content_report(struct fat_content *c, const struct fat_content_file *file, struct err *err);

#endif
