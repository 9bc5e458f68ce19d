#include "snapshot/nbd_input.h"

#include <errno.h>
#include <libnbd.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "common/clock.h"
#include "common/io.h"
#include "common/unix_socket.h"

enum {
	CONNECTIONS_MAX = 16,
	REQUEST = 64 << 10,    /* bytes of one read: QEMU serves many small ones in parallel */
	STALL_MS = 60000,      /* no answer for so long: the other side is stuck */
	STATUS_STEP = 1 << 30, /* bytes of one block status request */
	BITMAP_DIRTY = 1,      /* flag of qemu:dirty-bitmap:… */
};

struct connection {
	pthread_mutex_t lock; /* whoever talks on it holds this */
	struct nbd_handle *nbd;
};

/* Extents in order, without gaps between 0 and the size. */
struct map {
	struct extent {
		uint64_t end;
		bool set;
	} * list;
	size_t count, capacity;
};

struct nbd_input {
	char *name; /* "socket (export)" for error texts */
	uint64_t size;
	bool has_allocation;
	struct map zeros;
	atomic_uint next;
	unsigned count;
	struct connection connections[CONNECTIONS_MAX];
};

static int nbd_failed(const struct nbd_input *input, struct err *err, const char *what)
{
	int code = nbd_get_errno();

	return err_say(err, code ? code : EIO, "NBD %s: %s: %s", input->name, what,
		       nbd_get_error());
}

/* ---- Block status ------------------------------------------------------------------------------------------ */

struct status {
	const char *context;
	uint32_t flag;
	struct map *map;
	uint64_t offset, end; /* of what was asked for; offset grows */
	bool no_memory;
};

static bool map_add(struct map *map, uint64_t end, bool set)
{
	if (map->count && map->list[map->count - 1].set == set) {
		map->list[map->count - 1].end = end;
		return true;
	}
	if (map->count == map->capacity) {
		size_t n = map->capacity ? 2 * map->capacity : 64;
		struct extent *list = realloc(map->list, n * sizeof(*list));

		if (!list)
			return false;
		map->list = list;
		map->capacity = n;
	}
	map->list[map->count++] = (struct extent){ end, set };
	return true;
}

static int on_status(void *arg, const char *context, uint64_t offset, uint32_t *entries, size_t n,
		     int *error)
{
	struct status *s = arg;

	(void)error;
	if (strcmp(context, s->context) != 0 || offset != s->offset)
		return 0;
	for (size_t i = 0; i + 1 < n && s->offset < s->end; i += 2) {
		/* A server may describe more than it was asked about. */
		s->offset += entries[i];
		if (s->offset > s->end)
			s->offset = s->end;
		if (entries[i] && !map_add(s->map, s->offset, entries[i + 1] & s->flag))
			s->no_memory = true;
	}
	return 0;
}

static int map_load(struct nbd_input *input, const char *context, uint32_t flag, struct map *map,
		    struct err *err)
{
	struct connection *c = &input->connections[0];
	struct status s = { .context = context, .flag = flag, .map = map };
	int r = 0;

	pthread_mutex_lock(&c->lock);
	while (r == 0 && s.offset < input->size) {
		uint64_t from = s.offset, len = input->size - from;
		nbd_extent_callback callback = { .callback = on_status, .user_data = &s };

		if (len > STATUS_STEP)
			len = STATUS_STEP;
		s.end = from + len;
		if (nbd_block_status(c->nbd, len, from, callback, 0) < 0)
			r = nbd_failed(input, err, "block status");
		else if (s.no_memory)
			r = err_set(err, ENOMEM, "NBD %s: list of extents", input->name);
		else if (s.offset == from)
			r = err_say(err, EPROTO, "NBD %s: the server says nothing about %s at %llu",
				    input->name, context, (unsigned long long)from);
	}
	pthread_mutex_unlock(&c->lock);
	return r;
}

static int extent(void *ctx, uint64_t offset, uint64_t *len, bool *zero, struct err *err)
{
	struct nbd_input *input = ctx;
	const struct map *map = &input->zeros;
	size_t low = 0, high = map->count;

	(void)err;
	while (low < high) { /* the first extent that ends behind @offset */
		size_t mid = (low + high) / 2;

		if (map->list[mid].end <= offset)
			low = mid + 1;
		else
			high = mid;
	}
	*zero = low < map->count && map->list[low].set;
	*len = (low < map->count ? map->list[low].end : input->size) - offset;
	return 0;
}

/* ---- Connecting -------------------------------------------------------------------------------------------- */

static char *bitmap_context(const char *bitmap)
{
	return io_printf("qemu:dirty-bitmap:%s", bitmap);
}

static int handle_prepare(struct nbd_handle *nbd, const struct nbd_input_options *options)
{
	CLEANUP_FREE char *context = NULL;

	if (nbd_set_export_name(nbd, options->export_name ? options->export_name : "") < 0 ||
	    nbd_add_meta_context(nbd, LIBNBD_CONTEXT_BASE_ALLOCATION) < 0)
		return -1;
	if (!options->bitmap)
		return 0;
	context = bitmap_context(options->bitmap);
	return context ? nbd_add_meta_context(nbd, context) : -1;
}

static int connection_open(struct nbd_input *input, const struct nbd_input_options *options,
			   struct err *err)
{
	struct connection *c = &input->connections[input->count];
	int fd;

	c->nbd = nbd_create();
	if (!c->nbd)
		return err_set(err, ENOMEM, "connect to NBD %s", input->name);
	pthread_mutex_init(&c->lock, NULL);
	input->count++;
	if (handle_prepare(c->nbd, options) < 0)
		return nbd_failed(input, err, "prepare");
	/* Our own connect reaches socket paths that are longer than libnbd's could be. */
	fd = unix_socket_connect(options->socket_path, err);
	if (fd < 0)
		return fd;
	return nbd_connect_socket(c->nbd, fd) < 0 ? nbd_failed(input, err, "connect") : 0;
}

/* What the first connection tells about the export. */
static int learn(struct nbd_input *input, const struct nbd_input_options *options, struct err *err)
{
	struct nbd_handle *nbd = input->connections[0].nbd;
	CLEANUP_FREE char *context = options->bitmap ? bitmap_context(options->bitmap) : NULL;
	int64_t size = nbd_get_size(nbd);

	if (size < 0)
		return nbd_failed(input, err, "size");
	input->size = (uint64_t)size;
	input->has_allocation = nbd_can_meta_context(nbd, LIBNBD_CONTEXT_BASE_ALLOCATION) == 1;
	if (context && nbd_can_meta_context(nbd, context) != 1)
		return err_say(err, ENODATA, "NBD %s: the export has no dirty bitmap '%s'",
			       input->name, options->bitmap);
	return input->has_allocation ? map_load(input, LIBNBD_CONTEXT_BASE_ALLOCATION,
						LIBNBD_STATE_ZERO, &input->zeros, err)
				     : 0;
}

int nbd_input_open(struct nbd_input **out, const struct nbd_input_options *options, struct err *err)
{
	CLEANUP(nbd_input_close) struct nbd_input *input = calloc(1, sizeof(*input));
	unsigned n = options->connections ? options->connections : 2;
	int r = 0;

	if (!input)
		return err_set(err, ENOMEM, "connect to NBD %s", options->socket_path);
	input->name = io_printf("%s (%s)", options->socket_path,
				options->export_name ? options->export_name : "");
	if (!input->name)
		return err_set(err, ENOMEM, "connect to NBD %s", options->socket_path);
	for (unsigned i = 0; r == 0 && i < n && i < CONNECTIONS_MAX; i++)
		r = connection_open(input, options, err);
	if (r == 0)
		r = learn(input, options, err);
	if (r < 0)
		return r;
	*out = TAKE(input);
	return 0;
}

bool nbd_input_answers(const char *socket_path)
{
	struct nbd_handle *nbd = nbd_create();
	struct err why = { 0 };
	bool answers = false;
	int fd = nbd && nbd_set_opt_mode(nbd, true) == 0 ? unix_socket_connect(socket_path, &why)
							 : -1;

	if (fd >= 0 && nbd_connect_socket(nbd, fd) == 0) {
		answers = true;
		nbd_opt_abort(nbd);
	}
	nbd_close(nbd);
	return answers;
}

void nbd_input_close(struct nbd_input *input)
{
	if (!input)
		return;
	for (unsigned i = 0; i < input->count; i++) {
		if (input->connections[i].nbd && nbd_aio_is_ready(input->connections[i].nbd) == 1)
			nbd_shutdown(input->connections[i].nbd, 0);
		nbd_close(input->connections[i].nbd);
		pthread_mutex_destroy(&input->connections[i].lock);
	}
	free(input->zeros.list);
	free(input->name);
	free(input);
}

/* ---- Reading ----------------------------------------------------------------------------------------------- */

struct pending {
	unsigned count;
	int error; /* of the first request that failed */
};

static int on_read(void *arg, int *error)
{
	struct pending *p = arg;

	p->count--;
	if (*error && !p->error)
		p->error = *error;
	return 1; /* the command needs no further look */
}

/* A connection that nobody uses, else one that will be free some time; locked. */
static struct connection *take_connection(struct nbd_input *input)
{
	unsigned first = atomic_fetch_add(&input->next, 1);

	for (unsigned i = 0; i < input->count; i++) {
		struct connection *c = &input->connections[(first + i) % input->count];

		if (pthread_mutex_trylock(&c->lock) == 0)
			return c;
	}
	pthread_mutex_lock(&input->connections[first % input->count].lock);
	return &input->connections[first % input->count];
}

static int wait_all(struct nbd_input *input, struct connection *c, struct pending *pending,
		    struct err *err)
{
	uint64_t last = clock_now_ms();
	unsigned before = pending->count;

	while (pending->count) {
		if (nbd_poll(c->nbd, 1000) < 0)
			return nbd_failed(input, err, "read");
		if (pending->count != before) {
			before = pending->count;
			last = clock_now_ms();
		} else if (clock_now_ms() - last > STALL_MS) {
			return err_say(err, ETIMEDOUT, "NBD %s: no answer for %d s", input->name,
				       STALL_MS / 1000);
		}
	}
	return 0;
}

static int read_on(struct nbd_input *input, struct connection *c, uint8_t *buf, size_t len,
		   uint64_t offset, struct err *err)
{
	struct pending pending = { 0 };
	int r = 0, waited;

	for (size_t at = 0; r == 0 && at < len; at += REQUEST) {
		size_t n = len - at < REQUEST ? len - at : REQUEST;
		nbd_completion_callback done = { .callback = on_read, .user_data = &pending };

		if (nbd_aio_pread(c->nbd, buf + at, n, offset + at, done, 0) < 0)
			r = nbd_failed(input, err, "read");
		else
			pending.count++;
	}
	/* Answers write into @buf and count in `pending`, so they are awaited whatever happened. */
	waited = wait_all(input, c, &pending, r < 0 ? NULL : err);
	if (waited < 0) {
		/* Requests that are never answered go away with their connection. */
		nbd_close(c->nbd);
		c->nbd = NULL;
	}
	if (r == 0)
		r = waited;
	if (r == 0 && pending.error)
		r = err_set(err, pending.error, "NBD %s: read %zu bytes at %llu", input->name, len,
			    (unsigned long long)offset);
	return r;
}

static int read_at(void *ctx, uint8_t *buf, size_t len, uint64_t offset, struct err *err)
{
	struct nbd_input *input = ctx;
	struct connection *c = take_connection(input);
	int r;

	if (c->nbd)
		r = read_on(input, c, buf, len, offset, err);
	else
		r = err_say(err, ENOTCONN, "NBD %s: the connection was lost", input->name);
	pthread_mutex_unlock(&c->lock);
	return r;
}

struct volume_input nbd_input_volume(struct nbd_input *input)
{
	return (struct volume_input){ .ctx = input,
				      .size = input->size,
				      .read = read_at,
				      .extent = input->has_allocation ? extent : NULL };
}

/* ---- Dirty bitmap ------------------------------------------------------------------------------------------ */

/* The context that was negotiated is the handle's second. */
static int dirty_load(struct nbd_input *input, struct map *map, struct err *err)
{
	CLEANUP_FREE char *context = nbd_get_meta_context(input->connections[0].nbd, 1);

	if (!context)
		return err_say(err, ENODATA, "NBD %s: no dirty bitmap was asked for", input->name);
	return map_load(input, context, BITMAP_DIRTY, map, err);
}

int nbd_input_dirty(struct nbd_input *input, struct volume_extent **out, size_t *count,
		    struct err *err)
{
	struct volume_extent *list = NULL;
	struct map map = { 0 };
	uint64_t start = 0;
	size_t n = 0;
	int r = dirty_load(input, &map, err);

	if (r == 0) {
		list = calloc(map.count + 1, sizeof(*list));
		if (!list)
			r = err_set(err, ENOMEM, "NBD %s: list of extents", input->name);
	}
	for (size_t i = 0; r == 0 && i < map.count; i++) {
		if (map.list[i].set)
			list[n++] = (struct volume_extent){ start, map.list[i].end - start };
		start = map.list[i].end;
	}
	free(map.list);
	if (r < 0)
		return r;
	*out = list;
	*count = n;
	return 0;
}
