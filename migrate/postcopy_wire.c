/* postcopy_wire.c - the encoder appends, the parser looks up each message's shape in a table. */
#include "migrate/postcopy_wire.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "common/base.h"
#include "snapshot/qemu_stream_head.h"

/* ---- To the destination --------------------------------------------------------------------------------------- */

void postcopy_wire_deinit(struct postcopy_wire_out *out)
{
	free(out->bytes);
	*out = (struct postcopy_wire_out){ 0 };
}

size_t postcopy_wire_pending(const struct postcopy_wire_out *out)
{
	return out->end - out->start;
}

static bool make_room(struct postcopy_wire_out *out, size_t len)
{
	size_t cap = out->cap ? out->cap : 64 << 10;
	uint8_t *bytes;

	if (out->start == out->end)
		out->start = out->end = 0;
	if (out->cap - out->end >= len)
		return true;
	if (out->start && out->start >= out->cap / 2) {
		memmove(out->bytes, out->bytes + out->start, out->end - out->start);
		out->end -= out->start;
		out->start = 0;
	}
	while (cap - out->end < len)
		cap *= 2;
	if (cap == out->cap)
		return true;
	bytes = realloc(out->bytes, cap);
	if (!bytes)
		return false;
	out->bytes = bytes;
	out->cap = cap;
	return true;
}

void postcopy_wire_put(struct postcopy_wire_out *out, const void *data, size_t len)
{
	if (len == 0 || out->failed)
		return;
	if (!make_room(out, len)) {
		out->failed = true;
		return;
	}
	memcpy(out->bytes + out->end, data, len);
	out->end += len;
}

void postcopy_wire_put_be(struct postcopy_wire_out *out, uint64_t value, size_t len_bytes)
{
	uint8_t bytes[8];

	assert(len_bytes <= sizeof(bytes));
	for (size_t i = 0; i < len_bytes; i++)
		bytes[i] = (uint8_t)(value >> 8 * (len_bytes - 1 - i));
	postcopy_wire_put(out, bytes, len_bytes);
}

void postcopy_wire_put_name(struct postcopy_wire_out *out, const char *name)
{
	size_t len = strlen(name);

	assert(len <= POSTCOPY_WIRE_NAME_MAX);
	postcopy_wire_put_be(out, len, 1);
	postcopy_wire_put(out, name, len);
}

void postcopy_wire_put_command(struct postcopy_wire_out *out, enum postcopy_wire_command command,
			       size_t len)
{
	assert(len <= UINT16_MAX);
	postcopy_wire_put_be(out, QEMU_STREAM_HEAD_COMMAND, 1);
	postcopy_wire_put_be(out, command, 2);
	postcopy_wire_put_be(out, len, 2);
}

void postcopy_wire_put_section(struct postcopy_wire_out *out, uint8_t type, uint32_t section)
{
	postcopy_wire_put_be(out, type, 1);
	postcopy_wire_put_be(out, section, 4);
}

void postcopy_wire_put_discard(struct postcopy_wire_out *out, const char *name, uint64_t size)
{
	/* version, name, a zero byte, and one range: start, length */
	postcopy_wire_put_command(out, POSTCOPY_WIRE_DISCARD, 1 + 1 + strlen(name) + 1 + 8 + 8);
	postcopy_wire_put_be(out, 0, 1);
	postcopy_wire_put_name(out, name);
	postcopy_wire_put_be(out, 0, 1);
	postcopy_wire_put_be(out, 0, 8);
	postcopy_wire_put_be(out, size, 8);
}

void postcopy_wire_put_page(struct postcopy_wire_out *out, const char *name, uint64_t offset,
			    const uint8_t *page)
{
	uint64_t word = offset;

	word |= page ? QEMU_STREAM_HEAD_RAM_PAGE : QEMU_STREAM_HEAD_RAM_ZERO;
	word |= name ? 0 : QEMU_STREAM_HEAD_RAM_CONTINUE;
	postcopy_wire_put_be(out, word, 8);
	if (name)
		postcopy_wire_put_name(out, name);
	if (page)
		postcopy_wire_put(out, page, POSTCOPY_WIRE_PAGE);
	else
		postcopy_wire_put_be(out, 0, 1);
}

/* ---- From the destination ------------------------------------------------------------------------------------- */

enum { HEADER_LEN = 4, REQUEST_LEN = 12 };
static const uint64_t bitmap_end = 0x0123456789abcdef;

struct body {
	const uint8_t *bytes;
	size_t len;   /* of the message */
	size_t after; /* bytes that are there behind it */
	size_t bitmap_max;
	size_t *used; /* to be raised by what is taken of @after */
	struct err *err;
};

static int bad(const struct body *b, const char *what)
{
	return err_say(b->err, EBADMSG, "QEMU's return path: %s", what);
}

static int take_value(struct postcopy_wire_message *m, const struct body *b)
{
	m->value = qemu_stream_head_be32(b->bytes);
	return 0;
}

/* A length byte and a name, which must fill the rest of the message. */
static int take_name(struct postcopy_wire_message *m, const struct body *b, size_t at)
{
	size_t len = b->bytes[at];

	if (len == 0 || at + 1 + len != b->len || memchr(b->bytes + at + 1, 0, len))
		return bad(b, "a block's name of a wrong length");
	memcpy(m->block, b->bytes + at + 1, len);
	m->block[len] = '\0';
	return 0;
}

static int take_request(struct postcopy_wire_message *m, const struct body *b)
{
	m->offset = qemu_stream_head_be64(b->bytes);
	m->len = qemu_stream_head_be32(b->bytes + 8);
	if (m->len == 0 || m->len % POSTCOPY_WIRE_PAGE || m->offset % POSTCOPY_WIRE_PAGE)
		return bad(b, "a request that does not start and end with a page");
	return b->len > REQUEST_LEN ? take_name(m, b, REQUEST_LEN) : 0;
}

static int take_bitmap(struct postcopy_wire_message *m, const struct body *b)
{
	const uint8_t *p = b->bytes + b->len;
	uint64_t len;
	int r;

	r = take_name(m, b, 0);
	if (r < 0)
		return r;
	if (b->after < 8)
		return POSTCOPY_WIRE_SHORT;
	len = qemu_stream_head_be64(p);
	if (len == 0 || len > b->bitmap_max)
		return bad(b, "a bitmap larger than any block's");
	if (b->after < 8 + len + 8)
		return POSTCOPY_WIRE_SHORT;
	if (qemu_stream_head_be64(p + 8 + len) != bitmap_end)
		return bad(b, "a bitmap without its end mark");
	m->bitmap = p + 8;
	m->bitmap_len = (size_t)len;
	*b->used += 8 + (size_t)len + 8;
	return 0;
}

static const struct {
	unsigned type;
	enum postcopy_wire_kind kind;
	size_t len_min, len_max;
	int (*take)(struct postcopy_wire_message *m, const struct body *b);
} shapes[] = {
	{ 1, POSTCOPY_WIRE_SHUT, 4, 4, take_value },
	{ 2, POSTCOPY_WIRE_PONG, 4, 4, take_value },
	{ 3, POSTCOPY_WIRE_REQUEST, REQUEST_LEN + 2, REQUEST_LEN + 1 + POSTCOPY_WIRE_NAME_MAX,
	  take_request },
	{ 4, POSTCOPY_WIRE_REQUEST, REQUEST_LEN, REQUEST_LEN, take_request },
	{ 5, POSTCOPY_WIRE_BITMAP, 2, 1 + POSTCOPY_WIRE_NAME_MAX, take_bitmap },
	{ 6, POSTCOPY_WIRE_RESUMED, 4, 4, take_value },
};

int postcopy_wire_parse(struct postcopy_wire_message *m, const uint8_t *bytes, size_t len,
			size_t bitmap_max, size_t *used, struct err *err)
{
	struct body b = { .bitmap_max = bitmap_max, .used = used, .err = err };
	unsigned type;

	if (len < HEADER_LEN)
		return POSTCOPY_WIRE_SHORT;
	type = (unsigned)bytes[0] << 8 | bytes[1];
	b.bytes = bytes + HEADER_LEN;
	b.len = (size_t)bytes[2] << 8 | bytes[3];

	for (size_t i = 0; i < ARRAY_LEN(shapes); i++) {
		if (shapes[i].type != type)
			continue;
		if (b.len < shapes[i].len_min || b.len > shapes[i].len_max)
			return err_say(err, EBADMSG,
				       "QEMU's return path: a message of type %u with %zu bytes",
				       type, b.len);
		if (len - HEADER_LEN < b.len)
			return POSTCOPY_WIRE_SHORT;
		b.after = len - HEADER_LEN - b.len;
		*used = HEADER_LEN + b.len;
		m->kind = shapes[i].kind;
		m->block[0] = '\0';
		return shapes[i].take(m, &b);
	}
	return err_say(err, EBADMSG, "QEMU's return path: a message of unknown type %u", type);
}
