/* file_input.h - a file or block device as the input of volume_put: holes are found without reading (SEEK_HOLE). */
#ifndef GODWIT_SNAPSHOT_FILE_INPUT_H
#define GODWIT_SNAPSHOT_FILE_INPUT_H

#include "common/base.h"
#include "snapshot/volume.h"

struct file_input;

/* Return 0 or -errno. */
int file_input_open(struct file_input **out, const char *path, struct err *err);
void file_input_close(struct file_input *input);
DEFINE_CLEANUP(struct file_input *, file_input_close);

/* Lives as long as @input. */
struct volume_input file_input_volume(struct file_input *input);

#endif
