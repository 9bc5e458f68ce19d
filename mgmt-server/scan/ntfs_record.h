/* ntfs_record.h - what everything else in NTFS is made of: the geometry, records of the master file table, their attributes,
 * and the runs of clusters of those attributes that do not fit into a record.
 *
 * Nothing here reads a volume; all bytes are the guest's. Source: libfsntfs's format description.
 */
#ifndef GODWIT_SCAN_NTFS_RECORD_H
#define GODWIT_SCAN_NTFS_RECORD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
	NTFS_RECORD_BOOT_LEN = 512, /* bytes of the boot sector that matter */
	NTFS_RECORD_MAX = 4096,     /* bytes of a record */
};

enum ntfs_attribute_type {
	NTFS_ATTRIBUTE_STANDARD = 0x10,
	NTFS_ATTRIBUTE_LIST = 0x20,
	NTFS_ATTRIBUTE_NAME = 0x30,
	NTFS_ATTRIBUTE_DATA = 0x80,
	NTFS_ATTRIBUTE_REPARSE = 0xc0,
};

struct ntfs_geometry {
	uint64_t cluster, record_size; /* bytes; both powers of two */
	uint64_t table_offset;         /* of the first record, bytes */
	uint64_t volume_size;          /* no run reaches beyond */
};

/* False: not NTFS, or not as we know it. */
bool ntfs_record_geometry(struct ntfs_geometry *out, const uint8_t boot[NTFS_RECORD_BOOT_LEN],
			  uint64_t volume_size);

/* Put the bytes back that the update sequence array holds. False: the record was written by halves, or is none. */
bool ntfs_record_fix_up(uint8_t *record, uint64_t size);

/* Of a record that was fixed up. */
bool ntfs_record_in_use(const uint8_t *record);
uint16_t ntfs_record_sequence(const uint8_t *record);
/* The record this one continues (48 bits number, 16 bits sequence); 0: none. */
uint64_t ntfs_record_base(const uint8_t *record);

/* An attribute within its record, checked: [bytes, bytes + len) lies inside. */
struct ntfs_attribute {
	uint32_t type;
	const uint8_t *bytes;
	uint32_t len;
	bool resident;
	uint8_t name_len; /* UTF-16 units */
};

struct ntfs_record_walk {
	const uint8_t *record;
	uint32_t used, offset;
	bool sound; /* false once an attribute did not fit into the record */
};

/* False: the record's header makes no sense. */
bool ntfs_record_begin(struct ntfs_record_walk *walk, const uint8_t *record, uint64_t size);
/* The next attribute; false at the end, and at what does not fit (see sound). */
bool ntfs_record_next(struct ntfs_record_walk *walk, struct ntfs_attribute *a);

/* The value of a resident attribute, or NULL: it does not lie inside. */
const uint8_t *ntfs_record_value(const struct ntfs_attribute *a, uint32_t *len);

struct ntfs_run {
	uint64_t offset, length; /* bytes; offset of the volume, of no meaning for a hole */
	bool hole;
};

/* Return false to stop. */
typedef bool ntfs_record_run_fn(void *ctx, const struct ntfs_run *run);

/* Call @fn for each run of an attribute that is not resident. False: the runs make no sense, or @fn said so. */
bool ntfs_record_runs(const struct ntfs_geometry *geometry, const struct ntfs_attribute *a,
		      ntfs_record_run_fn *fn, void *ctx);

#endif
