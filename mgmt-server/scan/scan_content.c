#include "mgmt-server/scan/scan_content.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "common/io.h"
#include "mgmt-server/scan/content_hash.h"
#include "mgmt-server/scan/reader.h"
#include "mgmt-server/scan/scan_index.h"

/* The engine takes no more at once. Longer contents are scanned in windows that overlap, and are incomplete all the same:
 * a signature for the whole file could not match. */
#define ENGINE_MAX     ((2ULL << 30) - 4096)
#define WINDOW         (512ULL << 20)
#define WINDOW_OVERLAP (16ULL << 20)

void scan_content_free(struct scan_content *c)
{
	if (!c)
		return;
	base_close(c->fd);
	content_room_give(&c->scan->room, c->held);
	free(c->volume);
	free(c->partition);
	free(c->path);
	free(c->stream);
	free(c);
}

void scan_file_seen(struct scan *s, const struct scan_file *file)
{
	pthread_mutex_lock(&s->lock);
	if (file->memory)
		s->result->memory_bytes += file->size;
	else
		s->result->files++;
	s->result->bytes += file->size;
	if (s->order->file)
		s->order->file(s->order->arg, file);
	pthread_mutex_unlock(&s->lock);
}

static void say_incomplete(struct scan *s, const char *text)
{
	pthread_mutex_lock(&s->lock);
	s->incomplete = true;
	if (s->order->reason)
		s->order->reason(s->order->arg, text);
	pthread_mutex_unlock(&s->lock);
}

void scan_incomplete(struct scan *s, const char *format, ...)
{
	char text[2048];
	va_list ap;

	va_start(ap, format);
	vsnprintf(text, sizeof(text), format, ap);
	va_end(ap);
	if (s->index)
		scan_index_reason(s->index, text);
	say_incomplete(s, text);
}

void scan_unfinished(struct scan *s, const char *format, ...)
{
	char text[2048];
	va_list ap;

	va_start(ap, format);
	vsnprintf(text, sizeof(text), format, ap);
	va_end(ap);
	say_incomplete(s, text);
}

static void report_finding(struct scan *s, const struct scan_finding *finding)
{
	pthread_mutex_lock(&s->lock);
	s->infected = true;
	if (s->order->finding)
		s->order->finding(s->order->arg, finding);
	pthread_mutex_unlock(&s->lock);
}

static void report_reply(const struct scan_content *c, const struct engine_reply *reply)
{
	struct scan *s = c->scan;
	const struct scan_finding finding = { .volume = c->volume,
					      .partition = c->partition,
					      .path = c->path,
					      .stream = c->stream,
					      .signature = reply->text };

	if (reply->verdict == ENGINE_UNFINISHED)
		scan_unfinished(s, "unfinished: %s %s %s%s%s: %s", c->volume, c->partition, c->path,
				c->stream[0] ? ":" : "", c->stream, reply->text);
	if (reply->verdict == ENGINE_INFECTED)
		report_finding(s, &finding);
}

void scan_content_same(struct scan *s, const char *volume, const char *partition,
		       const struct scan_index_file *f)
{
	const struct scan_finding finding = { .volume = volume,
					      .partition = partition,
					      .path = f->path,
					      .stream = f->stream,
					      .signature = f->signature };
	struct scan_file file = { .volume = volume,
				  .partition = partition,
				  .path = f->path,
				  .stream = f->stream,
				  .inode = f->inode,
				  .size = f->size,
				  .has_sha256 = true };

	memcpy(file.sha256, f->sha256, sizeof(file.sha256));
	scan_file_seen(s, &file);
	pthread_mutex_lock(&s->lock);
	s->result->reused_files++;
	pthread_mutex_unlock(&s->lock);
	if (f->signature)
		report_finding(s, &finding);
}

int scan_content_seal(int fd)
{
	return fcntl(fd, F_ADD_SEALS, F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE) < 0
		       ? -errno
		       : 0;
}

/* [offset, offset + len) of @fd as a memfd of its own; -1 with errno. */
static int copy_window(int fd, uint64_t offset, uint64_t len)
{
	CLEANUP_FD int window = memfd_create("window", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	CLEANUP_FREE uint8_t *buf = malloc(1 << 20);
	uint64_t done = 0;

	if (window < 0 || !buf || ftruncate(window, (off_t)len) < 0)
		return -1;
	while (done < len) {
		off_t data = lseek(fd, (off_t)(offset + done), SEEK_DATA);
		size_t n;

		if (data < 0 || (uint64_t)data >= offset + len)
			break;
		done = (uint64_t)data - offset;
		n = len - done < 1 << 20 ? (size_t)(len - done) : 1 << 20;
		if (io_pread_full(fd, buf, n, offset + done) ||
		    io_pwrite_full(window, buf, n, done) < 0)
			return -1;
		done += n;
	}
	if (scan_content_seal(window) < 0)
		return -1;
	return TAKE_FD(window);
}

static void scan_windows(const struct scan_content *c, struct engine_client *engine,
			 struct engine_reply *reply)
{
	uint64_t offset = 0;

	*reply = (struct engine_reply){ .verdict = ENGINE_CLEAN };
	while (offset < c->size && reply->verdict != ENGINE_INFECTED) {
		off_t data = lseek(c->fd, (off_t)offset, SEEK_DATA);
		uint64_t len;
		int window;

		if (data < 0)
			break; /* a hole up to the end */
		offset = (uint64_t)data;
		len = c->size - offset < WINDOW ? c->size - offset : WINDOW;
		window = copy_window(c->fd, offset, len);
		if (window < 0)
			break;
		engine_client_scan(engine, window, len, reply);
		close(window);
		offset += len < WINDOW ? len : WINDOW - WINDOW_OVERLAP;
	}
	if (reply->verdict != ENGINE_INFECTED) {
		reply->verdict = ENGINE_UNFINISHED;
		snprintf(reply->text, sizeof(reply->text),
			 "larger than the engine takes at once; scanned in pieces");
	}
}

/* @key: what its verdict goes by; NULL: it could not be hashed. */
static void scan_bytes(const struct scan_content *c, const uint8_t *key)
{
	struct scan *s = c->scan;
	struct engine_client *engine;
	struct engine_reply reply = { 0 };

	if (key && content_cache_find(s->cache, key, c->size, &reply)) {
		report_reply(c, &reply);
		return;
	}
	engine = scan_engine(s);
	if (!engine)
		return;
	if (c->memory)
		engine_client_scan_memory(engine, c->fd, c->size, &reply);
	else if (c->size > ENGINE_MAX)
		scan_windows(c, engine, &reply);
	else
		engine_client_scan(engine, c->fd, c->size, &reply);
	if (key)
		content_cache_add(s->cache, key, c->size, &reply);
	pthread_mutex_lock(&s->lock);
	s->result->scanned_contents++;
	pthread_mutex_unlock(&s->lock);
	report_reply(c, &reply);
}

/* What cannot be remembered is a place that is read again, and one that no hunt finds: the reasons must say so. */
static void remember(const struct scan_content *c, const uint8_t *key)
{
	int r = 0;

	if (!c->part || c->flags & READER_DELETED)
		return;
	if (key)
		r = scan_index_seen(c->part, &(struct scan_index_file){
						     .inode = c->inode,
						     .size = c->size,
						     .path = c->path,
						     .stream = c->stream,
						     .sha256 = key,
						     .digest = c->has_digest ? c->digest : NULL });
	if (r == 0 && (!key || c->flags & (READER_UNREADABLE | READER_TRUNCATED)))
		r = scan_index_problem(c->part, c->inode);
	if (r < 0)
		scan_incomplete(c->scan, "unfinished: %s %s %s: not enough memory to remember it",
				c->volume, c->partition, c->path);
}

static void count_read(const struct scan_content *c)
{
	pthread_mutex_lock(&c->scan->lock);
	c->scan->result->read_bytes += c->received;
	pthread_mutex_unlock(&c->scan->lock);
}

struct scan_file scan_content_file(const struct scan_content *c)
{
	return (struct scan_file){ .volume = c->volume,
				   .partition = c->partition,
				   .path = c->path,
				   .stream = c->stream,
				   .inode = c->inode,
				   .size = c->size,
				   .flags = c->flags,
				   .memory = c->memory };
}

void scan_content_known(struct scan_content *c, const uint8_t *sha256,
			const struct engine_reply *reply)
{
	struct scan_file file = scan_content_file(c);

	memcpy(file.sha256, sha256, sizeof(file.sha256));
	file.has_sha256 = true;
	scan_file_seen(c->scan, &file);
	pthread_mutex_lock(&c->scan->lock);
	c->scan->result->known_contents++;
	pthread_mutex_unlock(&c->scan->lock);
	remember(c, sha256);
	report_reply(c, reply);
	scan_content_free(c);
}

int scan_content_task(void *arg, struct err *err)
{
	struct scan_content *c = arg;
	struct scan *s = c->scan;
	struct scan_file file = scan_content_file(c);
	bool cancelled = s->order->cancel && atomic_load(s->order->cancel);
	uint8_t key[CONTENT_CACHE_SHA256_LEN];
	int r = 0;

	(void)err;
	if (!cancelled) {
		r = content_hash(c->fd, c->size, file.sha256);
		file.has_sha256 = r == 0;
		if (r < 0)
			scan_incomplete(s,
					"unfinished: %s %s %s: its %llu bytes were not hashed: %s",
					c->volume, c->partition, c->path,
					(unsigned long long)c->size, strerror(-r));
		memcpy(key, file.sha256, sizeof(key));
		if (c->memory)
			content_hash_of_memory(key);
		else if (r == 0 && c->has_identity)
			identity_memo_add(s->identities, c->identity, c->size, key);
		scan_file_seen(s, &file);
		count_read(c);
		remember(c, r == 0 ? key : NULL);
		if (s->order->signatures && c->size)
			scan_bytes(c, r == 0 ? key : NULL);
	}
	if (cancelled)
		scan_unfinished(s, "cancelled");
	scan_content_free(c);
	return 0;
}
