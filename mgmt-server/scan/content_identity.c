#include "mgmt-server/scan/content_identity.h"

#include <errno.h>
#include <openssl/evp.h>

#include "common/le.h"

enum { RULES_VERSION = 1, IDS = 64 };

DEFINE_CLEANUP(EVP_MD_CTX *, EVP_MD_CTX_free);

static bool add_numbers(EVP_MD_CTX *ctx, const uint64_t *numbers, size_t count)
{
	uint8_t bytes[4 * 8];

	for (size_t i = 0; i < count; i++)
		le_put64(bytes + 8 * i, numbers[i]);
	return EVP_DigestUpdate(ctx, bytes, 8 * count);
}

static int add_run(EVP_MD_CTX *ctx, const struct content_chunks *chunks, uint64_t offset,
		   const struct content_run *run, struct err *err)
{
	uint64_t place = offset + run->at, first = place / chunks->grid, last;
	const uint64_t head[] = { run->offset, run->length, place % chunks->grid };
	struct chunk_id ids[IDS];

	if (place < offset || run->length > UINT64_MAX - place)
		return err_say(err, EINVAL, "a run beyond its volume");
	last = (place + run->length - 1) / chunks->grid;
	if (!add_numbers(ctx, head, ARRAY_LEN(head)))
		return err_say(err, EIO, "hash a run");
	while (first <= last) {
		size_t n = last - first < IDS ? (size_t)(last - first) + 1 : IDS;
		int r = chunks->ids(chunks->ctx, first, n, ids, err);

		if (r < 0)
			return r;
		if (!EVP_DigestUpdate(ctx, ids, n * sizeof(ids[0])))
			return err_say(err, EIO, "hash a run");
		first += n;
	}
	return 0;
}

int content_identity(const struct content_chunks *chunks, uint64_t offset,
		     const struct content_runs *runs, uint64_t size,
		     uint8_t out[CONTENT_IDENTITY_LEN], struct err *err)
{
	CLEANUP(EVP_MD_CTX_free) EVP_MD_CTX *ctx = EVP_MD_CTX_new();
	const uint64_t head[] = { RULES_VERSION, chunks->grid, size, runs->count };
	int r = 0;

	if (!ctx || !EVP_DigestInit_ex(ctx, EVP_sha256(), NULL) ||
	    !add_numbers(ctx, head, ARRAY_LEN(head)))
		return err_set(err, ENOMEM, "name a content");
	for (size_t i = 0; r == 0 && i < runs->count; i++)
		r = add_run(ctx, chunks, offset, &runs->items[i], err);
	if (r == 0 && !EVP_DigestFinal_ex(ctx, out, NULL))
		r = err_say(err, EIO, "name a content");
	return r;
}
