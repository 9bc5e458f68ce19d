/* sandbox.h - where untrusted bytes are parsed: no files, no network, no other processes, bounded time and memory.
 *
 * User, network, mount, IPC and UTS namespaces (and a PID namespace, by child_start_apart), a root of its own without files,
 * no_new_privs, Landlock without any rule, rlimits, and a seccomp allow-list per role that kills. TZ is set first: localtime(3) would open a file.
 * Source: landlock(7), seccomp(2), user_namespaces(7); DESIGN section 9.
 */
#ifndef GODWIT_SCAN_SANDBOX_H
#define GODWIT_SCAN_SANDBOX_H

#include <stdint.h>

#include "common/err.h"

enum sandbox_role {
	SANDBOX_READER, /* talks through the descriptors it has */
	SANDBOX_ENGINE, /* the same, and files below one private tmpfs */
};

struct sandbox {
	enum sandbox_role role;
	uint64_t memory_max; /* bytes of address space */
	uint64_t data_max;   /* bytes of it that are private and can be written; 0: all */
	uint64_t cpu_seconds;
	const char *temp_folder; /* SANDBOX_ENGINE: whole path of a private tmpfs, which is empty */
	int *scratch; /* SANDBOX_READER, out: an empty file on a tmpfs without names; NULL: none */
	uint64_t temp_max; /* bytes of either tmpfs */
	const char *
		read_folder; /* SANDBOX_ENGINE: a whole path that may be read besides; NULL: none */
};

/* Enter for good, as a process that will not fork; stdin, stdout and stderr become /dev/null: signals may be sent to this very pid only. A layer that the kernel does not offer is an error, never skipped in silence: -ENOTSUP names it. */
int sandbox_enter(const struct sandbox *box, struct err *err);

#endif
