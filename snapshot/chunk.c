#include "snapshot/chunk.h"

#include <assert.h>
#include <errno.h>
#include <openssl/evp.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>
#include <zstd.h>

#include "snapshot/sha256_pair.h"

/* zstd -1 takes tables of 2^13 for a chunk: twice that takes 0.7 % off for 2 % more CPU. */
enum { ZSTD_LEVEL = 1, ZSTD_HASH_LOG = 14, ZLIB_LEVEL = 1 };

/* Making these costs more than using them, so each thread keeps its own. */
struct tools {
	EVP_MD_CTX *digest;
	ZSTD_CCtx *compress;
	ZSTD_DCtx *decompress;
};

static pthread_once_t once = PTHREAD_ONCE_INIT;
static pthread_key_t tools_key;
static EVP_MD *sha256;
static bool pairs; /* hash two messages at once */

static void tools_free(void *p)
{
	struct tools *t = p;

	EVP_MD_CTX_free(t->digest);
	ZSTD_freeCCtx(t->compress);
	ZSTD_freeDCtx(t->decompress);
	free(t);
}

static void setup(void)
{
	pthread_key_create(&tools_key, tools_free);
	sha256 = EVP_MD_fetch(NULL, "SHA256", NULL);
	pairs = sha256_pair_possible();
}

/* NULL: out of memory. */
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
	t->digest = EVP_MD_CTX_new();
	t->compress = ZSTD_createCCtx();
	t->decompress = ZSTD_createDCtx();
	if (!t->digest || !t->compress || !t->decompress || pthread_setspecific(tools_key, t)) {
		tools_free(t);
		return NULL;
	}
	ZSTD_CCtx_setParameter(t->compress, ZSTD_c_compressionLevel, ZSTD_LEVEL);
	ZSTD_CCtx_setParameter(t->compress, ZSTD_c_hashLog, ZSTD_HASH_LOG);
	mine = t;
	return t;
}

void chunk_id_of(const void *data, size_t len, struct chunk_id *id)
{
	struct tools *t = tools_get();

	/* A digest of memory can only fail for want of memory, and an id that is wrong must never go on. */
	if (!t || EVP_DigestInit_ex2(t->digest, sha256, NULL) != 1 ||
	    EVP_DigestUpdate(t->digest, data, len) != 1 ||
	    EVP_DigestFinal_ex(t->digest, id->bytes, NULL) != 1)
		abort();
}

void chunk_ids_of(const uint8_t *const *data, const size_t *len, size_t n, struct chunk_id *ids)
{
	size_t i = 0;

	tools_get(); /* for `pairs` */
	while (i < n) {
		if (pairs && i + 1 < n && len[i] == len[i + 1]) {
			sha256_pair(data[i], data[i + 1], len[i], ids[i].bytes, ids[i + 1].bytes);
			i += 2;
		} else {
			chunk_id_of(data[i], len[i], &ids[i]);
			i++;
		}
	}
}

bool chunk_id_is_zero(const struct chunk_id *id)
{
	static const struct chunk_id zero;

	return memcmp(id, &zero, sizeof(zero)) == 0;
}

bool chunk_id_equal(const struct chunk_id *a, const struct chunk_id *b)
{
	return memcmp(a, b, sizeof(*a)) == 0;
}

bool chunk_is_zero(const void *data, size_t len)
{
	static const uint8_t zeros[16];
	const uint8_t *p = data;

	if (len < sizeof(zeros))
		return memcmp(p, zeros, len) == 0;
	/* Each byte equals the one sixteen before it, and the first sixteen are zeros. */
	return memcmp(p, zeros, sizeof(zeros)) == 0 &&
	       memcmp(p, p + sizeof(zeros), len - sizeof(zeros)) == 0;
}

/* A gain below 1/128 would cost its decompression at every restore and save nothing worth it. */
static size_t worth_it(size_t len)
{
	return len - len / 128 - (len < 128);
}

/* Bytes written to @buf, 0 when nothing is gained. */
static size_t compress_zstd(struct tools *t, const uint8_t *raw, size_t len, uint8_t *buf)
{
	size_t n = ZSTD_compress2(t->compress, buf, worth_it(len), raw, len);

	return ZSTD_isError(n) ? 0 : n;
}

static size_t compress_zlib(const uint8_t *raw, size_t len, uint8_t *buf)
{
	uLongf n = worth_it(len);

	return compress2(buf, &n, raw, len, ZLIB_LEVEL) == Z_OK ? n : 0;
}

int chunk_encode(enum chunk_codec codec, const uint8_t *raw, size_t len, uint8_t *buf,
		 struct chunk_encoded *out, struct err *err)
{
	struct tools *t = tools_get();
	size_t n = 0;

	assert(len >= 1 && len <= CHUNK_MAX);
	if (!t)
		return err_set(err, ENOMEM, "compress a chunk");
	if (worth_it(len) > 0) {
		if (codec == CHUNK_CODEC_ZSTD)
			n = compress_zstd(t, raw, len, buf);
		else if (codec == CHUNK_CODEC_ZLIB)
			n = compress_zlib(raw, len, buf);
	}
	out->codec = n ? codec : CHUNK_CODEC_NONE;
	out->raw_len = (uint32_t)len;
	out->len = (uint32_t)(n ? n : len);
	out->data = n ? buf : raw;
	return 0;
}

static int corrupt(struct err *err, const char *why)
{
	err_say(err, EBADMSG, "%s", why);
	return CHUNK_CORRUPT;
}

static int decompress(struct tools *t, const struct chunk_encoded *e, uint8_t *raw, struct err *err)
{
	uLongf zlib_len = e->raw_len;
	size_t n;

	switch (e->codec) {
	case CHUNK_CODEC_NONE:
		if (e->len != e->raw_len)
			return corrupt(err, "an uncompressed chunk has two lengths");
		memcpy(raw, e->data, e->len);
		return 0;
	case CHUNK_CODEC_ZLIB:
		if (uncompress(raw, &zlib_len, e->data, e->len) != Z_OK || zlib_len != e->raw_len)
			return corrupt(err, "zlib data is damaged");
		return 0;
	case CHUNK_CODEC_ZSTD:
		n = ZSTD_decompressDCtx(t->decompress, raw, e->raw_len, e->data, e->len);
		if (ZSTD_isError(n) || n != e->raw_len)
			return corrupt(err, "zstd data is damaged");
		return 0;
	}
	return corrupt(err, "unknown codec");
}

/* Into @raw, not yet compared with the id. */
static int decompress_checked(const struct chunk_encoded *e, uint8_t *raw, struct err *err)
{
	struct tools *t = tools_get();

	if (!t)
		return err_set(err, ENOMEM, "decompress a chunk");
	if (e->raw_len < 1 || e->raw_len > CHUNK_MAX || e->len < 1 || e->len > e->raw_len)
		return corrupt(err, "lengths out of range");
	return decompress(t, e, raw, err);
}

static int compare(const struct chunk_encoded *e, const struct chunk_id *id, struct err *err)
{
	return chunk_id_equal(id, &e->id) ? 0 : corrupt(err, "content does not match the id");
}

int chunk_decode(const struct chunk_encoded *e, uint8_t *raw, struct err *err)
{
	struct chunk_id id;
	int r;

	r = decompress_checked(e, raw, err);
	if (r)
		return r;
	chunk_id_of(raw, e->raw_len, &id);
	return compare(e, &id, err);
}

int chunk_decode_pair(const struct chunk_encoded e[2], uint8_t *const raw[2], size_t *bad,
		      struct err *err)
{
	const uint8_t *const data[2] = { raw[0], raw[1] };
	const size_t len[2] = { e[0].raw_len, e[1].raw_len };
	struct chunk_id ids[2];
	int r = 0;

	for (size_t i = 0; i < 2 && !r; i++) {
		*bad = i;
		r = decompress_checked(&e[i], raw[i], err);
	}
	if (r)
		return r;
	chunk_ids_of(data, len, 2, ids);
	for (size_t i = 0; i < 2 && !r; i++) {
		*bad = i;
		r = compare(&e[i], &ids[i], err);
	}
	return r;
}
