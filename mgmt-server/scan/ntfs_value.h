/* ntfs_value.h - the bytes of one attribute of a file as they lie on the volume, whatever they mean.
 *
 * For what libfsntfs does not hand out: reparse points, and the stream WofCompressedData. An attribute may be resident, in
 * runs, or in many records that an attribute list names. Everything is checked against everything else; what does not fit
 * together is an error, never other bytes. Source: libfsntfs's format description.
 */
#ifndef GODWIT_SCAN_NTFS_VALUE_H
#define GODWIT_SCAN_NTFS_VALUE_H

#include "common/base.h"
#include "common/err.h"
#include "mgmt-server/scan/ntfs_record.h"
#include "mgmt-server/scan/volume_channel.h"

/* Where records and clusters come from. */
struct ntfs_value_source {
	struct volume_channel *volume;
	struct ntfs_geometry geometry;
	/* Record @number as it lies in the table: geometry.record_size bytes. Return 0, or -errno with @err set. */
	int (*record)(void *ctx, uint64_t number, uint8_t *buf, struct err *err);
	void *ctx;
};

struct ntfs_value_key {
	uint64_t record;
	enum ntfs_attribute_type type;
	const char *
		name; /* ASCII, compared as NTFS does: "Data" is "DATA"; "": the one without a name */
};

enum { NTFS_VALUE_ABSENT = 1 };

struct ntfs_value;

/**
 * ntfs_value_open(out, source, key, err):
 * Find the attribute. @source must outlive the value.
 *
 * Return 0, NTFS_VALUE_ABSENT, or -errno with @err saying what is wrong with it: it is compressed or encrypted
 * (-EOPNOTSUPP), or its records contradict each other (-EBADMSG).
 */
int ntfs_value_open(struct ntfs_value **out, const struct ntfs_value_source *source,
		    const struct ntfs_value_key *key, struct err *err);
void ntfs_value_close(struct ntfs_value *value);
DEFINE_CLEANUP(struct ntfs_value *, ntfs_value_close);

/* Was nothing of it ever written? Then it is zeros, compressed or not. Return 0, NTFS_VALUE_ABSENT, or -errno with @err set. */
int ntfs_value_is_unwritten(const struct ntfs_value_source *source,
			    const struct ntfs_value_key *key, bool *unwritten, struct err *err);

uint64_t ntfs_value_size(const struct ntfs_value *value);

/* Exactly @len bytes, which must lie below the size; holes, and what was never written, are zeros. Return 0 or -errno with @err set. */
int ntfs_value_read(const struct ntfs_value *value, void *buf, size_t len, uint64_t offset,
		    struct err *err);

#endif
