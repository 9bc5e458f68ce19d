/* sig_tar.c - see sig_tar.h. */
#include "mgmt-server/scan/sig_tar.h"

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "common/base.h"

enum { BLOCK = 512, ENTRIES_MAX = 10000 };

/* Where fields stand in a header block. */
static const struct field {
	size_t at, len;
} name_field = { 0, 100 }, size_field = { 124, 12 }, time_field = { 136, 12 },
  sum_field = { 148, 8 };
enum { TYPE_AT = 156, MAGIC_AT = 257 };

struct entry {
	char name[SIG_TAR_NAME_MAX];
	uint64_t size, modified_s;
	char type;
};

/* Octal digits, then spaces or NULs. Return 0 or -EINVAL. */
static int number(const uint8_t *block, struct field f, uint64_t *value)
{
	size_t i = f.at, end = f.at + f.len;

	*value = 0;
	while (i < end && block[i] == ' ')
		i++;
	for (; i < end && block[i] >= '0' && block[i] <= '7'; i++)
		*value = *value << 3 | (uint64_t)(block[i] - '0');
	for (; i < end; i++) {
		if (block[i] != ' ' && block[i] != '\0')
			return -EINVAL;
	}
	return 0;
}

static bool sum_fits(const uint8_t *block)
{
	uint64_t said, sum = 0;

	if (number(block, sum_field, &said) < 0)
		return false;
	for (size_t i = 0; i < BLOCK; i++) {
		bool own = i >= sum_field.at && i < sum_field.at + sum_field.len;

		sum += own ? ' ' : block[i];
	}
	return sum == said;
}

static int parse(const uint8_t *block, struct entry *e, struct err *err)
{
	const char *slash;
	char name[SIG_TAR_NAME_MAX];

	if (memcmp(block + MAGIC_AT, "ustar", 5) != 0 || !sum_fits(block))
		return err_say(err, EINVAL, "this is no tar archive, or it is damaged");
	memcpy(name, block + name_field.at, name_field.len);
	name[name_field.len] = '\0';
	slash = strrchr(name, '/');
	snprintf(e->name, sizeof(e->name), "%s", slash ? slash + 1 : name);
	e->type = (char)block[TYPE_AT];
	if (number(block, size_field, &e->size) < 0 ||
	    number(block, time_field, &e->modified_s) < 0)
		return err_say(err, EINVAL, "the archive's header of %.100s is damaged", name);
	return 0;
}

/* Exactly @len bytes. */
static int fill(const struct sig_tar_order *o, uint8_t *buf, size_t len, struct err *err)
{
	size_t have = 0;

	while (have < len) {
		int n = o->read(o->arg, buf + have, len - have);

		if (n < 0)
			return err_set(err, -n, "read the archive");
		if (n == 0)
			return err_say(err, EINVAL, "the archive is cut off");
		have += (size_t)n;
	}
	return 0;
}

/* The data of an entry and its padding. */
static int contents(const struct sig_tar_order *o, const struct entry *e, bool wanted,
		    struct err *err)
{
	uint64_t left = e->size;
	uint8_t block[16 * BLOCK];
	int r = 0;

	while (r == 0 && left > 0) {
		uint64_t padded = (left + BLOCK - 1) / BLOCK * BLOCK;
		size_t take = padded < sizeof(block) ? (size_t)padded : sizeof(block);
		size_t useful = left < take ? (size_t)left : take;

		r = fill(o, block, take, err);
		if (r == 0 && wanted)
			r = o->data(o->arg, block, useful, err);
		left -= useful;
	}
	return r;
}

static int take(const struct sig_tar_order *o, const struct entry *e, uint64_t *total,
		struct err *err)
{
	bool file = e->type == '0' || e->type == '\0';
	int r = SIG_TAR_SKIP;

	/* Folders, and the extended headers that some tar programs add for times. */
	if (!file && e->type != '5' && e->type != 'x' && e->type != 'g')
		return err_say(err, EINVAL, "the archive's %.100s is no plain file (type %c)",
			       e->name, e->type);
	if (e->size > o->max_bytes || *total > o->max_bytes - e->size)
		return err_say(err, EFBIG, "the archive holds more than %llu bytes",
			       (unsigned long long)o->max_bytes);
	*total += e->size;
	if (file)
		r = o->file(o->arg, e->name, e->size, e->modified_s, err);
	if (r < 0)
		return r;
	if (contents(o, e, r == 0, err) < 0)
		return -err->code;
	return r == 0 ? o->end(o->arg, err) : 0;
}

int sig_tar_read(const struct sig_tar_order *o, struct err *err)
{
	static const uint8_t zeros[BLOCK];
	uint64_t total = 0;

	for (unsigned n = 0; n < ENTRIES_MAX; n++) {
		uint8_t block[BLOCK];
		struct entry e;
		int r = fill(o, block, BLOCK, err);

		if (r == 0 && memcmp(block, zeros, BLOCK) == 0)
			return 0;
		if (r == 0)
			r = parse(block, &e, err);
		if (r == 0)
			r = take(o, &e, &total, err);
		if (r < 0)
			return r;
	}
	return err_say(err, EINVAL, "the archive has more than %d entries", ENTRIES_MAX);
}
