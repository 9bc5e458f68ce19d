/* process.h - child processes: helpers that are waited for, and QEMUs that outlive us.
 *
 * A QEMU is known by pid, start time and boot: that triple is never given out twice. It is written down before the
 * program is executed (process_spawn calls back while the child waits on a pipe), so a hypervisor that dies at any instant
 * either left no QEMU behind or left its identity in a file. Source: pidfd_open(2), proc_pid_stat(5).
 */
#ifndef GODWIT_HYPERVISOR_PROCESS_H
#define GODWIT_HYPERVISOR_PROCESS_H

#include <stdint.h>
#include <sys/types.h>

#include "common/err.h"

enum { PROCESS_BOOT_ID_LEN = 37 };

struct process {
	pid_t pid;           /* 0: none */
	uint64_t start_time; /* clock ticks after boot */
};

/* Of this boot, as text, into char[PROCESS_BOOT_ID_LEN]. */
int process_boot_id(char *text, struct err *err);

struct process_spawn {
	char *const *argv;
	int folder_fd; /* working directory */
	int log_fd;    /* stdout and stderr */
	/* Called when the child exists and before it executes argv; a negative return ends it. */
	int (*record)(void *arg, const struct process *child, struct err *err);
	void *arg;
};

/**
 * process_spawn(spawn, out, pidfd, err):
 * Start a program in a session of its own, without new privileges, with no descriptor but stdin (/dev/null), stdout and
 * stderr. It is not tied to our life.
 *
 * Return 0, what record returned, or -errno; a program that cannot be executed ends with status 127.
 */
int process_spawn(const struct process_spawn *spawn, struct process *out, int *pidfd,
		  struct err *err);

enum { PROCESS_GONE = 1 };
/* Take hold of the process that @known describes. Return 0 with *pidfd, PROCESS_GONE, or -errno. */
int process_attach(const struct process *known, int *pidfd, struct err *err);

enum { PROCESS_ENDING_LEN = 32 };
/* How a process that has ended did so, " by signal 9" or " with status 1"; "" when it was not our child, or lives. */
void process_ending(int pidfd, char text[PROCESS_ENDING_LEN]);

/* SIGKILL and wait up to @timeout_ms; reaps it when it is our child. Return 0 or -ETIMEDOUT. */
int process_kill(int pidfd, int timeout_ms, struct err *err);

/**
 * process_run(argv, timeout_ms, status, output, err):
 * Run a helper to its end.
 *
 * status  out: its exit status; NULL: anything but 0 is an error (-EREMOTEIO) with what it printed
 * output  out, heap, what it printed (64 KiB at most); NULL: not wanted
 *
 * Return 0, -EREMOTEIO, -ETIMEDOUT (it was killed), or -errno.
 */
int process_run(char *const *argv, int timeout_ms, int *status, char **output, struct err *err);

#endif
