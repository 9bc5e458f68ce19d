#include "mgmt-server/scan/content_hash.h"

#include <errno.h>
#include <openssl/evp.h>
#include <stdbool.h>
#include <stdlib.h>
#include <unistd.h>

#include "common/base.h"
#include "common/io.h"

enum { PIECE = 256 << 10 };

DEFINE_CLEANUP(EVP_MD_CTX *, EVP_MD_CTX_free);

/* Where the run of data or of hole that begins at @offset ends. */
static uint64_t run_end(int fd, uint64_t offset, uint64_t size, bool *hole)
{
	off_t data = lseek(fd, (off_t)offset, SEEK_DATA);
	off_t end;

	*hole = data < 0 || (uint64_t)data > offset;
	end = *hole ? data : lseek(fd, (off_t)offset, SEEK_HOLE);
	return end < 0 || (uint64_t)end > size ? size : (uint64_t)end;
}

int content_hash(int fd, uint64_t size, uint8_t sha256[32])
{
	static const uint8_t zeros[PIECE];
	CLEANUP(EVP_MD_CTX_free) EVP_MD_CTX *ctx = EVP_MD_CTX_new();
	CLEANUP_FREE uint8_t *buf = malloc(PIECE);
	uint64_t offset = 0;

	if (size > CONTENT_HASH_MAX)
		return -EFBIG;
	if (!ctx || !buf || !EVP_DigestInit_ex(ctx, EVP_sha256(), NULL))
		return -ENOMEM;
	while (offset < size) {
		bool hole;
		uint64_t end = run_end(fd, offset, size, &hole);

		while (offset < end) {
			size_t n = end - offset < PIECE ? (size_t)(end - offset) : PIECE;
			int r = hole ? 0 : io_pread_full(fd, buf, n, offset);

			if (r)
				return r < 0 ? r : -EIO;
			if (!EVP_DigestUpdate(ctx, hole ? zeros : buf, n))
				return -EIO;
			offset += n;
		}
	}
	return EVP_DigestFinal_ex(ctx, sha256, NULL) ? 0 : -EIO;
}

void content_hash_of_memory(uint8_t sha256[32])
{
	static const char mark[32] = "godwit-scan: a piece of memory";

	for (size_t i = 0; i < sizeof(mark); i++)
		sha256[i] ^= (uint8_t)mark[i];
}
