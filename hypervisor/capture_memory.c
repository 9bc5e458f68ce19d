#include "hypervisor/capture_memory.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "common/clock.h"

enum {
	END_MS =
		15000, /* from the stream's end, or a cancellation, to QEMU's word that it is over */
	END_POLL_MS = 20,
	NO_LIMIT = 1 << 30, /* bytes per second and more: memory goes to memory */
};

/* kB of a "Key:   123 kB" line in a /proc file; 0 when it is not there. */
static uint64_t proc_kib(const char *path, const char *key)
{
	FILE *file = fopen(path, "re");
	unsigned long long kib = 0;
	char line[256];

	while (file && fgets(line, sizeof(line), file)) {
		if (strncmp(line, key, strlen(key)) == 0 &&
		    sscanf(line + strlen(key), " %llu", &kib) == 1)
			break;
	}
	if (file)
		fclose(file);
	return kib;
}

/* The stream needs as much memory as the guest has in use: say so before the OOM killer does. */
int capture_memory_affordable(pid_t qemu, struct err *err)
{
	uint64_t available = proc_kib("/proc/meminfo", "MemAvailable:") / 1024, resident;
	char path[64];

	snprintf(path, sizeof(path), "/proc/%d/status", (int)qemu);
	resident = proc_kib(path, "VmRSS:") / 1024;
	if (resident <= available)
		return 0;
	return err_say(err, ENOMEM,
		       "capturing the memory needs up to %llu MiB of this host's, %llu are free",
		       (unsigned long long)resident, (unsigned long long)available);
}

int capture_memory_configure(struct qmp *qmp, bool live, struct err *err)
{
	json_t *capabilities =
		json_pack("{s:[{s:s, s:b}, {s:s, s:b}, {s:s, s:b}]}", "capabilities", "capability",
			  "postcopy-ram", "state", 0, "capability", "background-snapshot", "state",
			  live, "capability", "events", "state", 1);
	int r = qmp_run(qmp, "migrate-set-capabilities", capabilities, NULL, err);

	if (r < 0)
		return r;
	return qmp_run(qmp, "migrate-set-parameters",
		       json_pack("{s:I}", "max-bandwidth", (json_int_t)NO_LIMIT << 10), NULL, err);
}

static int migration_status(struct qmp *qmp, char *status, size_t len, const char **why,
			    json_t **reply, struct err *err)
{
	const char *text;
	int r = qmp_run(qmp, "query-migrate", NULL, reply, err);

	if (r < 0)
		return r;
	text = json_string_value(json_object_get(*reply, "status"));
	*why = json_string_value(json_object_get(*reply, "error-desc"));
	snprintf(status, len, "%s", text ? text : "none");
	return 0;
}

/* The stream has ended; did QEMU mean it? Its status follows within moments. */
int capture_memory_completed(struct qmp *qmp, struct err *err)
{
	uint64_t end = clock_now_ms() + END_MS;

	for (;;) {
		CLEANUP(json_decref) json_t *reply = NULL;
		const char *why = NULL;
		char status[32];
		int r = migration_status(qmp, status, sizeof(status), &why, &reply, err);

		if (r < 0)
			return r;
		if (strcmp(status, "completed") == 0)
			return 0;
		if (strcmp(status, "failed") == 0 || strcmp(status, "cancelled") == 0 ||
		    clock_now_ms() > end)
			return err_say(err, EIO, "the memory stream %s: %s", status,
				       why ? why : "QEMU gives no reason");
		clock_sleep_ms(END_POLL_MS);
	}
}

/* Ends a migration that still runs. Its reader may be gone (then it fails by itself) or still reading. */
int capture_memory_cancel(struct qmp *qmp, struct err *err)
{
	static const char *const over[] = { "none", "completed", "failed", "cancelled" };
	uint64_t end = clock_now_ms() + END_MS;
	bool told = false;

	for (;;) {
		CLEANUP(json_decref) json_t *reply = NULL;
		const char *why;
		char status[32];
		int r = migration_status(qmp, status, sizeof(status), &why, &reply, err);

		if (r < 0)
			return err_wrap(err, r, "cancel the memory stream");
		for (size_t i = 0; i < ARRAY_LEN(over); i++) {
			if (strcmp(status, over[i]) == 0)
				return 0;
		}
		if (!told)
			qmp_run(qmp, "migrate_cancel", NULL, NULL, NULL);
		told = true;
		if (clock_now_ms() > end)
			return err_say(err, ETIMEDOUT,
				       "cancelling the memory stream: it is still %s", status);
		clock_sleep_ms(END_POLL_MS);
	}
}
