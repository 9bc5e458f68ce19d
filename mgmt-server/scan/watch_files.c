#include "mgmt-server/scan/watch_files.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "mgmt-server/scan/file_measure.h"
#include "mgmt-server/scan/reader.h"

enum { FILES_MAX = 8 << 20, CHANGES_MAX = 400000, SUFFIXES_MAX = 256 };

struct old_file {
	uint64_t inode;
	char *path; /* heap */
	uint8_t digest[FILE_DIGEST_LEN];
	bool has_digest, present; /* present: the path is there in the later one */
	uint32_t change;          /* its number + 1; 0: none */
};

struct change {
	char *path; /* heap, in the later one */
	uint64_t inode;
	struct file_measure measure;
};

struct suffix {
	char text[WATCH_FILES_SUFFIX_MAX];
	uint64_t count;
};

struct watch {
	const struct watch_files_order *order;
	struct watch_files_result *result;
	struct old_file *old; /* by inode, once the first walk is over */
	size_t old_count, old_cap;
	struct old_file **by_path;
	struct change *changes;
	size_t change_count, change_cap;
	struct suffix suffixes[SUFFIXES_MAX];
	size_t suffix_count;
};

static int grow(void **array, size_t count, size_t *cap, size_t size, struct err *err)
{
	size_t more = *cap ? *cap * 2 : 1024;
	void *larger;

	if (count < *cap)
		return 0;
	larger = realloc(*array, more * size);
	if (!larger)
		return err_set(err, ENOMEM, "remember files");
	*array = larger;
	*cap = more;
	return 0;
}

/* ---- The first walk: names ---- */

static int old_seen(void *arg, const struct entry *e, struct err *err)
{
	struct watch *w = arg;
	struct old_file *f;
	int r;

	if (e->kind != ENTRY_FILE || e->stream_len || e->flags & READER_DELETED)
		return 0;
	if (w->old_count == FILES_MAX)
		return err_say(err, EFBIG, "more than %d files", FILES_MAX);
	r = grow((void **)&w->old, w->old_count, &w->old_cap, sizeof(*w->old), err);
	if (r < 0)
		return r;
	f = &w->old[w->old_count];
	*f = (struct old_file){ .inode = e->inode,
				.path = strndup(e->path, e->path_len),
				.has_digest = (e->flags & READER_HAS_DIGEST) != 0 };
	if (!f->path)
		return err_set(err, ENOMEM, "remember files");
	memcpy(f->digest, e->digest, sizeof(f->digest));
	w->old_count++;
	return 0;
}

static int compare_inodes(const void *a, const void *b)
{
	const struct old_file *x = a, *y = b;

	return x->inode < y->inode ? -1 : x->inode > y->inode;
}

static int compare_paths(const void *a, const void *b)
{
	return strcmp((*(struct old_file *const *)a)->path, (*(struct old_file *const *)b)->path);
}

static struct old_file *old_of_path(const struct watch *w, const char *path)
{
	size_t low = 0, high = w->old_count;

	while (low < high) {
		size_t middle = low + (high - low) / 2;
		int c = strcmp(w->by_path[middle]->path, path);

		if (c == 0)
			return w->by_path[middle];
		if (c < 0)
			low = middle + 1;
		else
			high = middle;
	}
	return NULL;
}

static struct old_file *old_of_inode(const struct watch *w, uint64_t inode)
{
	const struct old_file key = { .inode = inode };

	return w->old_count ? bsearch(&key, w->old, w->old_count, sizeof(*w->old), compare_inodes)
			    : NULL;
}

static int walk(struct watch *w, const struct volume_input *input, const struct known_files *known,
		int (*seen)(void *, const struct entry *, struct err *), struct err *err)
{
	const struct watch_files_order *o = w->order;

	return watch_reader_run(&(struct watch_reader){ .libexec = o->libexec,
							.program = o->program,
							.input = input,
							.offset = o->offset,
							.length = o->length,
							.known = known,
							.seen = seen,
							.arg = w,
							.cancel = o->cancel },
				err);
}

static int learn_names(struct watch *w, struct err *err)
{
	const struct known_files known = { .mode = KNOWN_FILES_NAMES };
	int r = walk(w, w->order->before, &known, old_seen, err);

	if (r)
		return r;
	qsort(w->old, w->old_count, sizeof(*w->old), compare_inodes);
	w->by_path = malloc((w->old_count + 1) * sizeof(struct old_file *));
	if (!w->by_path)
		return err_set(err, ENOMEM, "remember files");
	for (size_t i = 0; i < w->old_count; i++)
		w->by_path[i] = &w->old[i];
	qsort(w->by_path, w->old_count, sizeof(struct old_file *), compare_paths);
	w->result->files += w->old_count;
	return 0;
}

/* ---- The second walk: what changed ---- */

static int new_seen(void *arg, const struct entry *e, struct err *err)
{
	struct watch *w = arg;
	struct old_file *same;
	struct change *c;
	char *path;
	int r;

	if (e->kind != ENTRY_FILE || e->stream_len || e->flags & READER_DELETED)
		return 0;
	path = strndup(e->path, e->path_len);
	if (!path)
		return err_set(err, ENOMEM, "remember files");
	same = old_of_path(w, path);
	if (same)
		same->present = true;
	r = e->content < 0 || w->change_count == CHANGES_MAX;
	w->result->changed += e->content >= 0;
	if (r == 0)
		r = grow((void **)&w->changes, w->change_count, &w->change_cap, sizeof(*w->changes),
			 err);
	if (r) {
		free(path);
		return r < 0 ? r : 0;
	}
	c = &w->changes[w->change_count++];
	*c = (struct change){ .path = path, .inode = e->inode };
	if (file_measure(&c->measure, e->content, e->size) < 0)
		c->measure = (struct file_measure){ 0 };
	return 0;
}

/* The extents of the volume as extents of the partition. Heap. */
static struct volume_extent *within_partition(const struct watch_files_order *o, size_t *count)
{
	struct volume_extent *out = malloc((o->changed_count + 1) * sizeof(*out));
	uint64_t end = o->offset + o->length;

	*count = 0;
	for (size_t i = 0; out && i < o->changed_count; i++) {
		uint64_t from = o->changed[i].offset, to = from + o->changed[i].length;

		from = from > o->offset ? from : o->offset;
		to = to < end ? to : end;
		if (from < to)
			out[(*count)++] = (struct volume_extent){ .offset = from - o->offset,
								  .length = to - from };
	}
	return out;
}

static int learn_changes(struct watch *w, struct err *err)
{
	struct known_files known = { .mode = KNOWN_FILES_UNCHANGED };
	CLEANUP_FREE struct volume_extent *changed =
		within_partition(w->order, &known.changed_count);
	CLEANUP_FREE struct known_file *files = malloc((w->old_count + 1) * sizeof(*files));

	if (!changed || !files)
		return err_set(err, ENOMEM, "remember files");
	for (size_t i = 0; i < w->old_count; i++) {
		const struct old_file *f = &w->old[i];

		if (!f->has_digest || (i && f[-1].inode == f->inode))
			continue;
		files[known.file_count].inode = f->inode;
		memcpy(files[known.file_count++].digest, f->digest, FILE_DIGEST_LEN);
	}
	known.changed = changed;
	known.files = files;
	return walk(w, w->order->after, &known, new_seen, err);
}

/* ---- Which is which ---- */

/* From the last dot of the name on; NULL: it has no extension. */
static const char *extension(const char *path)
{
	const char *name = strrchr(path, '/'), *dot;

	name = name ? name + 1 : path;
	dot = strrchr(name, '.');
	return dot && dot != name && dot[1] ? dot : NULL;
}

/* "a/letter.odt" for "a/letter.odt.locked", if that is what is gone. */
static struct old_file *old_without_suffix(const struct watch *w, const char *path)
{
	const char *dot = extension(path);
	CLEANUP_FREE char *before = dot ? strndup(path, (size_t)(dot - path)) : NULL;
	struct old_file *f = before ? old_of_path(w, before) : NULL;

	return f && !f->present ? f : NULL;
}

static struct old_file *old_of(const struct watch *w, const struct change *c)
{
	struct old_file *f = old_of_path(w, c->path);

	if (!f)
		f = old_without_suffix(w, c->path);
	if (!f) {
		f = old_of_inode(w, c->inode);
		if (f && f->present)
			f = NULL;
	}
	return f;
}

static void count_suffix(struct watch *w, const char *path)
{
	const char *text = extension(path);
	size_t i;

	if (!text || strlen(text) >= WATCH_FILES_SUFFIX_MAX)
		return;
	for (i = 0; i < w->suffix_count && strcmp(w->suffixes[i].text, text); i++)
		;
	if (i == SUFFIXES_MAX)
		return;
	if (i == w->suffix_count)
		memcpy(w->suffixes[w->suffix_count++].text, text, strlen(text) + 1);
	w->suffixes[i].count++;
}

static bool is_random(const struct file_measure *m)
{
	return m->pieces && m->kind == FILE_MEASURE_UNKNOWN &&
	       m->random_count * 10 >= m->pieces * 9;
}

static void match(struct watch *w)
{
	for (size_t i = 0; i < w->change_count; i++) {
		struct change *c = &w->changes[i];
		struct old_file *f = old_of(w, c);

		if (f && !f->change) {
			f->change = (uint32_t)i + 1;
		} else if (!f && is_random(&c->measure)) {
			w->result->created_random++;
			count_suffix(w, c->path);
		}
	}
	for (size_t i = 0; i < w->old_count; i++) {
		const struct old_file *f = &w->old[i];

		w->result->vanished += !f->present && !f->change && extension(f->path);
	}
}

/* ---- The third walk: what it was ---- */

static void encrypted(struct watch *w, const struct old_file *f, const struct change *c,
		      enum file_measure_change how)
{
	struct watch_files_result *res = w->result;
	bool renamed = strcmp(f->path, c->path) != 0;

	if (!extension(f->path) && !renamed)
		res->unnamed++;
	else if (how == FILE_MEASURE_WHOLLY)
		res->wholly++;
	else
		res->partly++;
	if (renamed)
		count_suffix(w, c->path);
	if (res->example_count < WATCH_FILES_EXAMPLES) {
		res->examples[res->example_count] = strdup(c->path);
		res->example_count += res->examples[res->example_count] != NULL;
	}
}

/* Only the number of its inode was used again: one file is gone, and another one came. */
static void another(struct watch *w, const struct old_file *f, const struct change *c)
{
	if (!strncmp(c->path, f->path, strlen(f->path)) || !is_random(&c->measure))
		return;
	w->result->vanished += extension(f->path) != NULL;
	w->result->created_random++;
	count_suffix(w, c->path);
}

static int content_seen(void *arg, const struct entry *e, struct err *err)
{
	struct watch *w = arg;
	struct file_measure before;
	enum file_measure_change how;
	struct old_file *f;

	(void)err;
	f = e->kind == ENTRY_FILE && !e->stream_len && e->content >= 0 ? old_of_inode(w, e->inode)
								       : NULL;
	if (!f || !f->change || file_measure(&before, e->content, e->size) < 0)
		return 0;
	how = file_measure_compare(&before, &w->changes[f->change - 1].measure);
	if (how != FILE_MEASURE_SAME)
		encrypted(w, f, &w->changes[f->change - 1], how);
	else
		another(w, f, &w->changes[f->change - 1]);
	return 0;
}

static int compare_contents(struct watch *w, struct err *err)
{
	struct known_files known = { .mode = KNOWN_FILES_ONLY };
	CLEANUP_FREE struct known_file *files = calloc(w->old_count + 1, sizeof(*files));

	if (!files)
		return err_set(err, ENOMEM, "remember files");
	for (size_t i = 0; i < w->old_count; i++) {
		const struct old_file *f = &w->old[i];
		const struct change *c = f->change ? &w->changes[f->change - 1] : NULL;

		/* Nothing that is not random at all became so. */
		if (!c || !c->measure.random_count || (i && f[-1].inode == f->inode))
			continue;
		files[known.file_count++].inode = f->inode;
	}
	known.files = files;
	return known.file_count ? walk(w, w->order->before, &known, content_seen, err) : 0;
}

static void take_suffix(struct watch *w)
{
	for (size_t i = 0; i < w->suffix_count; i++) {
		if (w->suffixes[i].count <= w->result->suffix_count)
			continue;
		memcpy(w->result->suffix, w->suffixes[i].text, WATCH_FILES_SUFFIX_MAX);
		w->result->suffix_count = w->suffixes[i].count;
	}
}

int watch_files(const struct watch_files_order *order, struct watch_files_result *result,
		struct err *err)
{
	struct watch *w = calloc(1, sizeof(*w));
	int r;

	if (!w)
		return err_set(err, ENOMEM, "compare files");
	w->order = order;
	w->result = result;
	r = learn_names(w, err);
	if (r == 0)
		r = learn_changes(w, err);
	if (r == 0) {
		match(w);
		r = compare_contents(w, err);
	}
	take_suffix(w);
	for (size_t i = 0; i < w->old_count; i++)
		free(w->old[i].path);
	for (size_t i = 0; i < w->change_count; i++)
		free(w->changes[i].path);
	free(w->old);
	free(w->by_path);
	free(w->changes);
	free(w);
	return r;
}

void watch_files_result_deinit(struct watch_files_result *result)
{
	for (size_t i = 0; i < result->example_count; i++)
		free(result->examples[i]);
	*result = (struct watch_files_result){ 0 };
}
