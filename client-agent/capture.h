/* capture.h - one frozen instant of a desktop at the hypervisor: asked for, watched, given back.
 *
 * Between capture_begin and capture_end the exports offer that instant, whatever the guest does. It can break at any
 * time (the fleece's disk is full, QEMU died, the hypervisor was restarted): then reads fail and capture_lost says why.
 * Source: docs/protocol.md, "capture".
 */
#ifndef GODWIT_CLIENT_AGENT_CAPTURE_H
#define GODWIT_CLIENT_AGENT_CAPTURE_H

#include <pthread.h>

#include "client-agent/hypervisor_status.h"

struct capture_disk {
	char name[VOLUME_NAME_MAX + 1];
	uint64_t size;
	const char *socket, *export, *bitmap; /* borrowed from the reply; bitmap "": none */
};

struct capture {
	struct hypervisor_client *hypervisor;
	char desktop[MANIFEST_DESKTOP_MAX + 1];
	bool hold;
	uint64_t timeout_ms;
	double pause_ms;
	const char *parent, *reason; /* borrowed; parent "": none, and the reason for that */
	json_t *machine;             /* borrowed */
	size_t disk_count;
	struct capture_disk disks[HYPERVISOR_DISKS_MAX];
	int memory_fd; /* the migration stream; -1: no memory */

	json_t *reply;
	struct hypervisor_listener listener;
	pthread_mutex_t lock;
	bool begun, broken;
	char broken_text[512];
};

struct capture_order {
	struct hypervisor_client *hypervisor;
	const char *desktop;
	bool memory, hold;
	uint64_t timeout_ms; /* of each answer; 0: the usual */
};

/* On success to be ended by capture_end, whatever happens. */
int capture_begin(struct capture *capture, const struct capture_order *order, struct err *err);

/* Is it gone? If so, @err says why. */
bool capture_lost(struct capture *capture, struct err *err);

/* snapshot: what was committed; NULL: nothing, put the tracking back. Frees what the capture holds in every case. */
int capture_end(struct capture *capture, const char *snapshot, struct err *err);

#endif
