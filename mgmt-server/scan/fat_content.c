#include "mgmt-server/scan/fat_content.h"

#include <stdio.h>
#include <string.h>

#include "mgmt-server/scan/file_digest.h"

enum { REASON_MAX = 256 };

enum { UNREADABLE = 1 }; /* outcome */

void fat_content_runs(const struct fat_content *c, const struct fat_entry *entry, uint64_t len,
		      struct fat_chain *out)
{
	enum fat_chain_way way = FAT_CHAIN_LINKED;

	if (entry->contiguous)
		way = FAT_CHAIN_CONTIGUOUS;
	else if (entry->deleted && c->volume->boot.type != FAT_BOOT_EX)
		way = FAT_CHAIN_FREED; /* FAT forgets the chain, exFAT does not */
	fat_chain_begin(out, c->volume, entry->cluster, len, way);
}

struct measured {
	uint64_t len;            /* bytes that were written and can be read */
	char reason[REASON_MAX]; /* why these are not all; "": they are */
	bool touched;            /* some of them changed since the earlier scan */
	const uint8_t *digest;   /* NULL: none */
	uint8_t sum[FILE_DIGEST_LEN];
};

/* All that a file's contents depend on, but for its clusters. */
static void begin_digest(const struct fat_content *c, const struct fat_entry *entry)
{
	file_digest_begin(c->digest, c->volume->boot.type == FAT_BOOT_EX ? "exfat" : "fat");
	file_digest_number(c->digest, entry->size);
	file_digest_number(c->digest, entry->valid);
	file_digest_number(c->digest, (uint64_t)entry->mtime);
	file_digest_number(c->digest, (uint64_t)entry->ctime);
}

static void walk_chain(struct fat_content *c, const struct fat_entry *entry, struct measured *m)
{
	struct fat_chain chain;
	struct fat_run run;

	if (c->digest)
		begin_digest(c, entry);
	fat_content_runs(c, entry, entry->valid, &chain);
	while (fat_chain_next(&chain, &run) == 0) {
		m->len += run.length;
		m->touched |= reader_touched(c->reader, run.offset, run.length);
		if (c->digest) {
			file_digest_number(c->digest, run.offset);
			file_digest_number(c->digest, run.length);
		}
	}
	if (c->digest && file_digest_end(c->digest, m->sum) == 0)
		m->digest = m->sum;
	if (m->len < entry->valid)
		snprintf(m->reason, sizeof(m->reason),
			 "only %llu of its %llu bytes can be read: %s", (unsigned long long)m->len,
			 (unsigned long long)entry->valid, chain.problem);
	else if (entry->size > volume_channel_size(c->volume->channel))
		snprintf(m->reason, sizeof(m->reason), "its size is larger than the volume");
}

static void measure(struct fat_content *c, const struct fat_entry *entry, struct measured *m)
{
	*m = (struct measured){ 0 };
	if (c->budget || !entry->valid)
		walk_chain(c, entry, m);
	else
		snprintf(m->reason, sizeof(m->reason),
			 "too many files share their clusters with others, and are not read");
	c->budget -= m->len < c->budget ? m->len : c->budget;
	if (m->reason[0] || entry->deleted)
		m->digest = NULL; /* a deleted file is never one that an earlier scan saw there */
}

/* A stretch as bytes, of which the file's begin at @at. Return 0, -errno when the parent is gone, or UNREADABLE. */
static int give_bytes(struct fat_content *c, const struct fat_run *run, uint64_t at,
		      const char **why, struct err *err)
{
	int r = 0;

	for (uint64_t done = 0; r == 0 && done < run->length;) {
		uint64_t left = run->length - done;
		size_t n = left < FAT_CONTENT_PIECE ? (size_t)left : FAT_CONTENT_PIECE;
		int failed =
			volume_channel_read(c->volume->channel, c->piece, n, run->offset + done);

		if (failed < 0) {
			*why = strerror(-failed);
			return UNREADABLE;
		}
		r = reader_data(c->reader, c->piece, n, at + done, err);
		done += n;
	}
	return r;
}

static int give(struct fat_content *c, const struct fat_entry *entry, uint64_t len, struct err *err)
{
	struct fat_chain chain;
	struct fat_run run;
	const char *why = "";
	uint64_t at = 0;
	int r = 0;

	fat_content_runs(c, entry, len, &chain);
	while (r == 0 && fat_chain_next(&chain, &run) == 0) {
		r = reader_run(c->reader, run.offset, run.length, at, err);
		if (r == READER_AS_BYTES)
			r = give_bytes(c, &run, at, &why, err);
		at += run.length;
	}
	if (r < 0)
		return r;
	return r == UNREADABLE ? reader_end_unreadable(c->reader, why, err)
			       : reader_end(c->reader, err);
}

int fat_content_report(struct fat_content *c, const struct fat_content_file *file, struct err *err)
{
	const struct fat_entry *entry = file->entry;
	struct measured m;
	struct reader_file out = {
		.path = file->path,
		.path_len = file->path_len,
		.stream = "",
		.inode = file->inode,
		.size = entry->size,
		.mtime = entry->mtime,
		.ctime = entry->ctime,
		.flags = entry->deleted ? READER_DELETED : 0,
		.reason = m.reason,
	};
	enum reader_need need;
	int r;

	measure(c, entry, &m);
	out.digest = m.digest;
	need = reader_need(c->reader, file->inode, m.touched ? NULL : m.digest);
	if (need == READER_NEED_NOTHING)
		return 0;
	if (need == READER_NEED_NAME)
		return reader_unchanged(c->reader, &out, err);
	if (m.reason[0]) {
		out.size = m.len;
		if (entry->deleted && !m.len)
			return 0; /* nothing is left of it */
		if (!entry->deleted)
			out.flags |= m.len ? READER_TRUNCATED : READER_UNREADABLE;
	}
	r = reader_begin(c->reader, &out, err);
	if (r < 0)
		return r;
	return out.flags & READER_UNREADABLE ? reader_end(c->reader, err)
					     : give(c, entry, m.len, err);
}
