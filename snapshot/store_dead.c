#include "snapshot/store_dead.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static int by_id(const void *a, const void *b)
{
	return memcmp(a, b, MANIFEST_ID_LEN);
}

void store_dead_deinit(struct store_dead *dead)
{
	free(dead->ids);
	memset(dead, 0, sizeof(*dead));
}

bool store_dead_has(const struct store_dead *dead, const char *id)
{
	return dead->count &&
	       bsearch(id, dead->ids, dead->count, sizeof(*dead->ids), by_id) != NULL;
}

static int add(struct store_dead *dead, const char *id, struct err *err)
{
	if (dead->count == dead->capacity) {
		size_t n = dead->capacity ? 2 * dead->capacity : 64;
		void *ids = realloc(dead->ids, n * sizeof(*dead->ids));

		if (!ids)
			return err_set(err, ENOMEM, "list manifests");
		dead->ids = ids;
		dead->capacity = n;
	}
	memcpy(dead->ids[dead->count++], id, MANIFEST_ID_LEN);
	return 0;
}

/* listed: those of this pack. */
static int look_into(struct store_dead *dead, struct store *store, uint32_t number,
		     const uint64_t *listed, size_t n, struct err *err)
{
	CLEANUP(pack_unref) struct pack *pack = NULL;
	int r = store_table_pack(store, number, &pack, err);

	for (uint32_t i = 0; r == 0 && i < pack->count; i++) {
		struct store_snapshot row = { .pack = number, .record = i };
		struct err why = { 0 };
		struct manifest m;

		if (pack->entries[i].type != PACK_MANIFEST)
			continue;
		if (n && (*listed & UINT32_MAX) == i) {
			listed++;
			n--;
			continue;
		}
		r = store_catalogue_read(store, &row, &m, &why);
		if (r == 0) {
			r = add(dead, m.id, err);
			manifest_deinit(&m);
		} else if (r == -EBADMSG || r == -EINVAL) {
			r = 0; /* GC was told to go on all the same */
		} else {
			*err = why;
		}
	}
	return r;
}

int store_dead_find(struct store_dead *dead, struct store *store, const uint64_t *listed, size_t n,
		    struct err *err)
{
	size_t packs;
	int r = 0;

	pthread_mutex_lock(&store->lock);
	packs = store->pack_count;
	pthread_mutex_unlock(&store->lock);
	for (uint32_t i = 0; r == 0 && i < packs; i++) {
		struct store_pack row;
		size_t here = 0;

		pthread_mutex_lock(&store->lock);
		row = store->packs[i];
		pthread_mutex_unlock(&store->lock);
		while (here < n && listed[here] >> 32 == i)
			here++;
		if ((row.state == STORE_PACK_LIVE || row.state == STORE_PACK_CONDEMNED) &&
		    row.manifests > here)
			r = look_into(dead, store, i, listed, here, err);
		listed += here;
		n -= here;
	}
	if (dead->count)
		qsort(dead->ids, dead->count, sizeof(*dead->ids), by_id);
	return r;
}
