#include "client-agent/work_simple.h"

#include <errno.h>

#include "client-agent/disk_server.h"
#include "client-agent/hypervisor_status.h"
#include "client-agent/memory_server.h"

static int one_op(struct work_job *job, const char *op, struct err *err)
{
	struct hypervisor_status status;
	int r = json_fields(job->args, NULL, 0, job->kind, err);

	if (r == 0)
		r = hypervisor_status_get(job->agent->hypervisor, job->desktop, &status, err);
	if (r < 0)
		return r;
	if (status.epoch != job->epoch)
		return err_say(err, ESTALE,
			       "desktop %s is here under epoch %ju, the work is for %ju",
			       job->desktop, (uintmax_t)status.epoch, (uintmax_t)job->epoch);
	return hypervisor_client_call(
		job->agent->hypervisor,
		&(struct hypervisor_call){ .op = op, .desktop = job->desktop, .again = true }, err);
}

int work_simple_pause(struct work_job *job, struct err *err)
{
	return one_op(job, "pause", err);
}

int work_simple_unpause(struct work_job *job, struct err *err)
{
	return one_op(job, "unpause", err);
}

int work_simple_discard(struct work_job *job, struct err *err)
{
	struct agent *agent = job->agent;
	int r = json_fields(job->args, NULL, 0, job->kind, err);

	if (r == 0)
		r = hypervisor_client_epoch_op(agent->hypervisor, "discard", job->desktop,
					       job->epoch, NULL, err);
	if (r < 0 && r != -ENOENT)
		return r;
	memory_server_end(agent->memory, job->desktop, job->epoch);
	disk_server_end(agent->disks, job->desktop, job->epoch);
	return 0;
}
