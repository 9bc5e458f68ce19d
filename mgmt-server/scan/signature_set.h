/* signature_set.h - which signatures a folder holds, told without loading them: a hash over its files and the engine.
 *
 * What is known under one version holds for exactly these signatures in exactly this engine.
 */
#ifndef GODWIT_SCAN_SIGNATURE_SET_H
#define GODWIT_SCAN_SIGNATURE_SET_H

#include "common/err.h"

enum { SIGNATURE_SET_VERSION_LEN = 65 };

/**
 * signature_set_version(folder, engine, version, err):
 * engine   the path of godwit-scan-engine, which says which libclamav it has
 * version  out, char[SIGNATURE_SET_VERSION_LEN]
 *
 * Return 0; -ENOENT: no folder, or nothing in it; -errno.
 */
int signature_set_version(const char *folder, const char *engine, char *version, struct err *err);

#endif
