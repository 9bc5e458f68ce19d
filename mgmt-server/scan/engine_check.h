/* engine_check.h - try a folder of signatures: the engine loads them in its sandbox and must find both its canaries. */
#ifndef GODWIT_SCAN_ENGINE_CHECK_H
#define GODWIT_SCAN_ENGINE_CHECK_H

#include "common/err.h"
#include "mgmt-server/scan/engine_wire.h"

/* program: godwit-scan-engine. Return 0 with @hello filled; -ENOENT: no signatures in it; -EINVAL: they do not load;
 * -errno. */
int engine_check_run(const char *program, const char *signatures, struct engine_hello *hello,
		     struct err *err);

#endif
