/* postcopy_source.c - one loop over the socket: requests in, pages out, and a line to the store that is kept busy.
 *
 * The loop never blocks but in poll(2); what may take long is done by postcopy_fetch's threads. Phases:
 *
 *   open     head, advice, discards and the package are queued, then a RAM section is opened    (OPENING)
 *   recover  RECV_BITMAP for each block; once all came: RESUME; once acknowledged: the section   (BITMAPS, RESUMING)
 *   stream   chunks as they arrive, until every page was sent                                    (STREAMING)
 *   close    end marks; QEMU says goodbye when it has loaded everything                          (CLOSING)
 *
 * Requests may come in any phase and only queue demands; pages are written in STREAMING only.
 */
#include "migrate/postcopy_source.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "migrate/postcopy_fetch.h"
#include "migrate/postcopy_pages.h"
#include "migrate/postcopy_wire.h"
#include "snapshot/qemu_stream.h"
#include "snapshot/qemu_stream_head.h"

enum {
	PENDING_MAX =
		256
		<< 10, /* bytes queued before more pages are: what a demanded page may have to wait for */
	RECEIVE_LEN = 64 << 10,
	CANCEL_POLL_MS = 100,
	RESUME_ACKNOWLEDGED = 1,
};
enum { PING_OPENED = 1, PING_PREPARED = 2, PING_LOADED = 3 };

enum phase { OPENING, BITMAPS, RESUMING, STREAMING, CLOSING, DONE };

struct session {
	const struct postcopy_source *order;
	struct err *err;
	enum phase phase;
	struct qemu_stream_head head;
	struct postcopy_fetch_block blocks[QEMU_STREAM_BLOCKS_MAX];
	bool has_bitmap[QEMU_STREAM_BLOCKS_MAX];
	size_t bitmaps;
	struct postcopy_pages pages;
	struct postcopy_fetch *fetch;
	struct postcopy_wire_out out;
	bool more;      /* chunks wait that there was no room for in out */
	int last_sent;  /* block of the last page sent, -1: none */
	int last_asked; /* block of the last request, -1: none */
	uint8_t *in;    /* of the return path */
	size_t in_len, in_cap, bitmap_max;
	struct postcopy_source_stats unwatched;
	struct postcopy_source_stats *stats;
};

/* ---- What the snapshot gives ---------------------------------------------------------------------------------- */

static int read_blob(const struct postcopy_source *order, const char *name, uint64_t max,
		     uint8_t **data, size_t *len, struct err *err)
{
	const struct volume *v = manifest_volume(order->manifest, name);
	CLEANUP(volume_reader_close) struct volume_reader *reader = NULL;
	CLEANUP_FREE uint8_t *buf = NULL;
	int r;

	if (!v)
		return err_say(err, EINVAL, "snapshot %s has no memory: there is no volume %s",
			       order->manifest->id, name);
	if (v->size == 0 || v->size > max)
		return err_say(err, EBADMSG,
			       "snapshot %s: volume %s is of %llu bytes, at most %llu are accepted",
			       order->manifest->id, name, (unsigned long long)v->size,
			       (unsigned long long)max);
	buf = malloc((size_t)v->size);
	if (!buf)
		return err_set(err, ENOMEM, "read volume %s", name);
	r = volume_reader_open(&reader, v, order->source, err);
	if (r == 0)
		r = volume_reader_read(reader, buf, (size_t)v->size, 0, err);
	if (r < 0)
		return err_wrap(err, r, "snapshot %s: volume %s", order->manifest->id, name);
	*len = (size_t)v->size;
	*data = TAKE(buf);
	return 0;
}

static int open_block(struct session *s, size_t i)
{
	const struct qemu_stream_head_block *b = &s->head.blocks[i];
	const struct manifest *m = s->order->manifest;
	char name[sizeof("ram/") + QEMU_STREAM_NAME_MAX];
	const struct volume *v;
	int r;

	snprintf(name, sizeof(name), "ram/%s", b->name);
	v = manifest_volume(m, name);
	if (!v)
		return err_say(s->err, EBADMSG, "snapshot %s has no volume %s", m->id, name);
	if (v->size != b->size || v->grid < QEMU_STREAM_PAGE || v->grid % QEMU_STREAM_PAGE)
		return err_say(s->err, EBADMSG,
			       "snapshot %s: volume %s does not fit the block of %llu bytes", m->id,
			       name, (unsigned long long)b->size);
	s->blocks[i].size = v->size;
	s->blocks[i].grid = v->grid;
	r = volume_reader_open(&s->blocks[i].reader, v, s->order->source, s->err);
	if (r < 0)
		return err_wrap(s->err, r, "snapshot %s: volume %s", m->id, name);
	if (postcopy_wire_bitmap_len(b->size / QEMU_STREAM_PAGE) > s->bitmap_max)
		s->bitmap_max = postcopy_wire_bitmap_len(b->size / QEMU_STREAM_PAGE);
	return postcopy_pages_add(&s->pages, v->size, v->grid, s->err);
}

static int open_blocks(struct session *s, const uint8_t *head, size_t head_len)
{
	int r;

	r = qemu_stream_head_parse(&s->head, head, head_len, s->err);
	if (r == QEMU_STREAM_HEAD_SHORT || (r == 0 && s->head.len != head_len))
		return err_say(s->err, EBADMSG, "snapshot %s: volume qemu/head is not a whole head",
			       s->order->manifest->id);
	if (r < 0)
		return err_wrap(s->err, r, "snapshot %s: volume qemu/head", s->order->manifest->id);
	for (size_t i = 0; i < s->head.block_count; i++) {
		r = open_block(s, i);
		if (r < 0)
			return r;
	}
	atomic_store(&s->stats->pages_total, s->pages.left);
	return postcopy_fetch_new(&s->fetch, s->order->source, s->blocks, s->head.block_count,
				  s->err);
}

/* ---- Opening moves -------------------------------------------------------------------------------------------- */

static void put_ping(struct session *s, uint32_t value)
{
	postcopy_wire_put_command(&s->out, POSTCOPY_WIRE_PING, 4);
	postcopy_wire_put_be(&s->out, value, 4);
}

/* From here on pages may follow. */
static void open_section(struct session *s)
{
	postcopy_wire_put_section(&s->out, QEMU_STREAM_HEAD_PART, s->head.ram_section);
	s->phase = STREAMING;
}

static void queue_package(struct session *s, const uint8_t *devices, size_t devices_len)
{
	enum { LISTEN_LEN = 5, PING_LEN = 9, RUN_LEN = 5 };

	postcopy_wire_put_command(&s->out, POSTCOPY_WIRE_PACKAGED, 4);
	postcopy_wire_put_be(&s->out, LISTEN_LEN + devices_len + PING_LEN + RUN_LEN, 4);
	postcopy_wire_put_command(&s->out, POSTCOPY_WIRE_LISTEN, 0);
	postcopy_wire_put(&s->out, devices, devices_len);
	put_ping(s, PING_LOADED);
	postcopy_wire_put_command(&s->out, POSTCOPY_WIRE_RUN, 0);
}

static int queue_opening(struct session *s, const uint8_t *head)
{
	CLEANUP_FREE uint8_t *tail = NULL;
	size_t tail_len, devices_len;
	int r;

	r = read_blob(s->order, "qemu/tail", QEMU_STREAM_TAIL_MAX, &tail, &tail_len, s->err);
	if (r < 0)
		return r;
	r = qemu_stream_devices_len(tail, tail_len, &devices_len, s->err);
	if (r < 0)
		return err_wrap(s->err, r, "snapshot %s: volume qemu/tail", s->order->manifest->id);

	postcopy_wire_put(&s->out, head, s->head.configuration_len);
	postcopy_wire_put_command(&s->out, POSTCOPY_WIRE_OPEN_RETURN_PATH, 0);
	put_ping(s, PING_OPENED);
	postcopy_wire_put_command(&s->out, POSTCOPY_WIRE_ADVISE, 16);
	postcopy_wire_put_be(&s->out, QEMU_STREAM_PAGE, 8); /* the host's page sizes, summed up */
	postcopy_wire_put_be(&s->out, QEMU_STREAM_PAGE, 8); /* the target's page size */
	postcopy_wire_put(&s->out, head + s->head.configuration_len,
			  s->head.len - s->head.configuration_len);
	for (size_t i = 0; i < s->head.block_count; i++)
		postcopy_wire_put_discard(&s->out, s->head.blocks[i].name, s->head.blocks[i].size);
	put_ping(s, PING_PREPARED);
	queue_package(s, tail, devices_len);
	open_section(s);
	return 0;
}

static void queue_recovery(struct session *s)
{
	for (size_t i = 0; i < s->head.block_count; i++) {
		const char *name = s->head.blocks[i].name;

		postcopy_wire_put_command(&s->out, POSTCOPY_WIRE_RECV_BITMAP, 1 + strlen(name));
		postcopy_wire_put_name(&s->out, name);
	}
	s->phase = BITMAPS;
}

/* ---- The return path ------------------------------------------------------------------------------------------ */

static int bad(const struct session *s, const char *what)
{
	return err_say(s->err, EBADMSG, "QEMU's return path: %s", what);
}

static int find_block(const struct session *s, const char *name)
{
	for (size_t i = 0; i < s->head.block_count; i++) {
		if (strcmp(s->head.blocks[i].name, name) == 0)
			return (int)i;
	}
	return -1;
}

static int on_request(struct session *s, const struct postcopy_wire_message *m)
{
	const struct postcopy_fetch_block *b;
	int r;

	if (m->block[0])
		s->last_asked = find_block(s, m->block);
	if (s->last_asked < 0)
		return bad(s, "a request for a block that the machine does not have");
	b = &s->blocks[s->last_asked];
	if (m->offset > b->size || m->len > b->size - m->offset)
		return bad(s, "a request beyond the end of a block");
	atomic_fetch_add(&s->stats->requests, 1);

	for (uint64_t n = m->offset / b->grid; n <= (m->offset + m->len - 1) / b->grid; n++) {
		struct postcopy_pages_chunk chunk = { (unsigned)s->last_asked, n };

		postcopy_pages_touched(&s->pages, chunk);
		if (!postcopy_pages_ask(&s->pages, chunk))
			continue; /* sent, or on its way */
		r = postcopy_fetch_demand(s->fetch, chunk, s->err);
		if (r < 0)
			return r;
	}
	return 0;
}

static int on_bitmap(struct session *s, const struct postcopy_wire_message *m)
{
	int i = find_block(s, m->block);

	if (s->phase != BITMAPS)
		return bad(s, "a bitmap that nobody asked for");
	if (i < 0 || s->has_bitmap[i])
		return bad(s, "a bitmap of an unknown block, or a second one");
	if (m->bitmap_len != postcopy_wire_bitmap_len(s->pages.blocks[i].pages))
		return bad(s, "a bitmap that does not fit its block");
	postcopy_pages_received(&s->pages, (unsigned)i, m->bitmap);
	atomic_store(&s->stats->pages_sent, s->stats->pages_total - s->pages.left);
	s->has_bitmap[i] = true;
	if (++s->bitmaps == s->head.block_count) {
		postcopy_wire_put_command(&s->out, POSTCOPY_WIRE_RESUME, 0);
		s->phase = RESUMING;
	}
	return 0;
}

static int on_resumed(struct session *s, const struct postcopy_wire_message *m)
{
	if (s->phase != RESUMING || m->value != RESUME_ACKNOWLEDGED)
		return bad(s, "an acknowledgement of a resumption that nobody asked for");
	atomic_store(&s->stats->running, true);
	open_section(s);
	return 0;
}

static int on_pong(struct session *s, const struct postcopy_wire_message *m)
{
	if (m->value == PING_LOADED)
		atomic_store(&s->stats->running, true);
	return 0;
}

static int on_shut(struct session *s, const struct postcopy_wire_message *m)
{
	if (m->value)
		return err_say(s->err, EIO, "QEMU could not load the memory (status %u)", m->value);
	if (s->phase != CLOSING)
		return bad(s, "goodbye before every page was sent");
	s->phase = DONE;
	return 0;
}

static int (*const handlers[])(struct session *s, const struct postcopy_wire_message *m) = {
	[POSTCOPY_WIRE_SHUT] = on_shut,       [POSTCOPY_WIRE_PONG] = on_pong,
	[POSTCOPY_WIRE_REQUEST] = on_request, [POSTCOPY_WIRE_BITMAP] = on_bitmap,
	[POSTCOPY_WIRE_RESUMED] = on_resumed,
};

static int handle_messages(struct session *s)
{
	struct postcopy_wire_message m;
	size_t at = 0, used;
	int r = 0;

	while (s->phase != DONE) {
		r = postcopy_wire_parse(&m, s->in + at, s->in_len - at, s->bitmap_max, &used,
					s->err);
		if (r)
			break;
		r = handlers[m.kind](s, &m);
		if (r < 0)
			break;
		at += used;
	}
	memmove(s->in, s->in + at, s->in_len - at);
	s->in_len -= at;
	return r < 0 ? r : 0;
}

static int gone(const struct session *s, const char *how)
{
	return err_say(s->err, EPIPE, "QEMU %s with %llu of %llu pages still to send", how,
		       (unsigned long long)s->pages.left,
		       (unsigned long long)atomic_load(&s->stats->pages_total));
}

static int receive(struct session *s)
{
	ssize_t n = recv(s->order->fd, s->in + s->in_len, s->in_cap - s->in_len, MSG_DONTWAIT);

	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return 0;
	if (n == 0 || (n < 0 && errno == ECONNRESET))
		return gone(s, "closed the connection");
	if (n < 0)
		return err_set(s->err, errno, "read QEMU's return path");
	s->in_len += (size_t)n;
	return handle_messages(s);
}

/* ---- Pages ---------------------------------------------------------------------------------------------------- */

static void put_chunk(struct session *s, const struct postcopy_fetch_chunk *c)
{
	const struct postcopy_pages_block *b = &s->pages.blocks[c->at.block];
	uint64_t page = c->at.number * b->chunk_pages, end = page + b->chunk_pages;

	for (size_t at = 0; page < end && page < b->pages; page++, at += QEMU_STREAM_PAGE) {
		const uint8_t *data = c->len ? c->data + at : NULL;
		bool named = s->last_sent == (int)c->at.block;

		if (!postcopy_pages_send(&s->pages, c->at.block, page))
			continue;
		if (data && chunk_is_zero(data, QEMU_STREAM_PAGE))
			data = NULL;
		postcopy_wire_put_page(&s->out, named ? NULL : s->head.blocks[c->at.block].name,
				       page * QEMU_STREAM_PAGE, data);
		s->last_sent = (int)c->at.block;
		atomic_fetch_add(&s->stats->pages_sent, 1);
		if (!data)
			atomic_fetch_add(&s->stats->pages_zero, 1);
	}
}

static int take_chunks(struct session *s)
{
	s->more = false;
	while (postcopy_wire_pending(&s->out) < PENDING_MAX) {
		struct postcopy_fetch_chunk *c;
		int r = postcopy_fetch_take(s->fetch, &c, s->err);

		if (r < 0 || !c)
			return r;
		put_chunk(s, c);
		free(c);
	}
	s->more = true;
	return 0;
}

static int feed_background(struct session *s)
{
	struct postcopy_pages_chunk chunks[POSTCOPY_FETCH_BATCH_MAX];
	size_t n;
	int r;

	while ((n = postcopy_fetch_room(s->fetch))) {
		n = postcopy_pages_next(&s->pages, chunks, n);
		if (n == 0)
			return 0;
		r = postcopy_fetch_background(s->fetch, chunks, n, s->err);
		if (r < 0)
			return r;
	}
	return 0;
}

static void queue_closing(struct session *s)
{
	uint32_t section = s->head.ram_section;

	for (int i = 0; i < 2; i++) {
		postcopy_wire_put_be(&s->out, QEMU_STREAM_HEAD_RAM_EOS, 8);
		postcopy_wire_put_section(&s->out, QEMU_STREAM_HEAD_FOOTER, section);
		if (i == 0)
			postcopy_wire_put_section(&s->out, QEMU_STREAM_HEAD_END, section);
	}
	postcopy_wire_put_be(&s->out, QEMU_STREAM_HEAD_EOF, 1);
	s->phase = CLOSING;
}

/* ---- The loop ------------------------------------------------------------------------------------------------- */

static int transmit(struct session *s)
{
	while (postcopy_wire_pending(&s->out)) {
		ssize_t n = send(s->order->fd, s->out.bytes + s->out.start,
				 postcopy_wire_pending(&s->out), MSG_DONTWAIT | MSG_NOSIGNAL);

		if (n < 0 && (errno == EAGAIN || errno == EINTR))
			return 0;
		if (n < 0 && (errno == EPIPE || errno == ECONNRESET))
			return gone(s, "went away");
		if (n < 0)
			return err_set(s->err, errno, "send memory to QEMU");
		s->out.start += (size_t)n;
		atomic_fetch_add(&s->stats->bytes_sent, (uint64_t)n);
	}
	return 0;
}

/* Sleep until the socket or the store has something, or somebody may want to cancel. */
static int wait_for_news(struct session *s)
{
	struct pollfd fds[] = {
		{ .fd = s->order->fd, .events = POLLIN },
		{ .fd = postcopy_fetch_wakeup_fd(s->fetch), .events = POLLIN },
	};
	bool room = postcopy_wire_pending(&s->out) < PENDING_MAX;
	uint64_t count;

	if (postcopy_wire_pending(&s->out))
		fds[0].events |= POLLOUT;
	/* What arrived can't be taken while QEMU is slow: then the store's news must not keep us awake. */
	if (s->phase != STREAMING || !room)
		fds[1].fd = -1;
	if (poll(fds, 2, s->more && room ? 0 : CANCEL_POLL_MS) < 0 && errno != EINTR)
		return err_set(s->err, errno, "wait for QEMU");
	if (fds[1].revents && read(fds[1].fd, &count, sizeof(count)) < 0 && errno != EAGAIN)
		return err_set(s->err, errno, "wait for memory");
	return fds[0].revents ? receive(s) : 0;
}

static int stream(struct session *s)
{
	int r;

	if (s->phase != STREAMING)
		return 0;
	r = take_chunks(s);
	if (r == 0)
		r = feed_background(s);
	if (r < 0)
		return r;
	if (s->pages.left == 0)
		queue_closing(s);
	return 0;
}

static int run(struct session *s)
{
	int r;

	while (s->phase != DONE) {
		if (s->order->cancel && atomic_load(s->order->cancel))
			return err_say(s->err, ECANCELED,
				       "sending memory was cancelled with %llu pages left",
				       (unsigned long long)s->pages.left);
		r = stream(s);
		if (r < 0)
			return r;
		if (s->out.failed)
			return err_set(s->err, ENOMEM, "send memory to QEMU");
		r = transmit(s);
		if (r == 0)
			r = wait_for_news(s);
		if (r < 0)
			return r;
	}
	return 0;
}

static int prepare(struct session *s)
{
	CLEANUP_FREE uint8_t *head = NULL;
	size_t head_len;
	int r;

	r = read_blob(s->order, "qemu/head", QEMU_STREAM_HEAD_MAX, &head, &head_len, s->err);
	if (r < 0)
		return r;
	r = open_blocks(s, head, head_len);
	if (r < 0)
		return r;
	/* The longest message is a bitmap; behind it part of the next may already be there. */
	s->in_cap = s->bitmap_max + RECEIVE_LEN;
	s->in = malloc(s->in_cap);
	if (!s->in)
		return err_set(s->err, ENOMEM, "read QEMU's return path");
	if (!s->order->recover)
		return queue_opening(s, head);
	queue_recovery(s);
	return 0;
}

int postcopy_source_run(const struct postcopy_source *order, struct err *err)
{
	struct session *s = calloc(1, sizeof(*s));
	int r;

	if (!s)
		return err_set(err, ENOMEM, "send memory to QEMU");
	s->order = order;
	s->err = err;
	s->stats = order->stats ? order->stats : &s->unwatched;
	s->last_sent = s->last_asked = -1;

	r = prepare(s);
	if (r == 0)
		r = run(s);

	postcopy_fetch_free(s->fetch);
	for (size_t i = 0; i < s->pages.block_count; i++)
		volume_reader_close(s->blocks[i].reader);
	postcopy_pages_deinit(&s->pages);
	postcopy_wire_deinit(&s->out);
	free(s->in);
	free(s);
	return r;
}
