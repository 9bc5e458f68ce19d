/* hypervisor_status.h - what the hypervisor says about itself and its desktops, taken apart strictly.
 * Source: docs/protocol.md, "Status object", op `hello`.
 */
#ifndef GODWIT_CLIENT_AGENT_HYPERVISOR_STATUS_H
#define GODWIT_CLIENT_AGENT_HYPERVISOR_STATUS_H

#include "client-agent/hypervisor_client.h"
#include "snapshot/manifest.h"

enum { HYPERVISOR_STATE_MAX = 31, HYPERVISOR_DISKS_MAX = 16 };

struct hypervisor_disk {
	char name[VOLUME_NAME_MAX + 1];
	uint64_t size, local_bytes;
	bool complete;
};

struct hypervisor_status {
	char desktop[MANIFEST_DESKTOP_MAX + 1];
	uint64_t epoch;
	char state[HYPERVISOR_STATE_MAX + 1];
	char snapshot[MANIFEST_ID_LEN]; /* base of the change tracking; "": none */
	bool memory_arriving;
	bool capture;
	bool quarantined;
	uint64_t lease_ms; /* left when it was asked */
	bool has_first_output;
	uint64_t first_output_ms;
	size_t disk_count;
	struct hypervisor_disk disks[HYPERVISOR_DISKS_MAX];
};

int hypervisor_status_parse(const json_t *object, struct hypervisor_status *out, struct err *err);
bool hypervisor_status_is(const struct hypervisor_status *status, const char *state);
/* Are memory and every disk here as a whole? */
bool hypervisor_status_local(const struct hypervisor_status *status);
bool hypervisor_status_disks_local(const struct hypervisor_status *status);

/* Return 0, -ENOENT when that desktop is not here, or -errno. */
int hypervisor_status_get(struct hypervisor_client *client, const char *desktop,
			  struct hypervisor_status *out, struct err *err);
/* All of them; heap, the caller's. */
int hypervisor_status_list(struct hypervisor_client *client, struct hypervisor_status **out,
			   size_t *count, struct err *err);

struct hypervisor_hello {
	char version[64], accelerator[16];
	uint64_t cpus, memory_mib, disk_free_bytes;
	bool live_capture;
};
int hypervisor_status_hello(struct hypervisor_client *client, struct hypervisor_hello *out,
			    struct err *err);

#endif
