#include "hypervisor/lease_guard.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "common/base.h"
#include "common/io.h"

enum { LINE_LEN = 96 }; /* "strict 18446744073709551615 BOOT-ID", padded with spaces, newline */

uint64_t lease_guard_left(const struct lease_guard *guard, uint64_t now_ms)
{
	return guard->deadline_ms > now_ms ? guard->deadline_ms - now_ms : 0;
}

bool lease_guard_fences(const struct lease_guard *guard, uint64_t now_ms)
{
	return guard->strict && lease_guard_left(guard, now_ms) == 0;
}

void lease_guard_renew(struct lease_guard *guard, uint64_t now_ms, uint64_t ttl_ms)
{
	if (__builtin_add_overflow(now_ms, ttl_ms, &guard->deadline_ms))
		guard->deadline_ms = UINT64_MAX;
}

int lease_guard_save(const struct lease_guard *guard, const char *path, const char *boot_id,
		     struct err *err)
{
	CLEANUP_FD int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
	char line[LINE_LEN + 1];
	int n, r;

	if (fd < 0)
		return err_set(err, errno, "open %s", path);
	memset(line, ' ', sizeof(line));
	n = snprintf(line, sizeof(line), "%s %" PRIu64 " %s", lease_guard_policy(guard),
		     guard->deadline_ms, boot_id);
	if (n < 0 || n >= LINE_LEN)
		return err_set(err, EINVAL, "write %s", path);
	line[n] = ' ';
	line[LINE_LEN - 1] = '\n';
	/* One write of less than a page is seen whole by whoever reads after us; a power cut needs no sync (see header). */
	r = io_pwrite_full(fd, line, LINE_LEN, 0);
	return r < 0 ? err_set(err, -r, "write %s", path) : 0;
}

int lease_guard_load(struct lease_guard *guard, const char *path, const char *boot_id,
		     struct err *err)
{
	CLEANUP_FREE uint8_t *text = NULL;
	char policy[16], boot[40];
	struct lease_guard g;
	size_t len;
	int r;

	r = io_read_file(path, LINE_LEN, &text, &len, err);
	if (r < 0)
		return r;
	if (sscanf((const char *)text, "%15s %" SCNu64 " %39s", policy, &g.deadline_ms, boot) !=
		    3 ||
	    lease_guard_parse_policy(policy, &g.strict, NULL) < 0)
		return err_say(err, EBADMSG, "%s is no lease file; discard the desktop", path);
	if (strcmp(boot, boot_id) != 0)
		g.deadline_ms = 0;
	*guard = g;
	return 0;
}

int lease_guard_parse_policy(const char *policy, bool *strict, struct err *err)
{
	if (strcmp(policy, "strict") != 0 && strcmp(policy, "offline-ok") != 0)
		return err_say(err, EINVAL, "lease: 'policy' must be \"strict\" or \"offline-ok\"");
	*strict = strcmp(policy, "strict") == 0;
	return 0;
}

const char *lease_guard_policy(const struct lease_guard *guard)
{
	return guard->strict ? "strict" : "offline-ok";
}
