/* requests.h - the operations of the hypervisor's socket: one line in, one line and perhaps a descriptor out.
 *
 * Source: docs/protocol.md section 1.
 */
#ifndef GODWIT_HYPERVISOR_REQUESTS_H
#define GODWIT_HYPERVISOR_REQUESTS_H

#include "hypervisor/hypervisor.h"

/**
 * requests_answer(hypervisor, client, line, fd):
 * Do what @line asks for. May take as long as the operation does.
 *
 * client  names the connection, for desktop_capture_abandon
 * fd      out: a descriptor that goes with the answer, the caller's; -1: none
 *
 * Return the answer without newline, heap; NULL: out of memory.
 */
char *requests_answer(struct hypervisor *hypervisor, const void *client, const char *line, int *fd);

#endif
