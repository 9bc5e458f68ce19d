#include "common/config.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <ini.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "common/base.h"
#include "common/io.h"

enum { FILE_MAX = 1 << 20 };

struct unit {
	const char *name;
	uint64_t factor;
};

/* ---- One value ------------------------------------------------------------------------------- */

/* "DIGITS UNIT" without a space; @units ends with a NULL name. */
static int parse_number(const char *text, const struct unit *units, uint64_t *out)
{
	uint64_t value;
	char *end;

	if (text[0] < '0' || text[0] > '9') /* strtoull would take a sign and spaces */
		return -EINVAL;
	errno = 0;
	value = strtoull(text, &end, 10);
	if (errno)
		return -errno;
	for (; units->name; units++) {
		if (strcmp(end, units->name) == 0)
			return __builtin_mul_overflow(value, units->factor, out) ? -ERANGE : 0;
	}
	return -EINVAL;
}

static int set_string(const char *text, void *into)
{
	char *copy = strdup(text);

	if (!copy)
		return -ENOMEM;
	free(*(char **)into);
	*(char **)into = copy;
	return 0;
}

static int set_uint(const char *text, void *into)
{
	static const struct unit none[] = { { "", 1 }, { 0 } };

	return parse_number(text, none, into);
}

static int set_bytes(const char *text, void *into)
{
	static const struct unit powers[] = {
		{ "", 1 },           { "K", 1ull << 10 }, { "M", 1ull << 20 },
		{ "G", 1ull << 30 }, { "T", 1ull << 40 }, { 0 },
	};

	return parse_number(text, powers, into);
}

static int set_duration(const char *text, void *into)
{
	/* No bare numbers: nobody remembers whether they were seconds. */
	static const struct unit times[] = {
		{ "ms", 1 },
		{ "s", 1000 },
		{ "m", 60 * 1000 },
		{ "h", 60 * 60 * 1000 },
		{ "d", 24 * 60 * 60 * 1000 },
		{ 0 },
	};

	return parse_number(text, times, into);
}

static int set_bool(const char *text, void *into)
{
	bool yes = strcmp(text, "yes") == 0;

	if (!yes && strcmp(text, "no") != 0)
		return -EINVAL;
	*(bool *)into = yes;
	return 0;
}

static const struct {
	int (*set)(const char *text, void *into);
	const char *must_be;
} kinds[] = {
	[CONFIG_STRING] = { set_string, "a text" },
	[CONFIG_UINT] = { set_uint, "a whole number, like 8443" },
	[CONFIG_BYTES] = { set_bytes, "a size, like 4096, 64K, 20M, 1G or 2T" },
	[CONFIG_DURATION] = { set_duration, "a duration, like 500ms, 6s, 10m, 2h or 1d" },
	[CONFIG_BOOL] = { set_bool, "yes or no" },
};

static int set_value(const struct config_key *key, const char *text, void *into)
{
	return kinds[key->kind].set(text, (char *)into + key->offset);
}

/* ---- The file -------------------------------------------------------------------------------- */

struct reading {
	const char *path;
	const struct config_key *keys;
	size_t n;
	void *into;
	int *seen_at;  /* int[n]: the line that gave this key, 0: none */
	const char *p; /* what inih has not read yet */
	int line;      /* of what it read last */
	int failed_at; /* the first line that is wrong, 0: none; then err says why */
	int code;
	struct err *err;
};

__attribute__((format(printf, 3, 4))) static void fail(struct reading *r, int code,
						       const char *format, ...)
{
	char text[512];
	va_list ap;

	if (r->failed_at)
		return;
	va_start(ap, format);
	vsnprintf(text, sizeof(text), format, ap);
	va_end(ap);
	r->failed_at = r->line;
	r->code = err_say(r->err, code, "%s:%d: %s", r->path, r->line, text);
}

/*
 * inih's fgets: counts lines, because its handlers are not told where they are. Indentation is
 * taken away, because inih would read an indented line as more of the value above.
 */
static char *next_line(char *buf, int size, void *stream)
{
	struct reading *r = stream;
	size_t len;

	if (!*r->p || r->failed_at)
		return NULL;
	r->line++;
	r->p += strspn(r->p, " \t");
	len = strcspn(r->p, "\n");
	if (len + 2 > (size_t)size) {
		fail(r, EINVAL, "a line may have %d characters, this one has %zu", size - 2, len);
		return NULL;
	}
	memcpy(buf, r->p, len);
	buf[len] = '\n';
	buf[len + 1] = 0;
	r->p += len + (r->p[len] == '\n');
	return buf;
}

static bool has_section(const struct reading *r, const char *section)
{
	for (size_t i = 0; i < r->n; i++) {
		if (strcmp(r->keys[i].section, section) == 0)
			return true;
	}
	return false;
}

static void refuse_unknown(struct reading *r, const char *section, const char *name)
{
	if (has_section(r, section))
		fail(r, EINVAL, "unknown key '%.64s' in section [%.64s]", name, section);
	else if (section[0])
		fail(r, EINVAL, "unknown section [%.64s]", section);
	else
		fail(r, EINVAL, "'%.64s' stands before the first [section]", name);
}

static int handle_key(void *user, const char *section, const char *name, const char *value)
{
	struct reading *r = user;
	size_t i = 0;
	int result;

	if (r->failed_at)
		return 0;
	while (i < r->n &&
	       (strcmp(r->keys[i].section, section) != 0 || strcmp(r->keys[i].name, name) != 0))
		i++;
	if (i == r->n) {
		refuse_unknown(r, section, name);
		return 0;
	}
	if (r->seen_at[i]) {
		fail(r, EINVAL, "'%s' is already set in line %d", name, r->seen_at[i]);
		return 0;
	}
	r->seen_at[i] = r->line;
	result = set_value(&r->keys[i], value, r->into);
	if (result == -ENOMEM)
		fail(r, ENOMEM, "out of memory");
	else if (result < 0)
		fail(r, EINVAL, "%s = %.64s: must be %s", name, value,
		     kinds[r->keys[i].kind].must_be);
	return result == 0;
}

static int read_file(struct reading *r)
{
	CLEANUP_FREE uint8_t *text = NULL;
	size_t len;
	int result = io_read_file(r->path, FILE_MAX, &text, &len, r->err);

	if (result < 0)
		return result;
	if (memchr(text, 0, len))
		return err_say(r->err, EINVAL, "%s: it has a zero byte in it: this is no text file",
			       r->path);
	r->p = (const char *)text;
	result = ini_parse_stream(next_line, r, handle_key, r);
	/* inih counts as we do: an earlier line than ours is one it could not make sense of itself.
	 */
	if (result > 0 && (!r->failed_at || result < r->failed_at))
		return err_say(r->err, EINVAL, "%s:%d: neither [section] nor key = value", r->path,
			       result);
	if (r->failed_at)
		return r->code;
	if (result < 0)
		return err_set(r->err, ENOMEM, "read %s", r->path);
	return 0;
}

static int check_all_given(const struct reading *r)
{
	for (size_t i = 0; i < r->n; i++) {
		const struct config_key *key = &r->keys[i];

		if (!key->preset && !r->seen_at[i])
			return err_say(r->err, EINVAL, "%s: '%s' in section [%s] must be given: %s",
				       r->path ? r->path : "configuration", key->name, key->section,
				       key->help);
	}
	return 0;
}

int config_load(const char *path, const struct config_key *keys, size_t n, void *into,
		struct err *err)
{
	CLEANUP_FREE int *seen_at = calloc(n ? n : 1, sizeof(*seen_at));
	struct reading r = {
		.path = path, .keys = keys, .n = n, .into = into, .seen_at = seen_at, .err = err
	};
	int result;

	for (size_t i = 0; i < n; i++) {
		if (keys[i].kind == CONFIG_STRING)
			*(char **)((char *)into + keys[i].offset) = NULL;
	}
	if (!seen_at)
		return err_set(err, ENOMEM, "read the configuration");
	for (size_t i = 0; i < n; i++) {
		result = keys[i].preset ? set_value(&keys[i], keys[i].preset, into) : 0;
		if (result == -ENOMEM)
			return err_set(err, ENOMEM, "read the configuration");
		assert(result == 0); /* the table is wrong, not the file */
	}
	if (path) {
		result = read_file(&r);
		if (result < 0)
			return result;
	}
	return check_all_given(&r);
}

void config_free(const struct config_key *keys, size_t n, void *into)
{
	for (size_t i = 0; i < n; i++) {
		char **string = (char **)((char *)into + keys[i].offset);

		if (keys[i].kind != CONFIG_STRING)
			continue;
		free(*string);
		*string = NULL;
	}
}

void config_print_help(FILE *out, const struct config_key *keys, size_t n)
{
	const char *section = "";

	for (size_t i = 0; i < n; i++) {
		const struct config_key *key = &keys[i];

		if (strcmp(section, key->section) != 0)
			fprintf(out, "%s[%s]\n", i ? "\n" : "", key->section);
		section = key->section;
		fprintf(out, "; %s (%s)\n", key->help, kinds[key->kind].must_be);
		if (key->preset)
			fprintf(out, "%s = %s\n", key->name, key->preset);
		else
			fprintf(out, "; must be given:\n;%s = \n", key->name);
	}
}
