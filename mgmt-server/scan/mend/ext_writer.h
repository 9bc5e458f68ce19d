/* ext_writer.h - libext2fs over a volume channel that may be written to. One file system a process. */
#ifndef GODWIT_SCAN_EXT_WRITER_H
#define GODWIT_SCAN_EXT_WRITER_H

#include <ext2fs/ext2fs.h>

#include "common/base.h"
#include "common/err.h"
#include "mgmt-server/scan/volume_channel.h"

/* For writing. Checksums count here: what is wrong is refused with -EPERM. Return 0 or -errno. */
int ext_writer_open(ext2_filsys *fs, struct volume_channel *volume, struct err *err);
/* Without writing what is still in memory. */
void ext_writer_close(ext2_filsys fs);
DEFINE_CLEANUP(ext2_filsys, ext_writer_close);
/* Write everything, close, *fs = NULL. */
int ext_writer_finish(ext2_filsys *fs, struct err *err);

#endif
