/* recovery.c - see recovery.h. */
#include "mgmt-server/core/recovery.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/io.h"
#include "common/log.h"
#include "mgmt-server/catalogue/catalogue_schema.h"
#include "mgmt-server/catalogue/db_checksum.h"
#include "mgmt-server/core/change.h"
#include "mgmt-server/core/doubt.h"
#include "mgmt-server/core/leases.h"
#include "mgmt-server/core/notices.h"
#include "snapshot/file_input.h"

enum { COPIES_KEPT = 8, COPIES_MAX = 256 };

#define CATALOGUE "catalogue.db"

static const struct {
	const char *name;
	mode_t mode;
} keys[] = { { "ca.key", 0600 },
	     { "ca.pem", 0644 },
	     { "server.key", 0600 },
	     { "server.pem", 0644 },
	     { "server.names", 0644 } };

/* ---- Which copies there are ---- */

struct copies {
	char ids[COPIES_MAX][MANIFEST_ID_LEN]; /* the newest of them, oldest first */
	size_t count;
};

static int take_copy(void *arg, const struct manifest *m, struct err *err)
{
	struct copies *c = arg;

	(void)err;
	if (strcmp(m->domain, RECOVERY_NAME) != 0)
		return 0;
	if (c->count == COPIES_MAX)
		memmove(c->ids[0], c->ids[1], sizeof(c->ids[0]) * --c->count);
	snprintf(c->ids[c->count++], MANIFEST_ID_LEN, "%s", m->id);
	return 0;
}

static int find_copies(struct server *s, struct copies **out, struct err *err)
{
	struct copies *c = calloc(1, sizeof(*c));
	int r;

	if (!c)
		return err_set(err, ENOMEM, "copies of the catalogue");
	r = store_list(s->store, take_copy, c, err);
	if (r < 0)
		free(c);
	else
		*out = c;
	return r;
}

/* ---- Saving ---- */

static int put_file(struct server *s, struct store_session *session, struct manifest *m,
		    const char *volume, const char *file, struct err *err)
{
	CLEANUP_FREE char *path = io_printf("%s/%s", s->state, file);
	CLEANUP(file_input_close) struct file_input *input = NULL;
	struct volume *v = &m->volumes[m->volume_count];
	struct volume_input in;
	struct volume_put order = { .input = &in,
				    .sink = store_session_sink(session),
				    .codec = CHUNK_CODEC_ZSTD,
				    .threads = 1 };
	int r = path ? file_input_open(&input, path, err) : err_set(err, ENOMEM, "%s", file);

	if (r < 0)
		return r;
	in = file_input_volume(input);
	*v = (struct volume){ .kind = VOLUME_BLOB, .grid = CHUNK_GRID_DISK };
	snprintf(v->name, sizeof(v->name), "%s", volume);
	r = volume_put(&order, v, NULL, err);
	if (r == 0)
		m->volume_count++;
	return r;
}

static int put_all(struct server *s, struct manifest *m, struct err *err)
{
	CLEANUP(store_session_close) struct store_session *session = NULL;
	size_t i;
	int r = store_session_open_in(&session, s->store, RECOVERY_NAME, RECOVERY_NAME, err);

	if (r == 0)
		r = put_file(s, session, m, "catalogue", "catalogue.copy", err);
	for (i = 0; r == 0 && i < ARRAY_LEN(keys); i++) {
		CLEANUP_FREE char *volume = io_printf("state/%s", keys[i].name);

		r = volume ? put_file(s, session, m, volume, keys[i].name, err)
			   : err_set(err, ENOMEM, "%s", keys[i].name);
	}
	return r < 0 ? r : store_session_commit(session, m, err);
}

/* One at a time: in a store with a no-delete window the younger ones stay a while. */
static int forget_old(struct server *s, struct err *err)
{
	CLEANUP_FREE struct copies *c = NULL;
	size_t i;
	int r = find_copies(s, &c, err);

	for (i = 0; r == 0 && i + COPIES_KEPT < c->count; i++) {
		const char *id = c->ids[i];

		r = store_forget(s->store, &id, 1, err);
		if (r == -EPERM || r == -ENOENT)
			r = 0;
	}
	return r;
}

int recovery_save(struct server *s, struct err *err)
{
	CLEANUP_FREE char *path = io_printf("%s/catalogue.copy", s->state);
	struct manifest *m = malloc(sizeof(*m));
	int r = path && m ? db_copy(s->db, path, err) : err_set(err, ENOMEM, "copy the catalogue");

	if (r == 0) {
		manifest_init(m);
		snprintf(m->desktop, sizeof(m->desktop), "%s", RECOVERY_NAME);
		m->kind = MANIFEST_COLD;
		r = put_all(s, m, err);
		manifest_deinit(m);
	}
	free(m);
	if (path)
		unlink(path);
	if (r == 0)
		r = forget_old(s, err);
	return r < 0 ? err_wrap(err, r, "copy the catalogue into the store") : 0;
}

/* ---- Restoring ---- */

/* A volume of a copy as STATE/@file: whole or not at all. Return 0, CATALOGUE_NONE: it has none; -errno. */
static int get_file(struct server *s, const struct manifest *m, const char *volume,
		    const char *file, mode_t mode, struct err *err)
{
	CLEANUP_FREE char *path = io_printf("%s/%s", s->state, file);
	CLEANUP_FREE char *temp = io_printf("%s/%s.restored", s->state, file);
	const struct volume *v = manifest_volume(m, volume);
	struct chunk_source source;
	CLEANUP_FD int fd = -1;
	int r;

	if (!v)
		return CATALOGUE_NONE;
	if (!path || !temp)
		return err_set(err, ENOMEM, "restore %s", file);
	fd = open(temp, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, mode);
	if (fd < 0)
		return err_set(err, errno, "create %s", temp);
	r = store_domain_source(s->store, RECOVERY_NAME, &source, err);
	if (r == 0)
		r = volume_get_file(v, source, fd, 1, NULL, err);
	if (r == 0 && rename(temp, path) < 0)
		r = err_set(err, errno, "rename %s", temp);
	if (r == 0)
		r = io_sync_parent(path, err);
	if (r < 0)
		unlink(temp);
	return r < 0 ? err_wrap(err, r, "restore %s from copy %s", file, m->id) : 0;
}

static int get_keys(struct server *s, const struct manifest *m, struct err *err)
{
	int r = 0;

	/* ca.key last: it is what says that they are there. */
	for (size_t left = ARRAY_LEN(keys); r >= 0 && left > 0; left--) {
		const char *name = keys[left - 1].name;
		CLEANUP_FREE char *volume = io_printf("state/%s", name);

		r = volume ? get_file(s, m, volume, name, keys[left - 1].mode, err)
			   : err_set(err, ENOMEM, "%s", name);
	}
	return r < 0 ? r : 0;
}

static int get_catalogue(struct server *s, const struct manifest *m, struct err *err)
{
	return get_file(s, m, "catalogue", CATALOGUE, 0600, err);
}

/* From the newest copy that can be read. @created: out, when it was made. Return 0, CATALOGUE_NONE, -errno. */
static int restore(struct server *s,
		   int (*get)(struct server *, const struct manifest *, struct err *),
		   uint64_t *created, struct err *err)
{
	CLEANUP_FREE struct copies *c = NULL;
	struct manifest *m = malloc(sizeof(*m));
	int r = m ? find_copies(s, &c, err) : err_set(err, ENOMEM, "restore the catalogue");
	int tried = CATALOGUE_NONE;
	size_t i;

	for (i = r == 0 ? c->count : 0; tried != 0 && i-- > 0;) {
		manifest_init(m);
		tried = store_manifest(s->store, c->ids[i], m, err);
		if (tried == 0)
			tried = get(s, m, err);
		if (tried < 0)
			log_error("a copy of the catalogue cannot be used: %s", err_text(err));
		*created = m->created_wall_ms;
		manifest_deinit(m);
	}
	free(m);
	return r < 0 ? r : tried;
}

static bool is_there(const struct server *s, const char *file)
{
	CLEANUP_FREE char *path = io_printf("%s/%s", s->state, file);

	return !path || access(path, F_OK) == 0 || errno != ENOENT;
}

int recovery_keys(struct server *s, struct err *err)
{
	uint64_t created = 0;
	int r;

	if (is_there(s, "ca.key") || is_there(s, CATALOGUE))
		return 0;
	r = restore(s, get_keys, &created, err);
	if (r == 0)
		log_warning("the server's keys come from the store: this is the server that it "
			    "belonged to");
	return r < 0 ? r : 0;
}

/* ---- Opening ---- */

/* Out of the way, never gone. */
static int set_aside(struct server *s, char *name, size_t len, struct err *err)
{
	static const char *const ends[] = { "", "-wal", "-shm" };
	size_t i;

	snprintf(name, len, CATALOGUE ".damaged-%llu", (unsigned long long)clock_wall_ms());
	for (i = 0; i < ARRAY_LEN(ends); i++) {
		CLEANUP_FREE char *from = io_printf("%s/" CATALOGUE "%s", s->state, ends[i]);
		CLEANUP_FREE char *to = io_printf("%s/%s%s", s->state, name, ends[i]);

		if (!from || !to)
			return err_set(err, ENOMEM, "set %s aside", CATALOGUE);
		if (rename(from, to) < 0 && errno != ENOENT)
			return err_set(err, errno, "rename %s", from);
	}
	return 0;
}

static int open_db(struct server *s, const char *path, struct err *err)
{
	int r = db_checksum_wal(path, err);

	return r < 0 ? r : db_open(&s->db, path, catalogue_schema, catalogue_schema_count, err);
}

/* A log without the file that it belongs to must not meet another one. */
static void drop_log(struct server *s)
{
	static const char *const ends[] = { "-wal", "-shm" };
	size_t i;

	for (i = 0; i < ARRAY_LEN(ends); i++) {
		CLEANUP_FREE char *path = io_printf("%s/" CATALOGUE "%s", s->state, ends[i]);

		if (path)
			unlink(path);
	}
}

/* why: what is wrong with the one that was there. */
static int replace(struct server *s, const char *path, const char *why, struct err *err)
{
	char time[CLOCK_TEXT_LEN];
	uint64_t created = 0;
	int r;

	/* Before there is a catalogue that looks sound. */
	r = doubt_mark(s, why, err);
	if (r < 0)
		return r;
	drop_log(s);
	r = restore(s, get_catalogue, &created, err);
	if (r < 0)
		return r;
	if (r == 0)
		clock_format(created, time);
	snprintf(s->recovered, sizeof(s->recovered),
		 "%s. %s%s. What is newer comes from the snapshots' manifests", why,
		 r == 0 ? "It was replaced by the store's copy of "
			: "The store has no copy: it begins anew",
		 r == 0 ? time : "");
	return db_open(&s->db, path, catalogue_schema, catalogue_schema_count, err);
}

int recovery_open(struct server *s, struct err *err)
{
	CLEANUP_FREE char *path = io_printf("%s/" CATALOGUE, s->state);
	CLEANUP_FREE struct copies *c = NULL;
	char why[768], name[64];
	int r;

	if (!path)
		return err_set(err, ENOMEM, "catalogue");
	r = doubt_load(s, err);
	if (r < 0)
		return r;
	if (!is_there(s, CATALOGUE)) {
		r = find_copies(s, &c, err);
		if (r < 0)
			return r;
		return c->count ? replace(s, path, "The catalogue was missing", err)
				: open_db(s, path, err);
	}
	r = open_db(s, path, err);
	if (r != -EBADMSG)
		return r;
	log_error("%s", err_text(err));
	snprintf(why, sizeof(why), "%s", err_text(err));
	r = set_aside(s, name, sizeof(name), err);
	if (r < 0)
		return r;
	snprintf(why + strlen(why), sizeof(why) - strlen(why), " (kept as %s)", name);
	*err = (struct err){ 0 };
	return replace(s, path, why, err);
}

int recovery_tell(struct server *s, struct err *err)
{
	CLEANUP_CHANGE struct change change = { .held = false };
	struct notices_order order = { .severity = "alarm", .kind = "catalogue" };
	int r;

	if (!s->recovered[0])
		return 0;
	r = leases_forgotten(s, err);
	if (r == 0)
		r = change_begin(&change, s, err);
	if (r == 0)
		r = notices_add(&change, &order, s->recovered, err);
	return r < 0 ? r : change_commit(&change, err);
}
