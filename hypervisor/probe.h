/* probe.h - what this host can do: QEMU's version and machine types, KVM, userfaultfd.
 *
 * /dev/kvm may exist and still fail: QEMU aborts when it sets an MSR, or the processor lacks features that every real one
 * has. So the only proof is a VM that executes instructions of ours and leaves, with the CPU model that desktops get. That answer is remembered under QEMU's version and the kernel's, because neither
 * changes without one of them. Source: DESIGN section 10; userfaultfd(2).
 */
#ifndef GODWIT_HYPERVISOR_PROBE_H
#define GODWIT_HYPERVISOR_PROBE_H

#include <stdbool.h>

#include "common/err.h"

enum { PROBE_TEXT_MAX = 255 };

struct probe {
	char qemu_version[32];              /* 10.0.2 */
	char machine_type[64];              /* the newest q35, pinned: pc-q35-10.0 */
	char accelerator[8];                /* kvm or tcg */
	char note[PROBE_TEXT_MAX + 1];      /* why not kvm; "" */
	bool live_capture;                  /* memory can be captured while the guest runs */
	char live_note[PROBE_TEXT_MAX + 1]; /* why not; "" */
};

struct probe_options {
	const char *state;       /* folder; the answer is kept in probe.json there */
	const char *qemu;        /* program */
	const char *accelerator; /* auto, kvm (fail when it does not work) or tcg */
};

/* Return 0; -EOPNOTSUPP for a QEMU before 10.0 or a demanded KVM that does not work; or -errno. */
int probe_host(struct probe *out, const struct probe_options *options, struct err *err);

/**
 * probe_accelerator(qemu, accelerator, cpu, note, err):
 * Run a few instructions under @accelerator.
 *
 * cpu   as for QEMU's -cpu
 * note  char[PROBE_TEXT_MAX + 1]: why it does not work, or ""
 *
 * Return 0 when it works, PROBE_FAILS, or -errno.
 */
enum { PROBE_FAILS = 1 };
int probe_accelerator(const char *qemu, const char *accelerator, const char *cpu, char *note,
		      struct err *err);

#endif
