/* file_measure.h - how random is a file, and of which kind? Two such measures say whether somebody encrypted it.
 *
 * Encryption turns any bytes into even ones, and takes away what every format begins with. Compression gives nearly even
 * bytes too, but keeps a beginning that is known. So `became random` needs both: the bytes became even, and they are
 * of no known kind. Pieces of 4 KiB are looked at one by one, because ransomware in a hurry encrypts only some of them.
 * Pure functions; evenness is Pearson's chi-squared test of the 256 byte values.
 */
#ifndef GODWIT_SCAN_FILE_MEASURE_H
#define GODWIT_SCAN_FILE_MEASURE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
	FILE_MEASURE_PIECE = 4096,
	FILE_MEASURE_PIECES = 512, /* looked at in one file, spread over it */
	FILE_MEASURE_LEAST = 512,  /* bytes; of fewer nobody can say */
};

/* The bytes are as even as those of a cipher. False for fewer than FILE_MEASURE_LEAST. */
bool file_measure_random(const uint8_t *bytes, size_t len);

enum file_measure_kind { FILE_MEASURE_UNKNOWN, FILE_MEASURE_TEXT, FILE_MEASURE_KNOWN };

/* By its first bytes, 4096 of them or the whole file. */
enum file_measure_kind file_measure_kind(const uint8_t *head, size_t len);

struct file_measure {
	enum file_measure_kind kind;
	uint64_t size;
	uint64_t stride; /* pieces from one that is looked at to the next */
	unsigned pieces; /* looked at; 0: the file is too small */
	unsigned random_count;
	uint8_t random[FILE_MEASURE_PIECES / 8]; /* one bit for each */
};

/* Of the file behind @fd. Return 0 or -errno. */
int file_measure(struct file_measure *out, int fd, uint64_t size);

enum file_measure_change {
	FILE_MEASURE_SAME,   /* nothing that points to encryption */
	FILE_MEASURE_WHOLLY, /* it became random */
	FILE_MEASURE_PARTLY, /* some of its pieces did, in place */
};
enum file_measure_change file_measure_compare(const struct file_measure *before,
					      const struct file_measure *after);

#endif
