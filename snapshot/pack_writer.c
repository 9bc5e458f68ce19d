#include "snapshot/pack_writer.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

#include "common/io.h"
#include "snapshot/crc32c.h"

enum {
	SLOTS = 2 * PACK_RECORDS_MAX,
	STEP = 8
	       << 20, /* writeback is started every so many bytes: the fdatasync then has little to do */
};

struct pack_writer {
	struct pack *pack;
	char *temp_path, *path;
	bool sealed;
	uint32_t end;          /* where the next record goes; the caller's lock */
	uint32_t slots[SLOTS]; /* record number + 1 by chunk id; the caller's lock */
};

static size_t slot_of(const struct chunk_id *id)
{
	uint64_t word;

	memcpy(&word, id->bytes, sizeof(word));
	return (size_t)(word % SLOTS);
}

void pack_writer_free(struct pack_writer *writer)
{
	if (!writer)
		return;
	if (writer->pack && writer->pack->fd >= 0 && !writer->sealed)
		unlink(writer->temp_path);
	pack_unref(writer->pack);
	free(writer->temp_path);
	free(writer->path);
	free(writer);
}

static int create(struct pack_writer *writer, const struct pack_writer_options *options,
		  struct err *err)
{
	struct pack *pack = writer->pack;
	uint8_t header[PACK_HEADER_LEN];
	int r;

	if (getrandom(pack->name.bytes, PACK_NAME_LEN, 0) != PACK_NAME_LEN)
		return err_set(err, errno, "name a pack");
	pack_name_text(&pack->name, pack->name_text);
	snprintf(pack->domain, sizeof(pack->domain), "%s", options->domain);
	writer->temp_path = io_printf("%s/%s.pack", options->temp_folder, pack->name_text);
	writer->path = io_printf("%s/%s.pack", options->pack_folder, pack->name_text);
	pack->entries = malloc(PACK_RECORDS_MAX * sizeof(*pack->entries));
	if (!writer->temp_path || !writer->path || !pack->entries)
		return err_set(err, ENOMEM, "make a pack");
	pack->capacity = PACK_RECORDS_MAX;
	r = pack_header_make(pack, options->key, options->store_id, header, err);
	if (r < 0)
		return r;
	pack->fd = open(writer->temp_path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	if (pack->fd < 0)
		return err_set(err, errno, "make %s", writer->temp_path);
	r = io_pwrite_full(pack->fd, header, sizeof(header), 0);
	if (r < 0)
		return err_set(err, -r, "write %s", writer->temp_path);
	writer->end = PACK_HEADER_LEN;
	return 0;
}

int pack_writer_new(struct pack_writer **out, const struct pack_writer_options *options,
		    struct err *err)
{
	CLEANUP(pack_writer_free) struct pack_writer *writer = calloc(1, sizeof(*writer));
	int r;

	if (!writer)
		return err_set(err, ENOMEM, "make a pack");
	writer->pack = calloc(1, sizeof(*writer->pack));
	if (!writer->pack)
		return err_set(err, ENOMEM, "make a pack");
	atomic_init(&writer->pack->refs, 1);
	writer->pack->fd = -1;
	r = create(writer, options, err);
	if (r < 0)
		return r;
	*out = TAKE(writer);
	return 0;
}

struct pack *pack_writer_pack(struct pack_writer *writer)
{
	return writer->pack;
}

bool pack_writer_has_room(const struct pack_writer *writer, size_t len)
{
	return writer->pack->count == 0 ||
	       (writer->pack->count < PACK_RECORDS_MAX &&
		(size_t)writer->end + len + PACK_RECORD_EXTRA <= PACK_DATA_MAX);
}

bool pack_writer_find(const struct pack_writer *writer, const struct chunk_id *id, uint32_t *record)
{
	for (size_t slot = slot_of(id); writer->slots[slot]; slot = (slot + 1) % SLOTS) {
		uint32_t i = writer->slots[slot] - 1;

		if (chunk_id_equal(&writer->pack->entries[i].id, id)) {
			*record = i;
			return true;
		}
	}
	return false;
}

uint32_t pack_writer_reserve(struct pack_writer *writer, enum pack_record_type type,
			     const struct chunk_encoded *chunk)
{
	struct pack *pack = writer->pack;
	uint32_t i = pack->count;
	size_t slot = slot_of(&chunk->id);

	assert(pack_writer_has_room(writer, chunk->len));
	pack->entries[i] = (struct pack_entry){ .id = chunk->id,
						.offset = writer->end,
						.raw_len = chunk->raw_len,
						.len = chunk->len,
						.type = (uint8_t)type,
						.codec = (uint8_t)chunk->codec };
	writer->end += (uint32_t)pack_record_len(&pack->entries[i]);
	while (writer->slots[slot])
		slot = (slot + 1) % SLOTS;
	writer->slots[slot] = i + 1;
	pack->count++;
	return i;
}

int pack_writer_write(struct pack_writer *writer, uint32_t first,
		      const struct chunk_encoded *chunks, size_t n, struct err *err)
{
	const struct pack *pack = writer->pack;
	const struct pack_entry *entries = pack->entries + first;
	CLEANUP_FREE uint8_t *buf = NULL;
	size_t len = 0;
	int r;

	for (size_t i = 0; i < n; i++)
		len += pack_record_len(&entries[i]);
	buf = malloc(len);
	if (!buf)
		return err_set(err, ENOMEM, "write %zu bytes into a pack", len);
	len = 0;
	for (size_t i = 0; i < n; i++) {
		r = pack_record_make(pack, &entries[i], chunks[i].data, buf + len, err);
		if (r < 0)
			return r;
		len += pack_record_len(&entries[i]);
	}
	r = io_pwrite_full(pack->fd, buf, len, entries[0].offset);
	if (r < 0)
		return err_set(err, -r, "write %s", writer->temp_path);
	/* Only a hint: what it does not do, the fdatasync will. */
	if (entries[0].offset / STEP != (entries[0].offset + len) / STEP &&
	    entries[0].offset > STEP)
		sync_file_range(pack->fd, entries[0].offset / STEP * STEP - STEP, STEP,
				SYNC_FILE_RANGE_WRITE);
	return 0;
}

static int footer_write(struct pack_writer *writer, struct err *err)
{
	struct pack *pack = writer->pack;
	size_t len = pack_footer_len(pack->count);
	CLEANUP_FREE uint8_t *plain = malloc(len);
	CLEANUP_FREE uint8_t *out = malloc(len + PACK_CRYPT_TAG_LEN + PACK_TRAILER_LEN);
	const struct pack_crypt how = { .key = pack->key,
					.part = PACK_CRYPT_FOOTER,
					.offset = writer->end,
					.aad = pack->header,
					.aad_len = PACK_HEADER_CLEAR_LEN };
	struct pack_trailer trailer = { .footer_offset = writer->end,
					.footer_len = (uint32_t)(len + PACK_CRYPT_TAG_LEN),
					.count = pack->count };
	const struct pack_crypt_pieces in = { plain, NULL, len, 0 };
	int r;

	if (!plain || !out)
		return err_set(err, ENOMEM, "write the footer of %s", writer->temp_path);
	pack_footer_make(pack, plain);
	r = pack_crypt_seal(&how, &in, out, err);
	if (r < 0)
		return r;
	trailer.footer_crc = crc32c(0, out, trailer.footer_len);
	pack_trailer_make(&trailer, out + trailer.footer_len);
	r = io_pwrite_full(pack->fd, out, trailer.footer_len + PACK_TRAILER_LEN, writer->end);
	if (r < 0)
		return err_set(err, -r, "write the footer of %s", writer->temp_path);
	pack->size = writer->end + (uint64_t)trailer.footer_len + PACK_TRAILER_LEN;
	return 0;
}

int pack_writer_seal(struct pack_writer *writer, struct err *err)
{
	int r = footer_write(writer, err);

	if (r < 0)
		return r;
	if (fdatasync(writer->pack->fd) < 0)
		return err_set(err, errno, "make %s durable", writer->temp_path);
	if (rename(writer->temp_path, writer->path) < 0)
		return err_set(err, errno, "rename %s into the packs' folder", writer->temp_path);
	writer->sealed = true;
	return 0;
}
