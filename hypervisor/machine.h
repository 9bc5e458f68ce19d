/* machine.h - a desktop's virtual hardware, and the QEMU command line that makes it.
 *
 * The command line is a function of its inputs: the same desktop under the same machine always gets the same devices at
 * the same addresses with the same MAC and UUID, on every endpoint, or a memory stream would not load. What it must never
 * depend on: the host, the accelerator, the time. Paths are relative: QEMU's working directory is the desktop's folder,
 * so no path is ever too long for a socket. Source: docs/protocol.md "Machine", DESIGN section 10.
 */
#ifndef GODWIT_HYPERVISOR_MACHINE_H
#define GODWIT_HYPERVISOR_MACHINE_H

#include "common/err.h"
#include "common/json.h"

enum {
	MACHINE_TEXT_MAX = 63,
	MACHINE_DISKS_MAX = 8,
	MACHINE_DISK_NAME_MAX = 15,
};

struct machine {
	uint64_t vcpus, memory_mib;
	char type[MACHINE_TEXT_MAX + 1]; /* "" until the first start */
	char cpu[MACHINE_TEXT_MAX + 1];
	bool network; /* user-mode, or none */
};

struct machine_disk {
	char name[MACHINE_DISK_NAME_MAX +
		  1];     /* disk0 …; also the block node that the guest's device reads */
	uint64_t size;    /* bytes, a multiple of 512 */
	char export[256]; /* name in the NBD server behind NAME.nbd */
	bool complete;    /* everything is local: no backing */
};

/* Parse a Machine object. Return 0 or -EINVAL naming the key. */
int machine_parse(struct machine *out, const json_t *object, struct err *err);
/* A new reference; NULL: out of memory. */
json_t *machine_json(const struct machine *machine);

/*
 * The model that a new desktop gets under @accelerator (kvm, tcg): what every x86-64 of the last fifteen years can be, so
 * that a desktop can move. QEMU refuses to start where it cannot be had in full.
 */
const char *machine_default_cpu(const char *accelerator);

struct machine_order {
	const char *desktop; /* MAC and UUID come from it */
	const struct machine *machine;
	const struct machine_disk *disks;
	size_t disk_count;
	const char *qemu;        /* the program */
	const char *accelerator; /* kvm or tcg */
	bool incoming;           /* wait for `migrate-incoming`; otherwise wait for `cont` */
	uint64_t reconnect_s;    /* how long a guest's read waits for a lost NBD server */
};

/* What QEMU makes in its working directory. */
#define MACHINE_QMP_SOCKET    "qmp.sock"
#define MACHINE_GUARD_SOCKET  "guard.sock" /* a second control socket, for guard.h */
#define MACHINE_NBD_SOCKET    "nbd.sock"
#define MACHINE_MEMORY_SOCKET "memory.sock"
#define MACHINE_SERIAL_LOG    "serial.log"

/* The far end of the only network card's cable. */
#define MACHINE_NETDEV "net0"

/**
 * machine_command(order, out, err):
 * out  a NULL-terminated argv, the caller's: machine_command_free
 *
 * Return 0 or -ENOMEM.
 */
int machine_command(const struct machine_order *order, char ***out, struct err *err);
void machine_command_free(char **argv);
DEFINE_CLEANUP(char **, machine_command_free);

#endif
