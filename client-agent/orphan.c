#include "client-agent/orphan.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>
#include <unistd.h>

#include "client-agent/memory_server.h"
#include "common/io.h"
#include "common/log.h"

static char *mark_path(const struct agent *agent, const char *desktop, uint64_t epoch)
{
	return io_printf("%s/orphans/%s.%" PRIu64, agent->state_dir, desktop, epoch);
}

static int set_mark(struct agent *agent, const char *path, struct err *err)
{
	CLEANUP_FREE char *folder = io_printf("%s/orphans", agent->state_dir);
	int r;

	if (!folder || !path)
		return err_set(err, ENOMEM, "put a desktop aside");
	r = io_make_folders(folder, 0700, err);
	return r < 0 ? r : io_replace_file(path, "", 0, 0600, err);
}

int orphan_begin(struct agent *agent, const char *desktop, uint64_t epoch, struct err *err)
{
	CLEANUP_FREE char *path = mark_path(agent, desktop, epoch);
	CLEANUP(json_decref) json_t *reply = NULL;
	const char *folder = NULL;
	const struct json_field fields[] = { { "folder", JSON_KIND_STRING, false, &folder } };
	int r;

	r = set_mark(agent, path, err); /* before: the NBD server must not be ended meanwhile */
	if (r < 0)
		return r;
	memory_server_end(agent->memory, desktop, epoch);
	r = hypervisor_client_epoch_op(agent->hypervisor, "orphan", desktop, epoch, &reply, err);
	if (r == -ENOENT) { /* it was put aside before, or never was here */
		unlink(path);
		return 0;
	}
	if (r == 0)
		r = json_fields(reply, fields, ARRAY_LEN(fields), "the reply to orphan", err);
	if (r == 0)
		log_warning("desktop stopped, its disks are kept desktop=%s epoch=%ju folder=%s",
			    desktop, (uintmax_t)epoch, folder);
	return r;
}

bool orphan_needs(struct agent *agent, const char *desktop, uint64_t epoch)
{
	CLEANUP_FREE char *path = mark_path(agent, desktop, epoch);

	return !path || access(path, F_OK) == 0;
}

void orphan_round(struct agent *agent)
{
	(void)agent;
}
