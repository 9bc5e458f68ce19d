/* desktop_record.h - what a restarted hypervisor must know about a desktop: the file desktop.json of its folder.
 *
 * Replaced as a whole, durably, before the act it announces: the record with QEMU's pid is on disk before that QEMU
 * executes its first instruction. Source: hypervisor/README.md, "State".
 */
#ifndef GODWIT_HYPERVISOR_DESKTOP_RECORD_H
#define GODWIT_HYPERVISOR_DESKTOP_RECORD_H

#include "hypervisor/machine.h"
#include "hypervisor/process.h"

enum { DESKTOP_RECORD_NAME_MAX = 63, DESKTOP_RECORD_SNAPSHOT_MAX = 127 };

struct desktop_record {
	char desktop[DESKTOP_RECORD_NAME_MAX + 1];
	uint64_t epoch;
	struct machine machine;
	char snapshot[DESKTOP_RECORD_SNAPSHOT_MAX + 1]; /* base of change tracking; "" */
	struct machine_disk disks[MACHINE_DISKS_MAX];
	size_t disk_count;
	struct process process;
	char boot_id[PROCESS_BOOT_ID_LEN];
	bool started;     /* `start` was answered; otherwise this folder is half made and goes */
	bool arriving;    /* memory is not complete */
	bool filling;     /* `fill` was asked for */
	bool paused;      /* by a person */
	bool quarantined; /* its network cable is out (quarantine.h) */
	bool output_seen; /* first_output_ms is known */
	uint64_t first_output_ms;
};

int desktop_record_save(const struct desktop_record *record, const char *folder, struct err *err);
/* Return 0, or -errno; -EINVAL names what is wrong in the file. */
int desktop_record_load(struct desktop_record *record, const char *folder, struct err *err);

/* [a-z0-9][a-z0-9-]{0,62} */
int desktop_record_check_name(const char *name, struct err *err);
/* "", or letters, digits, '-', '_' and '.', at most DESKTOP_RECORD_SNAPSHOT_MAX: it becomes a bitmap's name. */
int desktop_record_check_snapshot(const char *id, struct err *err);
/* disk0 to disk7: it becomes a file, a block node and a device. */
int desktop_record_check_disk(const char *name, struct err *err);

#endif
