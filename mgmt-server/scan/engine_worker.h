/* engine_worker.h - one worker of godwit-scan-engine: sandboxed, scans one content after another. */
#ifndef GODWIT_SCAN_ENGINE_WORKER_H
#define GODWIT_SCAN_ENGINE_WORKER_H

#include <clamav.h>
#include <stdbool.h>

#include "common/err.h"

/* Settings that must stand before the engine is compiled. Return 0 or -EINVAL. */
int engine_worker_configure(struct cl_engine *engine, const char *temp_folder);

/* Serve requests on @fd until it closes. Enters the sandbox first. Never returns. */
_Noreturn void engine_worker_run(struct cl_engine *engine, int fd, const char *temp_folder);

/* Before signatures are loaded that nobody vouches for: the worker's sandbox, in which that folder can be read, too. */
int engine_worker_confine(const char *temp_folder, const char *signatures, struct err *err);

/* Does the loaded engine find its canary, plain and inside an archive? */
bool engine_worker_sees(struct cl_engine *engine);

#endif
