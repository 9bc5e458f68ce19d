/* reader_fat.c - FAT12, FAT16, FAT32 and exFAT, by a reader of our own (fat_walk.h; why: README.md). */
#include "mgmt-server/scan/fat_walk.h"

int reader_walk(struct reader *reader, struct err *err)
{
	return fat_walk(reader, err);
}
