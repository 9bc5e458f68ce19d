#include "mgmt-server/scan/mend/mend_run.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/io.h"
#include "mgmt-server/scan/content_hash.h"
#include "mgmt-server/scan/engine_client.h"
#include "mgmt-server/scan/mend/mend_child.h"
#include "mgmt-server/scan/mend/mend_overlay.h"
#include "mgmt-server/scan/scan_snapshot.h"

static const struct {
	const char *type, *program;
} menders[] = {
	{ "ext2", "godwit-scan-mend-ext" },
	{ "ext3", "godwit-scan-mend-ext" },
	{ "ext4", "godwit-scan-mend-ext" },
	{ "ntfs", "godwit-scan-mend-ntfs" },
};

struct target { /* order->file, taken apart */
	char *volume, *partition, *path;
};

struct place { /* a partition of a snapshot's disk */
	const struct scan_volume *volume;
	uint64_t offset, length;
	const char *program;
};

struct content {
	int fd;
	uint64_t size;
	uint8_t sha256[32];
};

struct mend {
	const struct mend_order *order;
	struct target target;
	struct scan_snapshot *infected, *clean;
	struct engine_client *engine;
};

static void mend_deinit_cleanup(struct mend *m)
{
	engine_client_stop(m->engine);
	scan_snapshot_close(m->infected);
	scan_snapshot_close(m->clean);
	free(m->target.volume);
}

/* \xHH → that byte, in place. */
static void unescape(char *text)
{
	char *to = text;

	while (*text) {
		if (text[0] == '\\' && text[1] == 'x' && isxdigit(text[2]) && isxdigit(text[3])) {
			const char digits[] = { text[2], text[3], 0 };

			*to++ = (char)strtol(digits, NULL, 16);
			text += 4;
		} else {
			*to++ = *text++;
		}
	}
	*to = 0;
}

static int take_apart(struct target *t, const char *file, struct err *err)
{
	char *rest;

	t->volume = strdup(file);
	if (!t->volume)
		return err_set(err, ENOMEM, "mend %s", file);
	rest = t->volume;
	strsep(&rest, ":");
	t->partition = strsep(&rest, ":");
	t->path = rest;
	if (!t->path || !t->path[0] || !t->volume[0])
		return err_say(err, EINVAL,
			       "'%s' must be VOLUME:PARTITION:PATH, as a finding names it", file);
	unescape(t->path);
	return 0;
}

/* ---- Where it is ---- */

struct search {
	const char *partition; /* "": the whole disk */
	struct place place;
	bool found;
};

static const char *mender_of(const char *type, size_t len)
{
	for (size_t i = 0; i < ARRAY_LEN(menders); i++) {
		if (strlen(menders[i].type) == len && !memcmp(menders[i].type, type, len))
			return menders[i].program;
	}
	return NULL;
}

static int partition_seen(void *arg, struct entry *e, struct err *err)
{
	struct search *s = arg;
	char name[16] = "";

	(void)err;
	if (e->kind != ENTRY_PARTITION)
		return 0;
	if (e->flags)
		snprintf(name, sizeof(name), "%u", e->flags);
	if (strcmp(name, s->partition))
		return 0;
	s->found = true;
	s->place.offset = e->inode;
	s->place.length = e->size;
	s->place.program = mender_of(e->path, e->path_len);
	return 0;
}

static int each_partition(const struct mend *m, const struct scan_volume *v,
			  mend_child_entry_fn *fn, void *arg, struct err *err)
{
	return mend_child_run(&(struct mend_child){ .libexec = m->order->libexec,
						    .program = "godwit-scan-parts",
						    .volume = &v->input,
						    .length = v->input.size },
			      fn, arg, err);
}

static int find(const struct mend *m, const struct scan_snapshot *snapshot, const char *id,
		struct place *place, struct err *err)
{
	const struct target *t = &m->target;
	struct search s = { .partition = t->partition };
	size_t count;
	const struct scan_volume *v = scan_snapshot_volumes(snapshot, &count);
	int r = 0;

	for (size_t i = 0; i < count && !s.place.volume; i++) {
		if (!strcmp(v[i].name, t->volume))
			s.place.volume = &v[i];
	}
	if (!s.place.volume)
		return err_say(err, EPERM, "snapshot %s has no disk %s", id, t->volume);
	r = each_partition(m, s.place.volume, partition_seen, &s, err);
	if (r < 0)
		return err_wrap(err, r, "snapshot %s", id);
	if (!s.found)
		return err_say(err, EPERM, "disk %s of snapshot %s has no partition '%s'",
			       t->volume, id, t->partition);
	if (!s.place.program)
		return err_say(err, EPERM,
			       "only files in NTFS and ext2/3/4 can be mended; roll back instead");
	*place = s.place;
	return 0;
}

/* ---- A Windows that sleeps has mounted all its file systems, not only the one with hiberfil.sys ---- */

struct sleepers {
	const struct mend *mend;
	const struct scan_volume *volume;
	struct place found[256];
	size_t count;
};

static int ntfs_seen(void *arg, struct entry *e, struct err *err)
{
	struct sleepers *s = arg;
	const char *program = mender_of(e->path, e->path_len);

	(void)err;
	if (e->kind == ENTRY_PARTITION && program && s->count < ARRAY_LEN(s->found))
		s->found[s->count++] = (struct place){ .volume = s->volume,
						       .offset = e->inode,
						       .length = e->size,
						       .program = program };
	return 0;
}

static int check_awake(const struct mend *m, struct err *err)
{
	CLEANUP_FREE struct sleepers *s = calloc(1, sizeof(*s));
	size_t disks;
	const struct scan_volume *v = scan_snapshot_volumes(m->infected, &disks);
	int r = 0;

	if (!s)
		return err_set(err, ENOMEM, "look for a Windows that sleeps");
	s->mend = m;
	for (size_t i = 0; r == 0 && i < disks; i++) {
		s->volume = &v[i];
		r = each_partition(m, &v[i], ntfs_seen, s, err);
	}
	for (size_t i = 0; r == 0 && i < s->count; i++) {
		const struct place *p = &s->found[i];

		r = mend_child_run(&(struct mend_child){ .libexec = m->order->libexec,
							 .program = p->program,
							 .mode = "awake",
							 .path = "",
							 .volume = &p->volume->input,
							 .offset = p->offset,
							 .length = p->length },
				   NULL, NULL, err);
	}
	return r;
}

/* ---- Contents ---- */

static int content_seen(void *arg, struct entry *e, struct err *err)
{
	struct content *c = arg;

	if (e->kind != ENTRY_FILE || e->content < 0 || c->fd >= 0)
		return err_say(err, EBADMSG, "a mender reported something else than one file");
	c->fd = dup(e->content);
	c->size = e->size;
	return c->fd < 0 ? err_set(err, errno, "take a file's content") : 0;
}

static int read_content(const struct mend *m, const struct place *p,
			const struct volume_input *input, struct content *c, struct err *err)
{
	int r;

	*c = (struct content){ .fd = -1 };
	r = mend_child_run(&(struct mend_child){ .libexec = m->order->libexec,
						 .program = p->program,
						 .mode = "read",
						 .path = m->target.path,
						 .volume = input,
						 .offset = p->offset,
						 .length = p->length },
			   content_seen, c, err);
	if (r == 0 && c->fd < 0)
		r = err_say(err, EBADMSG, "a mender reported no file");
	if (r == 0)
		r = content_hash(c->fd, c->size, c->sha256);
	return r;
}

static int judge(const struct mend *m, const struct content *infected, const struct content *clean,
		 struct mend_result *result, struct err *err)
{
	struct engine_reply reply = { .verdict = ENGINE_CLEAN };

	if (infected->size)
		engine_client_scan(m->engine, infected->fd, infected->size, &reply);
	if (reply.verdict != ENGINE_INFECTED)
		return err_say(err, EPERM, "%s is not infected in snapshot %s%s%s", m->target.path,
			       m->order->snapshot, reply.verdict == ENGINE_CLEAN ? "" : ": ",
			       reply.verdict == ENGINE_CLEAN ? "" : reply.text);
	snprintf(result->signature, sizeof(result->signature), "%s", reply.text);
	reply = (struct engine_reply){ .verdict = ENGINE_CLEAN };
	if (clean->size)
		engine_client_scan(m->engine, clean->fd, clean->size, &reply);
	if (reply.verdict != ENGINE_CLEAN)
		return err_say(err, EPERM, "%s is not clean in snapshot %s either: %s",
			       m->target.path, m->order->from, reply.text);
	return 0;
}

/* ---- The exchange ---- */

static int replace(const struct mend *m, const struct place *p, const struct content *clean,
		   struct mend_overlay *overlay, struct err *err)
{
	struct volume_input input = mend_overlay_input(overlay);
	struct content after = { .fd = -1 };
	int r;

	mend_overlay_allow(overlay, p->offset, p->length);
	r = mend_child_run(&(struct mend_child){ .libexec = m->order->libexec,
						 .program = p->program,
						 .mode = "replace",
						 .path = m->target.path,
						 .volume = &input,
						 .write = mend_overlay_write,
						 .offset = p->offset,
						 .length = p->length,
						 .content = clean->fd },
			   NULL, NULL, err);
	if (r == 0)
		r = read_content(m, p, &input, &after, err);
	base_close(after.fd);
	if (r == 0 && memcmp(after.sha256, clean->sha256, sizeof(after.sha256)))
		r = err_say(err, EIO, "%s does not read as the clean version after it was replaced",
			    m->target.path);
	return r;
}

static int mend(const struct mend *m, struct mend_result *result, struct content *infected,
		struct content *clean, struct err *err)
{
	CLEANUP(mend_overlay_free) struct mend_overlay *overlay = NULL;
	CLEANUP_FREE char *image = io_printf("%s/%s.img", m->order->output, m->target.volume);
	CLEANUP_FREE char *extents = io_printf("%s/%s.extents", m->order->output, m->target.volume);
	struct place to, from;
	int r = image && extents ? 0 : err_set(err, ENOMEM, "mend %s", m->order->file);

	if (r == 0)
		r = find(m, m->infected, m->order->snapshot, &to, err);
	if (r == 0)
		r = find(m, m->clean, m->order->from, &from, err);
	if (r == 0)
		r = check_awake(m, err);
	if (r == 0)
		r = read_content(m, &to, &to.volume->input, infected, err);
	if (r == 0) {
		r = read_content(m, &from, &from.volume->input, clean, err);
		if (r < 0)
			err_wrap(err, r, "the clean version, in snapshot %s", m->order->from);
	}
	if (r == 0)
		r = judge(m, infected, clean, result, err);
	if (r == 0)
		r = mend_overlay_new(&overlay, &to.volume->input, image, err);
	if (r == 0)
		r = replace(m, &to, clean, overlay, err);
	if (r == 0)
		r = mend_overlay_extents(overlay, extents, &result->changed_bytes, err);
	return r;
}

static int open_snapshot(const struct mend_order *o, const char *id, struct scan_snapshot **out,
			 struct err *err)
{
	return scan_snapshot_open(
		out,
		&(struct scan_snapshot_order){
			.store = o->store, .key = o->key, .id = id, .plugin = "" },
		err);
}

int mend_run(const struct mend_order *o, struct mend_result *result, struct err *err)
{
	CLEANUP(mend_deinit) struct mend m = { .order = o };
	CLEANUP_FREE char *engine = io_printf("%s/godwit-scan-engine", o->libexec);
	struct content infected = { .fd = -1 }, clean = { .fd = -1 };
	int r = engine ? take_apart(&m.target, o->file, err) : err_set(err, ENOMEM, "mend");

	*result = (struct mend_result){ 0 };
	if (r == 0)
		r = open_snapshot(o, o->snapshot, &m.infected, err);
	if (r == 0)
		r = open_snapshot(o, o->from, &m.clean, err);
	if (r == 0)
		r = engine_client_start(&m.engine, engine, o->signatures, 1, err);
	if (r == 0 && mkdir(o->output, 0700) < 0)
		r = err_set(err, errno, "make the folder %s", o->output);
	if (r == 0)
		r = mend(&m, result, &infected, &clean, err);
	snprintf(result->volume, sizeof(result->volume), "%s",
		 m.target.volume ? m.target.volume : "");
	memcpy(result->infected, infected.sha256, sizeof(result->infected));
	memcpy(result->clean, clean.sha256, sizeof(result->clean));
	result->infected_size = infected.size;
	result->clean_size = clean.size;
	base_close(infected.fd);
	base_close(clean.fd);
	return r;
}
