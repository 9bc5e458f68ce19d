/* postcopy_fetch.c - jobs in, chunks out, one mutex.
 *
 * Invariant: background_running <= BACKGROUND_MAX < THREADS, so a demand never waits for a background batch to end.
 */
#include "migrate/postcopy_fetch.h"

#include <assert.h>
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "common/clock.h"

enum {
	THREADS = 8,
	BACKGROUND_MAX = 4,
	BATCH_MIN = 16,     /* 256 KiB: four of them fill a line of 20 MB/s and 40 ms */
	WAITING_MAX = 1024, /* chunks that are here and not taken: 16 MiB */
	SHORT_MS = 25,
	LONG_MS = 50, /* of a batch, beyond the store's own latency */
	CALM_MS = 30, /* after a demand: a guest that waited once will soon wait again */
};

struct job {
	void *next;
	bool demanded;
	size_t n;
	struct postcopy_pages_chunk chunks[];
};

struct queue {
	void *first,
		**end; /* of struct job or struct postcopy_fetch_chunk: next is the first member of both */
};

struct postcopy_fetch {
	struct chunk_source source;
	const struct postcopy_fetch_block *blocks;
	size_t block_count;
	int wakeup_fd;
	pthread_t threads[THREADS];
	unsigned thread_count;

	pthread_mutex_t lock; /* for what follows */
	pthread_cond_t work;
	bool stop;
	struct queue demands, batches, demanded_here, others_here;
	size_t waiting; /* chunks in the latter two */
	unsigned demands_open, background_running;
	uint64_t calm_at_ms; /* when the guest's last demand counts as over */
	size_t batch;        /* chunks in a background batch */
	uint64_t latency_ms; /* the shortest fetch so far */
	int failure;
	struct err err;
};

static void queue_init(struct queue *q)
{
	q->first = NULL;
	q->end = &q->first;
}

static void queue_put(struct queue *q, void *item)
{
	*(void **)item = NULL;
	*q->end = item;
	q->end = (void **)item;
}

static void *queue_take(struct queue *q)
{
	void *item = q->first;

	if (item) {
		q->first = *(void **)item;
		if (!q->first)
			q->end = &q->first;
	}
	return item;
}

static void queue_clear(struct queue *q)
{
	void *item;

	while ((item = queue_take(q)))
		free(item);
}

_Static_assert(offsetof(struct job, next) == 0 && offsetof(struct postcopy_fetch_chunk, next) == 0,
	       "queues link through the first member");

static void wake_caller(struct postcopy_fetch *f)
{
	uint64_t one = 1;

	/* It can only fail when the counter is full, and then the caller is awake anyway. */
	if (write(f->wakeup_fd, &one, sizeof(one)) < 0)
		return;
}

/* ---- In a thread ---------------------------------------------------------------------------------------------- */

/* What a job is being turned into: ids, and for each id of get() which chunk of the job it is. */
struct fetching {
	struct postcopy_fetch *f;
	const struct job *job;
	struct chunk_id ids[POSTCOPY_FETCH_BATCH_MAX];
	size_t wanted[POSTCOPY_FETCH_BATCH_MAX];
	size_t n;
};

static size_t chunk_len(const struct postcopy_fetch_block *b, uint64_t number)
{
	uint64_t left = b->size - number * b->grid;

	return left < b->grid ? (size_t)left : b->grid;
}

static int deliver(struct postcopy_fetch *f, const struct job *job, size_t i, const uint8_t *data,
		   size_t len, struct err *err)
{
	struct postcopy_fetch_chunk *c = malloc(sizeof(*c) + len);

	if (!c)
		return err_set(err, ENOMEM, "fetch memory");
	c->at = job->chunks[i];
	c->len = len;
	if (len)
		memcpy(c->data, data, len);
	pthread_mutex_lock(&f->lock);
	queue_put(job->demanded ? &f->demanded_here : &f->others_here, c);
	f->waiting++;
	pthread_mutex_unlock(&f->lock);
	wake_caller(f);
	return 0;
}

static int arrived(void *arg, size_t i, const uint8_t *data, size_t len, struct err *err)
{
	struct fetching *g = arg;
	const struct postcopy_pages_chunk *at = &g->job->chunks[g->wanted[i]];

	if (len != chunk_len(&g->f->blocks[at->block], at->number))
		return err_say(err, EBADMSG, "chunk %llu of RAM block %u is of %zu bytes",
			       (unsigned long long)at->number, at->block, len);
	return deliver(g->f, g->job, g->wanted[i], data, len, err);
}

/* The ids of the job's chunks, neighbours by one call; zeros are delivered at once. */
static int look_up(struct fetching *g, struct err *err)
{
	struct chunk_id ids[POSTCOPY_FETCH_BATCH_MAX];
	const struct job *job = g->job;
	size_t run;
	int r;

	for (size_t i = 0; i < job->n; i += run) {
		const struct postcopy_pages_chunk *first = &job->chunks[i];

		run = 1;
		while (i + run < job->n && first[run].block == first->block &&
		       first[run].number == first->number + run)
			run++;
		r = volume_reader_ids(g->f->blocks[first->block].reader, first->number, run, ids,
				      err);
		if (r < 0)
			return r;
		for (size_t k = 0; k < run; k++) {
			if (!chunk_id_is_zero(&ids[k])) {
				g->ids[g->n] = ids[k];
				g->wanted[g->n++] = i + k;
				continue;
			}
			r = deliver(g->f, job, i + k, NULL, 0, err);
			if (r < 0)
				return r;
		}
	}
	return 0;
}

/* A store that answers slowly because its line is full gets smaller batches, one that is only far away does not. */
static void learn(struct postcopy_fetch *f, const struct job *job, size_t fetched, uint64_t took_ms)
{
	if (fetched == 0)
		return;
	if (took_ms < f->latency_ms)
		f->latency_ms = took_ms;
	if (job->demanded || fetched < job->n / 2)
		return;
	if (took_ms > 2 * f->latency_ms + LONG_MS && f->batch > BATCH_MIN)
		f->batch /= 2;
	else if (took_ms < f->latency_ms + SHORT_MS && f->batch < POSTCOPY_FETCH_BATCH_MAX)
		f->batch *= 2;
}

static void work_on(struct postcopy_fetch *f, const struct job *job)
{
	struct fetching *g = malloc(sizeof(*g));
	uint64_t began_ms = clock_now_ms();
	struct err err = { 0 };
	size_t fetched = 0;
	int r;

	if (g) {
		g->f = f;
		g->job = job;
		g->n = 0;
		r = look_up(g, &err);
		fetched = g->n;
		if (r == 0 && g->n)
			r = f->source.get(f->source.ctx, g->ids, g->n, arrived, g, &err);
		free(g);
	} else {
		r = err_set(&err, ENOMEM, "fetch memory");
	}

	pthread_mutex_lock(&f->lock);
	learn(f, job, fetched, clock_now_ms() - began_ms);
	if (job->demanded)
		f->demands_open -= (unsigned)job->n;
	else
		f->background_running--;
	if (r < 0 && !f->failure) {
		f->failure = r;
		f->err = err;
	}
	pthread_mutex_unlock(&f->lock);
	wake_caller(f);
}

static void *thread_main(void *arg)
{
	struct postcopy_fetch *f = arg;

	pthread_mutex_lock(&f->lock);
	while (!f->stop) {
		struct job *job = queue_take(&f->demands);

		if (!job)
			job = queue_take(&f->batches);
		if (!job) {
			pthread_cond_wait(&f->work, &f->lock);
			continue;
		}
		pthread_mutex_unlock(&f->lock);
		work_on(f, job);
		free(job);
		pthread_mutex_lock(&f->lock);
	}
	pthread_mutex_unlock(&f->lock);
	return NULL;
}

/* ---- The caller's side ---------------------------------------------------------------------------------------- */

int postcopy_fetch_new(struct postcopy_fetch **out, struct chunk_source source,
		       const struct postcopy_fetch_block *blocks, size_t n, struct err *err)
{
	CLEANUP(postcopy_fetch_free) struct postcopy_fetch *f = calloc(1, sizeof(*f));
	int r;

	if (!f)
		return err_set(err, ENOMEM, "start fetching memory");
	f->source = source;
	f->blocks = blocks;
	f->block_count = n;
	f->batch = BATCH_MIN;
	f->latency_ms = UINT32_MAX;
	pthread_mutex_init(&f->lock, NULL);
	pthread_cond_init(&f->work, NULL);
	queue_init(&f->demands);
	queue_init(&f->batches);
	queue_init(&f->demanded_here);
	queue_init(&f->others_here);
	f->wakeup_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (f->wakeup_fd < 0)
		return err_set(err, errno, "start fetching memory");
	while (f->thread_count < THREADS) {
		r = pthread_create(&f->threads[f->thread_count], NULL, thread_main, f);
		if (r)
			return err_set(err, r, "start a thread that fetches memory");
		f->thread_count++;
	}
	*out = TAKE(f);
	return 0;
}

void postcopy_fetch_free(struct postcopy_fetch *fetch)
{
	if (!fetch)
		return;
	pthread_mutex_lock(&fetch->lock);
	fetch->stop = true;
	pthread_cond_broadcast(&fetch->work);
	pthread_mutex_unlock(&fetch->lock);
	for (unsigned i = 0; i < fetch->thread_count; i++)
		pthread_join(fetch->threads[i], NULL);
	queue_clear(&fetch->demands);
	queue_clear(&fetch->batches);
	queue_clear(&fetch->demanded_here);
	queue_clear(&fetch->others_here);
	pthread_cond_destroy(&fetch->work);
	pthread_mutex_destroy(&fetch->lock);
	base_close(fetch->wakeup_fd);
	free(fetch);
}

int postcopy_fetch_wakeup_fd(const struct postcopy_fetch *fetch)
{
	return fetch->wakeup_fd;
}

static int submit(struct postcopy_fetch *f, bool demanded,
		  const struct postcopy_pages_chunk *chunks, size_t n, struct err *err)
{
	struct job *job = malloc(sizeof(*job) + n * sizeof(*chunks));

	if (!job)
		return err_set(err, ENOMEM, "fetch memory");
	job->demanded = demanded;
	job->n = n;
	memcpy(job->chunks, chunks, n * sizeof(*chunks));
	pthread_mutex_lock(&f->lock);
	queue_put(demanded ? &f->demands : &f->batches, job);
	if (demanded) {
		f->demands_open++;
		f->calm_at_ms = clock_now_ms() + CALM_MS;
	} else {
		f->background_running++;
	}
	pthread_cond_signal(&f->work);
	pthread_mutex_unlock(&f->lock);
	return 0;
}

int postcopy_fetch_demand(struct postcopy_fetch *fetch, struct postcopy_pages_chunk chunk,
			  struct err *err)
{
	return submit(fetch, true, &chunk, 1, err);
}

size_t postcopy_fetch_room(struct postcopy_fetch *fetch)
{
	size_t room = 0;
	bool busy;

	pthread_mutex_lock(&fetch->lock);
	/* While the guest waits, the line belongs to its demands; one small batch at a time keeps a guest that always
	 * waits from stopping the background for ever. */
	busy = fetch->demands_open || clock_now_ms() < fetch->calm_at_ms;
	if (!fetch->failure && fetch->background_running < (busy ? 1 : BACKGROUND_MAX) &&
	    fetch->waiting < WAITING_MAX)
		room = busy ? BATCH_MIN : fetch->batch;
	pthread_mutex_unlock(&fetch->lock);
	return room;
}

int postcopy_fetch_background(struct postcopy_fetch *fetch,
			      const struct postcopy_pages_chunk *chunks, size_t n, struct err *err)
{
	assert(n > 0 && n <= POSTCOPY_FETCH_BATCH_MAX);
	return submit(fetch, false, chunks, n, err);
}

int postcopy_fetch_take(struct postcopy_fetch *fetch, struct postcopy_fetch_chunk **out,
			struct err *err)
{
	struct postcopy_fetch_chunk *c;
	int r;

	pthread_mutex_lock(&fetch->lock);
	c = queue_take(&fetch->demanded_here);
	if (!c)
		c = queue_take(&fetch->others_here);
	if (c)
		fetch->waiting--;
	r = fetch->failure;
	if (!c && r < 0 && err)
		*err = fetch->err;
	pthread_mutex_unlock(&fetch->lock);
	*out = c;
	return c ? 0 : r;
}
