/* err.h - how a failure travels up.
 *
 * A function that can fail returns 0, -errno (fatal: its caller forwards the number unchanged), or a positive named
 * outcome that its direct caller handles. The text is written once, where the failure happened ("what was attempted on
 * which object"), and callers may put a place in front of it. A struct err lives on the stack of whoever will print it.
 */
#ifndef GODWIT_COMMON_ERR_H
#define GODWIT_COMMON_ERR_H

#include <stdarg.h>

enum { ERR_TEXT_MAX = 1024 };

struct err {
	int code;                /* positive errno, 0: no failure */
	char text[ERR_TEXT_MAX]; /* one line, no newline at its end */
};

/**
 * err_set(err, code, format, ...):
 * Describe a failure. The reason that strerror(3) gives for @code (a positive errno) is appended: "open x: No such file …".
 *
 * err  may be NULL: then only the number is returned
 *
 * Return -code, so that `return err_set(err, errno, "open %s", path);` is the whole error path.
 */
int err_set(struct err *err, int code, const char *format, ...)
	__attribute__((format(printf, 3, 4)));

/**
 * err_say(err, code, format, ...):
 * The same, but the text stands alone: for failures that @format explains better than strerror(3) could.
 */
int err_say(struct err *err, int code, const char *format, ...)
	__attribute__((format(printf, 3, 4)));

/**
 * err_wrap(err, r, format, ...):
 * Put "format: " in front of the text that is already there.
 *
 * r  what the callee returned, negative
 *
 * Return @r.
 */
int err_wrap(struct err *err, int r, const char *format, ...) __attribute__((format(printf, 3, 4)));

/**
 * err_text(err):
 * The text, or a strerror(3) of its code when nobody wrote one. Never NULL; lives as long as @err.
 */
const char *err_text(const struct err *err);

#endif
