/* fat_walk.h - every file of a FAT12, FAT16, FAT32 or exFAT volume is reported to a reader's parent.
 *
 * Folders are taken from a queue, so depth costs nothing; each cluster of a folder is read once, whichever folders lay
 * claim to it. What is damaged is reported with its place, and the walk goes on.
 */
#ifndef GODWIT_SCAN_FAT_WALK_H
#define GODWIT_SCAN_FAT_WALK_H

#include "mgmt-server/scan/reader.h"

/* As reader_walk (reader.h). */
int fat_walk(struct reader *reader, struct err *err);

#endif
