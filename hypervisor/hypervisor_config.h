/* hypervisor_config.h - what an administrator can set. */
#ifndef GODWIT_HYPERVISOR_HYPERVISOR_CONFIG_H
#define GODWIT_HYPERVISOR_HYPERVISOR_CONFIG_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "common/err.h"

struct hypervisor_config {
	char *qemu, *qemu_img, *accelerator;
	uint64_t reconnect_ms; /* how long a guest's read waits for a lost NBD server */
	uint64_t fill_speed;   /* bytes per second and disk; 0: no limit */
	char *fleece_folder;   /* where a capture puts old blocks; "": the desktop's folder */
	uint64_t instant_ms;   /* longest time a capture may hold the guest */
	uint64_t memory_ms;    /* longest time the memory of a capture may take */
	uint64_t cbw_ms;       /* longest time a guest's write may wait for the fleece */
	bool live;             /* capture memory while the guest runs, where that works */
	bool collapse;         /* merge the guest's memory into huge pages before a capture */
};

/* path NULL: presets. Return 0 or -errno; hypervisor_config_deinit in every case. */
int hypervisor_config_load(struct hypervisor_config *config, const char *path, struct err *err);
void hypervisor_config_deinit(struct hypervisor_config *config);
void hypervisor_config_print_help(FILE *out);

#endif
