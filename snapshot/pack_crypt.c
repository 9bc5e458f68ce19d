#include "snapshot/pack_crypt.h"

#include <endian.h>
#include <errno.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

enum { NONCE_LEN = 12 };

struct keyed {
	EVP_CIPHER_CTX *ctx;
	bool has_key;
	uint8_t key[PACK_CRYPT_KEY_LEN];
};

struct tools {
	struct keyed seal, open;
};

static pthread_once_t once = PTHREAD_ONCE_INIT;
static pthread_key_t tools_key;
static EVP_CIPHER *aes;

static void tools_free(void *p)
{
	struct tools *t = p;

	EVP_CIPHER_CTX_free(t->seal.ctx);
	EVP_CIPHER_CTX_free(t->open.ctx);
	OPENSSL_cleanse(t, sizeof(*t));
	free(t);
}

static void setup(void)
{
	pthread_key_create(&tools_key, tools_free);
	aes = EVP_CIPHER_fetch(NULL, "AES-256-GCM", NULL);
}

static struct tools *tools_get(void)
{
	static _Thread_local struct tools *mine;
	struct tools *t;

	if (mine)
		return mine;
	pthread_once(&once, setup);
	t = calloc(1, sizeof(*t));
	if (!t)
		return NULL;
	t->seal.ctx = EVP_CIPHER_CTX_new();
	t->open.ctx = EVP_CIPHER_CTX_new();
	if (!aes || !t->seal.ctx || !t->open.ctx || pthread_setspecific(tools_key, t)) {
		tools_free(t);
		return NULL;
	}
	mine = t;
	return t;
}

static void make_nonce(const struct pack_crypt *how, uint8_t nonce[NONCE_LEN])
{
	uint64_t offset = htole64(how->offset);
	uint32_t part = htole32((uint32_t)how->part);

	memcpy(nonce, &offset, 8);
	memcpy(nonce + 8, &part, 4);
}

/* Begin a message: key (if it is another one), nonce and the authenticated bytes. */
static bool begin(struct keyed *k, const struct pack_crypt *how, int sealing)
{
	uint8_t nonce[NONCE_LEN];
	int n;

	make_nonce(how, nonce);
	if (!k->has_key || memcmp(k->key, how->key, PACK_CRYPT_KEY_LEN) != 0) {
		if (EVP_CipherInit_ex2(k->ctx, aes, how->key, nonce, sealing, NULL) != 1)
			return false;
		memcpy(k->key, how->key, PACK_CRYPT_KEY_LEN);
		k->has_key = true;
	} else if (EVP_CipherInit_ex2(k->ctx, NULL, NULL, nonce, sealing, NULL) != 1) {
		return false;
	}
	return !how->aad_len ||
	       EVP_CipherUpdate(k->ctx, NULL, &n, how->aad, (int)how->aad_len) == 1;
}

int pack_crypt_seal(const struct pack_crypt *how, const struct pack_crypt_pieces *in, uint8_t *out,
		    struct err *err)
{
	struct tools *t = tools_get();
	uint8_t *p = out;
	int n = 0;
	bool ok;

	if (!t)
		return err_set(err, ENOMEM, "encrypt");
	ok = begin(&t->seal, how, 1) &&
	     EVP_CipherUpdate(t->seal.ctx, p, &n, in->first, (int)in->first_len) == 1;
	p += in->first_len;
	if (ok && in->second_len)
		ok = EVP_CipherUpdate(t->seal.ctx, p, &n, in->second, (int)in->second_len) == 1;
	p += in->second_len;
	ok = ok && EVP_CipherFinal_ex(t->seal.ctx, p, &n) == 1 &&
	     EVP_CIPHER_CTX_ctrl(t->seal.ctx, EVP_CTRL_AEAD_GET_TAG, PACK_CRYPT_TAG_LEN, p) == 1;
	return ok ? 0 : err_say(err, EIO, "encrypt: OpenSSL refuses AES-256-GCM");
}

int pack_crypt_open(const struct pack_crypt *how, uint8_t *in, size_t len, struct err *err)
{
	struct tools *t = tools_get();
	uint8_t none[16];
	int n = 0;

	if (!t)
		return err_set(err, ENOMEM, "decrypt");
	if (!begin(&t->open, how, 0) || EVP_CipherUpdate(t->open.ctx, in, &n, in, (int)len) != 1 ||
	    EVP_CIPHER_CTX_ctrl(t->open.ctx, EVP_CTRL_AEAD_SET_TAG, PACK_CRYPT_TAG_LEN, in + len) !=
		    1)
		return err_say(err, EIO, "decrypt: OpenSSL refuses AES-256-GCM");
	return EVP_CipherFinal_ex(t->open.ctx, none, &n) == 1 ? 0 : PACK_CRYPT_FORGED;
}
