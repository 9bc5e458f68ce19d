#include "snapshot/store_key.h"

#include <errno.h>
#include <openssl/core_names.h>
#include <openssl/crypto.h>
#include <openssl/kdf.h>
#include <openssl/params.h>
#include <string.h>
#include <sys/random.h>

#include "common/hex.h"
#include "common/io.h"
#include "common/json.h"

enum { FILE_MAX = 64 << 10, VERSION = 1 };

int store_key_derive(const struct store_key *key, const void *salt, size_t salt_len,
		     const char *info, uint8_t *out, size_t len, struct err *err)
{
	EVP_KDF *kdf = EVP_KDF_fetch(NULL, "HKDF", NULL);
	EVP_KDF_CTX *ctx = kdf ? EVP_KDF_CTX_new(kdf) : NULL;
	OSSL_PARAM params[] = {
		OSSL_PARAM_construct_utf8_string(OSSL_KDF_PARAM_DIGEST, (char *)"SHA256", 0),
		OSSL_PARAM_construct_octet_string(OSSL_KDF_PARAM_KEY, (void *)key->secret,
						  STORE_KEY_LEN),
		OSSL_PARAM_construct_octet_string(OSSL_KDF_PARAM_SALT, (void *)salt, salt_len),
		OSSL_PARAM_construct_octet_string(OSSL_KDF_PARAM_INFO, (void *)info, strlen(info)),
		OSSL_PARAM_construct_end(),
	};
	int ok = ctx && EVP_KDF_derive(ctx, out, len, params) == 1;

	EVP_KDF_CTX_free(ctx);
	EVP_KDF_free(kdf);
	return ok ? 0 : err_say(err, EIO, "derive a key: OpenSSL refuses HKDF-SHA256");
}

static int set_id(struct store_key *key, struct err *err)
{
	return store_key_derive(key, "", 0, "godwit key id 1", key->id, sizeof(key->id), err);
}

int store_key_add_secret(struct store_keys *keys, const uint8_t secret[STORE_KEY_LEN],
			 struct err *err)
{
	struct store_key *key = &keys->keys[keys->count];
	int r;

	if (keys->count == STORE_KEYS_MAX)
		return err_say(err, ENOSPC, "a key file holds at most %d keys", STORE_KEYS_MAX);
	memcpy(key->secret, secret, STORE_KEY_LEN);
	r = set_id(key, err);
	if (r == 0)
		keys->count++;
	return r;
}

int store_key_add(struct store_keys *keys, struct err *err)
{
	uint8_t secret[STORE_KEY_LEN];
	int r;

	if (getrandom(secret, sizeof(secret), 0) != (ssize_t)sizeof(secret))
		return err_set(err, errno, "make a key");
	r = store_key_add_secret(keys, secret, err);
	OPENSSL_cleanse(secret, sizeof(secret));
	return r;
}

static int from_json(struct store_keys *keys, const json_t *value, const char *path,
		     struct err *err)
{
	const char *format = NULL;
	uint64_t version = 0;
	json_t *list = NULL;
	const struct json_field fields[] = {
		{ "format", JSON_KIND_STRING, false, &format },
		{ "version", JSON_KIND_UINT, false, &version },
		{ "keys", JSON_KIND_ARRAY, false, &list },
	};
	int r = json_fields(value, fields, ARRAY_LEN(fields), path, err);

	if (r < 0)
		return r;
	if (strcmp(format, "godwit-key") != 0 || version != VERSION)
		return err_say(err, EINVAL, "%s is not a key file of version %d", path, VERSION);
	if (json_array_size(list) < 1 || json_array_size(list) > STORE_KEYS_MAX)
		return err_say(err, EINVAL, "%s: there must be 1 to %d keys", path, STORE_KEYS_MAX);
	for (size_t i = 0; i < json_array_size(list); i++) {
		const char *text = json_string_value(json_array_get(list, i));

		if (!text || hex_decode(text, keys->keys[i].secret, STORE_KEY_LEN) < 0)
			return err_say(err, EINVAL, "%s: key %zu must be %d hexadecimal digits",
				       path, i + 1, 2 * STORE_KEY_LEN);
		r = set_id(&keys->keys[i], err);
		if (r < 0)
			return r;
		keys->count++;
	}
	return 0;
}

int store_key_load(struct store_keys *keys, const char *path, struct err *err)
{
	CLEANUP(json_decref) json_t *value = NULL;
	int r;

	memset(keys, 0, sizeof(*keys));
	r = json_parse_file(&value, path, FILE_MAX, err);
	return r < 0 ? r : from_json(keys, value, path, err);
}

int store_key_save(const struct store_keys *keys, const char *path, struct err *err)
{
	CLEANUP(json_decref) json_t *value = NULL;
	json_t *list = json_array();
	char hex[2 * STORE_KEY_LEN + 1];
	char *text;
	int r;

	for (unsigned i = 0; i < keys->count; i++) {
		hex_encode(keys->keys[i].secret, STORE_KEY_LEN, hex);
		json_array_append_new(list, json_string(hex));
	}
	OPENSSL_cleanse(hex, sizeof(hex));
	value = json_pack("{ss si so}", "format", "godwit-key", "version", VERSION, "keys", list);
	text = value ? json_text(value) : NULL;
	if (!text)
		return err_set(err, ENOMEM, "write %s", path);
	r = io_replace_file(path, text, strlen(text), 0600, err);
	OPENSSL_cleanse(text, strlen(text));
	base_free(text);
	return r;
}

void store_key_wipe(struct store_keys *keys)
{
	OPENSSL_cleanse(keys, sizeof(*keys));
}

const struct store_key *store_key_find(const struct store_keys *keys,
				       const uint8_t id[STORE_KEY_ID_LEN])
{
	for (unsigned i = 0; i < keys->count; i++)
		if (memcmp(keys->keys[i].id, id, STORE_KEY_ID_LEN) == 0)
			return &keys->keys[i];
	return NULL;
}

const struct store_key *store_key_newest(const struct store_keys *keys)
{
	return &keys->keys[keys->count - 1];
}
