/* volume_threads.h - how many threads move a volume. */
#ifndef GODWIT_SNAPSHOT_VOLUME_THREADS_H
#define GODWIT_SNAPSHOT_VOLUME_THREADS_H

/* @wanted, or when that is 0 one more than this process has processors: one of them waits for the disk. */
unsigned volume_threads(unsigned wanted);

#endif
