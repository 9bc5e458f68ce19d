#include "tests/lib/reader_sink.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "common/base.h"

struct volume_channel {
	const uint8_t *bytes;
	size_t size;
};

struct reader {
	struct volume_channel volume;
	struct reader_sink seen;
	uint64_t data_max;
	bool open;
};

static struct reader only;

struct reader *reader_sink_new(const uint8_t *volume, size_t size, uint64_t data_max)
{
	only = (struct reader){ .volume = { volume, size }, .data_max = data_max };
	return &only;
}

struct reader_sink reader_sink_end(struct reader *r)
{
	return r->seen;
}

/* Every byte is looked at, so that a sanitizer sees what is not ours. */
static void look(struct reader *r, const void *bytes, size_t len)
{
	const uint8_t *p = bytes;

	for (size_t i = 0; i < len; i++)
		r->seen.checksum = r->seen.checksum * 31 + p[i];
}

static void must(bool holds)
{
	if (!holds)
		abort();
}

struct volume_channel *reader_volume(struct reader *r)
{
	return &r->volume;
}

bool reader_wants_deleted(const struct reader *r)
{
	(void)r;
	return true;
}

/* Every file is described as if an earlier scan had seen the volume, and then read all the same. */
const struct known_files *reader_known(const struct reader *r)
{
	static const struct known_files nothing;

	(void)r;
	return &nothing;
}

bool reader_touched(const struct reader *r, uint64_t offset, uint64_t len)
{
	(void)r;
	return !(offset & len);
}

enum reader_need reader_need(const struct reader *r, uint64_t inode, const uint8_t *digest)
{
	(void)r, (void)inode;
	return digest && digest[0] == 0 ? READER_NEED_NAME : READER_NEED_CONTENT;
}

int reader_unchanged(struct reader *r, const struct reader_file *file, struct err *err)
{
	(void)err;
	look(r, file->path, file->path_len);
	return 0;
}

int reader_begin(struct reader *r, const struct reader_file *file, struct err *err)
{
	(void)err;
	must(!r->open && file->path_len <= READER_PATH_MAX);
	look(r, file->path, file->path_len);
	if (file->stream)
		look(r, file->stream, strlen(file->stream));
	must(!(file->flags & READER_UNREADABLE) || file->reason);
	if (file->reason)
		look(r, file->reason, strlen(file->reason));
	r->open = true;
	r->seen.files++;
	return 0;
}

int reader_data(struct reader *r, const void *buf, size_t len, uint64_t offset, struct err *err)
{
	must(r->open);
	look(r, buf, len);
	r->seen.data_bytes += len;
	r->seen.checksum += offset;
	return r->seen.data_bytes > r->data_max ? err_say(err, EPIPE, "enough") : 0;
}

/* Every second block has to be given as data, too. */
int reader_run(struct reader *r, uint64_t at, uint64_t len, uint64_t offset, struct err *err)
{
	must(r->open);
	if (at / 4096 % 2 || at > r->volume.size || len > r->volume.size - at)
		return READER_AS_BYTES;
	return reader_data(r, r->volume.bytes + at, (size_t)len, offset, err);
}

int reader_end(struct reader *r, struct err *err)
{
	(void)err;
	must(r->open);
	r->open = false;
	return 0;
}

int reader_end_unreadable(struct reader *r, const char *reason, struct err *err)
{
	look(r, reason, strlen(reason));
	return reader_end(r, err);
}

int reader_incomplete(struct reader *r, const char *reason, struct err *err)
{
	(void)err;
	look(r, reason, strlen(reason));
	r->seen.incomplete++;
	return 0;
}

/* So every volume is read as far as it can be. */
bool reader_has_kernel(const struct reader *r)
{
	(void)r;
	return false;
}

int reader_leave_to_kernel(struct reader *r, struct err *err)
{
	(void)err;
	must(!r);
	return 0;
}

int reader_partition(struct reader *r, const struct reader_partition *partition, struct err *err)
{
	(void)err;
	look(r, partition->type, strlen(partition->type));
	return 0;
}

uint64_t volume_channel_size(const struct volume_channel *c)
{
	return c->size;
}

int volume_channel_read(struct volume_channel *c, void *buf, size_t len, uint64_t offset)
{
	if (offset > c->size || len > c->size - offset)
		return -EIO;
	memcpy(buf, c->bytes + offset, len);
	return 0;
}
