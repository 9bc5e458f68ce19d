#include "snapshot/store_internal.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/hex.h"
#include "common/io.h"
#include "snapshot/store_staged.h"
#include "snapshot/store_state.h"

enum { FORMAT_VERSION = 1, OPEN_TRIES = 8 };

static char *default_key_path(const char *path)
{
	size_t len = strlen(path);

	while (len > 1 && path[len - 1] == '/')
		len--;
	return io_printf("%.*s.key", (int)len, path);
}

/* ---- store.json: which store this is ----------------------------------------------------------------------- */

static int config_write(const char *path, const uint8_t id[PACK_STORE_ID_LEN],
			uint64_t no_delete_ms, struct err *err)
{
	char hex[2 * PACK_STORE_ID_LEN + 1];
	CLEANUP_FREE char *file = io_printf("%s/store.json", path);
	CLEANUP(json_decref) json_t *value = NULL;
	CLEANUP_FREE char *text = NULL;

	hex_encode(id, PACK_STORE_ID_LEN, hex);
	value = json_pack("{ss si ss sI}", "format", "godwit-store", "version", FORMAT_VERSION,
			  "id", hex, "no_delete_ms", (json_int_t)no_delete_ms);
	text = value ? json_text(value) : NULL;
	if (!file || !text)
		return err_set(err, ENOMEM, "make store %s", path);
	return io_replace_file(file, text, strlen(text), 0644, err);
}

static int config_read(struct store *store, struct err *err)
{
	CLEANUP_FREE char *file = io_printf("%s/store.json", store->path);
	CLEANUP(json_decref) json_t *value = NULL;
	const char *format = NULL, *id = NULL;
	uint64_t version = 0;
	const struct json_field fields[] = {
		{ "format", JSON_KIND_STRING, false, &format },
		{ "version", JSON_KIND_UINT, false, &version },
		{ "id", JSON_KIND_STRING, false, &id },
		{ "no_delete_ms", JSON_KIND_UINT, true, &store->no_delete_ms },
	};
	int r;

	if (!file)
		return err_set(err, ENOMEM, "open store %s", store->path);
	r = json_parse_file(&value, file, STORE_PATH_JSON_MAX, err);
	if (r < 0)
		return r == -ENOENT ? err_say(err, ENOENT,
					      "%s is not a store: it has no store.json (make one "
					      "with godwit-store "
					      "init, or let godwit-store reindex make it again "
					      "from the packs)",
					      store->path)
				    : r;
	r = json_fields(value, fields, ARRAY_LEN(fields), file, err);
	if (r < 0)
		return r;
	if (strcmp(format, "godwit-store") != 0 || version != FORMAT_VERSION)
		return err_say(err, EINVAL, "%s: this is no store of format version %d", file,
			       FORMAT_VERSION);
	if (hex_decode(id, store->id, PACK_STORE_ID_LEN) < 0)
		return err_say(err, EINVAL, "%s: id must be %d hexadecimal digits", file,
			       2 * PACK_STORE_ID_LEN);
	return 0;
}

static int folder_empty(const char *path, struct err *err)
{
	DIR *dir = opendir(path);
	struct dirent *e;
	int r = 0;

	if (!dir)
		return errno == ENOENT ? 0 : err_set(err, errno, "make store %s", path);
	while (r == 0 && (e = readdir(dir)))
		if (strcmp(e->d_name, ".") != 0 && strcmp(e->d_name, "..") != 0)
			r = err_say(err, EEXIST, "make store %s: the folder is not empty", path);
	closedir(dir);
	return r;
}

static int key_ready(const char *key_path, struct err *err)
{
	struct store_keys keys;
	struct stat st;
	int r;

	memset(&keys, 0, sizeof(keys));
	if (stat(key_path, &st) == 0) {
		r = store_key_load(&keys, key_path, err);
	} else {
		r = store_key_add(&keys, err);
		if (r == 0)
			r = store_key_save(&keys, key_path, err);
	}
	store_key_wipe(&keys);
	return r;
}

int store_init(const char *path, const char *key_path, struct err *err)
{
	return store_init_with(path, key_path, 0, err);
}

int store_init_with(const char *path, const char *key_path, uint64_t no_delete_ms, struct err *err)
{
	CLEANUP_FREE char *default_path = default_key_path(path);
	CLEANUP_FREE char *packs = io_printf("%s/packs", path);
	CLEANUP_FREE char *temp = io_printf("%s/tmp", path);
	uint8_t id[PACK_STORE_ID_LEN];
	int r;

	if (!default_path || !packs || !temp)
		return err_set(err, ENOMEM, "make store %s", path);
	r = folder_empty(path, err);
	if (r < 0)
		return r;
	r = key_ready(key_path ? key_path : default_path, err);
	if (r < 0)
		return r;
	r = io_make_folders(packs, 0700, err);
	if (r < 0)
		return r;
	r = io_make_folders(temp, 0700, err);
	if (r < 0)
		return r;
	if (getrandom(id, sizeof(id), 0) != (ssize_t)sizeof(id))
		return err_set(err, errno, "make store %s", path);
	r = config_write(path, id, no_delete_ms, err);
	if (r < 0)
		return r;
	return io_sync_parent(path, err);
}

/* ---- Opening ----------------------------------------------------------------------------------------------- */

struct store_domain *store_domain_get(struct store *store, const char *name, struct err *err)
{
	struct store_domain *d;
	char info[PACK_DOMAIN_LEN + 32];

	pthread_mutex_lock(&store->lock);
	for (d = store->domains; d; d = d->next)
		if (strcmp(d->name, name) == 0)
			break;
	if (!d) {
		d = calloc(1, sizeof(*d));
		if (!d) {
			err_set(err, ENOMEM, "domain %s", name);
		} else {
			d->store = store;
			snprintf(d->name, sizeof(d->name), "%s", name);
			snprintf(info, sizeof(info), "godwit index 1 %s", d->name);
			if (store_key_derive(store->index_key, store->id, sizeof(store->id), info,
					     d->key, sizeof(d->key), err) < 0) {
				free(d);
				d = NULL;
			} else {
				d->next = store->domains;
				store->domains = d;
			}
		}
	}
	pthread_mutex_unlock(&store->lock);
	return d;
}

int store_sync_folder(struct store *store, struct err *err)
{
	bool dirty;
	int r = 0;

	/* Whoever finds the flag down must also find the fsync done: it happens under sync_lock. */
	pthread_mutex_lock(&store->sync_lock);
	pthread_mutex_lock(&store->lock);
	dirty = store->folder_dirty;
	store->folder_dirty = false;
	pthread_mutex_unlock(&store->lock);
	if (dirty)
		r = io_sync_folder(store->packs_path, err);
	if (r < 0) {
		pthread_mutex_lock(&store->lock);
		store->folder_dirty = true;
		pthread_mutex_unlock(&store->lock);
	}
	pthread_mutex_unlock(&store->sync_lock);
	return r;
}

int store_check_writable(const struct store *store, struct err *err)
{
	return store->mode == STORE_WRITE
		       ? 0
		       : err_say(err, EROFS, "store %s was opened for reading only", store->path);
}

/* One process writes. What an earlier one left unfinished under a temporary name is of no use to anybody. */
static int writer_begin(struct store *store, struct err *err)
{
	CLEANUP_FREE char *lock_path = io_printf("%s/lock", store->path);
	struct dirent *e;
	DIR *dir;
	int r;

	if (!lock_path)
		return err_set(err, ENOMEM, "lock store %s", store->path);
	store->lock_fd = open(lock_path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	if (store->lock_fd < 0 && errno == EROFS)
		return err_say(err, EROFS,
			       "store %s is on a read-only file system: list, get, export, serve, "
			       "verify and mirroring it "
			       "elsewhere work, nothing that writes does",
			       store->path);
	if (store->lock_fd < 0)
		return err_set(err, errno, "open %s", lock_path);
	if (flock(store->lock_fd, LOCK_EX | LOCK_NB) < 0)
		return errno == EWOULDBLOCK
			       ? err_say(err, EBUSY, "store %s: another process is writing to it",
					 store->path)
			       : err_set(err, errno, "lock %s", lock_path);
	r = store_staged_finish(store->path, err);
	if (r < 0)
		return r;
	dir = opendir(store->temp_path);
	if (!dir)
		return err_set(err, errno, "open %s", store->temp_path);
	while ((e = readdir(dir)))
		if (e->d_name[0] != '.')
			unlinkat(dirfd(dir), e->d_name, 0);
	closedir(dir);
	return io_make_folders(store->index_path, 0700, err);
}

static int load_key(struct store *store, struct err *err)
{
	int r = store_key_load(&store->keys, store->key_path, err);

	if (r == -ENOENT)
		return err_say(
			err, ENOENT,
			"store %s: its key file %s is not there; give the right one with --key",
			store->path, store->key_path);
	return r < 0 ? err_wrap(err, r, "store %s: its key file", store->path) : 0;
}

/* When index/state was replaced, 0: there is none. */
static ino_t state_stamp(const struct store *store)
{
	CLEANUP_FREE char *path = io_printf("%s/state", store->index_path);
	struct stat st;

	return path && stat(path, &st) == 0 ? st.st_ino : 0;
}

/* A process that only reads may have read the state just before the one that writes replaced it and deleted packs. */
static int table_load(struct store *store, struct err *err)
{
	for (int try = 0;; try++) {
		ino_t stamp = state_stamp(store);
		size_t missing = 0;
		int r = store_state_load(store, err);

		if (r < 0)
			return r;
		store->state_stale = r == STORE_STATE_UNUSABLE;
		r = r == STORE_STATE_UNUSABLE ? store_folder_load_deleted(store, err) : 0;
		if (r < 0)
			return r;
		r = store_folder_load(store, &missing, err);
		if (r < 0 || !missing || store->mode == STORE_WRITE || try == OPEN_TRIES ||
		    stamp == state_stamp(store))
			return r;
		store_state_drop(store);
	}
}

static int open_parts(struct store *store, struct err *err)
{
	int r;

	r = config_read(store, err);
	if (r < 0)
		return r;
	r = load_key(store, err);
	if (r < 0)
		return r;
	if (store->mode == STORE_WRITE) {
		r = writer_begin(store, err);
		if (r < 0)
			return r;
	}
	store->index_key = store_key_newest(&store->keys);
	r = store_index_new(&store->index, store->index_path, err);
	if (r == 0)
		r = table_load(store, err);
	return r == -EACCES ? err_wrap(err, r, "store %s: %s does not hold the key that this needs",
				       store->path, store->key_path)
			    : r;
}

/* GC waits for a moment without a commit; commits that come later must not overtake it for ever. */
static void commit_lock_init(pthread_rwlock_t *lock)
{
	pthread_rwlockattr_t attributes;

	pthread_rwlockattr_init(&attributes);
	pthread_rwlockattr_setkind_np(&attributes, PTHREAD_RWLOCK_PREFER_WRITER_NONRECURSIVE_NP);
	pthread_rwlock_init(lock, &attributes);
	pthread_rwlockattr_destroy(&attributes);
}

static int open_watched(struct store **out, const char *path, const char *key_path,
			enum store_mode mode, struct volume_progress *progress, struct err *err)
{
	CLEANUP(store_close) struct store *store = calloc(1, sizeof(*store));
	int r;

	if (!store)
		return err_set(err, ENOMEM, "open store %s", path);
	store->lock_fd = -1;
	store->mode = mode;
	store->opening = progress;
	clock_wall_cautious_ms(); /* from here on the clock may jump ahead without ending anybody's no-delete window */
	pthread_mutex_init(&store->lock, NULL);
	pthread_mutex_init(&store->sync_lock, NULL);
	pthread_mutex_init(&store->flush_lock, NULL);
	pthread_mutex_init(&store->add_lock, NULL);
	pthread_mutex_init(&store->gc_lock, NULL);
	store_table_init(store);
	commit_lock_init(&store->commit_lock);
	store->path = io_printf("%s", path);
	store->packs_path = io_printf("%s/packs", path);
	store->temp_path = io_printf("%s/tmp", path);
	store->index_path = io_printf("%s/index", path);
	store->key_path = key_path ? io_printf("%s", key_path) : default_key_path(path);
	if (!store->path || !store->packs_path || !store->temp_path || !store->index_path ||
	    !store->key_path)
		return err_set(err, ENOMEM, "open store %s", path);
	r = open_parts(store, err);
	if (r < 0)
		return r;
	store->opened = true;
	store->opening = NULL;
	*out = TAKE(store);
	return 0;
}

int store_open(struct store **out, const char *path, const char *key_path, enum store_mode mode,
	       struct err *err)
{
	return open_watched(out, path, key_path, mode, NULL, err);
}

void store_close(struct store *store)
{
	struct store_domain *d, *next;

	if (!store)
		return;
	/* What is not written now is found by its footers at the next open. */
	if (store->opened && store->mode == STORE_WRITE &&
	    (store->state_stale || store_index_table_count(store->index)))
		store_state_save(store, NULL);
	store_table_clear(store);
	store_index_free(store->index);
	for (d = store->domains; d; d = next) {
		next = d->next;
		free(d);
	}
	free(store->snapshots);
	base_close(store->lock_fd);
	store_key_wipe(&store->keys);
	pthread_mutex_destroy(&store->lock);
	pthread_mutex_destroy(&store->sync_lock);
	pthread_mutex_destroy(&store->flush_lock);
	pthread_mutex_destroy(&store->add_lock);
	pthread_mutex_destroy(&store->gc_lock);
	pthread_rwlock_destroy(&store->commit_lock);
	free(store->path);
	free(store->packs_path);
	free(store->temp_path);
	free(store->index_path);
	free(store->key_path);
	free(store);
}

uint64_t store_no_delete_ms(const struct store *store)
{
	return store->no_delete_ms;
}

/* ---- Making derived things again --------------------------------------------------------------------------- */

/* store.json from any pack that the key opens. */
static int config_recover(const char *path, const char *key_path, struct err *err)
{
	CLEANUP_FREE char *packs = io_printf("%s/packs", path);
	DIR *dir = packs ? opendir(packs) : NULL;
	struct store_keys keys;
	struct dirent *e;
	int r;

	if (!dir)
		return err_set(err, packs ? errno : ENOMEM, "open the packs of %s", path);
	r = store_key_load(&keys, key_path, err);
	if (r == 0)
		r = err_say(err, ENOENT, "%s holds no pack that %s opens", packs, key_path);
	while (r == -ENOENT && (e = readdir(dir))) {
		CLEANUP_FREE char *file = io_printf("%s/%s", packs, e->d_name);
		CLEANUP(pack_unref) struct pack *pack = NULL;
		struct pack_name name;
		struct err why = { 0 };

		if (file && store_folder_pack_name(e->d_name, &name) &&
		    pack_open(&pack, file, &keys, NULL, &why) == 0)
			r = config_write(path, pack_store_id(pack), 0, err);
	}
	closedir(dir);
	store_key_wipe(&keys);
	return r;
}

int store_reindex(const char *path, const char *key_path, struct volume_progress *progress,
		  struct err *err)
{
	CLEANUP_FREE char *default_path = default_key_path(path);
	CLEANUP_FREE char *file = io_printf("%s/store.json", path);
	CLEANUP_FREE char *state = io_printf("%s/index/state", path);
	CLEANUP_FREE char *refs = io_printf("%s/index/refs", path);
	CLEANUP_FREE char *temp = io_printf("%s/tmp", path);
	CLEANUP(store_close) struct store *store = NULL;
	int r;

	if (!default_path || !file || !state || !refs || !temp)
		return err_set(err, ENOMEM, "reindex %s", path);
	if (access(file, F_OK) != 0) {
		r = config_recover(path, key_path ? key_path : default_path, err);
		if (r < 0)
			return r;
	}
	r = io_make_folders(temp, 0700, err);
	if (r < 0)
		return r;
	/* Without the state the runs are not used either; the next one's tidying removes them. */
	if (unlink(state) < 0 && errno != ENOENT)
		return err_set(err, errno, "delete %s", state);
	if (unlink(refs) < 0 && errno != ENOENT)
		return err_set(err, errno, "delete %s", refs);
	r = open_watched(&store, path, key_path, STORE_WRITE, progress, err);
	return r < 0 ? r : store_state_save(store, err);
}
