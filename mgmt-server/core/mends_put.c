#include "mgmt-server/core/mends_put.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/clock.h"
#include "common/io.h"
#include "snapshot/file_input.h"

struct extents {
	struct volume_extent *list;
	size_t count;
};

/* "OFFSET LENGTH" lines. Never without a list: none would mean that everything may have changed. */
static int read_extents(struct extents *e, const char *path, uint64_t size, struct err *err)
{
	FILE *file = fopen(path, "re");
	unsigned long long offset, length;
	int r = 0;

	e->list = calloc(1, sizeof(*e->list));
	if (!file || !e->list)
		r = err_set(err, file ? ENOMEM : errno, "read %s", path);
	while (r == 0 && fscanf(file, "%llu %llu", &offset, &length) == 2) {
		struct volume_extent *list = realloc(e->list, (e->count + 1) * sizeof(*list));

		if (!list) {
			r = err_set(err, ENOMEM, "read %s", path);
			break;
		}
		e->list = list;
		e->list[e->count++] = (struct volume_extent){ offset, length };
		if (offset > size || length > size - offset)
			r = err_say(err, EBADMSG, "%s names bytes beyond the volume's end", path);
	}
	if (r == 0 && (ferror(file) || !feof(file)))
		r = err_say(err, EBADMSG, "%s is not a list of extents", path);
	if (file)
		fclose(file);
	return r;
}

static int put_volume(const struct mends_put *o, struct store_session *session,
		      const struct manifest *parent, struct volume *v,
		      struct volume_put_stats *stats, struct err *err)
{
	CLEANUP(file_input_close) struct file_input *file = NULL;
	CLEANUP_FREE char *image = io_printf("%s/%s.img", o->folder, o->volume);
	CLEANUP_FREE char *list = io_printf("%s/%s.extents", o->folder, o->volume);
	const struct volume before = *v;
	struct volume_put order = { .sink = store_session_sink(session),
				    .codec = CHUNK_CODEC_ZSTD,
				    .parent = &before,
				    .threads = 1 };
	struct extents extents = { 0 };
	struct volume_input input;
	int r = image && list ? file_input_open(&file, image, err)
			      : err_set(err, ENOMEM, "keep the mended disk");

	if (r < 0)
		return r;
	input = file_input_volume(file);
	order.input = &input;
	r = store_domain_source(o->store, parent->domain, &order.parent_source, err);
	if (r == 0)
		r = read_extents(&extents, list, v->size, err);
	order.changed = extents.list;
	order.changed_count = extents.count;
	if (r == 0)
		r = volume_put(&order, v, stats, err);
	free(extents.list);
	return r;
}

/* Memory and devices are of an instant at which the disks were others: they stay behind. */
static void take_disks(struct manifest *m, const struct manifest *parent)
{
	for (size_t i = 0; i < parent->volume_count; i++) {
		if (parent->volumes[i].kind == VOLUME_DISK)
			m->volumes[m->volume_count++] = parent->volumes[i];
	}
}

static int put(const struct mends_put *o, const struct manifest *parent, struct manifest *m,
	       struct snapshots_figures *figures, struct err *err)
{
	CLEANUP(store_session_close) struct store_session *session = NULL;
	struct volume_put_stats stats = { 0 };
	int r = store_session_open_in(&session, o->store, parent->desktop, parent->domain, err);

	for (size_t i = 0; r == 0 && i < m->volume_count; i++) {
		if (!strcmp(m->volumes[i].name, o->volume))
			r = put_volume(o, session, parent, &m->volumes[i], &stats, err);
	}
	if (r == 0)
		r = store_session_commit(session, m, err);
	figures->new_bytes = (int64_t)stats.new_bytes;
	figures->stored_bytes = (int64_t)stats.stored_bytes;
	return r;
}

int mends_put(const struct mends_put *o, struct manifest *m, struct snapshots_figures *figures,
	      struct err *err)
{
	struct manifest parent;
	int r;

	manifest_init(m);
	manifest_init(&parent);
	r = store_manifest(o->store, o->snapshot, &parent, err);
	if (r == STORE_ABSENT)
		r = err_say(err, ENOENT, "the store has no snapshot %s", o->snapshot);
	if (r == 0) {
		memcpy(m->desktop, parent.desktop, sizeof(m->desktop));
		memcpy(m->domain, parent.domain, sizeof(m->domain));
		memcpy(m->parent, parent.id, sizeof(m->parent));
		m->kind = MANIFEST_MENDED;
		m->epoch = o->branch ? parent.epoch : o->epoch;
		m->branch = o->branch;
		m->created_wall_ms = clock_wall_ms();
		m->machine = json_incref(parent.machine);
		take_disks(m, &parent);
		r = put(o, &parent, m, figures, err);
	}
	manifest_deinit(&parent);
	return r;
}
