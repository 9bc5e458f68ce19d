#include "mgmt-server/scan/scan_run.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "common/io.h"
#include "mgmt-server/scan/scan_partition.h"
#include "mgmt-server/scan/scan_reader.h"
#include "mgmt-server/scan/scan_vm.h"

enum { PARTITIONS_MAX = 256, RAW_PIECE = 32 << 20, RAW_OVERLAP = 1 << 20, ZERO_PIECE = 1 << 20 };

struct partition {
	char name[16]; /* as in reports: the kernel's number, "" for a volume without a table */
	char type[48], table_type[48];
	uint64_t offset, length;
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

/* A partition without files: its bytes in pieces, each a content. The overlap finds what lies across a border. */
static int scan_raw_piece(struct scan *s, const struct scan_volume *v, const struct partition *p,
			  const char *what, uint64_t at, uint64_t len, struct err *err)
{
	CLEANUP_FREE uint8_t *buf = malloc(len);
	struct scan_content *c = calloc(1, sizeof(*c));
	int r;

	if (!c || !buf) {
		free(c);
		return err_set(err, ENOMEM, "scan a partition");
	}
	*c = (struct scan_content){ .scan = s,
				    .volume = strdup(v->name),
				    .partition = strdup(p->name),
				    .path = io_printf("<%s at %llu>", what, (unsigned long long)at),
				    .stream = strdup(""),
				    .size = len,
				    .fd = memfd_create("raw", MFD_CLOEXEC),
				    .credit_fd = -1 };
	r = !c->volume || !c->partition || !c->path || !c->stream || c->fd < 0 ? -ENOMEM : 0;
	if (r == 0)
		r = v->input.read(v->input.ctx, buf, len, p->offset + at, err);
	if (r == 0)
		r = io_pwrite_full(c->fd, buf, len, 0);
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

static int scan_in_vm(struct scan *s, const struct scan_volume *v, const struct partition *p,
		      struct err *err)
{
	struct scan_vm_disk disk = { .type = p->type, .offset = p->offset, .length = p->length };

	return scan_vm_run(&(struct scan_vm){ .scan = s,
					      .volume = v,
					      .partition = p->name,
					      .disks = &disk,
					      .disk_count = 1 },
			   err);
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
					      .disks = disks,
					      .disk_count = count },
			   err);
}

static int scan_partition(struct scan *s, const struct scan_volume *v,
			  const struct partition_list *list, const struct partition *p,
			  struct err *err)
{
	const struct scan_partition_rule *rule = scan_partition_rule(p->type, p->table_type);

	switch (rule->way) {
	case SCAN_WAY_READER:
		return scan_reader_run(&(struct scan_reader){ .scan = s,
							      .volume = v,
							      .program = rule->detail,
							      .partition = p->name,
							      .offset = p->offset,
							      .length = p->length },
				       err);
	case SCAN_WAY_VM:
		return scan_in_vm(s, v, p, err);
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
	return scan_reader_run(&(struct scan_reader){ .scan = s,
						      .volume = v,
						      .program = "godwit-scan-ram",
						      .partition = "",
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

static int start_engine(struct scan *s, struct err *err)
{
	CLEANUP_FREE char *program = io_printf("%s/godwit-scan-engine", s->order->libexec);
	const struct engine_hello *hello;
	int r;

	if (!program)
		return err_set(err, ENOMEM, "start the scan engine");
	r = engine_client_start(&s->engine, program, s->order->signatures,
				task_pool_threads(s->pool), err);
	if (r < 0) {
		/* No signatures, no space for its temp files, whatever: nothing is scanned, and the verdict says so. */
		scan_incomplete(s, "no engine: %s", err_text(err));
		return 0;
	}
	hello = engine_client_hello(s->engine);
	snprintf(s->result->engine, sizeof(s->result->engine), "%.63s", hello->version);
	snprintf(s->result->signature_version, sizeof(s->result->signature_version), "%.63s",
		 hello->signature_version);
	return 0;
}

int scan_run(const struct scan_order *order, struct scan_result *result, struct err *err)
{
	CLEANUP(content_cache_free) struct content_cache *cache = content_cache_new();
	struct scan s = { .order = order, .result = result, .cache = cache };
	int r;

	*result = (struct scan_result){ 0 };
	if (!cache)
		return err_set(err, ENOMEM, "start a scan");
	pthread_mutex_init(&s.lock, NULL);
	r = task_pool_new(&s.pool, order->workers, 64, err);
	if (r == 0 && order->signatures)
		r = start_engine(&s, err);
	for (size_t i = 0; r == 0 && i < order->volume_count; i++)
		r = scan_volume(&s, &order->volumes[i], err);
	task_pool_free(s.pool);
	engine_client_stop(s.engine);
	pthread_mutex_destroy(&s.lock);

	result->verdict = s.infected ? SCAN_INFECTED : s.incomplete ? SCAN_INCOMPLETE : SCAN_CLEAN;
	return r;
}
