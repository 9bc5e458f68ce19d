#include "mgmt-server/scan/ntfs_reparse.h"

#include "common/base.h"
#include "common/le.h"

enum {
	HEADER_LEN = 8,
	WOF_LEN = HEADER_LEN +
		  16, /* version, provider, the provider's version, algorithm: 32 bits each */
	WOF_VERSION = 1,
	WOF_PROVIDER_WIM = 1,
	WOF_PROVIDER_FILE = 2,
	WOF_FILE_VERSION = 1,
};

#define TAG_WOF        0x80000017u
#define TAG_CLOUD      0x9000001au
#define TAG_CLOUD_MASK 0xffff0fffu /* sixteen of them */
#define NAMES_ANOTHER  0x20000000u /* symbolic links, mount points and their like */

static const struct {
	uint32_t tag;
	enum ntfs_reparse_where where;
	const char *what;
} tags[] = {
	{ 0x8000001b, NTFS_REPARSE_HERE, "an alias of an app" },
	{ 0x80000014, NTFS_REPARSE_HERE, "a special file of NFS" },
	{ 0x80000023, NTFS_REPARSE_HERE, "a Unix socket" },
	{ 0x80000024, NTFS_REPARSE_HERE, "a pipe of Linux" },
	{ 0x80000025, NTFS_REPARSE_HERE, "a character device of Linux" },
	{ 0x80000026, NTFS_REPARSE_HERE, "a block device of Linux" },
	{ 0x80000013, NTFS_REPARSE_ELSEWHERE, "deduplicated, in the volume's chunk store" },
	{ 0x80000007, NTFS_REPARSE_ELSEWHERE, "in the store of single instances" },
	{ 0xc0000004, NTFS_REPARSE_ELSEWHERE, "moved to remote storage" },
	{ 0x80000006, NTFS_REPARSE_ELSEWHERE, "moved to remote storage" },
	{ 0x80000008, NTFS_REPARSE_ELSEWHERE, "in a WIM image" },
	{ 0x80000015, NTFS_REPARSE_ELSEWHERE, "in OneDrive" },
	{ 0x80000021, NTFS_REPARSE_ELSEWHERE, "in OneDrive" },
	{ 0x9000001c, NTFS_REPARSE_ELSEWHERE, "projected by a program" },
	{ 0x80000018, NTFS_REPARSE_ELSEWHERE, "in a layer of a container" },
	{ 0x90001018, NTFS_REPARSE_ELSEWHERE, "in a layer of a container" },
};

static struct ntfs_reparse elsewhere(uint32_t tag, const char *what)
{
	return (struct ntfs_reparse){ .where = NTFS_REPARSE_ELSEWHERE, .tag = tag, .what = what };
}

static struct ntfs_reparse wof(const uint8_t *value, size_t len)
{
	uint32_t provider;

	if (len < WOF_LEN || le_get32(value + 8) != WOF_VERSION)
		return elsewhere(TAG_WOF, "of an unknown kind of the Windows overlay filter");
	provider = le_get32(value + 12);
	if (provider == WOF_PROVIDER_WIM)
		return elsewhere(TAG_WOF, "in a WIM image");
	if (provider != WOF_PROVIDER_FILE || le_get32(value + 16) != WOF_FILE_VERSION)
		return elsewhere(TAG_WOF, "of an unknown kind of the Windows overlay filter");
	return (struct ntfs_reparse){ .where = NTFS_REPARSE_COMPACT,
				      .tag = TAG_WOF,
				      .algorithm = le_get32(value + 20),
				      .what = "compressed by CompactOS" };
}

struct ntfs_reparse ntfs_reparse_parse(const uint8_t *value, size_t len)
{
	uint32_t tag = len < HEADER_LEN ? 0 : le_get32(value);

	if (tag == TAG_WOF)
		return wof(value, len);
	if ((tag & TAG_CLOUD_MASK) == TAG_CLOUD)
		return (struct ntfs_reparse){ .where = NTFS_REPARSE_CLOUD,
					      .tag = tag,
					      .what = "in the cloud" };
	if (tag & NAMES_ANOTHER)
		return (struct ntfs_reparse){ .where = NTFS_REPARSE_HERE,
					      .tag = tag,
					      .what = "another file's name" };
	for (size_t i = 0; i < ARRAY_LEN(tags); i++) {
		if (tags[i].tag == tag)
			return (struct ntfs_reparse){ .where = tags[i].where,
						      .tag = tag,
						      .what = tags[i].what };
	}
	return elsewhere(tag, "of a reparse point that is not known");
}
