/* memory_server.h - one thread for each desktop whose memory is still arriving: plays the source of QEMU's postcopy.
 *
 * It dies with us. QEMU then waits in `postcopy-paused`; the next process begins again with `recover`. Thread-safe.
 */
#ifndef GODWIT_CLIENT_AGENT_MEMORY_SERVER_H
#define GODWIT_CLIENT_AGENT_MEMORY_SERVER_H

#include "client-agent/agent.h"
#include "snapshot/manifest.h"

int memory_server_new(struct memory_server **out, struct agent *agent, struct err *err);

struct memory_server_order {
	const struct manifest *manifest; /* copied */
	uint64_t epoch;
	const char *job;    /* whose bytes are counted; "": nobody's */
	const char *socket; /* where QEMU listens */
	bool recover;
};
/* Return 0 when the thread runs; -EALREADY when one runs for that desktop; or -errno. */
int memory_server_begin(struct memory_server *server, const struct memory_server_order *order,
			struct err *err);

struct memory_server_state {
	bool active;               /* its thread runs */
	bool running;              /* QEMU loaded the devices: the guest runs */
	uint64_t running_at_ms;    /* clock_now_ms() of that, to some ms; 0: not yet */
	uint64_t bytes_before_run; /* received from the server until then */
	uint64_t pages_sent, pages_total, requests;
	int r; /* how it ended */
	struct err err;
};
/* Return false when there never was one in this process. */
bool memory_server_state(struct memory_server *server, const char *desktop, uint64_t epoch,
			 struct memory_server_state *out);

/* Stop it (it lets go within a second or two) and forget. */
void memory_server_end(struct memory_server *server, const char *desktop, uint64_t epoch);

#endif
