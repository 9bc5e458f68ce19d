#include "snapshot/store_mirror_stray.h"

#include <dirent.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/io.h"

/* GO_TOGETHER: it has a note about a snapshot of which the store has no manifest; a stray that stays might have it. */
enum verdict { STAYS, GO_TOGETHER, GOES };

struct stray {
	struct pack_name name;
	enum verdict verdict;
};
struct strays {
	struct stray *list;
	size_t count;
};

bool store_mirror_stray_old_enough(const char *path, uint64_t no_delete_ms)
{
	uint64_t now = clock_wall_cautious_ms();
	struct stat st;

	if (stat(path, &st) < 0)
		return false;
	return !no_delete_ms || ((uint64_t)st.st_ctime * 1000 <= now &&
				 now - (uint64_t)st.st_ctime * 1000 > no_delete_ms);
}

static char *pack_file(const char *folder, const struct pack_name *name)
{
	char text[PACK_NAME_TEXT_LEN];

	pack_name_text(name, text);
	return io_printf("%s/%s.pack", folder, text);
}

/* ---- Which packs the store does not know ---------------------------------------------------------------------- */

static int by_name(const void *a, const void *b)
{
	return memcmp(a, b, sizeof(struct pack_name));
}

/* All names in the store's table, sorted. *doubt: it does not know everything that it holds itself. */
static struct pack_name *known_names(struct store *store, size_t *count, bool *doubt)
{
	struct pack_name *names;

	*doubt = false;
	*count = 0;
	pthread_mutex_lock(&store->lock);
	names = calloc(store->pack_count + 1, sizeof(*names));
	for (size_t i = 0; names && i < store->pack_count; i++) {
		names[(*count)++] = store->packs[i].name;
		*doubt |= store->packs[i].state == STORE_PACK_DAMAGED ||
			  (store->packs[i].state != STORE_PACK_GONE && store->packs[i].unread);
	}
	pthread_mutex_unlock(&store->lock);
	if (names && *count)
		qsort(names, *count, sizeof(*names), by_name);
	return names;
}

static int stray_add(struct strays *strays, const struct pack_name *name, struct err *err)
{
	struct stray *list = realloc(strays->list, (strays->count + 1) * sizeof(*list));

	if (!list)
		return err_set(err, ENOMEM, "list packs");
	strays->list = list;
	list[strays->count++] = (struct stray){ *name, STAYS };
	return 0;
}

static int strays_list(const struct store_mirror_stray *order, struct strays *strays,
		       struct err *err)
{
	size_t n;
	bool doubt;
	CLEANUP_FREE struct pack_name *known = known_names(order->store, &n, &doubt);
	DIR *dir = known && !doubt ? opendir(order->packs) : NULL;
	struct dirent *e;
	int r = 0;

	if (!known)
		return err_set(err, ENOMEM, "list packs");
	if (doubt)
		return 0;
	if (!dir)
		return err_set(err, errno, "open %s", order->packs);
	while (r == 0 && (e = readdir(dir))) {
		CLEANUP_FREE char *source = NULL;
		struct pack_name name;

		if (!store_folder_pack_name(e->d_name, &name) ||
		    bsearch(&name, known, n, sizeof(name), by_name))
			continue;
		source = pack_file(order->store->packs_path, &name);
		if (source && access(source, F_OK) != 0)
			r = stray_add(strays, &name, err);
	}
	closedir(dir);
	return r;
}

/* ---- What is in them ------------------------------------------------------------------------------------------ */

/* Will the mirror have that pack of the store, too? */
static bool shared(const struct store_mirror_stray *order, uint32_t number)
{
	CLEANUP_FREE char *here = NULL, *staged = NULL;
	struct store_pack row;

	pthread_mutex_lock(&order->store->lock);
	row = order->store->packs[number];
	pthread_mutex_unlock(&order->store->lock);
	here = pack_file(order->packs, &row.name);
	staged = pack_file(order->incoming, &row.name);
	return row.state == STORE_PACK_LIVE && here && staged &&
	       (access(here, F_OK) == 0 || access(staged, F_OK) == 0);
}

static enum verdict chunk_verdict(const struct store_mirror_stray *order,
				  struct store_domain *domain, const struct chunk_id *id,
				  uint32_t *last)
{
	struct store_place place = { 0 };
	struct err why = { 0 };

	if (store_table_find(domain, id, false, &place, &why) != 0)
		return STAYS;
	pack_unref(place.pack);
	if (place.number == *last)
		return GOES;
	if (!shared(order, place.number))
		return STAYS;
	*last = place.number;
	return GOES;
}

static enum verdict record_verdict(const struct store_mirror_stray *order, const struct pack *pack,
				   uint32_t i)
{
	uint32_t number;
	struct err why = { 0 };

	switch (store_catalogue_knows(order->store, pack, i, &number, &why)) {
	case STORE_CATALOGUE_KNOWN:
		return shared(order, number) ? GOES : STAYS;
	case STORE_CATALOGUE_POINTLESS:
		return GO_TOGETHER;
	}
	return STAYS;
}

static enum verdict pack_verdict(const struct store_mirror_stray *order,
				 const struct pack_name *name)
{
	CLEANUP_FREE char *path = pack_file(order->packs, name);
	CLEANUP(pack_unref) struct pack *pack = NULL;
	struct store_domain *domain;
	enum verdict all = GOES;
	uint32_t last = UINT32_MAX;
	struct err why = { 0 };

	if (!path || !store_mirror_stray_old_enough(path, order->no_delete_ms) ||
	    pack_open(&pack, path, &order->store->keys, order->store->id, &why) < 0)
		return STAYS;
	domain = store_domain_get(order->store, pack->domain, &why);
	if (!domain)
		return STAYS;
	for (uint32_t i = 0; all != STAYS && i < pack->count; i++) {
		enum verdict one =
			pack->entries[i].type == PACK_CHUNK
				? chunk_verdict(order, domain, &pack->entries[i].id, &last)
				: record_verdict(order, pack, i);

		all = one < all ? one : all;
	}
	return all;
}

int store_mirror_stray_find(const struct store_mirror_stray *order, struct pack_name **names,
			    size_t *count, struct err *err)
{
	struct strays strays = { 0 };
	bool all_go = true;
	int r = strays_list(order, &strays, err);

	*count = 0;
	*names = calloc(strays.count + 1, sizeof(**names));
	if (r == 0 && !*names)
		r = err_set(err, ENOMEM, "list packs");
	for (size_t i = 0; r == 0 && i < strays.count; i++) {
		strays.list[i].verdict = pack_verdict(order, &strays.list[i].name);
		all_go &= strays.list[i].verdict != STAYS;
	}
	for (size_t i = 0; r == 0 && i < strays.count; i++)
		if (strays.list[i].verdict == GOES ||
		    (strays.list[i].verdict == GO_TOGETHER && all_go))
			(*names)[(*count)++] = strays.list[i].name;
	free(strays.list);
	return r;
}
