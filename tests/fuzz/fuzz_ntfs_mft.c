/* Damaged master file tables: ntfs_mft_read ends, and every record is of a kind. An input is a small volume
 * without its zeros (tests/lib/packed_sectors.h).
 */
#include <stdlib.h>

#include "common/le.h"
#include "mgmt-server/scan/ntfs_mft.h"
#include "tests/lib/packed_sectors.h"
#include "tests/lib/reader_sink.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { ROOT = 5, RECORDS = 4096, DATA_MAX = 2 << 20 };

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
	size_t len;
	const uint8_t *image = packed_sectors_unpack(data, size, &len);
	struct reader *reader;
	struct err err = { 0 };

	if (!image || !names)
		return 0;
	reader = reader_sink_new(image, len, DATA_MAX);
	if (ntfs_mft_read(&mft, reader, names, &err) == 0)
		look_at_all(mft, names, len, le_get32(data + size - 4));
	reader_sink_end(reader);
	return 0;
}
