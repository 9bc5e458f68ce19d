/* faultfs_power.h - a journal of what a power cut would take away.
 *
 * With GODWIT_POWER=FOLDER each change of a file or a folder is noted in FOLDER/journal before it is made, together with what
 * it takes to undo it, and each fsync when it is done. After the program has died, tests/lib/power_cut.py undoes what no
 * fsync had made durable: all of it, or a part as file systems do. A file's data and its name are durable apart: fsync of
 * the file for the one, fsync of its folder for the other. Part of faultfs.c and, like it, without libc's stdio files or heap.
 *
 * A line of the journal: NUMBER TAB OP TAB FIELDS…; NUMBER grows with time, and S says up to which one it reaches.
 *   W inode offset old-size length old-length position  a write; the old bytes are in FOLDER/old from position on
 *   T inode old-size old-length position           a change of size; the bytes that it cut off
 *   C folder-inode path                            a new file or folder
 *   R folder-inode inode from to kept              a rename; kept: FOLDER/kept -N has the file that it replaced, 0: none
 *   U folder-inode path kept                       an unlink
 *   S inode up-to                                  an fsync
 */
#ifndef GODWIT_TESTS_FAULTFS_POWER_H
#define GODWIT_TESTS_FAULTFS_POWER_H

#include <sys/types.h>

/* Nothing is noted before this, nor without GODWIT_POWER. Ends the program with 99 when the folder cannot be used. */
void faultfs_power_init(void);

/* Each before the operation. @folder_fd and @path as for the *at calls. */
void faultfs_power_write(int fd, off_t offset,
			 size_t len);            /* offset -1: where the descriptor stands */
void faultfs_power_size(int fd, off_t new_size); /* the file will be so long, or longer */
void faultfs_power_create(int folder_fd, const char *path); /* if there is nothing yet */
void faultfs_power_rename(int from_fd, const char *from, int to_fd, const char *to);
void faultfs_power_unlink(int folder_fd, const char *path);

/* Around an fsync: what the first returned goes to the second if it succeeded. */
unsigned long faultfs_power_sync_begin(void);
void faultfs_power_synced(int fd, unsigned long up_to);

#endif
