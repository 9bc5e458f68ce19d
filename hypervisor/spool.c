#include "hypervisor/spool.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/io.h"
#include "hypervisor/deadline.h"
#include "snapshot/qemu_stream.h"

enum {
	CHUNK = 1 << 20,
	HEAD_MAX = 1 << 20, /* the first page begins within these, or it is no stream of ours */
};

struct spool {
	int fd, memfd, wake_fd;
	void (*instant)(void *arg);
	void *arg;
	pthread_t reader;

	pthread_mutex_t lock;
	pthread_cond_t changed;
	bool reached, ended; /* set once */
	int result;          /* 0, or what went wrong first; its text is in err */
	struct err err;
	uint64_t bytes;

	/* The reader's own. */
	uint8_t *chunk, *head;
	size_t head_len;
};

static void wake(struct spool *s)
{
	uint64_t one = 1;

	if (write(s->wake_fd, &one, sizeof(one)) < 0)
		assert(errno == EAGAIN); /* it is readable already */
}

static void fail(struct spool *s, int code, const char *what)
{
	pthread_mutex_lock(&s->lock);
	if (s->result == 0)
		s->result = err_set(&s->err, code, "%s", what);
	pthread_mutex_unlock(&s->lock);
}

static void look_for_instant(struct spool *s, size_t n)
{
	size_t take = n < HEAD_MAX - s->head_len ? n : HEAD_MAX - s->head_len;
	int r;

	memcpy(s->head + s->head_len, s->chunk, take);
	s->head_len += take;
	r = qemu_stream_instant_reached(s->head, s->head_len);
	if (r == 0 && s->head_len < HEAD_MAX)
		return;
	if (r == 1)
		s->instant(s->arg);
	else
		fail(s, EBADMSG, "what QEMU sends is no migration stream");
	pthread_mutex_lock(&s->lock);
	s->reached = r == 1;
	pthread_mutex_unlock(&s->lock);
	free(TAKE(s->head));
	wake(s);
}

static void *read_loop(void *arg)
{
	struct spool *s = arg;
	uint64_t at = 0;
	ssize_t n;

	while ((n = read(s->fd, s->chunk, CHUNK)) != 0) {
		int r;

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0) {
			fail(s, errno, "read the migration stream");
			break;
		}
		if (s->head)
			look_for_instant(s, (size_t)n);
		r = s->result < 0 ? 0 : io_pwrite_full(s->memfd, s->chunk, (size_t)n, at);
		if (r < 0)
			fail(s, -r, "keep the migration stream in memory");
		at += (uint64_t)n;
	}
	pthread_mutex_lock(&s->lock);
	s->ended = true;
	s->bytes = at;
	pthread_cond_broadcast(&s->changed);
	pthread_mutex_unlock(&s->lock);
	wake(s);
	return NULL;
}

static void release(struct spool *s)
{
	base_close(s->fd);
	base_close(s->memfd);
	base_close(s->wake_fd);
	pthread_cond_destroy(&s->changed);
	pthread_mutex_destroy(&s->lock);
	free(s->chunk);
	free(s->head);
	free(s);
}

int spool_start(struct spool **out, int fd, void (*instant)(void *arg), void *arg, struct err *err)
{
	struct spool *s = calloc(1, sizeof(*s));
	int code = ENOMEM;

	if (!s) {
		base_close(fd);
		return err_set(err, ENOMEM, "prepare for the migration stream");
	}
	*s = (struct spool){ .fd = fd, .instant = instant, .arg = arg };
	pthread_mutex_init(&s->lock, NULL);
	deadline_init_cond(&s->changed);
	s->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	s->memfd = memfd_create("memory-stream", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	s->chunk = malloc(CHUNK);
	s->head = malloc(HEAD_MAX);
	if (s->wake_fd < 0 || s->memfd < 0)
		code = errno;
	else if (s->chunk && s->head) {
		memset(s->chunk, 0,
		       CHUNK); /* its pages are there before the guest waits for them */
		code = pthread_create(&s->reader, NULL, read_loop, s);
	}
	if (code != 0) {
		release(s);
		return err_set(err, code, "prepare for the migration stream");
	}
	*out = s;
	return 0;
}

int spool_wake_fd(const struct spool *s)
{
	return s->wake_fd;
}

int spool_look(struct spool *s)
{
	int r;

	pthread_mutex_lock(&s->lock);
	r = s->reached ? SPOOL_INSTANT : s->ended || s->result < 0 ? SPOOL_ENDED : 0;
	pthread_mutex_unlock(&s->lock);
	return r;
}

int spool_finish(struct spool *s, int timeout_ms, int *memfd, uint64_t *bytes, struct err *err)
{
	struct timespec deadline = deadline_in(timeout_ms);
	int waited = 0, r;

	pthread_mutex_lock(&s->lock);
	while (!s->ended && waited != ETIMEDOUT)
		waited = pthread_cond_timedwait(&s->changed, &s->lock, &deadline);
	r = s->result;
	if (!s->ended)
		r = err_say(err, ETIMEDOUT, "the memory stream did not end within %d ms",
			    timeout_ms);
	else if (r < 0)
		err_say(err, -r, "%s", err_text(&s->err));
	pthread_mutex_unlock(&s->lock);
	if (r < 0)
		return r;
	if (fcntl(s->memfd, F_ADD_SEALS, F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE) <
	    0)
		return err_set(err, errno, "seal the memory stream");
	*memfd = TAKE_FD(s->memfd);
	*bytes = s->bytes;
	return 0;
}

void spool_free(struct spool *s)
{
	if (!s)
		return;
	shutdown(s->fd, SHUT_RDWR);
	pthread_join(s->reader, NULL);
	release(s);
}
