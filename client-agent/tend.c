#include "client-agent/tend.h"

#include <stdlib.h>
#include <string.h>

#include "client-agent/disk_server.h"
#include "client-agent/restore.h"
#include "common/log.h"

struct round {
	struct agent *agent;
	struct work *work;
	struct hypervisor_status *list;
	size_t count;
};

static const struct hypervisor_status *find(const struct round *round, const char *desktop,
					    uint64_t epoch)
{
	size_t i;

	for (i = 0; i < round->count; i++) {
		if (round->list[i].epoch == epoch && strcmp(round->list[i].desktop, desktop) == 0)
			return &round->list[i];
	}
	return NULL;
}

static void end_unneeded(void *arg, const char *desktop, uint64_t epoch)
{
	const struct round *round = arg;
	const struct hypervisor_status *status = find(round, desktop, epoch);

	if (work_busy(round->work, desktop, "run"))
		return;
	if (status && !hypervisor_status_local(status))
		return;
	log_info("the disks of the snapshot are no longer served desktop=%s epoch=%ju", desktop,
		 (uintmax_t)epoch);
	disk_server_end(round->agent->disks, desktop, epoch);
}

static void mend(const struct round *round, const struct hypervisor_status *status)
{
	struct err err = { 0 };
	int r;

	if (hypervisor_status_local(status) || hypervisor_status_is(status, "crashed") ||
	    work_busy(round->work, status->desktop, "run"))
		return;
	r = restore_mend(round->agent, status, "", &err);
	if (r == 0 && !status->memory_arriving)
		r = hypervisor_client_call(
			round->agent->hypervisor,
			&(struct hypervisor_call){ .op = "fill", .desktop = status->desktop },
			&err);
	if (r < 0)
		log_warning("%s desktop=%s", err_text(&err), status->desktop);
}

void tend_round(struct agent *agent, struct work *work)
{
	struct round round = { .agent = agent, .work = work };
	struct err err = { 0 };
	size_t i;

	/* Without the hypervisor's word nothing is ended. */
	if (hypervisor_status_list(agent->hypervisor, &round.list, &round.count, &err) < 0) {
		log_debug("%s", err_text(&err));
		return;
	}
	for (i = 0; i < round.count; i++)
		mend(&round, &round.list[i]);
	disk_server_each(agent->disks, end_unneeded, &round);
	free(round.list);
}
