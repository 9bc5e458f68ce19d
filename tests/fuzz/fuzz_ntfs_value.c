/* Damaged NTFS volumes: an attribute that can be opened can be read as far as it says, or tells why not; reparse points and
 * what CompactOS keeps are decoded from them. An input is a small volume without its zeros
 * (tests/lib/packed_sectors.h).
 */
#include <stdlib.h>
#include <string.h>

#include "mgmt-server/scan/ntfs_reparse.h"
#include "mgmt-server/scan/ntfs_value.h"
#include "mgmt-server/scan/wof_stream.h"
#include "tests/lib/packed_sectors.h"
#include "tests/lib/reader_sink.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { RECORDS = 96, READ_MAX = 256 << 10, DATA_MAX = 2 << 20 };

static const uint8_t *image;
static uint8_t buf[READ_MAX];

struct damaged {
	size_t len;
	struct ntfs_value_source source;
};

static int give_record(void *ctx, uint64_t number, uint8_t *to, struct err *err)
{
	const struct damaged *v = ctx;
	uint64_t size = v->source.geometry.record_size, at = v->source.geometry.table_offset;

	if (at > v->len || number >= (v->len - at) / size)
		return err_say(err, 5, "no such record");
	memcpy(to, image + at + number * size, size);
	return 0;
}

static int read_value(void *ctx, void *to, size_t len, uint64_t offset, struct err *err)
{
	return ntfs_value_read(ctx, to, len, offset, err);
}

static void must_tell(int r, const struct err *err)
{
	if (r < 0 && !err->text[0])
		abort();
}

static void decode(struct ntfs_value *stream, uint64_t file_size, uint32_t algorithm)
{
	CLEANUP(wof_stream_close) struct wof_stream *s = NULL;
	struct wof_stream_options options = { .algorithm = algorithm,
					      .size = file_size % READ_MAX,
					      .stored = ntfs_value_size(stream),
					      .read = read_value,
					      .ctx = stream };
	struct err err = { 0 };
	int r = wof_stream_open(&s, &options, &err);

	if (r == 0)
		r = wof_stream_read(s, buf, (size_t)options.size, 0, &err);
	must_tell(r, &err);
}

static uint64_t read_all(struct ntfs_value *v)
{
	uint64_t size = ntfs_value_size(v);
	struct err err = { 0 };

	must_tell(ntfs_value_read(v, buf, size < READ_MAX ? (size_t)size : READ_MAX, 0, &err),
		  &err);
	if (ntfs_value_read(v, buf, 1, size, &err) == 0)
		abort();
	return size;
}

static struct ntfs_reparse point_of(struct ntfs_value *v)
{
	uint64_t size = read_all(v);
	struct ntfs_reparse r = ntfs_reparse_parse(buf, size < READ_MAX ? (size_t)size : READ_MAX);

	if (!r.what)
		abort();
	return r;
}

static void look_at(const struct damaged *v, uint64_t record)
{
	static const struct {
		enum ntfs_attribute_type type;
		const char *name;
	} wanted[] = { { NTFS_ATTRIBUTE_DATA, "" },
		       { NTFS_ATTRIBUTE_REPARSE, "" },
		       { NTFS_ATTRIBUTE_DATA, "WofCompressedData" } };
	uint64_t file_size = 0;
	struct ntfs_reparse reparse = { 0 };

	for (size_t i = 0; i < ARRAY_LEN(wanted); i++) {
		const struct ntfs_value_key key = { record, wanted[i].type, wanted[i].name };
		CLEANUP(ntfs_value_close) struct ntfs_value *value = NULL;
		struct err err = { 0 };
		int r = ntfs_value_open(&value, &v->source, &key, &err);

		must_tell(r, &err);
		if (r != 0)
			continue;
		if (wanted[i].name[0])
			decode(value, file_size, reparse.algorithm);
		else if (wanted[i].type == NTFS_ATTRIBUTE_DATA)
			file_size = read_all(value);
		else
			reparse = point_of(value);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct damaged v = { 0 };
	struct reader *reader;

	image = packed_sectors_unpack(data, size, &v.len);
	if (!image)
		return 0;
	reader = reader_sink_new(image, v.len, DATA_MAX);
	v.source = (struct ntfs_value_source){ .volume = reader_volume(reader),
					       .record = give_record,
					       .ctx = &v };
	if (ntfs_record_geometry(&v.source.geometry, image, v.len)) {
		for (uint64_t record = 0; record < RECORDS; record++)
			look_at(&v, record);
	}
	reader_sink_end(reader);
	return 0;
}
