/* A pack without a footer: its records are found by reading it from its header on. What does not fit is skipped, up to the next thing
 * that looks like a record, bears its checksum and can be decrypted where it is.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "common/hex.h"
#include "common/io.h"
#include "snapshot/pack.h"

enum { WINDOW = 64 << 10 };
/* What a record begins with: FORMAT.md, "Packs". */
static const char magic[4] = "GREC";

static bool name_of_file(const char *path, struct pack_name *name)
{
	const char *slash = strrchr(path, '/'), *file = slash ? slash + 1 : path;
	char text[PACK_NAME_TEXT_LEN];

	if (strlen(file) != sizeof(text) - 1 + strlen(".pack"))
		return false;
	memcpy(text, file, sizeof(text) - 1);
	text[sizeof(text) - 1] = '\0';
	return hex_decode(text, name->bytes, PACK_NAME_LEN) == 0;
}

/* Everything that stands in clear in a header is known from elsewhere, but for which of the keys it is: it is made again, and the tag
 * behind it says whether it is right. sealed: what follows it in the file. Return 0 or -EBADMSG, @err as it was.
 */
static int header_remake(struct pack *pack, const char *path, const struct store_keys *keys,
			 const uint8_t *store_id, const uint8_t *sealed)
{
	uint8_t header[PACK_HEADER_LEN];
	struct pack made = { 0 };
	struct err why = { 0 };

	if (!store_id || !name_of_file(path, &made.name))
		return -EBADMSG;
	for (unsigned i = 0; i < keys->count; i++) {
		int r = pack_header_make(&made, &keys->keys[i], store_id, header, &why);

		memcpy(header + PACK_HEADER_CLEAR_LEN, sealed,
		       PACK_HEADER_LEN - PACK_HEADER_CLEAR_LEN);
		if (r == 0 && pack_header_parse(pack, header, keys, store_id, &why) == 0)
			return 0;
	}
	return -EBADMSG;
}

static int header_read(struct pack *pack, const char *path, const struct store_keys *keys,
		       const uint8_t *store_id, struct err *err)
{
	uint8_t header[PACK_HEADER_LEN], damaged[PACK_HEADER_LEN];
	struct stat st;
	int r;

	pack->fd = open(path, O_RDONLY | O_CLOEXEC);
	if (pack->fd < 0 || fstat(pack->fd, &st) < 0)
		return err_set(err, errno, "open");
	pack->size = (uint64_t)st.st_size;
	r = io_pread_full(pack->fd, header, sizeof(header), 0);
	if (r)
		return r == IO_SHORT ? err_say(err, EBADMSG, "it ends before its header does")
				     : err_set(err, -r, "read the header");
	memcpy(damaged, header, sizeof(damaged));
	r = pack_header_parse(pack, header, keys, store_id, err);
	return r == -EBADMSG
		       ? header_remake(pack, path, keys, store_id, damaged + PACK_HEADER_CLEAR_LEN)
		       : r;
}

/* Is there a record at @offset? buf: uint8_t[CHUNK_MAX + PACK_RECORD_EXTRA]. */
static bool record_at(const struct pack *pack, uint64_t offset, uint8_t *buf,
		      struct pack_entry *entry)
{
	uint8_t *body = buf + PACK_RECORD_HEADER_LEN;
	struct err why;

	*entry = (struct pack_entry){ .offset = (uint32_t)offset };
	if (io_pread_full(pack->fd, buf, PACK_RECORD_HEADER_LEN, offset) ||
	    !pack_record_head(buf, entry) ||
	    io_pread_full(pack->fd, body, pack_record_len(entry) - PACK_RECORD_HEADER_LEN,
			  offset + PACK_RECORD_HEADER_LEN) ||
	    pack_record_open(pack, entry, buf, &why) != 0)
		return false;
	memcpy(entry->id.bytes, body, CHUNK_ID_LEN);
	return true;
}

/* The next place from @offset on where a record may begin; the file's size: none. */
static uint64_t next_magic(const struct pack *pack, uint64_t offset, uint8_t *window)
{
	while (offset + PACK_RECORD_EXTRA <= pack->size) {
		size_t len = pack->size - offset < WINDOW ? (size_t)(pack->size - offset) : WINDOW;
		const uint8_t *found;

		if (io_pread_full(pack->fd, window, len, offset))
			break;
		found = memmem(window, len, magic, sizeof(magic));
		if (found)
			return offset + (uint64_t)(found - window);
		offset += len - (sizeof(magic) - 1);
	}
	return pack->size;
}

static int records_find(struct pack *pack, struct err *err)
{
	CLEANUP_FREE uint8_t *buf = malloc(CHUNK_MAX + PACK_RECORD_EXTRA);
	CLEANUP_FREE uint8_t *window = malloc(WINDOW);
	uint64_t offset = PACK_HEADER_LEN;

	pack->entries = calloc(PACK_RECORDS_MAX, sizeof(*pack->entries));
	if (!buf || !window || !pack->entries)
		return err_set(err, ENOMEM, "search it for records");
	while (pack->count < PACK_RECORDS_MAX && offset < pack->size && offset < UINT32_MAX) {
		struct pack_entry *entry = &pack->entries[pack->count];

		if (record_at(pack, offset, buf, entry)) {
			offset += pack_record_len(entry);
			pack->count++;
		} else {
			offset = next_magic(pack, offset + 1, window);
		}
	}
	return 0;
}

int pack_salvage(struct pack **out, const char *path, const struct store_keys *keys,
		 const uint8_t *store_id, struct err *err)
{
	CLEANUP(pack_unref) struct pack *pack = calloc(1, sizeof(*pack));
	int r;

	if (!pack)
		return err_set(err, ENOMEM, "open pack %s", path);
	atomic_init(&pack->refs, 1);
	pack->fd = -1;
	r = header_read(pack, path, keys, store_id, err);
	if (r == 0)
		r = records_find(pack, err);
	if (r < 0)
		return err_wrap(err, r, "pack %s", path);
	*out = TAKE(pack);
	return 0;
}
