/* scan_vm.h - file systems that only the kernel can read, through a micro-VM that is thrown away. Internal to scan_run.
 *
 * QEMU without network gets the partitions as disks: read-only NBD below, a private overlay above in which journals may
 * be replayed. Its init streams every file out (vm_wire.h); godwit-scan-vm takes the stream in.
 */
#ifndef GODWIT_SCAN_SCAN_VM_H
#define GODWIT_SCAN_SCAN_VM_H

#include "mgmt-server/scan/scan_content.h"
#include "mgmt-server/scan/scan_reader.h"

enum { SCAN_VM_DISKS_MAX = 26 };

struct scan_vm_disk {
	const char *type; /* libblkid's name of what is in it */
	uint64_t offset, length;
};

struct scan_vm {
	struct scan *scan;
	const struct scan_volume *volume;
	const char *partition;        /* for reports */
	struct scan_index_part *part; /* NULL: nothing is remembered */
	const struct scan_vm_disk *disks;
	size_t disk_count;
	struct scan_reader_said *said; /* out, what was read; NULL: nobody asks */
};

/* Can a volume of this kind be read so, on this machine? */
bool scan_vm_there(const struct scan *scan, const struct scan_volume *volume);

/* What goes wrong makes the scan incomplete. Return 0, -ECANCELED, or -errno of our own. */
int scan_vm_run(const struct scan_vm *order, struct err *err);

#endif
