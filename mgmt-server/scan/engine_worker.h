/* engine_worker.h - one worker of godwit-scan-engine: sandboxed, scans one content after another. */
#ifndef GODWIT_SCAN_ENGINE_WORKER_H
#define GODWIT_SCAN_ENGINE_WORKER_H

#include <clamav.h>

/* Settings that must stand before the engine is compiled. Return 0 or -EINVAL. */
int engine_worker_configure(struct cl_engine *engine, const char *temp_folder);

/* Serve requests on @fd until it closes. Enters the sandbox first. Never returns. */
_Noreturn void engine_worker_run(struct cl_engine *engine, int fd, const char *temp_folder);

#endif
