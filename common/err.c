#include "common/err.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

/* Put ": @more" behind the @n characters that vsnprintf wanted to write; what does not fit is cut off. */
static void append(struct err *err, int n, const char *more)
{
	char *end = err->text + sizeof(err->text) - 1;
	char *p;

	if (n < 0 || (size_t)n >= sizeof(err->text))
		return;
	p = err->text + n;
	for (const char *colon = ": "; *colon && p < end; colon++)
		*p++ = *colon;
	while (*more && p < end)
		*p++ = *more++;
	*p = 0;
}

static int set(struct err *err, int code, const char *reason, const char *format, va_list ap)
{
	int n;

	assert(code > 0);
	if (!err)
		return -code;

	err->code = code;
	n = vsnprintf(err->text, sizeof(err->text), format, ap);
	if (reason)
		append(err, n, reason);
	return -code;
}

int err_set(struct err *err, int code, const char *format, ...)
{
	char reason[128];
	va_list ap;
	int r;

	va_start(ap, format);
	r = set(err, code, strerror_r(code, reason, sizeof(reason)), format, ap);
	va_end(ap);
	return r;
}

int err_say(struct err *err, int code, const char *format, ...)
{
	va_list ap;
	int r;

	va_start(ap, format);
	r = set(err, code, NULL, format, ap);
	va_end(ap);
	return r;
}

int err_wrap(struct err *err, int r, const char *format, ...)
{
	char old[ERR_TEXT_MAX];
	va_list ap;
	int n;

	assert(r < 0);
	if (!err)
		return r;

	memcpy(old, err_text(err), strlen(err_text(err)) + 1);
	va_start(ap, format);
	n = vsnprintf(err->text, sizeof(err->text), format, ap);
	va_end(ap);
	append(err, n, old);
	return r;
}

const char *err_text(const struct err *err)
{
	return err->text[0] ? err->text : strerror(err->code);
}
