/* vm_harness.h - a real QEMU with the small guest of tests/guest, for test programs written in C.
 *
 * Failures of the harness itself end the program with a message: a test cannot go on without its machine. QEMU dies
 * with the program that started it. Not thread-safe, but different machines may be used by different threads.
 */
#ifndef GODWIT_TESTS_VM_HARNESS_H
#define GODWIT_TESTS_VM_HARNESS_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

struct vm_harness_options {
	const char *folder;  /* sockets and logs, short */
	const char *name;    /* of the machine, unique within the folder */
	const char *machine; /* q35 or pc */
	const char *disk;    /* raw image */
	unsigned memory_mib;
	bool incoming; /* wait for migrate-incoming */
};

struct vm_harness {
	pid_t pid;
	int qmp, console;
	char folder[96], name[32];
	json_t *events; /* array of what came and was not looked at */
	char *qmp_in, *console_in;
	size_t qmp_len, console_len;
};

/* One line "load n=…" of the guest. */
struct vm_harness_line {
	char run[32];
	unsigned long long n, bad, disk_bad, passes, checked, acked, written;
	uint64_t at_us; /* clock_now_us() when it was read */
};

/* NULL, or why this machine cannot run such tests. */
const char *vm_harness_why_not(void);

void vm_harness_start(struct vm_harness *vm, const struct vm_harness_options *options);
/* kill -9 */
void vm_harness_kill(struct vm_harness *vm);

/* Execute; @arguments is stolen and may be NULL; @fd (-1: none) goes along. Return the answer: "return" or "error". */
json_t *vm_harness_try(struct vm_harness *vm, const char *command, json_t *arguments, int fd);
/* The same, and an error ends the program. The answer is released. */
void vm_harness_do(struct vm_harness *vm, const char *command, json_t *arguments, int fd);
void vm_harness_capability(struct vm_harness *vm, const char *name, bool on);
/* "status" of query-migrate, query-status; "" if there is none. Valid until the next call. */
const char *vm_harness_status(struct vm_harness *vm, const char *query);
/* Wait until that status is @want. */
bool vm_harness_wait_status(struct vm_harness *vm, const char *query, const char *want,
			    unsigned timeout_ms);
bool vm_harness_wait_event(struct vm_harness *vm, const char *event, unsigned timeout_ms);

/* The next counter line; other lines are skipped, but "load badpage" and the like are printed. */
bool vm_harness_line(struct vm_harness *vm, struct vm_harness_line *line, unsigned timeout_ms);
/* Throw away what the console said up to now. */
void vm_harness_skip(struct vm_harness *vm);

#endif
