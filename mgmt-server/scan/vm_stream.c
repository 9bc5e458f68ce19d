#include "mgmt-server/scan/vm_stream.h"

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>

#include "mgmt-server/scan/vm_wire.h"

enum { FILE_SIZE_MAX_BITS = 62 };

struct stream {
	const struct vm_stream *source;
	struct reader *reader;
	struct err *err;
	struct vm_frame frame;
	char *bytes; /* of the frame; READER_PATH_MAX or VM_FRAME_DATA_MAX, whichever is more */
	bool open, done;
};

static int take_file(struct stream *s)
{
	struct reader_file file = {
		.path = s->bytes,
		.path_len = s->frame.len,
		.stream = "",
		.inode = s->frame.a,
		.size = s->frame.b,
		.mtime = (int64_t)s->frame.c,
	};

	if (s->open || s->frame.len > READER_PATH_MAX || s->frame.b >> FILE_SIZE_MAX_BITS)
		return -EBADMSG;
	s->open = true;
	return reader_begin(s->reader, &file, s->err);
}

static int take_data(struct stream *s)
{
	return s->open ? reader_data(s->reader, s->bytes, s->frame.len, s->frame.a, s->err)
		       : -EBADMSG;
}

static int take_end(struct stream *s)
{
	if (!s->open)
		return -EBADMSG;
	s->open = false;
	return reader_end(s->reader, s->err);
}

static int take_unreadable(struct stream *s)
{
	if (!s->open)
		return -EBADMSG;
	s->open = false;
	return reader_end_unreadable(s->reader, s->bytes, s->err);
}

static int take_lost(struct stream *s)
{
	return s->open ? -EBADMSG : reader_incomplete(s->reader, s->bytes, s->err);
}

static int take_done(struct stream *s)
{
	s->done = true;
	return s->open ? -EBADMSG : 0;
}

static int (*const takers[])(struct stream *) = {
	[VM_FRAME_FILE] = take_file, [VM_FRAME_DATA] = take_data,
	[VM_FRAME_END] = take_end,   [VM_FRAME_UNREADABLE] = take_unreadable,
	[VM_FRAME_LOST] = take_lost, [VM_FRAME_DONE] = take_done,
};

static int read_frame(struct stream *s)
{
	int r = s->source->read(s->source->ctx, &s->frame, sizeof(s->frame));

	if (r)
		return r < 0 ? err_set(s->err, -r, "read from the virtual machine")
			     : err_say(s->err, EPIPE,
				       "the virtual machine ended before it was done");
	if (s->frame.magic != VM_FRAME_MAGIC || s->frame.kind < VM_FRAME_FILE ||
	    s->frame.kind > VM_FRAME_DONE || s->frame.len > VM_FRAME_DATA_MAX)
		return err_say(s->err, EBADMSG,
			       "the virtual machine sent a frame that makes no sense");
	r = s->source->read(s->source->ctx, s->bytes, s->frame.len);
	if (r)
		return err_say(s->err, EPIPE, "the virtual machine ended in the middle of a frame");
	s->bytes[s->frame.len] = 0;
	return 0;
}

int vm_stream_take(const struct vm_stream *source, struct reader *reader, struct err *err)
{
	CLEANUP_FREE char *bytes = malloc(VM_FRAME_DATA_MAX + 1);
	struct stream s = { .source = source, .reader = reader, .err = err, .bytes = bytes };
	int r = 0;

	if (!bytes)
		return err_set(err, ENOMEM, "start to listen to the virtual machine");
	while (r == 0 && !s.done) {
		r = read_frame(&s);
		if (r == 0)
			r = takers[s.frame.kind](&s);
		if (r == -EBADMSG && !err->text[0])
			err_say(err, EBADMSG,
				"the virtual machine sent frames in an order that makes no sense");
	}
	return r;
}
