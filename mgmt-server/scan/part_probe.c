#include "mgmt-server/scan/part_probe.h"

#include <blkid.h>
#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "common/base.h"
#include "common/io.h"

enum {
	HEAD = 4
	       << 20, /* the furthest signature from a start that libblkid knows lies below 2 MiB */
	TAIL = 1 << 20, /* GPT's second copy, RAID and ZFS labels at the end */
	PIECE = 1 << 20,
	SECTOR = 512,
	MBR_ENTRIES_AT = 446,
	EBR_MAX = 128,
};

struct probe {
	struct volume_channel *volume;
	int copy; /* sparse, as large as the volume */
	uint8_t *piece;
};

/* Copy [offset, offset + len), cut off at the volume's end. */
static int copy_range(struct probe *p, uint64_t offset, uint64_t len, bool *zero)
{
	uint64_t size = volume_channel_size(p->volume);

	if (offset >= size)
		return 0;
	if (len > size - offset)
		len = size - offset;
	while (len) {
		size_t n = len < PIECE ? (size_t)len : PIECE;
		int r = volume_channel_read(p->volume, p->piece, n, offset);

		if (r < 0)
			return r;
		if (!chunk_is_zero(p->piece, n)) {
			if (zero)
				*zero = false;
			r = io_pwrite_full(p->copy, p->piece, n, offset);
			if (r < 0)
				return r;
		}
		offset += n;
		len -= n;
	}
	return 0;
}

/* Give back what the copy took: all partitions together may have more bytes than it is allowed. */
static int empty_copy(struct probe *p)
{
	return ftruncate(p->copy, 0) < 0 ||
			       ftruncate(p->copy, (off_t)volume_channel_size(p->volume)) < 0
		       ? -errno
		       : 0;
}

static int copy_ends(struct probe *p, uint64_t offset, uint64_t length, bool *zero)
{
	int r = copy_range(p, offset, length < HEAD ? length : HEAD, zero);

	if (r == 0 && length > HEAD)
		r = copy_range(p, offset + length - (length - HEAD < TAIL ? length - HEAD : TAIL),
			       TAIL, zero);
	return r;
}

static bool is_extended(uint8_t type)
{
	return type == 0x05 || type == 0x0f || type == 0x85;
}

/* Logical partitions hang on a chain of tables that may be anywhere inside the extended partition. */
static int copy_extended_chain(struct probe *p)
{
	uint8_t sector[SECTOR];
	uint64_t first = 0, here = 0;

	for (int hops = 0; hops < EBR_MAX; hops++) {
		uint64_t follow = 0;
		int r = volume_channel_read(p->volume, sector, sizeof(sector), here * SECTOR);

		if (r < 0)
			return hops ? 0 : r;
		if (sector[510] != 0x55 || sector[511] != 0xaa)
			return 0;
		for (int i = 0; i < 4; i++) {
			const uint8_t *entry = sector + MBR_ENTRIES_AT + 16 * i;
			uint32_t start;

			memcpy(&start, entry + 8, sizeof(start));
			if (is_extended(entry[4]) && start && !follow)
				follow = first + le32toh(start);
		}
		if (!follow)
			return 0;
		if (!first)
			first = follow;
		here = follow;
		r = copy_range(p, here * SECTOR, SECTOR, NULL);
		if (r < 0)
			return r;
	}
	return 0;
}

static void copy_text(char *to, size_t cap, const char *from)
{
	snprintf(to, cap, "%s", from ? from : "");
}

static int probe_content(struct probe *p, struct part *part, struct err *err)
{
	blkid_probe pr;
	const char *value;
	int r;

	part->zero = true;
	r = copy_ends(p, part->offset, part->length, &part->zero);
	if (r < 0)
		return err_set(err, -r, "read partition %u", part->number);

	pr = blkid_new_probe();
	if (!pr || blkid_probe_set_device(pr, p->copy, (blkid_loff_t)part->offset,
					  (blkid_loff_t)part->length)) {
		blkid_free_probe(pr);
		return err_say(err, EIO, "probe partition %u", part->number);
	}
	blkid_probe_enable_superblocks(pr, 1);
	blkid_probe_set_superblocks_flags(pr, BLKID_SUBLKS_TYPE | BLKID_SUBLKS_LABEL |
						      BLKID_SUBLKS_USAGE);
	/* Ambivalent contents (two signatures) are left without a type: nobody can say what the guest sees. */
	if (blkid_do_safeprobe(pr) == 0) {
		if (!blkid_probe_lookup_value(pr, "TYPE", &value, NULL))
			copy_text(part->type, sizeof(part->type), value);
		if (!blkid_probe_lookup_value(pr, "LABEL", &value, NULL))
			copy_text(part->label, sizeof(part->label), value);
	}
	blkid_free_probe(pr);
	return 0;
}

static int add_part(struct probe *p, blkid_partition entry, struct part *parts, size_t *count,
		    struct err *err)
{
	uint64_t size = volume_channel_size(p->volume);
	struct part *part = &parts[*count];
	const char *type = blkid_partition_get_type_string(entry);

	*part = (struct part){
		.number = (unsigned)blkid_partition_get_partno(entry),
		.offset = (uint64_t)blkid_partition_get_start(entry) * SECTOR,
		.length = (uint64_t)blkid_partition_get_size(entry) * SECTOR,
	};
	if (type)
		copy_text(part->table_type, sizeof(part->table_type), type);
	else
		snprintf(part->table_type, sizeof(part->table_type), "0x%02x",
			 (unsigned)blkid_partition_get_type(entry));
	if (blkid_partition_is_extended(entry) || !part->length)
		return 0;
	(*count)++;
	if (part->offset >= size || part->length > size - part->offset) {
		copy_text(part->type, sizeof(part->type), "beyond-end");
		return 0;
	}
	if (empty_copy(p) < 0)
		return err_set(err, errno, "empty the copy of the volume's ends");
	return probe_content(p, part, err);
}

static int probe_table(struct probe *p, struct part *parts, size_t *count, struct err *err)
{
	blkid_probe pr = blkid_new_probe();
	blkid_partlist list;
	int n = 0, r = 0;

	if (!pr ||
	    blkid_probe_set_device(pr, p->copy, 0, (blkid_loff_t)volume_channel_size(p->volume))) {
		blkid_free_probe(pr);
		return err_say(err, EIO, "probe the partition table");
	}
	blkid_probe_enable_superblocks(pr, 0);
	blkid_probe_enable_partitions(pr, 1);
	blkid_probe_set_partitions_flags(pr, BLKID_PARTS_ENTRY_DETAILS);
	list = blkid_do_safeprobe(pr) == 0 ? blkid_probe_get_partitions(pr) : NULL;
	if (list)
		n = blkid_partlist_numof_partitions(list);
	for (int i = 0; i < n && r == 0; i++) {
		if (*count == PART_PROBE_MAX)
			r = err_say(err, EFBIG, "more than %d partitions", PART_PROBE_MAX);
		else
			r = add_part(p, blkid_partlist_get_partition(list, i), parts, count, err);
	}
	blkid_free_probe(pr);
	return r;
}

int part_probe(struct volume_channel *volume, int copy, struct part *parts, size_t *count,
	       struct err *err)
{
	CLEANUP_FREE uint8_t *piece = malloc(PIECE);
	struct probe p = { .volume = volume, .copy = copy, .piece = piece };
	uint64_t size = volume_channel_size(volume);
	struct part whole = { .length = size };
	int r;

	*count = 0;
	if (!piece || ftruncate(copy, (off_t)size) < 0)
		return err_set(err, errno ? errno : ENOMEM, "prepare to read the partition table");
	r = copy_ends(&p, 0, size, NULL);
	if (r == 0)
		r = copy_extended_chain(&p);
	if (r < 0)
		return err_set(err, -r, "read the partition table");

	/* A file system that fills the volume may leave the old table's bytes in its boot sector: it goes first. */
	r = probe_content(&p, &whole, err);
	if (r < 0)
		return r;
	r = probe_table(&p, parts, count, err);
	if (!whole.type[0] && (r < 0 || *count))
		return r;
	whole.hides_table = r < 0 || *count;
	*count = 0;
	parts[(*count)++] = whole;
	return 0;
}
