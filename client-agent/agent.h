/* agent.h - what the parts of the agent share. Made once by main, read-only afterwards but for `stop`.
 *
 * Threads: main tends (tend.c), one beats (heartbeat.c), one polls for work (work.c), and each job has two. Crash rule:
 * nothing that matters lives in memory only. The hypervisor keeps the desktops, STATE/serve the NBD servers, STATE/jobs
 * how far a job got; the server hands out unfinished work again.
 */
#ifndef GODWIT_CLIENT_AGENT_AGENT_H
#define GODWIT_CLIENT_AGENT_AGENT_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "client-agent/hypervisor_client.h"
#include "client-agent/identity.h"

#define AGENT_VERSION "0.1"
#define AGENT_PREFIX  "/agent/v1"

struct agent_config {
	char *nbdkit;             /* program */
	char *plugin;             /* "": ../lib beside the executable */
	uint64_t cache_bytes;     /* chunk cache of each NBD server */
	uint64_t poll_ms;         /* long poll for work */
	uint64_t fill_delay_ms;   /* after a boot, before the rest of its disks is fetched */
	uint64_t upload_retry_ms; /* how long a cut upload is tried again */
	uint64_t ram_max_bytes;   /* more in one snapshot is refused */
};

struct memory_server;
struct disk_server;
struct heartbeat;

struct agent {
	const char *state_dir;
	char instance[17]; /* of this process */
	struct agent_config config;
	struct identity identity;
	struct hypervisor_client *hypervisor;
	struct http_client *http; /* for everything but heartbeats */
	struct memory_server *memory;
	struct disk_server *disks;
	struct heartbeat *heartbeat; /* before any work begins */
	atomic_bool stop;
};

#endif
