#include "mgmt-server/scan/file_measure.h"

#include <errno.h>
#include <string.h>
#include <strings.h>

#include "common/base.h"
#include "common/io.h"

/* 255 degrees of freedom: mean 255, deviation 22.6. Six deviations keep the error of a cipher's bytes below one in a
 * thousand million; text and programs have thousands. */
enum { CHI_SQUARED_MAX = 391 };

bool file_measure_random(const uint8_t *bytes, size_t len)
{
	uint32_t counts[4][256] = {
		0
	}; /* four, so that equal neighbours do not wait for each other */
	uint64_t squares = 0;

	if (len < FILE_MEASURE_LEAST)
		return false;
	for (size_t i = 0; i < len; i++)
		counts[i & 3][bytes[i]]++;
	for (size_t i = 0; i < 256; i++) {
		uint64_t n = (uint64_t)counts[0][i] + counts[1][i] + counts[2][i] + counts[3][i];

		squares += n * n;
	}
	/* chi squared = 256 / len * squares - len */
	return squares * 256 <= (uint64_t)len * (len + CHI_SQUARED_MAX);
}

/* Formats whose contents are random by nature, or that are worth taking hostage. */
static const struct {
	uint16_t at;
	uint8_t len;
	const char *bytes;
} magics[] = {
	{ 0, 4, "PK\3\4" },
	{ 0, 4, "PK\5\6" },
	{ 0, 3, "\x1f\x8b\x08" },
	{ 0, 6,
	  "\xfd"
	  "7zXZ\0" },
	{ 0, 4, "\x28\xb5\x2f\xfd" },
	{ 0, 3, "BZh" },
	{ 0, 4, "\x04\x22\x4d\x18" },
	{ 0, 6, "7z\xbc\xaf\x27\x1c" },
	{ 0, 6, "Rar!\x1a\x07" },
	{ 0, 4, "MSCF" },
	{ 0, 3, "\xff\xd8\xff" },
	{ 0, 8, "\x89PNG\r\n\x1a\n" },
	{ 0, 4, "GIF8" },
	{ 0, 4, "RIFF" },
	{ 0, 4, "II*\0" },
	{ 0, 4, "MM\0*" },
	{ 0, 4, "8BPS" },
	{ 4, 4, "ftyp" },
	{ 4, 4, "moov" },
	{ 4, 4, "mdat" },
	{ 0, 4, "\x1a\x45\xdf\xa3" },
	{ 0, 4, "OggS" },
	{ 0, 4, "fLaC" },
	{ 0, 3, "ID3" },
	{ 0, 2, "\xff\xfb" },
	{ 0, 4, "\x30\x26\xb2\x75" },
	{ 0, 4, "%PDF" },
	{ 0, 8, "\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" },
	{ 0, 15, "SQLite format 3" },
	{ 0, 4, "!BDN" },
	{ 0, 4,
	  "\x7f"
	  "ELF" },
	{ 0, 2, "MZ" },
	{ 0, 4, "QFI\xfb" },
	{ 0, 4, "KDMV" },
	{ 0, 8, "conectix" },
	{ 0, 4, "wOF2" },
	{ 0, 4, "PACK" },
	{ 0, 4, "DIRC" },
	{ 0, 8, "LPKSHHRH" },
	{ 0, 8, "\x30\x5c\x72\xa7\x1b\x6d\xfb\xfc" },
	{ 257, 5, "ustar" },
};

static bool is_text(const uint8_t *head, size_t len)
{
	size_t odd = 0;

	for (size_t i = 0; i < len; i++) {
		uint8_t c = head[i];

		odd += c < 32 && !(c >= '\b' && c <= '\r') && c != 27;
		odd += c == 127;
	}
	return len > 0 && odd * 50 <= len;
}

enum file_measure_kind file_measure_kind(const uint8_t *head, size_t len)
{
	for (size_t i = 0; i < ARRAY_LEN(magics); i++) {
		if (len >= (size_t)magics[i].at + magics[i].len &&
		    !memcmp(head + magics[i].at, magics[i].bytes, magics[i].len))
			return FILE_MEASURE_KNOWN;
	}
	/* UTF-16, either way around */
	if (len >= 2 && (!memcmp(head, "\xff\xfe", 2) || !memcmp(head, "\xfe\xff", 2)))
		return file_measure_random(head, len) ? FILE_MEASURE_UNKNOWN : FILE_MEASURE_TEXT;
	return is_text(head, len) ? FILE_MEASURE_TEXT : FILE_MEASURE_UNKNOWN;
}

int file_measure(struct file_measure *m, int fd, uint64_t size)
{
	uint64_t pieces = size / FILE_MEASURE_PIECE;
	uint8_t piece[FILE_MEASURE_PIECE];
	size_t head = size < sizeof(piece) ? (size_t)size : sizeof(piece);

	*m = (struct file_measure){ .size = size, .stride = 1 };
	if (io_pread_full(fd, piece, head, 0))
		return -EIO;
	m->kind = file_measure_kind(piece, head);
	while (pieces / m->stride > FILE_MEASURE_PIECES)
		m->stride *= 2;
	if (!pieces && size >= FILE_MEASURE_LEAST) { /* as one piece */
		m->pieces = 1;
		m->random_count = file_measure_random(piece, head);
		m->random[0] = (uint8_t)m->random_count;
	}
	for (uint64_t i = 0; i + 1 <= pieces && m->pieces < FILE_MEASURE_PIECES; i += m->stride) {
		if (io_pread_full(fd, piece, sizeof(piece), i * FILE_MEASURE_PIECE))
			return -EIO;
		if (file_measure_random(piece, sizeof(piece))) {
			m->random[m->pieces / 8] |= (uint8_t)(1 << (m->pieces % 8));
			m->random_count++;
		}
		m->pieces++;
	}
	return 0;
}

/* Pieces that are random now and were not before, place by place. */
static unsigned became(const struct file_measure *before, const struct file_measure *after)
{
	unsigned n = before->pieces < after->pieces ? before->pieces : after->pieces, count = 0;

	for (unsigned i = 0; i < n; i++) {
		unsigned bit = 1u << (i % 8);

		count += (after->random[i / 8] & bit) && !(before->random[i / 8] & bit);
	}
	return count;
}

/* Ciphers add a header, a last block, a key for the extortionist: little beside the file. */
static bool about_as_large(uint64_t a, uint64_t b)
{
	uint64_t differ = a < b ? b - a : a - b, larger = a < b ? b : a;

	return differ <= 4096 || differ * 100 <= larger;
}

enum file_measure_change file_measure_compare(const struct file_measure *before,
					      const struct file_measure *after)
{
	bool was_random = before->random_count * 2 > before->pieces;
	unsigned n;

	if (!before->pieces || !after->pieces || !about_as_large(before->size, after->size))
		return FILE_MEASURE_SAME;
	if (after->kind == FILE_MEASURE_UNKNOWN && after->random_count * 10 >= after->pieces * 9 &&
	    (before->kind != FILE_MEASURE_UNKNOWN || !was_random))
		return FILE_MEASURE_WHOLLY;
	if (before->stride != after->stride || before->random_count * 5 > before->pieces)
		return FILE_MEASURE_SAME;
	n = became(before, after);
	if (n && (after->random[0] & 1) && before->kind != FILE_MEASURE_UNKNOWN &&
	    after->kind == FILE_MEASURE_UNKNOWN)
		return FILE_MEASURE_PARTLY; /* its beginning, which is enough to make it useless */
	return n && n * 20 >= after->pieces ? FILE_MEASURE_PARTLY : FILE_MEASURE_SAME;
}
