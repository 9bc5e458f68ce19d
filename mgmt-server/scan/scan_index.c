/* scan_index.c - see scan_index.h. What a scan sees; scan_index_commit.c writes it down. */
#include "mgmt-server/scan/scan_index.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "common/hex.h"
#include "mgmt-server/scan/scan_index_inside.h"

static void forget_known(struct scan_index_part *part)
{
	while (part->known_count) {
		struct scan_index_known *k = &part->known[--part->known_count];

		free(k->path);
		free(k->signature);
	}
}

void scan_index_end(struct scan_index *x)
{
	if (!x)
		return;
	while (x->parts) {
		struct scan_index_part *part = x->parts;

		x->parts = part->next;
		forget_known(part);
		for (size_t i = 0; i < part->fresh_count; i++)
			free(part->fresh[i].path);
		free(part->known);
		free(part->fresh);
		free(part->problems);
		free(part);
	}
	while (x->volumes) {
		struct scan_index_volume *volume = x->volumes;

		x->volumes = volume->next;
		free(volume->extents);
		free(volume);
	}
	json_decref(x->reasons);
	pthread_mutex_destroy(&x->lock);
	free(x);
}

static int take_desktop(void *arg, const struct db_row *row, struct err *err)
{
	struct scan_index *x = arg;

	(void)err;
	x->desktop = db_column_int(row, 0);
	x->seq = db_column_int(row, 1);
	db_column_copy(row, 2, x->head, sizeof(x->head));
	return DB_STOP;
}

int scan_index_begin(struct scan_index **out, const struct scan_index_order *order, struct err *err)
{
	CLEANUP(scan_index_end) struct scan_index *x = calloc(1, sizeof(*x));
	struct db_conn *c;
	int r;

	if (!x)
		return err_set(err, ENOMEM, "begin to index a snapshot");
	pthread_mutex_init(&x->lock, NULL);
	x->order = *order;
	x->reasons = json_array();
	if (!x->reasons)
		return err_set(err, ENOMEM, "begin to index a snapshot");
	c = db_read(scan_state_db(order->state));
	r = db_each(c, take_desktop, x, "SELECT id, seq, head FROM desktops WHERE name = $1",
		    DB_VALUES(db_t(order->desktop)), err);
	db_read_end(c);
	if (r < 0)
		return r;
	*out = TAKE(x);
	return 0;
}

const char *scan_index_head(const struct scan_index *x)
{
	return x->head;
}

bool scan_index_wants(const struct scan_index_part *part, uint64_t inode)
{
	const struct scan_index_order *o = &part->index->order;

	for (size_t i = 0; i < o->wanted_count; i++) {
		if (o->wanted[i].partition == part->id && o->wanted[i].inode == inode)
			return true;
	}
	return !o->wanted;
}

static struct scan_index_volume *volume_named(const struct scan_index *x, const char *name)
{
	struct scan_index_volume *v = x->volumes;

	while (v && strcmp(v->name, name) != 0)
		v = v->next;
	return v;
}

int scan_index_changed(struct scan_index *x, const char *name, const struct volume_extent *extents,
		       size_t count, struct err *err)
{
	struct scan_index_volume *v = calloc(1, sizeof(*v) + strlen(name) + 1);

	if (v)
		v->extents = calloc(count ? count : 1, sizeof(*extents));
	if (!v || !v->extents) {
		free(v);
		return err_set(err, ENOMEM, "remember what changed of %s", name);
	}
	strcpy(v->name, name);
	if (count)
		memcpy(v->extents, extents, count * sizeof(*extents));
	v->count = count;
	v->next = x->volumes;
	x->volumes = v;
	return 0;
}

/* ---- what is known of a partition ---- */

static int take_known(void *arg, const struct db_row *row, struct err *err)
{
	struct scan_index_part *part = arg;
	struct scan_index_known *k = scan_index_grow((void **)&part->known, &part->known_count,
						     &part->known_capacity, sizeof(*part->known));
	const char *path = db_column_text(row, 2), *stream = db_column_text(row, 3);
	size_t path_size = strlen(path) + 1;

	if (!k)
		return err_set(err, ENOMEM, "load what is known of a partition");
	k->row = db_column_int(row, 0);
	k->inode = db_column_int(row, 1);
	k->path = malloc(path_size + strlen(stream) + 1);
	if (!k->path)
		return err_set(err, ENOMEM, "load what is known of a partition");
	memcpy(k->path, path, path_size);
	k->stream = strcpy(k->path + path_size, stream);
	k->has_digest = !hex_decode(db_column_text(row, 4), k->digest, FILE_DIGEST_LEN);
	if (hex_decode(db_column_text(row, 5), k->sha256, SCAN_STATE_SHA256_LEN) < 0)
		return err_say(err, EBADMSG, "the scan state holds a hash that is none");
	k->size = db_column_int(row, 6);
	k->has_verdict =
		!k->size || (!db_column_null(row, 7) && db_column_int(row, 7) != ENGINE_UNFINISHED);
	if (k->has_verdict && k->size && db_column_int(row, 7) == ENGINE_INFECTED) {
		k->signature = strdup(db_column_text(row, 8));
		if (!k->signature)
			return err_set(err, ENOMEM, "load what is known of a partition");
	}
	return 0;
}

static int load_known(struct scan_index_part *part, struct err *err)
{
	struct scan_index *x = part->index;
	struct db_conn *c = db_read(scan_state_db(x->order.state));
	int r = db_each(c, take_known, part,
			"SELECT p.id, p.inode, p.path, p.stream, p.digest, c.sha256, c.size, "
			"v.verdict, v.text "
			"FROM places p JOIN contents c ON c.id = p.content "
			"LEFT JOIN verdicts v ON v.set_id = $2 AND v.content = p.content "
			"WHERE p.partition_id = $1 AND p.last IS NULL ORDER BY p.inode",
			DB_VALUES(db_i(part->id), db_i(x->order.set)), err);

	db_read_end(c);
	if (r == -EBADMSG)
		forget_known(
			part); /* damage costs reading everything, and is met again at the end */
	return r < 0 && r != -EBADMSG ? r : 0;
}

static bool wants_any(const struct scan_index_part *part)
{
	const struct scan_index_order *o = &part->index->order;

	for (size_t i = 0; i < o->wanted_count; i++) {
		if (o->wanted[i].partition == part->id)
			return true;
	}
	return false;
}

int scan_index_part(struct scan_index *x, const struct scan_index_partition *p,
		    struct scan_index_part **out, struct err *err)
{
	struct scan_index_part *part = calloc(1, sizeof(*part));
	struct db_conn *c;
	int r;

	if (!part)
		return err_set(err, ENOMEM, "index a partition");
	part->index = x;
	part->next = x->parts;
	x->parts = part;
	snprintf(part->volume, sizeof(part->volume), "%s", p->volume);
	snprintf(part->name, sizeof(part->name), "%s", p->name);
	snprintf(part->type, sizeof(part->type), "%s", p->type);
	part->offset = p->offset;
	part->length = p->length;
	*out = part;

	c = db_read(scan_state_db(x->order.state));
	r = db_number(c, &part->id,
		      "SELECT id FROM partitions WHERE desktop = $1 AND volume = $2 AND name = $3 "
		      "AND type = $4 AND start = $5 AND length = $6",
		      DB_VALUES(db_i(x->desktop), db_t(part->volume), db_t(part->name),
				db_t(part->type), db_i(p->offset), db_i(p->length)),
		      err);
	db_read_end(c);
	if (r < 0)
		return r;
	if (x->order.wanted)
		return wants_any(part) ? 0 : SCAN_INDEX_NOT_WANTED;
	return part->id ? load_known(part, err) : 0;
}

/* The known places of an inode: [first, return value). */
static size_t known_of(const struct scan_index_part *part, uint64_t inode, size_t *first)
{
	size_t low = 0, high = part->known_count;

	while (low < high) {
		size_t middle = low + (high - low) / 2;

		if (part->known[middle].inode < inode)
			low = middle + 1;
		else
			high = middle;
	}
	*first = low;
	while (low < part->known_count && part->known[low].inode == inode)
		low++;
	return low;
}

/* Need the inode not be read, if nothing of it changed? All its streams must have been read, at the same time. */
static bool reusable(const struct scan_index_part *part, size_t first, size_t end)
{
	const struct scan_index_known *k = &part->known[first];

	for (size_t i = first; i < end; i++) {
		if (!k[i - first].has_digest || !k[i - first].has_verdict ||
		    memcmp(k[i - first].digest, k->digest, FILE_DIGEST_LEN) != 0)
			return false;
	}
	return first < end;
}

/* What changed of the partition, relative to it. Heap; NULL: out of memory. */
static struct volume_extent *changed_of(const struct scan_index_part *part, size_t *count)
{
	const struct scan_index_volume *v = volume_named(part->index, part->volume);
	struct volume_extent *extents = calloc(v && v->count ? v->count : 1, sizeof(*extents));
	uint64_t end = part->offset + part->length;

	*count = 0;
	if (!extents)
		return NULL;
	if (!v) {
		extents[(*count)++] = (struct volume_extent){ .length = UINT64_MAX / 2 };
		return extents;
	}
	for (size_t i = 0; i < v->count; i++) {
		uint64_t from = v->extents[i].offset, to = from + v->extents[i].length;

		from = from < part->offset ? part->offset : from;
		to = to > end ? end : to;
		if (from < to)
			extents[(*count)++] =
				(struct volume_extent){ from - part->offset, to - from };
	}
	return extents;
}

static size_t list_wanted(const struct scan_index_part *part, struct known_file *files)
{
	const struct scan_index_order *o = &part->index->order;
	size_t count = 0;

	for (size_t i = 0; i < o->wanted_count; i++) {
		if (o->wanted[i].partition == part->id &&
		    (!count || files[count - 1].inode != o->wanted[i].inode))
			files[count++].inode = o->wanted[i].inode;
	}
	return count;
}

static size_t list_known(const struct scan_index_part *part, struct known_file *files)
{
	size_t count = 0;

	for (size_t first = 0, end; first < part->known_count; first = end) {
		end = first + 1;
		while (end < part->known_count &&
		       part->known[end].inode == part->known[first].inode)
			end++;
		if (!reusable(part, first, end))
			continue;
		files[count].inode = part->known[first].inode;
		memcpy(files[count++].digest, part->known[first].digest, FILE_DIGEST_LEN);
	}
	return count;
}

int scan_index_known(struct scan_index_part *part, struct err *err)
{
	bool only = part->index->order.wanted != NULL;
	size_t most = only ? part->index->order.wanted_count : part->known_count;
	CLEANUP_FREE struct known_file *files = calloc(most + 1, sizeof(*files));
	struct known_files known = { .mode = only ? KNOWN_FILES_ONLY : KNOWN_FILES_UNCHANGED };
	CLEANUP_FREE struct volume_extent *changed = changed_of(part, &known.changed_count);

	if (!files || !changed)
		return err_set(err, ENOMEM, "tell a reader what is known");
	known.changed = changed;
	known.files = files;
	known.file_count = only ? list_wanted(part, files) : list_known(part, files);
	return known_files_send(&known, err);
}

bool scan_index_same_piece(struct scan_index_part *part, uint64_t piece, uint64_t offset,
			   uint64_t len)
{
	size_t count, first, end = known_of(part, piece, &first);
	CLEANUP_FREE struct volume_extent *changed = changed_of(part, &count);

	return changed && reusable(part, first, end) &&
	       !volume_diff_meets(changed, count, offset, len);
}

/* ---- what is seen ---- */

int scan_index_seen(struct scan_index_part *part, const struct scan_index_file *file)
{
	size_t path_size = strlen(file->path) + 1;
	char *path = malloc(path_size + strlen(file->stream) + 1);
	struct scan_index_fresh *f;

	if (!path)
		return -ENOMEM;
	if (part->index->order.wanted) {
		free(path);
		return 0;
	}
	memcpy(path, file->path, path_size);
	pthread_mutex_lock(&part->index->lock);
	f = scan_index_grow((void **)&part->fresh, &part->fresh_count, &part->fresh_capacity,
			    sizeof(*part->fresh));
	if (f) {
		*f = (struct scan_index_fresh){ .inode = file->inode,
						.size = file->size,
						.path = path,
						.has_digest = file->digest != NULL };
		f->stream = strcpy(path + path_size, file->stream);
		memcpy(f->sha256, file->sha256, SCAN_STATE_SHA256_LEN);
		if (file->digest)
			memcpy(f->digest, file->digest, FILE_DIGEST_LEN);
	}
	pthread_mutex_unlock(&part->index->lock);
	if (!f)
		free(path);
	return f ? 0 : -ENOMEM;
}

int scan_index_problem(struct scan_index_part *part, uint64_t inode)
{
	uint64_t *p;

	pthread_mutex_lock(&part->index->lock);
	p = scan_index_grow((void **)&part->problems, &part->problem_count, &part->problem_capacity,
			    sizeof(*part->problems));
	if (p)
		*p = inode;
	pthread_mutex_unlock(&part->index->lock);
	return p ? 0 : -ENOMEM;
}

int scan_index_reason(struct scan_index *x, const char *text)
{
	pthread_mutex_lock(&x->lock);
	if (json_array_size(x->reasons) >= SCAN_INDEX_REASONS_MAX ||
	    json_array_append_new(x->reasons, json_string(text)) < 0)
		x->more_reasons++; /* also when it is not text */
	pthread_mutex_unlock(&x->lock);
	return 0;
}

int scan_index_same(struct scan_index_part *part, uint64_t inode, const char *path,
		    scan_index_same_fn *fn, void *arg)
{
	size_t first, end = known_of(part, inode, &first);
	int r = 0;

	if (part->index->order.wanted || !reusable(part, first, end) || part->known[first].claimed)
		return -ENOENT;
	for (size_t i = first; r == 0 && i < end; i++) {
		struct scan_index_known *k = &part->known[i];
		const struct scan_index_file file = { .inode = inode,
						      .size = k->size,
						      .path = path,
						      .stream = k->stream,
						      .sha256 = k->sha256,
						      .digest = k->digest,
						      .signature = k->signature };

		k->claimed = true;
		if (strcmp(k->path, path) == 0)
			k->seen = true;
		else
			r = scan_index_seen(part, &file);
		if (r == 0)
			fn(arg, &file);
	}
	return r;
}
