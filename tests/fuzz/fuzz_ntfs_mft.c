/* Damaged master file tables: ntfs_mft_read ends, and every record is of a kind. An input is a small volume as
 * fuzz_reader_ext.c has it: u32 size in KiB, then sectors that are not zero (tests/fuzz/pack_sectors.py makes one).
 */
#include <stdlib.h>
#include <string.h>

#include "mgmt-server/scan/ntfs_mft.h"
#include "tests/lib/reader_sink.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { SECTOR = 512, KIB_MAX = 2048, RECORD = 2 + SECTOR, ROOT = 5, RECORDS = 4096 };

struct given {
	uint64_t volume, offset, size;
};

/* Within the volume and the file, one behind the other. */
static int run_given(void *arg, uint64_t at, uint64_t len, uint64_t offset)
{
	struct given *g = arg;

	if (!len || at > g->volume || len > g->volume - at || offset != g->offset ||
	    len > g->size - offset)
		abort();
	g->offset += len;
	return 0;
}

static void look_at_runs(const struct ntfs_mft *mft, uint64_t record, uint64_t volume,
			 uint64_t last)
{
	const uint64_t sizes[] = { 1, 4096, 10000, 300000, last };

	for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		struct given given = { .volume = volume, .size = sizes[i] };
		int r = ntfs_mft_runs(mft, record, sizes[i], run_given, &given);

		if (r == 0 ? given.offset != sizes[i] : r != NTFS_MFT_NOT_PLAIN || given.offset)
			abort();
	}
}

static void look_at_all(const struct ntfs_mft *mft, const struct name_tree *names, uint64_t volume,
			uint32_t last)
{
	char path[512];

	for (uint64_t i = 0; i < RECORDS; i++) {
		bool touched;
		const uint8_t *digest = ntfs_mft_digest(mft, i, &touched);

		if ((digest != NULL) != (ntfs_mft_kind(mft, i) == NTFS_MFT_PLAIN))
			abort();
		if (name_tree_path(names, i, ROOT, path, sizeof(path)) > sizeof(path))
			abort();
		if (digest)
			look_at_runs(mft, i, volume, last);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	CLEANUP(name_tree_free) struct name_tree *names = name_tree_new();
	CLEANUP(ntfs_mft_free) struct ntfs_mft *mft = NULL;
	static uint8_t image[KIB_MAX << 10];
	struct reader *reader;
	struct err err = { 0 };
	uint32_t kib, last;
	size_t len;

	if (size < 4 || !names)
		return 0;
	memcpy(&kib, data, sizeof(kib));
	memcpy(&last, data + size - 4, sizeof(last));
	len = (size_t)(kib % KIB_MAX + 1) << 10;
	memset(image, 0, len);
	for (size_t at = 4; at + RECORD <= size; at += RECORD) {
		size_t sector = data[at] | (size_t)data[at + 1] << 8;

		if ((sector + 1) * SECTOR <= len)
			memcpy(image + sector * SECTOR, data + at + 2, SECTOR);
	}
	reader = reader_sink_new(image, len, sizeof(image));
	if (ntfs_mft_read(&mft, reader, names, &err) == 0)
		look_at_all(mft, names, len, last);
	reader_sink_end(reader);
	return 0;
}
