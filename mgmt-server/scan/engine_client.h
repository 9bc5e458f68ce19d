/* engine_client.h - the scanning engine as godwit-scan sees it: contents in, verdicts out, trust only with canaries.
 *
 * Thread-safe: each call takes a free worker. A worker that dies or does not answer in time costs its content one retry,
 * then that content is unfinished; the engine starts a new worker by itself.
 */
#ifndef GODWIT_SCAN_ENGINE_CLIENT_H
#define GODWIT_SCAN_ENGINE_CLIENT_H

#include <stdint.h>

#include "common/base.h"
#include "common/err.h"
#include "mgmt-server/scan/engine_wire.h"

struct engine_client;

/**
 * engine_client_start(out, program, signatures, workers, err):
 * Return 0; -ENOENT for an empty or missing folder; -EINVAL for signatures that do not load; or -errno.
 */
int engine_client_start(struct engine_client **out, const char *program, const char *signatures,
			unsigned workers, struct err *err);
void engine_client_stop(struct engine_client *engine);
DEFINE_CLEANUP(struct engine_client *, engine_client_stop);

const struct engine_hello *engine_client_hello(const struct engine_client *engine);

/* Scan the sealed memfd @content of @size > 0 bytes. Always fills @reply; without both canaries, or without an answer,
 * its verdict is ENGINE_UNFINISHED. */
void engine_client_scan(struct engine_client *engine, int content, uint64_t size,
			struct engine_reply *reply);
/* The same for a piece of memory (ENGINE_MEMORY). */
void engine_client_scan_memory(struct engine_client *engine, int content, uint64_t size,
			       struct engine_reply *reply);

#endif
