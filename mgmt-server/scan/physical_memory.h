/* physical_memory.h - a PC's main memory by physical address, seen through its RAM block, which has no hole below 4 GiB.
 *
 * Source: QEMU 10.0 hw/i386/pc_q35.c and pc_piix.c, "below_4g_mem_size".
 */
#ifndef GODWIT_SCAN_PHYSICAL_MEMORY_H
#define GODWIT_SCAN_PHYSICAL_MEMORY_H

#include "snapshot/volume.h"

struct physical_memory {
	struct volume_input block; /* the RAM block */
	uint64_t below;            /* bytes of it that are at address 0; the rest is at 4 GiB */
};

/* @machine_type: as QEMU calls it, "pc-q35-10.0"; for one that is not known everything is at address 0. */
void physical_memory_init(struct physical_memory *memory, const char *machine_type,
			  const struct volume_input *block);

/* Lives as long as @memory. The hole is zeros. */
struct volume_input physical_memory_input(struct physical_memory *memory);

#endif
