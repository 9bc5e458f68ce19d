/* qemu_stream_join.c - head, pages and tail become one stream again.
 *
 * The pages go into one SECTION_PART, followed by the SECTION_END that a background snapshot lacks and an ordinary
 * destination expects. SIGPIPE must be ignored by the process.
 */
#include "snapshot/qemu_stream.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "common/io.h"
#include "snapshot/qemu_stream_head.h"

enum {
	BATCH_LEN = 4 << 20, /* read at once: 256 chunks in flight hide a slow store */
	BUFFER_LEN = 256 << 10,
	SPARSE_MIN = 64 << 20, /* blocks of this size are main memory, which starts as zeros */
};

struct joiner {
	int fd;
	struct err *err;
	uint8_t *batch;
	uint8_t *out; /* BUFFER_LEN */
	size_t out_len;
};

static int flush(struct joiner *j)
{
	int r = io_write_full(j->fd, j->out, j->out_len);

	j->out_len = 0;
	return r < 0 ? err_set(j->err, -r, "write the QEMU stream") : 0;
}

static int put(struct joiner *j, const void *data, size_t len)
{
	const uint8_t *p = data;
	int r;

	while (len) {
		size_t n = BUFFER_LEN - j->out_len < len ? BUFFER_LEN - j->out_len : len;

		memcpy(j->out + j->out_len, p, n);
		j->out_len += n;
		p += n;
		len -= n;
		if (j->out_len == BUFFER_LEN) {
			r = flush(j);
			if (r < 0)
				return r;
		}
	}
	return 0;
}

static int put_section(struct joiner *j, uint8_t type, uint32_t section)
{
	uint8_t bytes[5] = { type, (uint8_t)(section >> 24), (uint8_t)(section >> 16),
			     (uint8_t)(section >> 8), (uint8_t)section };

	return put(j, bytes, sizeof(bytes));
}

static int put_word(struct joiner *j, uint64_t word)
{
	uint8_t bytes[8];

	for (unsigned i = 0; i < 8; i++)
		bytes[i] = (uint8_t)(word >> (56 - 8 * i));
	return put(j, bytes, sizeof(bytes));
}

/* One page; the first of a block carries the block's name. */
static int put_page(struct joiner *j, const char *name, uint64_t address, const uint8_t *page,
		    bool zero)
{
	uint64_t flags = zero ? QEMU_STREAM_HEAD_RAM_ZERO : QEMU_STREAM_HEAD_RAM_PAGE;
	uint8_t name_len = name ? (uint8_t)strlen(name) : 0;
	int r;

	r = put_word(j, address | flags | (name ? 0 : QEMU_STREAM_HEAD_RAM_CONTINUE));
	if (r == 0 && name)
		r = put(j, &name_len, 1);
	if (r == 0 && name)
		r = put(j, name, name_len);
	if (r < 0)
		return r;
	return put(j, page, zero ? 1 : QEMU_STREAM_PAGE);
}

/* *len: the next stretch of the block, at most a batch, and whether all of it is zeros. */
static int next_stretch(struct joiner *j, const struct qemu_stream_join_block *b, uint64_t offset,
			uint64_t *len, bool *zero)
{
	int r;

	r = volume_reader_extent(b->pages, offset, len, zero, j->err);
	if (r < 0)
		return err_wrap(j->err, r, "block %s", b->name);
	if (*len > b->size - offset)
		*len = b->size - offset;
	if (!*zero && *len > BATCH_LEN)
		*len = BATCH_LEN;
	return 0;
}

static int join_block(struct joiner *j, const struct qemu_stream_join_block *b)
{
	static const uint8_t zeros[QEMU_STREAM_PAGE];
	const char *name = b->name; /* NULL once a page of this block was written */
	uint64_t offset = 0, len;
	bool all_zero;
	int r;

	for (; offset < b->size; offset += len) {
		r = next_stretch(j, b, offset, &len, &all_zero);
		if (r < 0)
			return r;
		if (all_zero && b->size >= SPARSE_MIN)
			continue;
		if (!all_zero) {
			r = volume_reader_read(b->pages, j->batch, (size_t)len, offset, j->err);
			if (r < 0)
				return err_wrap(j->err, r, "block %s", b->name);
		}
		for (uint64_t at = 0; at < len; at += QEMU_STREAM_PAGE) {
			const uint8_t *page = all_zero ? zeros : j->batch + at;
			bool zero = all_zero || chunk_is_zero(page, QEMU_STREAM_PAGE);

			if (zero && b->size >= SPARSE_MIN)
				continue;
			r = put_page(j, name, offset + at, page, zero);
			if (r < 0)
				return r;
			name = NULL;
		}
	}
	return 0;
}

/* The head's list is what QEMU will believe; pages of anything else would be refused half-way. */
static int check_blocks(const struct qemu_stream_join *parts, uint32_t *section, struct err *err)
{
	CLEANUP_FREE struct qemu_stream_head *head = malloc(sizeof(*head));
	int r;

	if (!head)
		return err_set(err, ENOMEM, "join a QEMU stream");
	r = qemu_stream_head_parse(head, parts->head, parts->head_len, err);
	if (r < 0)
		return r;
	if (r == QEMU_STREAM_HEAD_SHORT || head->len != parts->head_len)
		return err_say(err, EBADMSG,
			       "QEMU stream: the head of %zu bytes is not a whole one",
			       parts->head_len);
	if (head->block_count != parts->block_count)
		return err_say(err, EINVAL, "QEMU stream: the head lists %zu blocks, %zu are given",
			       head->block_count, parts->block_count);
	for (size_t i = 0; i < head->block_count; i++) {
		const struct qemu_stream_head_block *want = &head->blocks[i];
		const struct qemu_stream_join_block *got = &parts->blocks[i];

		if (strcmp(want->name, got->name) != 0 || want->size != got->size)
			return err_say(err, EINVAL,
				       "QEMU stream: the head lists block %s of %llu bytes, given "
				       "is %s of %llu",
				       want->name, (unsigned long long)want->size, got->name,
				       (unsigned long long)got->size);
	}
	*section = head->ram_section;
	return 0;
}

static int join(struct joiner *j, const struct qemu_stream_join *parts, uint32_t section)
{
	int r;

	r = put(j, parts->head, parts->head_len);
	if (r == 0)
		r = put_section(j, QEMU_STREAM_HEAD_PART, section);
	for (size_t i = 0; r == 0 && i < parts->block_count; i++)
		r = join_block(j, &parts->blocks[i]);
	if (r == 0)
		r = put_word(j, QEMU_STREAM_HEAD_RAM_EOS);
	if (r == 0)
		r = put_section(j, QEMU_STREAM_HEAD_FOOTER, section);
	if (r == 0)
		r = put_section(j, QEMU_STREAM_HEAD_END, section);
	if (r == 0)
		r = put_word(j, QEMU_STREAM_HEAD_RAM_EOS);
	if (r == 0)
		r = put_section(j, QEMU_STREAM_HEAD_FOOTER, section);
	if (r == 0)
		r = put(j, parts->tail, parts->tail_len);
	return r < 0 ? r : flush(j);
}

int qemu_stream_join(const struct qemu_stream_join *parts, int fd, struct err *err)
{
	CLEANUP_FREE uint8_t *batch = malloc(BATCH_LEN);
	CLEANUP_FREE uint8_t *out = malloc(BUFFER_LEN);
	struct joiner j = { .fd = fd, .err = err, .batch = batch, .out = out };
	uint32_t section = 0;
	int r;

	if (!batch || !out)
		return err_set(err, ENOMEM, "join a QEMU stream");
	r = check_blocks(parts, &section, err);
	return r < 0 ? r : join(&j, parts, section);
}
