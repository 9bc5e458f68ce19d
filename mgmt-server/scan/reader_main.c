/* reader_main.c - what every reader program has in common: descriptors, sandbox, reporting.
 *
 * Started as: READER OFFSET LENGTH [deleted] [known] [kernel], descriptor 3 the volume channel, 4 the entry channel, with `known` 5
 * what an earlier scan saw. A failure before the sandbox is up is reported like any other: nothing is read without it.
 */
#include "mgmt-server/scan/reader.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/base.h"
#include "mgmt-server/scan/entry_channel.h"
#include "mgmt-server/scan/sandbox.h"

enum { ENTRY_FD = 4, KNOWN_FD = 5 };

/* A reader holds its own metadata and pieces of a file; contents are the parent's (content_room.h). */
static int scratch = -1;
static const struct sandbox box = {
	.role = SANDBOX_READER,
	.memory_max = 2ULL << 30,
	.cpu_seconds = 4 * 3600,
	.scratch = &scratch,
	.temp_max = READER_SCRATCH_MAX,
};

struct reader {
	struct volume_channel *volume;
	bool deleted;
	bool has_known;
	bool has_kernel;
	struct known_files known;
	struct entry open; /* between reader_begin and reader_end; its path is a copy */
	/* What was given last and not sent yet: some readers give their files sector by sector. */
	char *piece; /* ENTRY_CHANNEL_DATA_MAX bytes */
	size_t piece_len;
	uint64_t piece_at;
	/* The same of runs. At least one of both is empty. */
	struct content_run *runs; /* ENTRY_CHANNEL_RUNS_MAX */
	size_t run_count;
	uint64_t
		run_bytes; /* of all files; the parent reads no more than the volume has (content_source.h) */
	char *path;
	char stream[ENTRY_CHANNEL_TEXT_MAX];
	char reason[ENTRY_CHANNEL_TEXT_MAX];
};

struct volume_channel *reader_volume(struct reader *r)
{
	return r->volume;
}

int reader_scratch(const struct reader *r)
{
	(void)r;
	return scratch;
}

bool reader_wants_deleted(const struct reader *r)
{
	return r->deleted;
}

const struct known_files *reader_known(const struct reader *r)
{
	return r->has_known ? &r->known : NULL;
}

bool reader_touched(const struct reader *r, uint64_t offset, uint64_t len)
{
	return !r->has_known ||
	       volume_diff_meets(r->known.changed, r->known.changed_count, offset, len);
}

enum reader_need reader_need(const struct reader *r, uint64_t inode, const uint8_t *digest)
{
	const struct known_file *file = r->has_known ? known_files_find(&r->known, inode) : NULL;

	if (r->has_known && r->known.mode == KNOWN_FILES_ONLY)
		return file ? READER_NEED_CONTENT : READER_NEED_NOTHING;
	if (r->has_known && r->known.mode == KNOWN_FILES_NAMES)
		return READER_NEED_NAME;
	return file && digest && !memcmp(file->digest, digest, FILE_DIGEST_LEN)
		       ? READER_NEED_NAME
		       : READER_NEED_CONTENT;
}

static size_t copy_text(char *to, size_t cap, const char *text)
{
	size_t n = text ? strnlen(text, cap - 1) : 0;

	if (n)
		memcpy(to, text, n);
	return n;
}

static int send_open(struct reader *r, struct err *err)
{
	return entry_channel_send(ENTRY_FD, &r->open, err);
}

int reader_begin(struct reader *r, const struct reader_file *file, struct err *err)
{
	(void)err;
	r->open = (struct entry){
		.kind = ENTRY_FILE,
		.flags = file->flags,
		.inode = file->inode,
		.size = file->size,
		.mtime = file->mtime,
		.ctime = file->ctime,
		.path = r->path,
		.path_len = file->path_len < ENTRY_CHANNEL_PATH_MAX ? file->path_len
								    : ENTRY_CHANNEL_PATH_MAX,
		.stream = r->stream,
		.reason = r->reason,
	};
	memcpy(r->path, file->path, r->open.path_len);
	r->open.stream_len = copy_text(r->stream, sizeof(r->stream), file->stream);
	r->open.reason_len = copy_text(r->reason, sizeof(r->reason), file->reason);
	if (file->digest) {
		memcpy(r->open.digest, file->digest, FILE_DIGEST_LEN);
		r->open.flags |= READER_HAS_DIGEST;
	}
	r->open.has_content = !(r->open.flags & (READER_UNREADABLE | READER_UNCHANGED));
	r->piece_len = 0;
	r->run_count = 0;
	return 0;
}

static int send_piece(struct reader *r, struct err *err)
{
	size_t len = r->piece_len;

	r->piece_len = 0;
	return len ? entry_channel_data(ENTRY_FD, r->piece, len, r->piece_at, err) : 0;
}

static int send_runs(struct reader *r, struct err *err)
{
	size_t count = r->run_count;

	r->run_count = 0;
	return count ? entry_channel_runs(ENTRY_FD, r->runs, count, err) : 0;
}

static bool joins(const struct content_run *last, uint64_t at, uint64_t offset)
{
	return last->at + last->length == at && last->offset + last->length == offset;
}

int reader_run(struct reader *r, uint64_t at, uint64_t len, uint64_t offset, struct err *err)
{
	uint64_t size = volume_channel_size(r->volume), cost;
	struct content_run *last = r->run_count ? &r->runs[r->run_count - 1] : NULL;
	int done;

	if (!r->open.has_content || offset >= r->open.size)
		return 0;
	if (len > r->open.size - offset)
		len = r->open.size - offset;
	cost = content_run_cost(len);
	if (!len || at > size || len > size - at || cost > size - r->run_bytes)
		return READER_AS_BYTES;
	r->run_bytes += cost;
	if (last && joins(last, at, offset)) {
		last->length += len;
		return 0;
	}
	done = send_piece(r, err);
	if (done == 0 && r->run_count == ENTRY_CHANNEL_RUNS_MAX)
		done = send_runs(r, err);
	if (done == 0)
		r->runs[r->run_count++] = (struct content_run){ offset, at, len };
	return done;
}

int reader_data(struct reader *r, const void *buf, size_t len, uint64_t offset, struct err *err)
{
	const char *from = buf;
	int done = 0;

	if (!r->open.has_content)
		return 0;
	if (offset > r->open.size || len > r->open.size - offset)
		len = offset > r->open.size ? 0 : (size_t)(r->open.size - offset);
	if (len)
		done = send_runs(r, err);
	while (len && done == 0) {
		size_t room = ENTRY_CHANNEL_DATA_MAX - r->piece_len;
		size_t n = len < room ? len : room;

		if (r->piece_len && (!room || offset != r->piece_at + r->piece_len)) {
			done = send_piece(r, err);
			continue;
		}
		if (!r->piece_len)
			r->piece_at = offset;
		memcpy(r->piece + r->piece_len, from, n);
		r->piece_len += n;
		from += n;
		offset += n;
		len -= n;
	}
	return done;
}

int reader_end(struct reader *r, struct err *err)
{
	int done = send_piece(r, err);

	if (done == 0)
		done = send_runs(r, err);
	return done < 0 ? done : send_open(r, err);
}

int reader_end_unreadable(struct reader *r, const char *reason, struct err *err)
{
	r->piece_len = 0;
	r->run_count = 0;
	r->open.has_content = false;
	r->open.flags |= READER_UNREADABLE;
	r->open.reason_len = copy_text(r->reason, sizeof(r->reason), reason);
	return send_open(r, err);
}

int reader_unchanged(struct reader *r, const struct reader_file *file, struct err *err)
{
	struct reader_file same = *file;
	int done;

	same.flags |= READER_UNCHANGED;
	done = reader_begin(r, &same, err);
	return done < 0 ? done : send_open(r, err);
}

static int say(enum entry_kind kind, const char *reason, struct err *err)
{
	struct entry e = { .kind = kind,
			   .reason = reason,
			   .reason_len = strnlen(reason, ENTRY_CHANNEL_TEXT_MAX) };

	return entry_channel_send(ENTRY_FD, &e, err);
}

int reader_incomplete(struct reader *r, const char *reason, struct err *err)
{
	(void)r;
	return say(ENTRY_INCOMPLETE, reason, err);
}

bool reader_has_kernel(const struct reader *r)
{
	return r->has_kernel;
}

int reader_leave_to_kernel(struct reader *r, struct err *err)
{
	(void)r;
	return say(ENTRY_KERNEL, "", err);
}

int reader_partition(struct reader *r, const struct reader_partition *partition, struct err *err)
{
	struct entry e = {
		.kind = ENTRY_PARTITION,
		.flags = partition->number,
		.inode = partition->offset,
		.size = partition->length,
		.path = partition->type,
		.path_len = strlen(partition->type),
		.stream = partition->table_type,
		.stream_len = strlen(partition->table_type),
		.reason = partition->label,
		.reason_len = strlen(partition->label),
	};

	(void)r;
	return entry_channel_send(ENTRY_FD, &e, err);
}

static int parse_number(const char *text, uint64_t *out)
{
	char *end;

	errno = 0;
	*out = strtoull(text, &end, 10);
	return errno || end == text || *end ? -EINVAL : 0;
}

static int run(int argc, char **argv, struct err *err)
{
	struct reader r = { 0 };
	uint64_t offset, size;
	int done;

	if (argc < 3 || parse_number(argv[1], &offset) < 0 || parse_number(argv[2], &size) < 0)
		return err_say(err, EINVAL,
			       "usage: %s OFFSET LENGTH [deleted] [known] [kernel]; started by "
			       "godwit-scan",
			       argv[0]);
	for (int i = 3; i < argc; i++) {
		r.deleted |= !strcmp(argv[i], "deleted");
		r.has_known |= !strcmp(argv[i], "known");
		r.has_kernel |= !strcmp(argv[i], "kernel");
	}

	/* OpenSSL looks for its configuration when it is used first, which it could not in the sandbox. */
	if (r.has_known)
		file_digest_free(file_digest_new());
	done = sandbox_enter(&box, err);
	if (done == 0 && r.has_known)
		done = known_files_map(&r.known, KNOWN_FD, err);
	if (done < 0)
		return done;
	r.path = malloc(ENTRY_CHANNEL_PATH_MAX);
	r.piece = malloc(ENTRY_CHANNEL_DATA_MAX);
	r.runs = calloc(ENTRY_CHANNEL_RUNS_MAX, sizeof(*r.runs));
	if (!r.path || !r.piece || !r.runs)
		return err_set(err, ENOMEM, "start a reader");
	done = volume_channel_open(&r.volume, READER_INPUT_FD, offset, size, err);
	if (done == 0)
		done = reader_walk(&r, err);
	volume_channel_close(r.volume);
	known_files_unmap(&r.known);
	free(r.runs);
	free(r.piece);
	free(r.path);
	return done;
}

int main(int argc, char **argv)
{
	struct err err = { 0 };
	int r = run(argc, argv, &err);

	if (r < 0)
		say(ENTRY_FAILED, err_text(&err), NULL);
	else
		say(ENTRY_DONE, "", NULL);
	return r < 0;
}
