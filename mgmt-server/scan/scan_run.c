#include "mgmt-server/scan/scan_run.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "common/io.h"
#include "mgmt-server/scan/scan_index.h"
#include "mgmt-server/scan/scan_partition.h"
#include "mgmt-server/scan/scan_reader.h"
#include "mgmt-server/scan/scan_state.h"
#include "mgmt-server/scan/scan_vm.h"
#include "mgmt-server/scan/signature_set.h"

enum { PARTITIONS_MAX = 256, RAW_PIECE = 32 << 20, RAW_OVERLAP = 1 << 20, ZERO_PIECE = 1 << 20 };

struct partition {
	char name[16]; /* as in reports: the kernel's number, "" for a volume without a table */
	char type[48], table_type[48];
	uint64_t offset, length;
	struct scan_index_part *part; /* NULL: nothing is remembered */
};

struct partition_list {
	struct partition items[PARTITIONS_MAX];
	size_t count;
};

static void copy_text(char *to, size_t cap, const char *bytes, size_t len)
{
	snprintf(to, cap, "%.*s", (int)(len < cap ? len : cap - 1), bytes);
}

static int partition_seen(void *arg, const struct entry *e, struct err *err)
{
	struct partition_list *list = arg;
	struct partition *p;

	if (list->count == PARTITIONS_MAX)
		return err_say(err, EBADMSG, "more than %d partitions", PARTITIONS_MAX);
	p = &list->items[list->count++];
	p->offset = e->inode;
	p->length = e->size;
	if (e->flags)
		snprintf(p->name, sizeof(p->name), "%u", e->flags);
	copy_text(p->type, sizeof(p->type), e->path, e->path_len);
	copy_text(p->table_type, sizeof(p->table_type), e->stream, e->stream_len);
	return 0;
}

static char *piece_path(const char *what, uint64_t at)
{
	return io_printf("<%s at %llu>", what, (unsigned long long)at);
}

struct same_piece {
	struct scan *scan;
	const struct scan_volume *volume;
	const struct partition *partition;
};

static void same_piece_seen(void *arg, const struct scan_index_file *file)
{
	const struct same_piece *same = arg;

	scan_content_same(same->scan, same->volume->name, same->partition->name, file);
}

/* Did an earlier scan read the same bytes there? */
static bool same_piece(struct scan *s, const struct scan_volume *v, const struct partition *p,
		       const char *what, uint64_t at)
{
	CLEANUP_FREE char *path = piece_path(what, at);
	struct same_piece same = { s, v, p };

	return path && scan_index_same(p->part, at, path, same_piece_seen, &same) == 0;
}

/* A partition without files: its bytes in pieces, each a content. The overlap finds what lies across a border. */
static int scan_raw_piece(struct scan *s, const struct scan_volume *v, const struct partition *p,
			  const char *what, uint64_t at, uint64_t len, struct err *err)
{
	CLEANUP_FREE uint8_t *buf = NULL;
	struct scan_content *c;
	int r;

	if (p->part && !scan_index_wants(p->part, at))
		return 0;
	if (p->part && scan_index_same_piece(p->part, at, at, len) && same_piece(s, v, p, what, at))
		return 0;
	buf = malloc(len);
	c = calloc(1, sizeof(*c));
	if (!c || !buf) {
		free(c);
		return err_set(err, ENOMEM, "scan a partition");
	}
	*c = (struct scan_content){ .scan = s,
				    .volume = strdup(v->name),
				    .partition = strdup(p->name),
				    .path = piece_path(what, at),
				    .stream = strdup(""),
				    .inode = at,
				    .part = p->part,
				    .has_digest = true, /* its place is all that it depends on */
				    .size = len,
				    .received = len,
				    .fd = memfd_create("raw", MFD_CLOEXEC | MFD_ALLOW_SEALING) };
	r = !c->volume || !c->partition || !c->path || !c->stream || c->fd < 0 ? -ENOMEM : 0;
	if (r == 0)
		r = v->input.read(v->input.ctx, buf, len, p->offset + at, err);
	if (r == 0)
		r = io_pwrite_full(c->fd, buf, len, 0);
	if (r == 0)
		r = scan_content_seal(c->fd);
	if (r == 0)
		r = task_pool_submit(s->pool, scan_content_task, c);
	if (r < 0)
		scan_content_free(c);
	return r;
}

static int scan_raw(struct scan *s, const struct scan_volume *v, const struct partition *p,
		    const char *what, struct err *err)
{
	for (uint64_t at = 0; at < p->length;) {
		uint64_t len = p->length - at < RAW_PIECE ? p->length - at : RAW_PIECE;
		int r;

		r = scan_raw_piece(s, v, p, what, at, len, err);
		if (r < 0)
			return r;
		if (at + len == p->length)
			break;
		at += len - RAW_OVERLAP;
	}
	return task_pool_wait(s->pool, err);
}

/* The reader looked at the ends only; here it is made sure. */
static int scan_zeros(struct scan *s, const struct scan_volume *v, const struct partition *p,
		      struct err *err)
{
	CLEANUP_FREE uint8_t *buf = malloc(ZERO_PIECE);

	if (!buf)
		return err_set(err, ENOMEM, "scan a partition");
	for (uint64_t at = 0; at < p->length;) {
		uint64_t len = p->length - at;
		bool zero = false;
		int r = 0;

		if (v->input.extent)
			r = v->input.extent(v->input.ctx, p->offset + at, &len, &zero, err);
		if (r == 0 && !zero) {
			len = len < ZERO_PIECE ? len : ZERO_PIECE;
			len = len < p->length - at ? len : p->length - at;
			r = v->input.read(v->input.ctx, buf, (size_t)len, p->offset + at, err);
		}
		if (r < 0)
			return r;
		if (!zero && !chunk_is_zero(buf, (size_t)len)) {
			scan_incomplete(s, "unknown: %s%s%s: no file system that is known", v->name,
					p->name[0] ? " partition " : "", p->name);
			return 0;
		}
		at += len;
	}
	return 0;
}

/* driver: the kernel's name of it. said: NULL, or what became of it. */
static int scan_in_vm(struct scan *s, const struct scan_volume *v, const struct partition *p,
		      const char *driver, struct scan_reader_said *said, struct err *err)
{
	struct scan_vm_disk disk = { .type = driver, .offset = p->offset, .length = p->length };

	return scan_vm_run(&(struct scan_vm){ .scan = s,
					      .volume = v,
					      .partition = p->name,
					      .part = p->part,
					      .disks = &disk,
					      .disk_count = 1,
					      .said = said },
			   err);
}

/* A reader walks its files; what that cannot read is tried by the kernel's driver, if there is one. */
static int scan_files(struct scan *s, const struct scan_volume *v, const struct partition *p,
		      const struct scan_partition_rule *rule, struct err *err)
{
	struct scan_reader_said said = { 0 };
	struct scan_reader order = { .scan = s,
				     .volume = v,
				     .program = rule->detail,
				     .partition = p->name,
				     .part = p->part,
				     .offset = p->offset,
				     .length = p->length,
				     .may_leave = rule->driver && scan_vm_there(s, v),
				     .said = &said };
	int r = scan_reader_run(&order, err);

	if (r < 0 || !said.leaves)
		return r;
	said = (struct scan_reader_said){ 0 };
	r = scan_in_vm(s, v, p, rule->driver, &said, err);
	if (r < 0 || said.files || !said.lost)
		return r;
	/* It does not mount. Then what the reader understands is scanned, and it says what is missing. */
	order.may_leave = false;
	return scan_reader_run(&order, err);
}

/* All partitions of @p's type, when @p is the first of them: a volume group may lie across several. */
static int scan_group_in_vm(struct scan *s, const struct scan_volume *v,
			    const struct partition_list *list, const struct partition *p,
			    struct err *err)
{
	struct scan_vm_disk disks[SCAN_VM_DISKS_MAX];
	size_t count = 0;

	for (size_t i = 0; i < list->count; i++) {
		const struct partition *q = &list->items[i];

		if (strcmp(q->type, p->type))
			continue;
		if (!count && q != p)
			return 0;
		if (count == SCAN_VM_DISKS_MAX) {
			scan_incomplete(s, "no reader: %s: more than %d parts of volume groups",
					v->name, SCAN_VM_DISKS_MAX);
			return 0;
		}
		disks[count++] = (struct scan_vm_disk){ .type = q->type,
							.offset = q->offset,
							.length = q->length };
	}
	return scan_vm_run(&(struct scan_vm){ .scan = s,
					      .volume = v,
					      .partition = p->name,
					      .part = p->part,
					      .disks = disks,
					      .disk_count = count },
			   err);
}

/* What is known of the partition. Return 0, SCAN_INDEX_NOT_WANTED: nobody needs it this time; or -errno. */
static int remembered(struct scan *s, const struct scan_volume *v, struct partition *p,
		      const struct scan_partition_rule *rule, struct err *err)
{
	bool has_places = rule->way != SCAN_WAY_ZEROS && rule->way != SCAN_WAY_INCOMPLETE;
	const struct scan_index_partition partition = { .volume = v->name,
							.name = p->name,
							.type = rule->way == SCAN_WAY_RAW
									? rule->detail
									: p->type,
							.offset = p->offset,
							.length = p->length };

	return s->index && has_places ? scan_index_part(s->index, &partition, &p->part, err) : 0;
}

static int scan_partition(struct scan *s, const struct scan_volume *v,
			  const struct partition_list *list, struct partition *p, struct err *err)
{
	const struct scan_partition_rule *rule = scan_partition_rule(p->type, p->table_type);
	int r = remembered(s, v, p, rule, err);

	if (r)
		return r < 0 ? r : 0;
	switch (rule->way) {
	case SCAN_WAY_READER:
		return scan_files(s, v, p, rule, err);
	case SCAN_WAY_VM:
		return scan_in_vm(s, v, p, p->type, NULL, err);
	case SCAN_WAY_VM_GROUP:
		return scan_group_in_vm(s, v, list, p, err);
	case SCAN_WAY_RAW:
		return scan_raw(s, v, p, rule->detail, err);
	case SCAN_WAY_ZEROS:
		return scan_zeros(s, v, p, err);
	case SCAN_WAY_INCOMPLETE:
		scan_incomplete(s, "%s: %s%s%s: %s", rule->detail, v->name,
				p->name[0] ? " partition " : "", p->name,
				p->type[0] ? p->type : "no file system that is known");
		return 0;
	}
	return 0;
}

static int scan_memory(struct scan *s, const struct scan_volume *v, struct err *err)
{
	const struct scan_index_partition whole = {
		.volume = v->name, .name = "", .type = SCAN_INDEX_MEMORY, .length = v->input.size
	};
	struct scan_index_part *part = NULL;
	int r = s->index ? scan_index_part(s->index, &whole, &part, err) : 0;

	if (r)
		return r < 0 ? r : 0;
	return scan_reader_run(&(struct scan_reader){ .scan = s,
						      .volume = v,
						      .program = "godwit-scan-ram",
						      .partition = "",
						      .part = part,
						      .length = v->input.size,
						      .memory = true },
			       err);
}

static int scan_volume(struct scan *s, const struct scan_volume *v, struct err *err)
{
	CLEANUP_FREE struct partition_list *list = calloc(1, sizeof(*list));
	int r;

	if (!list)
		return err_set(err, ENOMEM, "scan %s", v->name);
	if (!v->input.size) {
		scan_incomplete(s, "truncated: %s has no bytes", v->name);
		return 0;
	}
	if (v->memory)
		return scan_memory(s, v, err);
	r = scan_reader_run(&(struct scan_reader){ .scan = s,
						   .volume = v,
						   .program = "godwit-scan-parts",
						   .partition = "",
						   .length = v->input.size,
						   .partition_seen = partition_seen,
						   .arg = list },
			    err);
	for (size_t i = 0; r == 0 && i < list->count; i++)
		r = scan_partition(s, v, list, &list->items[i], err);
	return r;
}

/* ---- the engine ---- */

static int engine_path(const struct scan *s, char **path, struct err *err)
{
	*path = io_printf("%s/godwit-scan-engine", s->order->libexec);
	return *path ? 0 : err_set(err, ENOMEM, "start the scan engine");
}

/* Are the signatures those that the memo speaks of? freshclam may have been at work meanwhile. */
static int check_set(struct scan *s, const char *program, struct err *err)
{
	const struct scan_memo *memo = s->order->memo;
	char version[SIGNATURE_SET_VERSION_LEN];
	int r;

	r = signature_set_version(s->order->signatures, program, version, err);
	if (r == 0 && strcmp(version, memo->version) != 0)
		r = err_say(err, EAGAIN, "the signatures in %s changed while they were loaded",
			    s->order->signatures);
	if (r < 0)
		return r;
	snprintf(memo->set->engine, sizeof(memo->set->engine), "%s", s->result->engine);
	snprintf(memo->set->signature_version, sizeof(memo->set->signature_version), "%s",
		 s->result->signature_version);
	memo->set->loaded = true;
	return scan_state_set_loaded(memo->state, memo->set, err);
}

static int start_engine(struct scan *s, struct err *err)
{
	CLEANUP(engine_client_stop) struct engine_client *engine = NULL;
	CLEANUP_FREE char *program = NULL;
	const struct engine_hello *hello;
	int r = engine_path(s, &program, err);

	if (r == 0)
		r = engine_client_start(&engine, program, s->order->signatures,
					task_pool_threads(s->pool), err);
	if (r < 0)
		return r;
	hello = engine_client_hello(engine);
	pthread_mutex_lock(&s->lock);
	snprintf(s->result->engine, sizeof(s->result->engine), "%.63s", hello->version);
	snprintf(s->result->signature_version, sizeof(s->result->signature_version), "%.63s",
		 hello->signature_version);
	pthread_mutex_unlock(&s->lock);
	if (s->order->memo)
		r = check_set(s, program, err);
	if (r == 0)
		s->engine = TAKE(engine);
	return r;
}

struct engine_client *scan_engine(struct scan *s)
{
	struct err err = { 0 };

	pthread_mutex_lock(&s->engine_lock);
	if (!s->engine_tried && s->order->signatures) {
		s->engine_tried = true;
		/* No signatures, no space for its temp files, whatever: nothing is scanned, and the verdict says so. */
		if (start_engine(s, &err) < 0)
			scan_unfinished(s, "no engine: %s", err_text(&err));
	}
	pthread_mutex_unlock(&s->engine_lock);
	return s->engine;
}

/* With signatures that an engine has loaded before, one is needed only for contents that are new. */
static void prepare_engine(struct scan *s)
{
	const struct scan_memo *memo = s->order->memo;

	if (memo && memo->engine) {
		s->engine = memo->engine;
		s->engine_tried = true;
	}
	if (!memo || !memo->set->loaded || memo->keeps_engine) {
		scan_engine(s);
		return;
	}
	snprintf(s->result->engine, sizeof(s->result->engine), "%s", memo->set->engine);
	snprintf(s->result->signature_version, sizeof(s->result->signature_version), "%s",
		 memo->set->signature_version);
}

/* What was found out is for the next scans; a failure costs them time and this one nothing. */
static int write_down(struct scan *s, struct err *err)
{
	const struct scan_index_sums sums = { s->result->files, s->result->bytes };
	int r = content_cache_flush(s->cache, err);

	if (r == 0)
		r = identity_memo_flush(s->identities, err);
	if (r == 0 && s->index)
		r = scan_index_commit(s->index, &sums, err);
	if (r == -EBADMSG)
		scan_state_forget(s->order->memo->state);
	return r;
}

int scan_run(const struct scan_order *order, struct scan_result *result, struct err *err)
{
	CLEANUP(content_cache_free) struct content_cache *cache = content_cache_new();
	CLEANUP(identity_memo_free) struct identity_memo *identities = NULL;
	struct scan s = { .order = order, .result = result, .cache = cache };
	struct err unwritten = { 0 };
	int r;

	*result = (struct scan_result){ 0 };
	if (!cache)
		return err_set(err, ENOMEM, "start a scan");
	if (order->memo) {
		s.identities = identities = identity_memo_new(order->memo->state);
		if (!identities)
			return err_set(err, ENOMEM, "start a scan");
		content_cache_share(cache, order->memo->state, order->memo->set->id);
		s.index = order->memo->index;
	}
	pthread_mutex_init(&s.lock, NULL);
	pthread_mutex_init(&s.engine_lock, NULL);
	content_room_init(&s.room, order->content_memory, order->cancel);
	r = task_pool_new(&s.pool, order->workers, 64, err);
	if (r == 0 && order->signatures)
		prepare_engine(&s);
	for (size_t i = 0; r == 0 && i < order->volume_count; i++)
		r = scan_volume(&s, &order->volumes[i], err);
	/* A child dies with the thread that started it, and that may be one of the pool's. */
	if (s.pool)
		task_pool_wait(s.pool, NULL);
	if (order->memo && order->memo->keeps_engine)
		order->memo->engine = s.engine;
	else
		engine_client_stop(s.engine);
	task_pool_free(s.pool);
	if (r == 0 && order->memo && !(order->cancel && atomic_load(order->cancel)) &&
	    write_down(&s, &unwritten) < 0)
		snprintf(result->unwritten, sizeof(result->unwritten), "%s", err_text(&unwritten));
	content_room_deinit(&s.room);
	pthread_mutex_destroy(&s.lock);
	pthread_mutex_destroy(&s.engine_lock);

	result->verdict = s.infected ? SCAN_INFECTED : s.incomplete ? SCAN_INCOMPLETE : SCAN_CLEAN;
	return r;
}
