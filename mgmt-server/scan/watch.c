#include "mgmt-server/scan/watch.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/io.h"
#include "common/json.h"
#include "mgmt-server/scan/scan_partition.h"
#include "mgmt-server/scan/scan_report.h"
#include "mgmt-server/scan/watch_blocks.h"
#include "mgmt-server/scan/watch_files.h"
#include "snapshot/store.h"
#include "snapshot/volume_diff.h"

enum {
	PARTITIONS_MAX = 256,
	/* Fewer random bytes than this are no file that anybody would miss. */
	RANDOM_LEAST = 8 * 4096,
};

struct side { /* one snapshot */
	struct manifest manifest;
	struct chunk_source source;
};

struct disk {
	struct volume_reader *reader;
	struct volume_input input;
};

struct partition {
	uint64_t offset, length;
	unsigned number;
	char type[48];
};

struct partitions {
	struct partition items[PARTITIONS_MAX];
	size_t count;
};

struct watch_job {
	const struct watch_order *order;
	struct store *store;
	struct side before, after;
	struct watch_blocks_result blocks;
	struct watch_files_result files;
	unsigned walked; /* file systems whose files were compared */
	json_t *reasons,
		*encrypted; /* what was not compared, and why; what is encrypted now and was not */
};

static int read_disk(void *ctx, uint8_t *buf, size_t len, uint64_t offset, struct err *err)
{
	return volume_reader_read(ctx, buf, len, offset, err);
}

static int disk_open(struct disk *d, const struct volume *v, struct chunk_source source,
		     struct err *err)
{
	int r = volume_reader_open(&d->reader, v, source, err);

	d->input = (struct volume_input){ .ctx = d->reader, .size = v->size, .read = read_disk };
	return r;
}

static void say(struct watch_job *w, json_t *list, const char *volume, const struct partition *p,
		const char *what)
{
	CLEANUP_FREE char *text =
		p->number ? io_printf("%s partition %u: %s", volume, p->number, what)
			  : io_printf("%s: %s", volume, what);
	CLEANUP_FREE char *safe = text ? scan_report_text(text) : NULL;

	(void)w;
	if (safe)
		json_array_append_new(list, json_string(safe));
}

/* ---- Files ---- */

static int partition_seen(void *arg, const struct entry *e, struct err *err)
{
	struct partitions *list = arg;
	struct partition *p;

	if (e->kind != ENTRY_PARTITION)
		return 0;
	if (list->count == PARTITIONS_MAX)
		return err_say(err, EBADMSG, "more than %d partitions", PARTITIONS_MAX);
	p = &list->items[list->count++];
	p->offset = e->inode;
	p->length = e->size;
	p->number = e->flags;
	snprintf(p->type, sizeof(p->type), "%.*s", (int)(e->path_len < 47 ? e->path_len : 47),
		 e->path);
	return 0;
}

static int find_partitions(const struct watch_job *w, const struct volume_input *input,
			   struct partitions *list, struct err *err)
{
	list->count = 0;
	return watch_reader_run(&(struct watch_reader){ .libexec = w->order->libexec,
							.program = "godwit-scan-parts",
							.input = input,
							.length = input->size,
							.seen = partition_seen,
							.arg = list,
							.cancel = w->order->cancel },
				err);
}

static const struct partition *same_place(const struct partitions *list, const struct partition *p)
{
	for (size_t i = 0; i < list->count; i++) {
		if (list->items[i].offset == p->offset)
			return &list->items[i];
	}
	return NULL;
}

static bool is_encrypted(const struct partition *p)
{
	return !strcmp(scan_partition_rule(p->type, "")->detail, "encrypted");
}

static int compare_partition(struct watch_job *w, const char *volume, const struct disk *before,
			     const struct disk *after, const struct volume_diff *diff,
			     const struct partition *was, const struct partition *is,
			     struct err *err)
{
	const struct scan_partition_rule *rule = scan_partition_rule(is->type, "");
	struct err fault = { 0 };
	int r;

	if (is_encrypted(is) && was && !is_encrypted(was))
		say(w, w->encrypted, volume, is, is->type);
	if (!was || was->length != is->length || strcmp(was->type, is->type) != 0) {
		say(w, w->reasons, volume, is, "it was another file system, or none");
		return 0;
	}
	if (rule->way != SCAN_WAY_READER) {
		if (rule->way != SCAN_WAY_RAW && rule->way != SCAN_WAY_ZEROS)
			say(w, w->reasons, volume, is, is->type[0] ? is->type : "unknown");
		return 0;
	}
	r = watch_files(&(struct watch_files_order){ .libexec = w->order->libexec,
						     .program = rule->detail,
						     .before = &before->input,
						     .after = &after->input,
						     .offset = is->offset,
						     .length = is->length,
						     .changed = diff->extents,
						     .changed_count = diff->count,
						     .cancel = w->order->cancel },
			&w->files, &fault);
	if (r == WATCH_READER_UNREADABLE) {
		say(w, w->reasons, volume, is, err_text(&fault));
		return 0;
	}
	w->walked += r == 0;
	return r < 0 ? err_wrap(err, err_say(err, -r, "%s", err_text(&fault)), "%s", volume) : 0;
}

static int compare_files(struct watch_job *w, const char *volume, const struct disk *before,
			 const struct disk *after, const struct volume_diff *diff, struct err *err)
{
	CLEANUP_FREE struct partitions *was = malloc(sizeof(*was)), *is = malloc(sizeof(*is));
	const struct partition whole = { .length = after->input.size };
	struct err fault = { 0 };
	int r;

	if (!was || !is)
		return err_set(err, ENOMEM, "compare files");
	r = find_partitions(w, &before->input, was, &fault);
	if (r == 0)
		r = find_partitions(w, &after->input, is, &fault);
	if (r) {
		say(w, w->reasons, volume, &whole, err_text(&fault));
		return r < 0 ? err_say(err, -r, "%s: %s", volume, err_text(&fault)) : 0;
	}
	for (size_t i = 0; r == 0 && i < is->count; i++) {
		const struct partition *p = &is->items[i];

		if (volume_diff_meets(diff->extents, diff->count, p->offset, p->length))
			r = compare_partition(w, volume, before, after, diff, same_place(was, p), p,
					      err);
	}
	return r;
}

/* ---- Disks ---- */

static int compare_disk(struct watch_job *w, const struct volume *old, const struct volume *new,
			struct err *err)
{
	struct volume_diff diff = { 0 };
	struct disk before = { 0 }, after = { 0 };
	uint64_t random = w->blocks.random;
	int r = volume_diff(new, old, w->after.source, w->before.source, &diff, err);

	if (r == 0)
		r = disk_open(&before, old, w->before.source, err);
	if (r == 0)
		r = disk_open(&after, new, w->after.source, err);
	if (r == 0)
		r = watch_blocks(&before.input, &after.input, diff.extents, diff.count,
				 w->order->cancel, &w->blocks, err);
	if (r == 0 && w->blocks.random - random >= RANDOM_LEAST)
		r = compare_files(w, new->name, &before, &after, &diff, err);
	volume_reader_close(before.reader);
	volume_reader_close(after.reader);
	volume_diff_deinit(&diff);
	return r;
}

static int compare_disks(struct watch_job *w, struct err *err)
{
	const struct manifest *m = &w->after.manifest;
	int r = 0;

	for (size_t i = 0; r == 0 && i < m->volume_count; i++) {
		const struct volume *v = &m->volumes[i];
		const struct volume *old = manifest_volume(&w->before.manifest, v->name);

		if (v->kind == VOLUME_DISK && old)
			r = compare_disk(w, old, v, err);
	}
	return r;
}

static int side_open(struct watch_job *w, struct side *side, const char *id, struct err *err)
{
	int r = store_manifest(w->store, id, &side->manifest, err);

	if (r == STORE_ABSENT)
		return err_say(err, ENOENT, "store %s has no snapshot %s", w->order->store, id);
	return r < 0 ? r : store_domain_source(w->store, side->manifest.domain, &side->source, err);
}

static json_t *number(uint64_t n)
{
	return json_integer((json_int_t)n);
}

static json_t *report(const struct watch_job *w)
{
	const struct watch_files_result *f = &w->files;
	json_t *examples = json_array();

	for (size_t i = 0; i < f->example_count; i++) {
		CLEANUP_FREE char *text = scan_report_text(f->examples[i]);

		json_array_append_new(examples, json_string(text ? text : "?"));
	}
	return json_pack(
		"{ss ss so so so so so so so so so so so so ss so so sO sO}", "snapshot",
		w->after.manifest.id, "base", w->before.manifest.id, "elapsed_ms",
		number(w->after.manifest.created_wall_ms > w->before.manifest.created_wall_ms
			       ? w->after.manifest.created_wall_ms -
					 w->before.manifest.created_wall_ms
			       : 0),
		"changed_bytes", number(w->blocks.changed), "random_bytes",
		number(w->blocks.random), "became_random_bytes", number(w->blocks.became_random),
		"file_systems", number(w->walked), "files", number(f->files), "changed_files",
		number(f->changed), "encrypted_wholly", number(f->wholly), "encrypted_partly",
		number(f->partly), "encrypted_unnamed", number(f->unnamed), "vanished",
		number(f->vanished), "created_random", number(f->created_random), "suffix",
		f->suffix, "suffix_count", number(f->suffix_count), "examples", examples,
		"encrypted_volumes", w->encrypted, "reasons", w->reasons);
}

static int run(struct watch_job *w, json_t **out, struct err *err)
{
	const struct watch_order *o = w->order;
	const char *base = o->base;
	int r = store_open(&w->store, o->store, o->key, STORE_READ, err);

	if (r == 0)
		r = side_open(w, &w->after, o->id, err);
	if (r < 0)
		return r;
	base = base ? base : w->after.manifest.parent;
	if (!base[0])
		return err_say(err, ENOENT, "snapshot %s has no parent to compare it with", o->id);
	r = side_open(w, &w->before, base, err);
	if (r == 0)
		r = compare_disks(w, err);
	if (r < 0)
		return r;
	*out = report(w);
	return *out ? 0 : err_set(err, ENOMEM, "report");
}

int watch_run(const struct watch_order *order, json_t **out, struct err *err)
{
	struct watch_job *w = calloc(1, sizeof(*w));
	int r;

	if (!w)
		return err_set(err, ENOMEM, "compare snapshots");
	w->order = order;
	w->reasons = json_array();
	w->encrypted = json_array();
	manifest_init(&w->before.manifest);
	manifest_init(&w->after.manifest);
	r = w->reasons && w->encrypted ? run(w, out, err) : -ENOMEM;
	watch_files_result_deinit(&w->files);
	manifest_deinit(&w->before.manifest);
	manifest_deinit(&w->after.manifest);
	store_close(w->store);
	json_decref(w->reasons);
	json_decref(w->encrypted);
	free(w);
	return r;
}
