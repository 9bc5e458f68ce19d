#include "snapshot/store_mirror.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/io.h"
#include "snapshot/store_mirror_stray.h"
#include "snapshot/store_staged.h"
#include "snapshot/volume.h"

enum { COPY_BYTES = 1 << 20, CONFIG_MAX = 64 << 10, COPY_TRIES = 4 };

struct mirror {
	struct store *store;
	const struct store_mirror *order;
	struct store_mirror_result *result;
	char *packs, *incoming;
	int lock_fd;
	uint64_t no_delete_ms;
	uint64_t began_ms;
	bool incomplete; /* something that the source has could not be copied */
};

/* ---- The mirror's folder ------------------------------------------------------------------------------------ */

static int config_copy(const struct mirror *m, struct err *err)
{
	CLEANUP_FREE char *from = io_printf("%s/store.json", m->store->path);
	CLEANUP_FREE char *to = io_printf("%s/store.json", m->order->dest);
	CLEANUP(json_decref) json_t *value = NULL;
	CLEANUP_FREE char *text = NULL;
	int r;

	if (!from || !to)
		return err_set(err, ENOMEM, "make mirror %s", m->order->dest);
	r = json_parse_file(&value, from, CONFIG_MAX, err);
	if (r < 0)
		return r;
	json_object_set_new(value, "no_delete_ms",
			    json_integer((json_int_t)m->order->no_delete_ms));
	text = json_text(value);
	return text ? io_replace_file(to, text, strlen(text), 0644, err)
		    : err_set(err, ENOMEM, "make mirror %s", m->order->dest);
}

static int config_check(struct mirror *m, const char *file, struct err *err)
{
	CLEANUP(json_decref) json_t *mine = NULL, *theirs = NULL;
	CLEANUP_FREE char *from = io_printf("%s/store.json", m->store->path);
	int r = from ? json_parse_file(&mine, from, CONFIG_MAX, err)
		     : err_set(err, ENOMEM, "open mirror %s", m->order->dest);

	if (r == 0)
		r = json_parse_file(&theirs, file, CONFIG_MAX, err);
	if (r < 0)
		return r;
	if (!json_equal(json_object_get(mine, "id"), json_object_get(theirs, "id")))
		return err_say(err, EINVAL, "%s is another store, no mirror of %s", m->order->dest,
			       m->store->path);
	m->no_delete_ms = (uint64_t)json_integer_value(json_object_get(theirs, "no_delete_ms"));
	if (m->order->no_delete_ms && m->order->no_delete_ms != m->no_delete_ms)
		return err_say(err, EINVAL,
			       "%s is a mirror already, with a no-delete window of %llu hours that "
			       "stays as it is; give this one or none",
			       m->order->dest, (unsigned long long)(m->no_delete_ms / 3600000));
	return 0;
}

/* Is that what a mirror, or what is left of one that was just begun, has in its folder? */
static bool of_mirror(const char *name)
{
	static const char *const names[] = { ".",    "..",    "packs",   "incoming", "tmp",
					     "lock", "index", "deleted", "damaged",  "lost+found" };

	for (size_t i = 0; i < ARRAY_LEN(names); i++)
		if (strcmp(name, names[i]) == 0)
			return true;
	/* What io_replace_file leaves when it is killed. */
	return strncmp(name, ".store.json.", strlen(".store.json.")) == 0;
}

/* The first run of a mirror writes store.json before it copies. */
static bool has_packs(const char *folder)
{
	DIR *dir = opendir(folder);
	struct dirent *e;
	bool found = false;

	while (dir && !found && (e = readdir(dir)))
		found = e->d_name[0] != '.';
	if (dir)
		closedir(dir);
	return found;
}

/* Nothing is made or written before the folder is known to be absent, empty, or this store's mirror: any other store with a folder
 * "incoming" would be taken for a mirror from then on.
 */
static int dest_check(struct mirror *m, const char *file, struct err *err)
{
	struct stat mine, theirs;
	const char *strange = NULL;
	struct dirent *e;
	DIR *dir;
	int r;

	if (stat(m->order->dest, &theirs) < 0)
		return errno == ENOENT ? 0 : err_set(err, errno, "open %s", m->order->dest);
	if (stat(m->store->path, &mine) == 0 && mine.st_dev == theirs.st_dev &&
	    mine.st_ino == theirs.st_ino)
		return err_say(err, EINVAL, "that is the store itself; name another folder");
	if (access(file, F_OK) == 0)
		return config_check(m, file, err);
	dir = opendir(m->order->dest);
	if (!dir)
		return err_set(err, errno, "open %s", m->order->dest);
	while (!strange && (e = readdir(dir)))
		strange = of_mirror(e->d_name) ? NULL : e->d_name;
	if (!strange && has_packs(m->packs))
		strange = "packs, but no store.json,";
	r = strange ? err_say(err, EINVAL, "%s is no mirror, and not empty: there is %s in it",
			      m->order->dest, strange)
		    : 0;
	closedir(dir);
	return r;
}

static int dest_open(struct mirror *m, struct err *err)
{
	CLEANUP_FREE char *file = io_printf("%s/store.json", m->order->dest);
	CLEANUP_FREE char *temp = io_printf("%s/tmp", m->order->dest);
	CLEANUP_FREE char *lock = io_printf("%s/lock", m->order->dest);
	const char *folders[] = { m->packs, m->incoming, temp };
	int r;

	if (!file || !temp || !lock)
		return err_set(err, ENOMEM, "open mirror %s", m->order->dest);
	r = dest_check(m, file, err);
	for (size_t i = 0; r == 0 && i < ARRAY_LEN(folders); i++)
		r = io_make_folders(folders[i], 0700, err);
	if (r < 0)
		return r;
	m->lock_fd = open(lock, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	if (m->lock_fd < 0)
		return err_set(err, errno, "open %s", lock);
	if (flock(m->lock_fd, LOCK_EX | LOCK_NB) < 0)
		return err_say(err, EBUSY, "mirror %s: another process is writing to it",
			       m->order->dest);
	if (access(file, F_OK) != 0) {
		r = config_copy(m, err);
		if (r < 0)
			return r;
	}
	return config_check(m, file, err);
}

/* ---- Copying ------------------------------------------------------------------------------------------------ */

static char *pack_file(const char *folder, const struct pack_name *name, const char *suffix)
{
	char text[PACK_NAME_TEXT_LEN];

	pack_name_text(name, text);
	return io_printf("%s/%s.%s", folder, text, suffix);
}

static int pause_for_rate(const struct mirror *m, struct err *err)
{
	uint64_t rate = m->order->bytes_per_second, due;

	if (m->order->progress && atomic_load(&m->order->progress->cancel))
		return err_say(err, ECANCELED, "mirror: cancelled");
	if (!rate)
		return 0;
	due = m->began_ms + m->result->bytes_copied * 1000 / rate;
	/* In short sleeps, so that a cancel is noticed. */
	while (due > clock_now_ms()) {
		clock_sleep_ms(due - clock_now_ms() < 200 ? due - clock_now_ms() : 200);
		if (m->order->progress && atomic_load(&m->order->progress->cancel))
			return err_say(err, ECANCELED, "mirror: cancelled");
	}
	return 0;
}

static int copy_bytes(struct mirror *m, const char *from, const char *to, struct err *err)
{
	CLEANUP_FD int in = open(from, O_RDONLY | O_CLOEXEC);
	CLEANUP_FD int out = open(to, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	CLEANUP_FREE uint8_t *buf = malloc(COPY_BYTES);
	ssize_t n = 0;
	int r = 0;

	if (in < 0 || out < 0 || !buf)
		return err_set(err, buf ? errno : ENOMEM, "copy %s to %s", from, to);
	while (r == 0 && (n = read(in, buf, COPY_BYTES)) > 0) {
		r = io_write_full(out, buf, (size_t)n);
		if (r < 0)
			return err_set(err, -r, "write %s", to);
		m->result->bytes_copied += (uint64_t)n;
		if (m->order->progress)
			atomic_fetch_add(&m->order->progress->done_bytes, (uint64_t)n);
		r = pause_for_rate(m, err);
	}
	if (r < 0)
		return r;
	if (n < 0 || fdatasync(out) < 0)
		return err_set(err, errno, "copy %s to %s", from, to);
	return 0;
}

/* Is every record of the pack what it should be? progress: may be NULL. Return 0, -EBADMSG, -ECANCELED or -errno. */
static int pack_check(struct store *store, const char *path, struct volume_progress *progress,
		      struct err *err)
{
	CLEANUP_FREE uint8_t *buf = malloc(2 * CHUNK_MAX + PACK_RECORD_EXTRA);
	CLEANUP(pack_unref) struct pack *pack = NULL;
	int r = buf ? pack_open(&pack, path, &store->keys, store->id, err)
		    : err_set(err, ENOMEM, "check %s", path);

	for (uint32_t i = 0; r == 0 && i < pack->count; i++) {
		struct chunk_encoded chunk;

		volume_progress_pace(progress, pack_record_len(&pack->entries[i]));
		if (progress && atomic_load(&progress->cancel))
			return err_say(err, ECANCELED, "cancelled");
		r = pack_read(pack, i, buf, &chunk, err);
		if (r == 0)
			r = chunk_decode(&chunk, buf + CHUNK_MAX + PACK_RECORD_EXTRA, err);
		if (r == CHUNK_CORRUPT)
			r = -EBADMSG;
		if (progress)
			atomic_fetch_add(&progress->done_bytes, pack_record_len(&pack->entries[i]));
	}
	return r;
}

/* Return 0, or -EBADMSG, -ENOENT for a pack that the source cannot give. */
static int stage(struct mirror *m, const struct pack_name *name, struct err *err)
{
	CLEANUP_FREE char *from = store_table_path(m->store, name);
	CLEANUP_FREE char *part = pack_file(m->incoming, name, "part");
	CLEANUP_FREE char *whole = pack_file(m->incoming, name, "pack");
	int r;

	if (!from || !part || !whole)
		return err_set(err, ENOMEM, "copy a pack");
	if (access(whole, F_OK) == 0) { /* by a run that was interrupted */
		r = pack_check(m->store, whole, NULL, err);
		if (r != -EBADMSG)
			return r;
		if (unlink(whole) < 0)
			return err_set(err, errno, "delete %s", whole);
	}
	if (access(from, R_OK) != 0)
		return -ENOENT;
	r = copy_bytes(m, from, part, err);
	if (r == 0)
		r = pack_check(m->store, part, NULL, err);
	if (r == 0 && rename(part, whole) < 0)
		r = err_set(err, errno, "rename %s", part);
	if (r < 0)
		unlink(part);
	if (r == 0)
		m->result->packs_copied++;
	return r;
}

static struct pack_name *names_in_state(struct store *store, enum store_pack_state first,
					enum store_pack_state last, size_t *count)
{
	struct pack_name *names;
	size_t n = 0;

	pthread_mutex_lock(&store->lock);
	names = calloc(store->pack_count + 1, sizeof(*names));
	for (size_t i = 0; names && i < store->pack_count; i++)
		if (store->packs[i].state >= first && store->packs[i].state <= last)
			names[n++] = store->packs[i].name;
	pthread_mutex_unlock(&store->lock);
	*count = n;
	return names;
}

static void announce(struct mirror *m, const struct pack_name *names, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		CLEANUP_FREE char *to = pack_file(m->packs, &names[i], "pack");
		CLEANUP_FREE char *from = store_table_path(m->store, &names[i]);
		struct stat st;

		if (m->order->progress && to && from && access(to, F_OK) != 0 &&
		    stat(from, &st) == 0)
			atomic_fetch_add(&m->order->progress->total_bytes, (uint64_t)st.st_size);
	}
}

/* Stage what the mirror lacks. *vanished: a pack that the source's table names is not there. */
static int stage_all(struct mirror *m, const struct pack_name *names, size_t n, bool *vanished,
		     struct err *err)
{
	int r = 0;

	for (size_t i = 0; r == 0 && i < n; i++) {
		CLEANUP_FREE char *to = pack_file(m->packs, &names[i], "pack");

		if (!to)
			return err_set(err, ENOMEM, "mirror");
		if (access(to, F_OK) == 0)
			continue;
		r = stage(m, &names[i], err);
		*vanished |= r == -ENOENT;
		m->incomplete |= r == -EBADMSG || r == -ENOENT;
		m->result->packs_damaged += r == -EBADMSG;
		/* Damage must not travel; what else there is should. */
		if (r == -EBADMSG || r == -ENOENT)
			r = 0;
	}
	return r;
}

static int copy_once(struct mirror *m, bool *vanished, struct err *err)
{
	size_t n;
	CLEANUP_FREE struct pack_name *names =
		names_in_state(m->store, STORE_PACK_LIVE, STORE_PACK_CONDEMNED, &n);

	if (!names)
		return err_set(err, ENOMEM, "mirror");
	announce(m, names, n);
	m->incomplete = *vanished = false;
	m->result->packs_damaged = 0;
	return stage_all(m, names, n, vanished, err);
}

/* What vanished may be in packs that are new: nothing may arrive without what it needs. */
static int copy_packs(struct mirror *m, struct err *err)
{
	bool vanished = true;
	int r = 0;

	for (int try = 0; r == 0 && vanished && try < COPY_TRIES; try++) {
		r = copy_once(m, &vanished, err);
		if (r == 0 && vanished)
			r = store_folder_refresh(m->store, err);
	}
	if (r == 0 && vanished && m->store->mode == STORE_READ)
		return err_say(err, EAGAIN,
			       "packs of %s vanish faster than they can be copied: repeat it later",
			       m->store->path);
	return r;
}

/* ---- Deleting ----------------------------------------------------------------------------------------------- */

static bool any_damaged(struct store *store)
{
	size_t n = 0;

	free(names_in_state(store, STORE_PACK_DAMAGED, STORE_PACK_DAMAGED, &n));
	return n > 0;
}

/* What the source's GC deleted and the mirror still has, to the front of @names; return how many. */
static size_t to_delete(const struct mirror *m, struct pack_name *names, size_t n)
{
	size_t count = 0;

	/* What is damaged in the source may be in a pack here that the source's GC took it from. */
	if (m->incomplete || any_damaged(m->store))
		return 0;
	for (size_t i = 0; i < n; i++) {
		CLEANUP_FREE char *path = pack_file(m->packs, &names[i], "pack");
		CLEANUP_FREE char *source = store_table_path(m->store, &names[i]);

		if (path && source && access(source, F_OK) != 0 &&
		    store_mirror_stray_old_enough(path, m->no_delete_ms))
			names[count++] = names[i];
	}
	return count;
}

/* What an earlier run staged and the source has deleted since must not come in: only what the table names. */
static int tidy_incoming(const struct mirror *m, struct err *err)
{
	DIR *dir = opendir(m->incoming);
	struct dirent *e;
	int r = 0;

	if (!dir)
		return err_set(err, errno, "open %s", m->incoming);
	while (r == 0 && (e = readdir(dir))) {
		CLEANUP_FREE char *source = io_printf("%s/%s", m->store->packs_path, e->d_name);

		if (e->d_name[0] == '.')
			continue;
		if (!source)
			r = err_set(err, ENOMEM, "mirror");
		else if (access(source, F_OK) != 0 && unlinkat(dirfd(dir), e->d_name, 0) < 0)
			r = err_set(err, errno, "delete %s/%s", m->incoming, e->d_name);
	}
	closedir(dir);
	return r;
}

/* Packs that the source does not know and that hold nothing of their own, to the end of @names. */
static int add_strays(const struct mirror *m, struct pack_name **names, size_t *n, struct err *err)
{
	const struct store_mirror_stray order = { .store = m->store,
						  .packs = m->packs,
						  .incoming = m->incoming,
						  .no_delete_ms = m->no_delete_ms };
	CLEANUP_FREE struct pack_name *strays = NULL;
	struct pack_name *more;
	size_t count;
	int r = m->incomplete ? 0 : store_mirror_stray_find(&order, &strays, &count, err);

	if (m->incomplete || r < 0 || !count)
		return r;
	more = realloc(*names, (*n + count) * sizeof(*more));
	if (!more)
		return err_set(err, ENOMEM, "mirror");
	memcpy(more + *n, strays, count * sizeof(*more));
	*names = more;
	*n += count;
	return 0;
}

static int switch_over(struct mirror *m, struct err *err)
{
	size_t n;
	CLEANUP_FREE struct pack_name *names =
		names_in_state(m->store, STORE_PACK_GONE, STORE_PACK_GONE, &n);
	int r;

	if (!names)
		return err_set(err, ENOMEM, "mirror");
	r = tidy_incoming(m, err);
	/* First, as looking for strays may show that the source went on, to packs that were not copied. */
	n = to_delete(m, names, n);
	if (r == 0)
		r = add_strays(m, &names, &n, err);
	if (r == 0)
		r = store_staged_switch(m->order->dest, names, n, err);
	if (r == 0)
		r = store_staged_finish(m->order->dest, err);
	if (r == 0)
		m->result->packs_deleted = n;
	return r;
}

int store_mirror(struct store *store, const struct store_mirror *order,
		 struct store_mirror_result *result, struct err *err)
{
	struct mirror m = { .store = store, .order = order, .result = result, .lock_fd = -1 };
	int r;

	memset(result, 0, sizeof(*result));
	m.began_ms = clock_now_ms();
	m.packs = io_printf("%s/packs", order->dest);
	m.incoming = io_printf("%s/incoming", order->dest);
	r = m.packs && m.incoming ? dest_open(&m, err) : err_set(err, ENOMEM, "mirror");
	if (r == 0)
		r = store_staged_finish(order->dest, err);
	if (r == 0)
		r = copy_packs(&m, err);
	if (r == 0)
		r = switch_over(&m, err);
	base_close(m.lock_fd);
	free(m.packs);
	free(m.incoming);
	return r < 0 ? err_wrap(err, r, "mirror %s to %s", store->path, order->dest) : 0;
}

/* ---- Repairing ---------------------------------------------------------------------------------------------- */

/* What is going to be read of a file, @times over. */
static void expect(struct volume_progress *progress, const char *path, unsigned times)
{
	struct stat st;

	if (progress && stat(path, &st) == 0)
		atomic_fetch_add(&progress->total_bytes, times * (uint64_t)st.st_size);
}

/* Copy the mirror's pack in place of the damaged one, if it is sound. */
static int replace(struct store *store, const struct pack_name *name, const char *from,
		   struct volume_progress *progress, struct err *err)
{
	struct store_mirror order = { .dest = store->path,
				      .bytes_per_second = progress ? progress->bytes_per_second : 0,
				      .progress = progress };
	struct store_mirror_result result = { 0 };
	struct mirror m = {
		.store = store, .order = &order, .result = &result, .began_ms = clock_now_ms()
	};
	CLEANUP_FREE char *temp = pack_file(store->temp_path, name, "repair");
	CLEANUP_FREE char *to = store_table_path(store, name);
	int r;

	if (!temp || !to)
		return err_set(err, ENOMEM, "repair");
	expect(progress, from, 3);
	r = pack_check(store, from, progress, err);
	if (r == 0)
		r = copy_bytes(&m, from, temp, err);
	if (r == 0)
		r = pack_check(store, temp, progress, err);
	if (r == 0 && rename(temp, to) < 0)
		r = err_set(err, errno, "rename %s", temp);
	if (r < 0) {
		unlink(temp);
		return r;
	}
	return io_sync_folder(store->packs_path, err);
}

/* Is the store's own file missing, or can it not be read? Return 1: yes; 0: no; -ECANCELED. */
static int needs_replacing(struct store *store, const char *own, struct volume_progress *progress)
{
	struct err why = { 0 };
	int r;

	if (access(own, F_OK) != 0)
		return 1;
	r = pack_check(store, own, progress, &why);
	return r == -ECANCELED ? r : r == -EBADMSG || r == -EIO;
}

/* Replace one pack if the mirror has it and that is needed. */
static int repair_pack(const struct store_mirror_repair *order, const char *packs,
		       const struct pack_name *name, struct err *err)
{
	CLEANUP_FREE char *own = store_table_path(order->store, name);
	CLEANUP_FREE char *other = pack_file(packs, name, "pack");
	char text[ERR_TEXT_MAX + 128], name_text[PACK_NAME_TEXT_LEN];
	struct err why = { 0 };
	int r;

	if (!own || !other)
		return err_set(err, ENOMEM, "repair");
	if (access(other, F_OK) != 0)
		return 0;
	r = needs_replacing(order->store, own, order->progress);
	if (r == 1)
		r = replace(order->store, name, other, order->progress, &why);
	else if (r == 0)
		return 0;
	if (r == -ECANCELED)
		return err_say(err, ECANCELED, "cancelled");
	if (r == 0)
		r = store_folder_reload_pack(order->store, name, &why);
	pack_name_text(name, name_text);
	snprintf(text, sizeof(text), "pack %s: %s%s", name_text,
		 r == 0 ? "repaired from the mirror" : "could not be repaired: ",
		 r == 0 ? "" : err_text(&why));
	if (order->repaired)
		order->repaired(order->arg, text);
	if (r < 0 && r != -EBADMSG) /* that: the mirror's is damaged, too; go on with the others */
		*err = why;
	return r == -EBADMSG ? 0 : r;
}

int store_mirror_repair(const struct store_mirror_repair *order, struct err *err)
{
	CLEANUP_FREE char *packs = io_printf("%s/packs", order->mirror);
	CLEANUP_FREE struct pack_name *names = NULL;
	size_t n = 0;
	int r = store_check_writable(order->store, err);

	if (r < 0)
		return r;
	if (!packs || access(packs, R_OK | X_OK) != 0)
		return err_set(err, packs ? errno : ENOMEM, "read mirror %s", order->mirror);
	names = names_in_state(order->store, STORE_PACK_LIVE, STORE_PACK_DAMAGED, &n);
	if (!names)
		return err_set(err, ENOMEM, "repair");
	for (size_t i = 0; order->progress && i < n; i++) {
		CLEANUP_FREE char *own = store_table_path(order->store, &names[i]);

		if (own)
			expect(order->progress, own, 1);
	}
	for (size_t i = 0; r == 0 && i < n; i++)
		r = repair_pack(order, packs, &names[i], err);
	return r;
}
