#include "mgmt-server/scan/file_digest.h"

#include <errno.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

enum { RULES_VERSION = 2, SPACE = 512 };

struct file_digest {
	EVP_MD_CTX *ctx;
	uint8_t space
		[SPACE]; /* small pieces are collected: a call into OpenSSL costs more than they do */
	size_t used;
	bool failed;
};

struct file_digest *file_digest_new(void)
{
	struct file_digest *d = calloc(1, sizeof(*d));

	if (!d)
		return NULL;
	OPENSSL_init_crypto(OPENSSL_INIT_NO_LOAD_CONFIG, NULL); /* a sandbox kills for opening it */
	d->ctx = EVP_MD_CTX_new();
	if (!d->ctx || !EVP_DigestInit_ex2(d->ctx, EVP_sha256(), NULL)) {
		file_digest_free(d);
		return NULL;
	}
	return d;
}

void file_digest_free(struct file_digest *d)
{
	if (!d)
		return;
	EVP_MD_CTX_free(d->ctx);
	free(d);
}

static void flush(struct file_digest *d)
{
	if (d->used && !EVP_DigestUpdate(d->ctx, d->space, d->used))
		d->failed = true;
	d->used = 0;
}

void file_digest_begin(struct file_digest *d, const char *kind)
{
	d->used = 0;
	d->failed = !EVP_DigestInit_ex2(d->ctx, NULL, NULL);
	file_digest_number(d, RULES_VERSION);
	file_digest_add(d, kind, strlen(kind) + 1);
}

void file_digest_add(struct file_digest *d, const void *bytes, size_t len)
{
	if (len > SPACE - d->used)
		flush(d);
	if (len > SPACE) {
		if (!EVP_DigestUpdate(d->ctx, bytes, len))
			d->failed = true;
		return;
	}
	memcpy(d->space + d->used, bytes, len);
	d->used += len;
}

void file_digest_number(struct file_digest *d, uint64_t number)
{
	file_digest_add(d, &number, sizeof(number));
}

int file_digest_end(struct file_digest *d, uint8_t out[FILE_DIGEST_LEN])
{
	uint8_t all[EVP_MAX_MD_SIZE];

	flush(d);
	if (d->failed || !EVP_DigestFinal_ex(d->ctx, all, NULL))
		return -EIO;
	memcpy(out, all, FILE_DIGEST_LEN);
	return 0;
}
