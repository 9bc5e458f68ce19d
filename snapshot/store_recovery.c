#include "snapshot/store_recovery.h"

#include <errno.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "common/hex.h"
#include "common/io.h"
#include "common/json.h"
#include "snapshot/pack_crypt.h"

enum {
	VERSION = 1,
	FILE_MAX = 64 << 10,
	SALT_LEN = 16,
	SCRYPT_N = 1 << 15,
	SCRYPT_R = 8,
	SCRYPT_P = 1,
	SCRYPT_MEMORY = 64 << 20,
	SECRETS_MAX = STORE_KEYS_MAX * STORE_KEY_LEN,
	SEALED_MAX = SECRETS_MAX + PACK_CRYPT_TAG_LEN,
};

static int stretch(const char *passphrase, const uint8_t salt[SALT_LEN],
		   uint8_t key[PACK_CRYPT_KEY_LEN], struct err *err)
{
	return EVP_PBE_scrypt(passphrase, strlen(passphrase), salt, SALT_LEN, SCRYPT_N, SCRYPT_R,
			      SCRYPT_P, SCRYPT_MEMORY, key, PACK_CRYPT_KEY_LEN) == 1
		       ? 0
		       : err_say(err, EIO, "OpenSSL refuses scrypt");
}

/* The salt is random, so no key and therefore no nonce is ever used twice. */
static struct pack_crypt wrap(const uint8_t *key)
{
	return (struct pack_crypt){ .key = key,
				    .part = PACK_CRYPT_HEADER,
				    .aad = "godwit recovery 1",
				    .aad_len = strlen("godwit recovery 1") };
}

static int save(const uint8_t *salt, const uint8_t *sealed, size_t len, const char *path,
		struct err *err)
{
	CLEANUP_FREE char *sealed_hex = malloc(2 * len + 1);
	CLEANUP(json_decref) json_t *value = NULL;
	CLEANUP_FREE char *text = NULL;
	char salt_hex[2 * SALT_LEN + 1];

	if (!sealed_hex)
		return err_set(err, ENOMEM, "write %s", path);
	hex_encode(sealed, len, sealed_hex);
	hex_encode(salt, SALT_LEN, salt_hex);
	value = json_pack("{ss si si si si ss ss}", "format", "godwit-recovery", "version", VERSION,
			  "n", SCRYPT_N, "r", SCRYPT_R, "p", SCRYPT_P, "salt", salt_hex, "sealed",
			  sealed_hex);
	text = value ? json_text(value) : NULL;
	return text ? io_replace_file(path, text, strlen(text), 0600, err)
		    : err_set(err, ENOMEM, "write %s", path);
}

int store_recovery_save(const struct store_keys *keys, const char *passphrase, const char *path,
			struct err *err)
{
	uint8_t salt[SALT_LEN], key[PACK_CRYPT_KEY_LEN], secrets[SECRETS_MAX], sealed[SEALED_MAX];
	const struct pack_crypt how = wrap(key);
	struct pack_crypt_pieces in = { secrets, NULL, keys->count * STORE_KEY_LEN, 0 };
	int r;

	if (strlen(passphrase) < 8)
		return err_say(err, EINVAL,
			       "a passphrase of fewer than 8 characters protects nothing");
	if (getrandom(salt, sizeof(salt), 0) != (ssize_t)sizeof(salt))
		return err_set(err, errno, "make a salt");
	for (unsigned i = 0; i < keys->count; i++)
		memcpy(secrets + i * STORE_KEY_LEN, keys->keys[i].secret, STORE_KEY_LEN);
	r = stretch(passphrase, salt, key, err);
	if (r == 0)
		r = pack_crypt_seal(&how, &in, sealed, err);
	if (r == 0)
		r = save(salt, sealed, in.first_len + PACK_CRYPT_TAG_LEN, path, err);
	OPENSSL_cleanse(secrets, sizeof(secrets));
	OPENSSL_cleanse(key, sizeof(key));
	return r;
}

static int fields_read(const json_t *value, const char *path, uint8_t *salt, uint8_t *sealed,
		       size_t *len, struct err *err)
{
	const char *format = NULL, *salt_hex = NULL, *sealed_hex = NULL;
	uint64_t version = 0, n = 0, scrypt_r = 0, p = 0;
	const struct json_field fields[] = {
		{ "format", JSON_KIND_STRING, false, &format },
		{ "version", JSON_KIND_UINT, false, &version },
		{ "n", JSON_KIND_UINT, false, &n },
		{ "r", JSON_KIND_UINT, false, &scrypt_r },
		{ "p", JSON_KIND_UINT, false, &p },
		{ "salt", JSON_KIND_STRING, false, &salt_hex },
		{ "sealed", JSON_KIND_STRING, false, &sealed_hex },
	};
	int r = json_fields(value, fields, ARRAY_LEN(fields), path, err);

	if (r < 0)
		return r;
	*len = strlen(sealed_hex) / 2;
	if (strcmp(format, "godwit-recovery") != 0 || version != VERSION || n != SCRYPT_N ||
	    scrypt_r != SCRYPT_R || p != SCRYPT_P)
		return err_say(err, EINVAL, "%s is no recovery form of version %d", path, VERSION);
	if (hex_decode(salt_hex, salt, SALT_LEN) < 0 || *len > SEALED_MAX ||
	    *len < STORE_KEY_LEN + PACK_CRYPT_TAG_LEN ||
	    (*len - PACK_CRYPT_TAG_LEN) % STORE_KEY_LEN || hex_decode(sealed_hex, sealed, *len) < 0)
		return err_say(err, EINVAL, "%s is damaged", path);
	return 0;
}

int store_recovery_load(struct store_keys *keys, const char *passphrase, const char *path,
			struct err *err)
{
	uint8_t salt[SALT_LEN], key[PACK_CRYPT_KEY_LEN], sealed[SEALED_MAX];
	const struct pack_crypt how = wrap(key);
	CLEANUP(json_decref) json_t *value = NULL;
	size_t len = 0;
	int r;

	memset(keys, 0, sizeof(*keys));
	r = json_parse_file(&value, path, FILE_MAX, err);
	if (r == 0)
		r = fields_read(value, path, salt, sealed, &len, err);
	if (r == 0)
		r = stretch(passphrase, salt, key, err);
	if (r < 0)
		return r;
	r = pack_crypt_open(&how, sealed, len - PACK_CRYPT_TAG_LEN, err);
	OPENSSL_cleanse(key, sizeof(key));
	if (r == PACK_CRYPT_FORGED)
		return err_say(err, EACCES, "%s: this is not its passphrase", path);
	for (size_t i = 0; r == 0 && i < (len - PACK_CRYPT_TAG_LEN) / STORE_KEY_LEN; i++)
		r = store_key_add_secret(keys, sealed + i * STORE_KEY_LEN, err);
	OPENSSL_cleanse(sealed, sizeof(sealed));
	return r;
}
