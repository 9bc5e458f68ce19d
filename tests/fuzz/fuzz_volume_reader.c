/* A tree whose nodes are whatever the input says: reading, block status and walking must stay in bounds. */
#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "snapshot/volume.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct input {
	const uint8_t *data;
	size_t size;
	unsigned gets;
};

/* The chunk of an id: a stretch of the input that the id's first bytes choose. */
static int get(void *ctx, const struct chunk_id *ids, size_t n, chunk_arrived *fn, void *arg,
	       struct err *err)
{
	struct input *in = ctx;

	for (size_t i = 0; i < n; i++) {
		size_t at = (size_t)(ids[i].bytes[0] | ids[i].bytes[1] << 8) % in->size;
		size_t len = (size_t)(ids[i].bytes[2] | ids[i].bytes[3] << 8);
		uint8_t *copy;
		int r;

		if (++in->gets > 300)
			return err_say(err, EIO, "enough");
		len = len < in->size - at ? len : in->size - at;
		copy = malloc(len + 1); /* exactly as long as it says, for the sanitizer */
		if (!copy)
			return -ENOMEM;
		memcpy(copy, in->data + at, len);
		r = fn(arg, i, copy, len, err);
		free(copy);
		if (r < 0)
			return r;
	}
	return 0;
}

static int visit(void *arg, const struct chunk_id *id, bool is_node, struct err *err)
{
	(void)arg, (void)id, (void)is_node, (void)err;
	return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct volume v = { .name = "fuzz", .grid = 4096 };
	struct input in = { data, size, 0 };
	const struct chunk_source source = { .ctx = &in, .get = get };
	struct volume_reader *reader;
	struct err err = { 0 };
	uint8_t buf[9000];
	uint64_t len;
	bool zero;

	if (size < 40)
		return 0;
	memcpy(&v.size, data, 5);
	memcpy(v.root.bytes, data + 5, CHUNK_ID_LEN);
	if (!v.size || volume_reader_open(&reader, &v, source, &err) < 0)
		return 0;
	volume_reader_read(reader, buf, v.size < sizeof(buf) ? (size_t)v.size : sizeof(buf), 0,
			   &err);
	volume_reader_extent(reader, v.size / 2, &len, &zero, &err);
	volume_reader_close(reader);
	volume_walk(&v, NULL, source, visit, NULL, &err);
	return 0;
}
