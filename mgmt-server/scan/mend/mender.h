/* mender.h - what a program that exchanges one file of a file system implements.
 *
 * A mender is started like a reader (reader.h), by exec, with descriptor 3 as volume channel, 4 as entry channel, and
 * enters the same sandbox before it reads a byte: MENDER OFFSET LENGTH MODE PATH. What it writes goes into an overlay
 * of its parent's; the snapshot itself cannot be changed. The volume's bytes are hostile.
 * A refusal is -EPERM with a sentence for the user; nothing was written then.
 */
#ifndef GODWIT_SCAN_MENDER_H
#define GODWIT_SCAN_MENDER_H

#include "common/err.h"
#include "mgmt-server/scan/volume_channel.h"

enum {
	MENDER_CONTENT_FD = 5, /* mode replace: the new content, a sealed memfd */
	MENDER_FILE_MAX = 1 << 30,
};

/* Mode awake: is it not part of a system that only sleeps? */
int mender_awake(struct volume_channel *volume, struct err *err);

/* Mode read: the bytes of one file as data on the entry channel @out, how many into @size. -ENOENT, -EPERM. */
int mender_read(struct volume_channel *volume, const char *path, int out, uint64_t *size,
		struct err *err);

/* Mode replace, after it was made sure that the file system may be changed as it is: @size bytes of @content become the file's content; its name, owner and rights stay. */
int mender_replace(struct volume_channel *volume, const char *path, int content, uint64_t size,
		   struct err *err);

#endif
