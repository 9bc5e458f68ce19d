/* hypervisor.h - the desktops of this endpoint, and what they have in common.
 *
 * Locks, in the order in which they may be taken: hypervisor.lock (the list), then a desktop's lock.
 */
#ifndef GODWIT_HYPERVISOR_HYPERVISOR_H
#define GODWIT_HYPERVISOR_HYPERVISOR_H

#include <pthread.h>

#include "common/json.h"
#include "hypervisor/hypervisor_config.h"
#include "hypervisor/probe.h"
#include "hypervisor/process.h"

#define HYPERVISOR_VERSION "0.1.0"

struct desktop;

struct hypervisor {
	const char *state; /* absolute path of the state folder */
	struct hypervisor_config config;
	struct probe probe;
	char boot_id[PROCESS_BOOT_ID_LEN];
	void (*emit)(void *arg, json_t *event); /* steals; never blocks; any thread */
	void *emit_arg;

	pthread_mutex_t lock;
	struct desktop *desktops; /* each holds one reference */
};

/* A new reference to the desktop of that name. Return 0 or -ENOENT. */
int hypervisor_find(struct hypervisor *hypervisor, const char *name, struct desktop **out,
		    struct err *err);

/* Put a desktop (and the caller's reference) on the list. Return 0, or -EEXIST when its name is there. */
int hypervisor_add(struct hypervisor *hypervisor, struct desktop *desktop, struct err *err);
void hypervisor_remove(struct hypervisor *hypervisor, struct desktop *desktop);

/* Status objects of all desktops, a new reference; NULL: out of memory. */
json_t *hypervisor_list(struct hypervisor *hypervisor);

/* Find the desktops of an earlier run and take hold of their QEMUs. A desktop that cannot be read is logged and left. */
int hypervisor_attach(struct hypervisor *hypervisor, struct err *err);
/* Let go of all desktops; their QEMUs run on. */
void hypervisor_detach(struct hypervisor *hypervisor);

#endif
