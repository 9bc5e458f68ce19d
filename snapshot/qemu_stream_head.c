/* qemu_stream_head.c - a cursor that never passes the end of its bytes, and the few records a head is made of. */
#include "snapshot/qemu_stream_head.h"

#include <errno.h>
#include <stdbool.h>
#include <string.h>

static const uint32_t magic = 0x5145564d; /* "QEVM" */
static const uint32_t version = 3;
static const uint32_t target_page_bits = 12;
static const uint32_t ram_version = 4;
enum { MACHINE_NAME_MAX = 255, CAPABILITIES_MAX = 64, UUID_LEN = 16 };

struct cursor {
	const uint8_t *bytes;
	size_t len, at;
	struct err *err;
};

static int bad(const struct cursor *c, size_t at, const char *what)
{
	return err_say(c->err, EBADMSG, "QEMU stream at offset %zu: %s", at, what);
}

/* The next @n bytes, or NULL when they are not all there; the cursor then stays. */
static const uint8_t *take(struct cursor *c, size_t n)
{
	const uint8_t *p = c->bytes + c->at;

	if (c->len - c->at < n)
		return NULL;
	c->at += n;
	return p;
}

static int take_u8(struct cursor *c, uint8_t *value)
{
	const uint8_t *p = take(c, 1);

	if (!p)
		return QEMU_STREAM_HEAD_SHORT;
	*value = *p;
	return 0;
}

static int take_u32(struct cursor *c, uint32_t *value)
{
	const uint8_t *p = take(c, 4);

	if (!p)
		return QEMU_STREAM_HEAD_SHORT;
	*value = qemu_stream_head_be32(p);
	return 0;
}

static int take_u64(struct cursor *c, uint64_t *value)
{
	const uint8_t *p = take(c, 8);

	if (!p)
		return QEMU_STREAM_HEAD_SHORT;
	*value = qemu_stream_head_be64(p);
	return 0;
}

/* A length byte and so many characters, without a zero among them. */
static int take_name(struct cursor *c, char name[QEMU_STREAM_NAME_MAX + 1])
{
	size_t start = c->at;
	const uint8_t *p;
	uint8_t len;
	int r;

	r = take_u8(c, &len);
	if (r)
		return r;
	p = take(c, len);
	if (!p)
		return QEMU_STREAM_HEAD_SHORT;
	if (len == 0 || memchr(p, 0, len))
		return bad(c, start, "a name that is empty or contains a zero byte");
	memcpy(name, p, len);
	name[len] = '\0';
	return 0;
}

static int expect_u32(struct cursor *c, uint32_t want, const char *otherwise)
{
	size_t start = c->at;
	uint32_t value;
	int r;

	r = take_u32(c, &value);
	if (r)
		return r;
	return value == want ? 0 : bad(c, start, otherwise);
}

/* ---- The configuration section ------------------------------------------------------------------------------- */

static int page_bits(struct cursor *c)
{
	return expect_u32(c, target_page_bits, "the machine's pages are not of 4096 bytes");
}

static int capabilities(struct cursor *c)
{
	char name[QEMU_STREAM_NAME_MAX + 1];
	size_t start = c->at;
	uint32_t count;
	int r;

	r = take_u32(c, &count);
	if (r)
		return r;
	if (count > CAPABILITIES_MAX)
		return bad(c, start, "more capabilities than any QEMU has");
	if (count == 0)
		return 0;
	start = c->at;
	r = take_name(c, name);
	if (r)
		return r;
	/* QEMU lists only those that change the layout of what follows: x-ignore-shared and mapped-ram. */
	return err_say(c->err, EBADMSG,
		       "QEMU stream at offset %zu: captured with capability %s, which is not "
		       "supported; turn it off",
		       start, name);
}

static int uuid(struct cursor *c)
{
	return take(c, UUID_LEN) ? 0 : QEMU_STREAM_HEAD_SHORT;
}

static const struct {
	const char *name;
	int (*parse)(struct cursor *c);
} subsections[] = {
	{ "configuration/target-page-bits", page_bits },
	{ "configuration/capabilities", capabilities },
	{ "configuration/uuid", uuid },
};

static int subsection(struct cursor *c)
{
	char name[QEMU_STREAM_NAME_MAX + 1];
	size_t start = c->at;
	int r;

	r = take_name(c, name);
	if (r)
		return r;
	for (size_t i = 0; i < ARRAY_LEN(subsections); i++) {
		if (strcmp(name, subsections[i].name) != 0)
			continue;
		r = expect_u32(c, 1, "a configuration subsection of an unknown version");
		return r ? r : subsections[i].parse(c);
	}
	return err_say(c->err, EBADMSG, "QEMU stream at offset %zu: unknown subsection '%s'", start,
		       name);
}

static int configuration(struct cursor *c)
{
	size_t start = c->at;
	uint32_t len;
	int r;

	r = take_u32(c, &len);
	if (r)
		return r;
	if (len == 0 || len > MACHINE_NAME_MAX)
		return bad(c, start, "the machine's name is empty or too long");
	if (!take(c, len))
		return QEMU_STREAM_HEAD_SHORT;
	for (;;) {
		if (c->at == c->len)
			return QEMU_STREAM_HEAD_SHORT; /* another subsection may come */
		if (c->bytes[c->at] != QEMU_STREAM_HEAD_SUBSECTION)
			return 0;
		c->at++;
		r = subsection(c);
		if (r)
			return r;
	}
}

/* ---- The RAM section's start --------------------------------------------------------------------------------- */

static int add_block(struct cursor *c, struct qemu_stream_head *head, uint64_t *left)
{
	struct qemu_stream_head_block *b = &head->blocks[head->block_count];
	size_t start = c->at;
	int r;

	if (head->block_count == QEMU_STREAM_BLOCKS_MAX)
		return bad(c, start, "more than 64 blocks of RAM");
	r = take_name(c, b->name);
	if (r)
		return r;
	for (size_t i = 0; i < head->block_count; i++) {
		if (strcmp(head->blocks[i].name, b->name) == 0)
			return err_say(c->err, EBADMSG,
				       "QEMU stream at offset %zu: block %s is listed twice", start,
				       b->name);
	}
	r = take_u64(c, &b->size);
	if (r)
		return r;
	if (b->size == 0 || b->size % QEMU_STREAM_PAGE || b->size > *left)
		return err_say(c->err, EBADMSG,
			       "QEMU stream at offset %zu: block %s cannot be of %llu bytes", start,
			       b->name, (unsigned long long)b->size);
	*left -= b->size;
	head->block_count++;
	return 0;
}

static int block_list(struct cursor *c, struct qemu_stream_head *head)
{
	size_t start = c->at;
	uint64_t word, left;
	int r;

	r = take_u64(c, &word);
	if (r)
		return r;
	if (word % QEMU_STREAM_PAGE != QEMU_STREAM_HEAD_RAM_MEM_SIZE)
		return bad(c, start, "the RAM section does not begin with its list of blocks");
	left = word - QEMU_STREAM_HEAD_RAM_MEM_SIZE;
	if (left == 0)
		return bad(c, start, "a machine without RAM");
	while (left) {
		r = add_block(c, head, &left);
		if (r)
			return r;
	}

	start = c->at;
	r = take_u64(c, &word);
	if (r == 0 && word == QEMU_STREAM_HEAD_RAM_MULTIFD_FLUSH)
		r = take_u64(c, &word);
	if (r)
		return r;
	return word == QEMU_STREAM_HEAD_RAM_EOS
		       ? 0
		       : bad(c, start, "the list of blocks is longer than it says");
}

static int ram_start(struct cursor *c, struct qemu_stream_head *head)
{
	char name[QEMU_STREAM_NAME_MAX + 1];
	size_t start;
	uint8_t byte;
	int r;

	r = take_u32(c, &head->ram_section);
	if (r)
		return r;
	start = c->at;
	r = take_name(c, name);
	if (r)
		return r;
	if (strcmp(name, "ram") != 0)
		return err_say(c->err, EBADMSG,
			       "QEMU stream at offset %zu: device '%s' is sent while it runs; only "
			       "RAM may be",
			       start, name);
	r = expect_u32(c, 0, "the RAM section is not instance 0");
	if (r)
		return r;
	r = expect_u32(c, ram_version, "the RAM section is not of version 4");
	if (r)
		return r;
	r = block_list(c, head);
	if (r)
		return r;

	start = c->at;
	r = take_u8(c, &byte);
	if (r)
		return r;
	if (byte != QEMU_STREAM_HEAD_FOOTER)
		return bad(c, start, "the RAM section's start has no footer");
	return expect_u32(c, head->ram_section, "a footer of another section");
}

/* ---- All of it ------------------------------------------------------------------------------------------------ */

/* What may stand where RAM should start, and why it is no use. */
static const struct {
	uint8_t type;
	const char *why;
} not_ram[] = {
	{ QEMU_STREAM_HEAD_COMMAND,
	  "a command before RAM; turn postcopy-ram and return-path off to capture" },
	{ QEMU_STREAM_HEAD_FULL,
	  "a device's state before RAM; such a device (virtio-mem) is not supported" },
	{ QEMU_STREAM_HEAD_EOF, "the end of the stream before any RAM" },
};

static int expect_ram(struct cursor *c)
{
	size_t start = c->at;
	uint8_t type;
	int r;

	r = take_u8(c, &type);
	if (r || type == QEMU_STREAM_HEAD_START)
		return r;
	for (size_t i = 0; i < ARRAY_LEN(not_ram); i++) {
		if (not_ram[i].type == type)
			return bad(c, start, not_ram[i].why);
	}
	return bad(c, start, "unknown section type");
}

int qemu_stream_head_parse(struct qemu_stream_head *head, const uint8_t *bytes, size_t len,
			   struct err *err)
{
	struct cursor c = { .bytes = bytes, .len = len, .err = err };
	int r;

	head->block_count = 0;
	r = expect_u32(&c, magic, "no migration stream: it does not begin with QEVM");
	if (r)
		return r;
	r = expect_u32(&c, version, "not version 3 of the migration stream");
	if (r)
		return r;
	/* Machines before pc-2.4 send no configuration. */
	if (c.at < len && bytes[c.at] == QEMU_STREAM_HEAD_CONFIGURATION) {
		c.at++;
		r = configuration(&c);
		if (r)
			return r;
	}
	head->configuration_len = c.at;
	r = expect_ram(&c);
	if (r)
		return r;
	r = ram_start(&c, head);
	if (r)
		return r;
	head->len = c.at;
	return 0;
}
