/* child.h - start one of our own programs with a fixed set of descriptors and nothing else of ours. */
#ifndef GODWIT_SCAN_CHILD_H
#define GODWIT_SCAN_CHILD_H

#include <stddef.h>
#include <sys/types.h>

#include "common/err.h"

enum { CHILD_FDS_MAX = 68, CHILD_FIRST_FD = 3 };

/* argv[0] is the program's path. fds become CHILD_FIRST_FD, + 1 …; stdin is /dev/null, every other descriptor is closed,
 * and the child dies with the thread that started it. Return the pid or -errno. */
pid_t child_start(const char *const *argv, const int *fds, size_t fd_count, struct err *err);

/* The same with a PID namespace of its own, in which it is the first process: there is no other that it could name, and what
 * it starts ends with it. A first process ends by no signal from inside but those of the kernel: abort(3) is SIGSEGV. */
pid_t child_start_apart(const char *const *argv, const int *fds, size_t fd_count, struct err *err);

/* Kill if @kill_it, and reap. Return the wait status. */
int child_end(pid_t pid, int kill_it);

#endif
