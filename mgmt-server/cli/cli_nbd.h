/* cli_nbd.h - a qemu-nbd of our own that reads one image file, and our connection to it.
 *
 * The file is named by --image-opts, so that no name ("json:…", "nbd:…") is ever taken for anything but a file, and the
 * driver is fixed, so that QEMU probes nothing. qemu-nbd ends together with us (PR_SET_PDEATHSIG).
 * Source: qemu-nbd(8), qemu-img(1).
 */
#ifndef GODWIT_CLI_NBD_H
#define GODWIT_CLI_NBD_H

#include "common/base.h"
#include "snapshot/volume.h"

struct cli_nbd;

struct cli_nbd_options {
	const char *path;
	const char *driver; /* QEMU's name of the format */
	bool follow_backing;
};
int cli_nbd_open(struct cli_nbd **out, const struct cli_nbd_options *options, struct err *err);
void cli_nbd_close(struct cli_nbd *nbd);
DEFINE_CLEANUP(struct cli_nbd *, cli_nbd_close);

struct volume_input cli_nbd_input(struct cli_nbd *nbd);

#endif
