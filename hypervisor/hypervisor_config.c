#include "hypervisor/hypervisor_config.h"

#include <errno.h>
#include <string.h>

#include "common/base.h"
#include "common/config.h"

#define MEMBER(name) offsetof(struct hypervisor_config, name)

static const struct config_key keys[] = {
	{ "qemu", "binary", CONFIG_STRING, MEMBER(qemu), "qemu-system-x86_64",
	  "the emulator, version 10.0 or newer" },
	{ "qemu", "image_tool", CONFIG_STRING, MEMBER(qemu_img), "qemu-img",
	  "makes the local overlays" },
	{ "qemu", "accelerator", CONFIG_STRING, MEMBER(accelerator), "auto",
	  "auto (kvm where a test VM proves it), kvm, or tcg" },
	{ "disks", "reconnect_delay", CONFIG_DURATION, MEMBER(reconnect_ms), "10m",
	  "how long a guest's read waits for a lost snapshot server before the guest is stopped" },
	{ "disks", "fill_speed", CONFIG_BYTES, MEMBER(fill_speed), "0",
	  "bytes per second and disk pulled in the background; 0: no limit" },
	{ "capture", "fleece_folder", CONFIG_STRING, MEMBER(fleece_folder), "",
	  "where blocks that the guest overwrites during a capture are kept; empty: the desktop's "
	  "folder" },
	{ "capture", "instant_limit", CONFIG_DURATION, MEMBER(instant_ms), "10s",
	  "a capture that holds the guest longer is given up" },
	{ "capture", "memory_limit", CONFIG_DURATION, MEMBER(memory_ms), "15m",
	  "a capture whose memory takes longer is given up" },
	{ "capture", "write_limit", CONFIG_DURATION, MEMBER(cbw_ms), "30s",
	  "a guest's write that waits longer for the fleece breaks the capture instead" },
	{ "capture", "live", CONFIG_BOOL, MEMBER(live), "yes",
	  "capture memory while the guest runs; no: the guest stands still while its memory is "
	  "written" },
	{ "capture", "collapse", CONFIG_BOOL, MEMBER(collapse), "yes",
	  "merge the guest's memory into huge pages before a capture: a shorter pause" },
};

int hypervisor_config_load(struct hypervisor_config *config, const char *path, struct err *err)
{
	int r;

	*config = (struct hypervisor_config){ .qemu = NULL };
	r = config_load(path, keys, ARRAY_LEN(keys), config, err);
	if (r < 0)
		return r;
	if (strcmp(config->accelerator, "auto") != 0 && strcmp(config->accelerator, "kvm") != 0 &&
	    strcmp(config->accelerator, "tcg") != 0)
		return err_say(err, EINVAL,
			       "%s: [qemu] accelerator must be auto, kvm or tcg, not '%s'", path,
			       config->accelerator);
	return 0;
}

void hypervisor_config_deinit(struct hypervisor_config *config)
{
	config_free(keys, ARRAY_LEN(keys), config);
}

void hypervisor_config_print_help(FILE *out)
{
	config_print_help(out, keys, ARRAY_LEN(keys));
}
