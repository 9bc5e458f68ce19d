/* auth_password.c - scrypt over OpenSSL's EVP_KDF, and digests. Part of auth.h. */
#include <errno.h>
#include <openssl/core_names.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/kdf.h>
#include <openssl/params.h>
#include <stdio.h>
#include <string.h>

#include "common/hex.h"
#include "mgmt-server/core/auth.h"

enum { SALT = 16, KEY = 32, LOG_N = 15, R = 8, P = 3 };

static int derive(const char *password, const uint8_t salt[SALT], unsigned log_n, uint32_t r,
		  uint32_t p, uint8_t key[KEY], struct err *err)
{
	uint64_t n = 1ULL << log_n, memory = 1ULL << 28;
	OSSL_PARAM params[] = {
		OSSL_PARAM_construct_octet_string(OSSL_KDF_PARAM_PASSWORD,
						  (void *)(uintptr_t)password, strlen(password)),
		OSSL_PARAM_construct_octet_string(OSSL_KDF_PARAM_SALT, (void *)(uintptr_t)salt,
						  SALT),
		OSSL_PARAM_construct_uint64(OSSL_KDF_PARAM_SCRYPT_N, &n),
		OSSL_PARAM_construct_uint32(OSSL_KDF_PARAM_SCRYPT_R, &r),
		OSSL_PARAM_construct_uint32(OSSL_KDF_PARAM_SCRYPT_P, &p),
		OSSL_PARAM_construct_uint64(OSSL_KDF_PARAM_SCRYPT_MAXMEM, &memory),
		OSSL_PARAM_construct_end(),
	};
	EVP_KDF *kdf = EVP_KDF_fetch(NULL, "SCRYPT", NULL);
	EVP_KDF_CTX *ctx = kdf ? EVP_KDF_CTX_new(kdf) : NULL;
	bool ok = ctx && EVP_KDF_derive(ctx, key, KEY, params) > 0;

	EVP_KDF_CTX_free(ctx);
	EVP_KDF_free(kdf);
	return ok ? 0 : err_say(err, EIO, "scrypt failed (memory?)");
}

int auth_password_hash(const char *password, char text[256], struct err *err)
{
	char salt_text[2 * SALT + 1], key_text[2 * KEY + 1];
	uint8_t salt[SALT], key[KEY];
	int r;

	hex_random(salt_text, SALT);
	hex_decode(salt_text, salt, SALT);
	r = derive(password, salt, LOG_N, R, P, key, err);
	if (r < 0)
		return r;
	hex_encode(key, KEY, key_text);
	snprintf(text, 256, "scrypt$%d$%d$%d$%s$%s", LOG_N, R, P, salt_text, key_text);
	return 0;
}

int auth_password_check(const char *password, const char *text, struct err *err)
{
	char salt_text[2 * SALT + 1], key_text[2 * KEY + 1];
	uint8_t salt[SALT], key[KEY], want[KEY];
	unsigned log_n, r_, p;
	int r;

	if (sscanf(text, "scrypt$%2u$%2u$%2u$%32[0-9a-f]$%64[0-9a-f]", &log_n, &r_, &p, salt_text,
		   key_text) != 5 ||
	    log_n < 10 || log_n > 20 || hex_decode(salt_text, salt, SALT) < 0 ||
	    hex_decode(key_text, want, KEY) < 0)
		return err_say(err, EBADMSG, "the catalogue's password entry is malformed");
	r = derive(password, salt, log_n, r_, p, key, err);
	if (r < 0)
		return r;
	return CRYPTO_memcmp(key, want, KEY) == 0 ? 0 : -EACCES;
}

void auth_digest(const void *data, size_t len, char hex[CATALOGUE_HASH_LEN])
{
	uint8_t digest[32] = { 0 };

	EVP_Digest(data, len, digest, NULL, EVP_sha256(), NULL);
	hex_encode(digest, sizeof(digest), hex);
}
