/* The folder of packs: which there are, and what came and went since.
 *
 * A process that only reads has no lock: another one adds packs beside it, and its GC copies what is alive in some into new ones
 * before it deletes them. So a reader that finds a pack gone looks again: what it wants is in one that it does not know.
 */
#include "snapshot/store_internal.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/hex.h"
#include "common/io.h"
#include "snapshot/store_staged.h"
#include "snapshot/store_state.h"
#include "snapshot/volume.h"

enum { DELETED_MAX = 1 << 30 };
enum { LOOKS = 8 }; /* at a folder that changes all the time; then what was seen must do */

bool store_folder_pack_name(const char *file, struct pack_name *name)
{
	char text[PACK_NAME_TEXT_LEN];

	if (strlen(file) != sizeof(text) - 1 + strlen(".pack") ||
	    strcmp(file + sizeof(text) - 1, ".pack") != 0)
		return false;
	memcpy(text, file, sizeof(text) - 1);
	text[sizeof(text) - 1] = '\0';
	return hex_decode(text, name->bytes, PACK_NAME_LEN) == 0;
}

/* *vanished: set when the pack was deleted since the folder was read. */
static int pack_load(struct store *store, const struct pack_name *name, bool *vanished,
		     struct err *err)
{
	CLEANUP(pack_unref) struct pack *pack = NULL;
	CLEANUP_FREE char *path = store_table_path(store, name);
	uint32_t number;
	int r;

	if (!path)
		return err_set(err, ENOMEM, "open a pack");
	r = pack_open(&pack, path, &store->keys, store->id, err);
	if (r == -EBADMSG)
		return store_table_add_damaged(store, name, err);
	if (r == -ENOENT) {
		*vanished = true;
		return 0;
	}
	if (r < 0)
		return r;
	r = store_table_add(store, pack, 0, &number, err);
	return r < 0 ? r : store_catalogue_take(store, pack, number, err);
}

/* A new row tells what is in the pack. This one loses its name: what is GONE by name was deleted by GC, and mirrors follow. */
static void supersede(struct store_pack *row)
{
	row->state = STORE_PACK_GONE;
	memset(&row->name, 0, sizeof(row->name));
}

/* The records that the catalogue could not read when the pack was damaged. */
static int take_again(struct store *store, uint32_t number, struct err *err)
{
	CLEANUP(pack_unref) struct pack *pack = NULL;
	int r = store_table_pack(store, number, &pack, err);

	if (r == 0)
		r = store_catalogue_take(store, pack, number, err);
	pthread_mutex_lock(&store->lock);
	store->state_stale = true;
	pthread_mutex_unlock(&store->lock);
	return r;
}

int store_folder_reload_pack(struct store *store, const struct pack_name *name, struct err *err)
{
	bool reload = false, vanished = false;
	size_t n;
	int r = 0;

	pthread_mutex_lock(&store->lock);
	n = store->pack_count;
	pthread_mutex_unlock(&store->lock);
	for (uint32_t i = 0; r == 0 && i < n; i++) {
		bool is_it, is_live;

		pthread_mutex_lock(&store->lock);
		is_it = memcmp(&store->packs[i].name, name, sizeof(*name)) == 0;
		is_live = is_it && (store->packs[i].state == STORE_PACK_LIVE ||
				    store->packs[i].state == STORE_PACK_CONDEMNED);
		if (is_it && store->packs[i].state == STORE_PACK_DAMAGED) {
			supersede(&store->packs[i]);
			reload = true;
		}
		pthread_mutex_unlock(&store->lock);
		if (is_it)
			store_table_uncache(store, i);
		if (is_live)
			r = take_again(store, i, err);
	}
	return r == 0 && reload ? pack_load(store, name, &vanished, err) : r;
}

static int by_name(const void *a, const void *b)
{
	return memcmp(a, b, sizeof(struct pack_name));
}

struct names {
	struct pack_name *list;
	size_t count, capacity;
};

/* The names of the packs in one folder. */
static int names_add(struct names *names, const char *path, struct err *err)
{
	DIR *dir = opendir(path);
	struct dirent *e;
	int r = 0;

	if (!dir)
		return err_set(err, errno, "open %s", path);
	while (r == 0 && (errno = 0, e = readdir(dir))) {
		if (names->count == names->capacity) {
			size_t capacity = names->capacity ? 2 * names->capacity : 256;
			void *more = realloc(names->list, capacity * sizeof(*names->list));

			if (!more) {
				r = err_set(err, ENOMEM, "list packs");
				break;
			}
			names->list = more;
			names->capacity = capacity;
		}
		names->count += store_folder_pack_name(e->d_name, &names->list[names->count]);
	}
	if (r == 0 && errno)
		r = err_set(err, errno, "read %s", path);
	closedir(dir);
	return r;
}

/* Sorted, each once, without those that are deleted. */
static void names_settle(struct names *names, struct pack_name *deleted, size_t n)
{
	size_t kept = 0;

	if (names->count)
		qsort(names->list, names->count, sizeof(*names->list), by_name);
	if (n)
		qsort(deleted, n, sizeof(*deleted), by_name);
	for (size_t i = 0; i < names->count; i++) {
		const struct pack_name *name = &names->list[i];

		if ((kept && by_name(&names->list[kept - 1], name) == 0) ||
		    (n && bsearch(name, deleted, n, sizeof(*deleted), by_name)))
			continue;
		names->list[kept++] = *name;
	}
	names->count = kept;
}

/* The names of the store's packs, sorted; heap. */
static int folder_read(struct store *store, struct pack_name **out, size_t *count, struct err *err)
{
	CLEANUP_FREE char *incoming = io_printf("%s/incoming", store->path);
	CLEANUP_FREE struct pack_name *deleted = NULL;
	struct names names = { 0 };
	size_t n = 0;
	int r;

	if (!incoming)
		return err_set(err, ENOMEM, "list packs");
	/* A mirror in between: what is staged counts. That folder first, as packs move from it to the other. */
	r = store_staged_pending(store->path, &deleted, &n, err);
	if (r == 1)
		r = names_add(&names, incoming, err);
	if (r == 0)
		r = names_add(&names, store->packs_path, err);
	if (r < 0) {
		free(names.list);
		return r;
	}
	names_settle(&names, deleted, n);
	*out = names.list;
	*count = names.count;
	return 0;
}

/* Mark which of the sorted names have a row. Rows whose file is not there become @vanished; return how many. */
static size_t match_rows(struct store *store, const struct pack_name *names, size_t n,
			 enum store_pack_state vanished, bool *known)
{
	size_t missing = 0;

	pthread_mutex_lock(&store->lock);
	for (size_t i = 0; i < store->pack_count; i++) {
		struct store_pack *row = &store->packs[i];
		const struct pack_name *found =
			n ? bsearch(&row->name, names, n, sizeof(*names), by_name) : NULL;

		if (row->state == STORE_PACK_GONE)
			continue;
		if (!found && row->state != STORE_PACK_DAMAGED) {
			row->state = vanished;
			missing++;
		} else if (found && row->state == STORE_PACK_DAMAGED) {
			supersede(row); /* it may have been repaired */
		} else if (found) {
			known[found - names] = true;
		}
	}
	pthread_mutex_unlock(&store->lock);
	return missing;
}

/* How large the file of a pack is; 0: it is gone. */
static uint64_t file_size(const struct store *store, const struct pack_name *name)
{
	CLEANUP_FREE char *path = store_table_path(store, name);
	struct stat st;

	return path && stat(path, &st) == 0 ? (uint64_t)st.st_size : 0;
}

/* Packs that have no row yet, while somebody watches. */
static int load_unknown(struct store *store, const struct pack_name *names, const bool *known,
			size_t n, bool *vanished, struct err *err)
{
	struct volume_progress *watched = store->opening;
	int r = 0;

	for (size_t i = 0; watched && i < n; i++)
		if (!known[i])
			atomic_fetch_add(&watched->total_bytes, file_size(store, &names[i]));
	for (size_t i = 0; r == 0 && i < n; i++) {
		if (watched && atomic_load(&watched->cancel))
			return err_say(err, ECANCELED, "cancelled");
		if (known[i])
			continue;
		r = pack_load(store, &names[i], vanished, err);
		if (r == 0 && store->mode == STORE_WRITE)
			r = store_state_maybe_flush(store, err);
		if (watched)
			atomic_fetch_add(&watched->done_bytes, file_size(store, &names[i]));
	}
	return r;
}

/* One look at the folder. *again: it changed meanwhile. */
static int look(struct store *store, enum store_pack_state vanished, size_t *missing, bool *again,
		struct err *err)
{
	CLEANUP_FREE struct pack_name *names = NULL;
	CLEANUP_FREE bool *known = NULL;
	struct stat before, after;
	bool fresh = false;
	size_t n = 0;
	int r;

	if (stat(store->packs_path, &before) < 0)
		return err_set(err, errno, "open %s", store->packs_path);
	r = folder_read(store, &names, &n, err);
	if (r < 0)
		return r;
	known = calloc(n + 1, sizeof(*known));
	if (!known)
		return err_set(err, ENOMEM, "list packs");
	*missing += match_rows(store, names, n, vanished, known);
	r = load_unknown(store, names, known, n, &fresh, err);
	*again = fresh || stat(store->packs_path, &after) < 0 ||
		 before.st_mtim.tv_sec != after.st_mtim.tv_sec ||
		 before.st_mtim.tv_nsec != after.st_mtim.tv_nsec;
	return r;
}

int store_folder_load(struct store *store, size_t *missing, struct err *err)
{
	enum store_pack_state vanished = STORE_PACK_DAMAGED;
	bool again = true;
	int r = 0;

	*missing = 0;
	for (int i = 0; r == 0 && again && i < (store->mode == STORE_READ ? LOOKS : 1); i++) {
		r = look(store, vanished, missing, &again, err);
		vanished = STORE_PACK_GONE; /* seen a moment ago: the writer deleted it */
	}
	return r;
}

/* Snapshots whose manifest is gone, and in none of the packs that came, were forgotten. */
static void unlist_gone(struct store *store)
{
	pthread_mutex_lock(&store->lock);
	for (size_t i = 0; i < store->snapshot_count; i++) {
		struct store_snapshot *row = &store->snapshots[i];

		if (row->pack != UINT32_MAX && store->packs[row->pack].state == STORE_PACK_GONE)
			row->pack = UINT32_MAX;
	}
	pthread_mutex_unlock(&store->lock);
}

int store_folder_refresh(struct store *store, struct err *err)
{
	bool again = true;
	size_t missing = 0;
	int r = 0;

	if (store->mode != STORE_READ)
		return 0;
	pthread_mutex_lock(&store->flush_lock);
	for (int i = 0; r == 0 && again && i < LOOKS; i++)
		r = look(store, STORE_PACK_GONE, &missing, &again, err);
	if (r == 0)
		unlist_gone(store);
	pthread_mutex_unlock(&store->flush_lock);
	return r;
}

/* ---- What GC deleted ---------------------------------------------------------------------------------------- */

/* STORE/deleted: names, one a line. What is no name is what a crash left of one. */
int store_folder_note_deleted(struct store *store, const struct pack_name *names, size_t n,
			      struct err *err)
{
	CLEANUP_FREE char *path = io_printf("%s/deleted", store->path);
	CLEANUP_FREE char *text = malloc(1 + n * PACK_NAME_TEXT_LEN);
	char name[PACK_NAME_TEXT_LEN];
	CLEANUP_FD int fd = -1;
	size_t len = 1;
	int r;

	if (!n)
		return 0;
	if (!path || !text)
		return err_set(err, ENOMEM, "note deleted packs");
	text[0] = '\n';
	for (size_t i = 0; i < n; i++, len += PACK_NAME_TEXT_LEN) {
		pack_name_text(&names[i], name);
		memcpy(text + len, name, PACK_NAME_TEXT_LEN - 1);
		text[len + PACK_NAME_TEXT_LEN - 1] = '\n';
	}
	fd = open(path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0600);
	if (fd < 0)
		return err_set(err, errno, "open %s", path);
	r = io_write_full(fd, text, len);
	if (r == 0 && fdatasync(fd) < 0)
		r = -errno;
	return r < 0 ? err_set(err, -r, "write %s", path) : io_sync_folder(store->path, err);
}

int store_folder_load_deleted(struct store *store, struct err *err)
{
	CLEANUP_FREE char *path = io_printf("%s/deleted", store->path);
	CLEANUP_FREE uint8_t *text = NULL;
	char *rest;
	size_t len;
	int r;

	if (!path)
		return err_set(err, ENOMEM, "open store %s", store->path);
	r = io_read_file(path, DELETED_MAX, &text, &len, err);
	if (r < 0)
		return r == -ENOENT ? 0 : r;
	rest = (char *)text;
	for (char *line; r == 0 && (line = strsep(&rest, "\n"));) {
		struct pack_name name;

		if (strlen(line) == PACK_NAME_TEXT_LEN - 1 &&
		    hex_decode(line, name.bytes, PACK_NAME_LEN) == 0)
			r = store_table_add_gone(store, &name, err);
	}
	return r;
}
