/* scan_index_inside.h - what scan_index.c and scan_index_commit.c share. */
#ifndef GODWIT_SCAN_SCAN_INDEX_INSIDE_H
#define GODWIT_SCAN_SCAN_INDEX_INSIDE_H

#include <jansson.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

#include "mgmt-server/scan/scan_index.h"

enum { SCAN_INDEX_REASONS_MAX = 1000, SCAN_INDEX_NAME_MAX = 128, SCAN_INDEX_ID_MAX = 64 };

struct scan_index_known { /* an open place */
	uint64_t row, inode, size;
	char *path, *stream; /* one allocation */
	char *signature;     /* NULL: clean, or no verdict */
	uint8_t sha256[SCAN_STATE_SHA256_LEN], digest[FILE_DIGEST_LEN];
	bool has_digest, has_verdict;
	bool claimed; /* the reader called it unchanged */
	bool seen;    /* it stays open */
};

struct scan_index_fresh { /* a place that this scan saw */
	uint64_t inode, size;
	char *path, *stream; /* one allocation */
	uint8_t sha256[SCAN_STATE_SHA256_LEN], digest[FILE_DIGEST_LEN];
	bool has_digest;
};

struct scan_index_part {
	struct scan_index_part *next;
	struct scan_index *index;
	uint64_t id; /* row; 0: not there yet */
	char volume[SCAN_INDEX_NAME_MAX], name[SCAN_INDEX_ID_MAX], type[SCAN_INDEX_ID_MAX];
	uint64_t offset, length;
	struct scan_index_known *known; /* ascending by inode */
	struct scan_index_fresh *fresh;
	uint64_t *problems; /* inodes */
	size_t known_count, known_capacity, fresh_count, fresh_capacity, problem_count,
		problem_capacity;
};

struct scan_index_volume {
	struct scan_index_volume *next;
	struct volume_extent *extents;
	size_t count;
	char name[];
};

struct scan_index {
	struct scan_index_order order;
	pthread_mutex_t lock; /* the lists of parts, reasons */
	uint64_t desktop;     /* row; 0: not there yet */
	uint64_t seq;         /* of the last scan that was entered */
	char head[SCAN_INDEX_ID_MAX];
	struct scan_index_part *parts;
	struct scan_index_volume *volumes;
	json_t *reasons;
	uint64_t more_reasons;
};

/* One more item at the end of an array, zeroed; NULL: out of memory, the array is as it was. */
static inline void *scan_index_grow(void **items, size_t *count, size_t *capacity, size_t size)
{
	char *item;

	if (*count == *capacity) {
		size_t more = *capacity ? *capacity * 2 : 256;
		void *bigger = reallocarray(*items, more, size);

		if (!bigger)
			return NULL;
		*items = bigger;
		*capacity = more;
	}
	item = (char *)*items + (*count)++ * size;
	return __builtin_memset(item, 0, size);
}

#endif
