#include "snapshot/pack.h"

#include <assert.h>
#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <openssl/crypto.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/le.h"
#include "common/hex.h"
#include "common/io.h"
#include "snapshot/crc32c.h"

static const char header_magic[8] = "GODWPACK";
static const char trailer_magic[8] = "GODWFOOT";
static const char record_magic[4] = "GREC";

/* Where things stand, in bytes (FORMAT.md has the tables). */
enum {
	HEADER_VERSION = 8,
	HEADER_STORE = 16,
	HEADER_NAME = 32,
	HEADER_KEY = 48,
	HEADER_CRC = 60,
	RECORD_TYPE = 4,
	RECORD_CODEC = 5,
	RECORD_RAW_LEN = 8,
	RECORD_LEN = 12,
	RECORD_BODY_CRC = 16,
	RECORD_CRC = 20,
	RECORD_AAD_LEN = 16,
	TRAILER_OFFSET = 8,
	TRAILER_LEN = 16,
	TRAILER_FOOTER_CRC = 20,
	TRAILER_COUNT = 24,
	TRAILER_CRC = 28,
	ENTRY_RAW_LEN = 32,
	ENTRY_LEN = 36,
	ENTRY_TYPE = 40,
	ENTRY_CODEC = 41,
};

void pack_name_text(const struct pack_name *name, char text[PACK_NAME_TEXT_LEN])
{
	hex_encode(name->bytes, PACK_NAME_LEN, text);
}

const uint8_t *pack_store_id(const struct pack *pack)
{
	return pack->header + HEADER_STORE;
}

/* ---- Header ----------------------------------------------------------------------------------------------- */

static int derive(struct pack *pack, const struct store_key *key, struct err *err)
{
	/* Store id and pack name, as they stand in the header: no two packs have the same salt. */
	return store_key_derive(key, pack->header + HEADER_STORE, PACK_STORE_ID_LEN + PACK_NAME_LEN,
				"godwit pack 1", pack->key, sizeof(pack->key), err);
}

static struct pack_crypt header_crypt(const struct pack *pack)
{
	return (struct pack_crypt){ .key = pack->key,
				    .part = PACK_CRYPT_HEADER,
				    .offset = 0,
				    .aad = pack->header,
				    .aad_len = PACK_HEADER_CLEAR_LEN };
}

int pack_header_make(struct pack *pack, const struct store_key *key,
		     const uint8_t store_id[PACK_STORE_ID_LEN], uint8_t *out, struct err *err)
{
	const struct pack_crypt_pieces domain = { pack->domain, NULL, PACK_DOMAIN_LEN, 0 };
	struct pack_crypt how;
	int r;

	memset(pack->header, 0, sizeof(pack->header));
	memcpy(pack->header, header_magic, 8);
	le_put32(pack->header + HEADER_VERSION, PACK_VERSION);
	memcpy(pack->header + HEADER_STORE, store_id, PACK_STORE_ID_LEN);
	memcpy(pack->header + HEADER_NAME, pack->name.bytes, PACK_NAME_LEN);
	memcpy(pack->header + HEADER_KEY, key->id, STORE_KEY_ID_LEN);
	le_put32(pack->header + HEADER_CRC, crc32c(0, pack->header, HEADER_CRC));
	memcpy(pack->key_id, key->id, STORE_KEY_ID_LEN);
	r = derive(pack, key, err);
	if (r < 0)
		return r;
	how = header_crypt(pack);
	memcpy(out, pack->header, PACK_HEADER_CLEAR_LEN);
	return pack_crypt_seal(&how, &domain, out + PACK_HEADER_CLEAR_LEN, err);
}

static int header_check(const uint8_t *bytes, const uint8_t *store_id, struct err *err)
{
	if (memcmp(bytes, header_magic, 8) != 0)
		return err_say(err, EBADMSG, "the header is damaged: no pack begins like this");
	if (le_get32(bytes + HEADER_CRC) != crc32c(0, bytes, HEADER_CRC))
		return err_say(err, EBADMSG, "the header is damaged: its checksum is wrong");
	if (le_get32(bytes + HEADER_VERSION) != PACK_VERSION)
		return err_say(err, EBADMSG, "format version %u is not known, only %d",
			       le_get32(bytes + HEADER_VERSION), PACK_VERSION);
	if (store_id && memcmp(bytes + HEADER_STORE, store_id, PACK_STORE_ID_LEN) != 0)
		return err_say(err, EBADMSG, "it belongs to another store");
	return 0;
}

int pack_header_parse(struct pack *pack, uint8_t *bytes, const struct store_keys *keys,
		      const uint8_t *store_id, struct err *err)
{
	uint8_t *domain = bytes + PACK_HEADER_CLEAR_LEN;
	const struct store_key *key;
	struct pack_crypt how;
	int r;

	r = header_check(bytes, store_id, err);
	if (r < 0)
		return r;
	memcpy(pack->header, bytes, PACK_HEADER_CLEAR_LEN);
	memcpy(pack->name.bytes, bytes + HEADER_NAME, PACK_NAME_LEN);
	memcpy(pack->key_id, bytes + HEADER_KEY, STORE_KEY_ID_LEN);
	pack_name_text(&pack->name, pack->name_text);
	key = store_key_find(keys, pack->key_id);
	if (!key) {
		char id[2 * STORE_KEY_ID_LEN + 1];

		hex_encode(pack->key_id, STORE_KEY_ID_LEN, id);
		return err_say(err, EACCES,
			       "it was written with key %s, which the key file does not hold", id);
	}
	r = derive(pack, key, err);
	if (r < 0)
		return r;
	how = header_crypt(pack);
	r = pack_crypt_open(&how, domain, PACK_DOMAIN_LEN, err);
	if (r == PACK_CRYPT_FORGED)
		return err_say(err, EBADMSG, "the header is damaged: it cannot be decrypted");
	if (r < 0)
		return r;
	memcpy(pack->domain, domain, PACK_DOMAIN_LEN);
	pack->domain[PACK_DOMAIN_LEN - 1] = '\0';
	if (!manifest_desktop_valid(pack->domain))
		return err_say(err, EBADMSG, "the header names no valid domain");
	return 0;
}

/* ---- Footer and trailer ----------------------------------------------------------------------------------- */

size_t pack_footer_len(uint32_t count)
{
	return PACK_FOOTER_HEAD_LEN + (size_t)count * PACK_ENTRY_LEN;
}

void pack_footer_make(const struct pack *pack, uint8_t *bytes)
{
	memset(bytes, 0, pack_footer_len(pack->count));
	le_put32(bytes, pack->count);
	for (uint32_t i = 0; i < pack->count; i++) {
		const struct pack_entry *e = &pack->entries[i];
		uint8_t *p = bytes + pack_footer_len(i);

		memcpy(p, e->id.bytes, CHUNK_ID_LEN);
		le_put32(p + ENTRY_RAW_LEN, e->raw_len);
		le_put32(p + ENTRY_LEN, e->len);
		p[ENTRY_TYPE] = e->type;
		p[ENTRY_CODEC] = e->codec;
	}
}

static bool entry_valid(const struct pack_entry *e)
{
	return e->raw_len >= 1 && e->raw_len <= CHUNK_MAX && e->len >= 1 && e->len <= e->raw_len &&
	       e->type >= PACK_CHUNK && e->type <= PACK_NOTE && e->codec <= CHUNK_CODEC_ZSTD;
}

int pack_footer_parse(struct pack *pack, const uint8_t *bytes, size_t len, uint64_t data_end,
		      struct err *err)
{
	uint64_t offset = PACK_HEADER_LEN;
	uint32_t count;

	if (len < PACK_FOOTER_HEAD_LEN)
		return err_say(err, EBADMSG, "the footer is too short");
	count = le_get32(bytes);
	if (count > PACK_RECORDS_MAX || len != pack_footer_len(count))
		return err_say(err, EBADMSG, "the footer counts %u records in %zu bytes", count,
			       len);
	pack->entries = calloc(count + 1, sizeof(*pack->entries));
	if (!pack->entries)
		return err_set(err, ENOMEM, "list %u records", count);
	for (uint32_t i = 0; i < count; i++) {
		const uint8_t *p = bytes + pack_footer_len(i);
		struct pack_entry *e = &pack->entries[i];

		memcpy(e->id.bytes, p, CHUNK_ID_LEN);
		e->raw_len = le_get32(p + ENTRY_RAW_LEN);
		e->len = le_get32(p + ENTRY_LEN);
		e->type = p[ENTRY_TYPE];
		e->codec = p[ENTRY_CODEC];
		e->offset = (uint32_t)offset;
		if (!entry_valid(e) || pack_record_len(e) > data_end - offset)
			return err_say(err, EBADMSG, "the footer's record %u is impossible", i);
		offset += pack_record_len(e);
	}
	if (offset != data_end)
		return err_say(err, EBADMSG, "records end at %llu, the footer begins at %llu",
			       (unsigned long long)offset, (unsigned long long)data_end);
	pack->count = pack->capacity = count;
	return 0;
}

void pack_trailer_make(const struct pack_trailer *trailer, uint8_t bytes[PACK_TRAILER_LEN])
{
	memcpy(bytes, trailer_magic, 8);
	le_put64(bytes + TRAILER_OFFSET, trailer->footer_offset);
	le_put32(bytes + TRAILER_LEN, trailer->footer_len);
	le_put32(bytes + TRAILER_FOOTER_CRC, trailer->footer_crc);
	le_put32(bytes + TRAILER_COUNT, trailer->count);
	le_put32(bytes + TRAILER_CRC, crc32c(0, bytes, TRAILER_CRC));
}

int pack_trailer_parse(struct pack_trailer *t, const uint8_t bytes[PACK_TRAILER_LEN],
		       uint64_t file_size, struct err *err)
{
	if (memcmp(bytes, trailer_magic, 8) != 0)
		return err_say(err, EBADMSG, "it has no trailer: the file was cut off");
	if (le_get32(bytes + TRAILER_CRC) != crc32c(0, bytes, TRAILER_CRC))
		return err_say(err, EBADMSG, "the trailer is damaged: its checksum is wrong");
	t->footer_offset = le_get64(bytes + TRAILER_OFFSET);
	t->footer_len = le_get32(bytes + TRAILER_LEN);
	t->footer_crc = le_get32(bytes + TRAILER_FOOTER_CRC);
	t->count = le_get32(bytes + TRAILER_COUNT);
	if (t->footer_offset < PACK_HEADER_LEN || t->footer_offset > UINT32_MAX ||
	    t->count > PACK_RECORDS_MAX ||
	    t->footer_len != pack_footer_len(t->count) + PACK_CRYPT_TAG_LEN ||
	    t->footer_offset + t->footer_len + PACK_TRAILER_LEN != file_size)
		return err_say(err, EBADMSG, "the trailer does not fit a file of %llu bytes",
			       (unsigned long long)file_size);
	return 0;
}

/* ---- Records ---------------------------------------------------------------------------------------------- */

int pack_record_make(const struct pack *pack, const struct pack_entry *entry,
		     const uint8_t *payload, uint8_t *out, struct err *err)
{
	const struct pack_crypt_pieces in = { entry->id.bytes, payload, CHUNK_ID_LEN, entry->len };
	const struct pack_crypt how = { .key = pack->key,
					.part = PACK_CRYPT_RECORD,
					.offset = entry->offset,
					.aad = out,
					.aad_len = RECORD_AAD_LEN };
	uint8_t *body = out + PACK_RECORD_HEADER_LEN;
	int r;

	memset(out, 0, PACK_RECORD_HEADER_LEN);
	memcpy(out, record_magic, 4);
	out[RECORD_TYPE] = entry->type;
	out[RECORD_CODEC] = entry->codec;
	le_put32(out + RECORD_RAW_LEN, entry->raw_len);
	le_put32(out + RECORD_LEN, entry->len);
	r = pack_crypt_seal(&how, &in, body, err);
	if (r < 0)
		return r;
	le_put32(out + RECORD_BODY_CRC,
		 crc32c(0, body, CHUNK_ID_LEN + (size_t)entry->len + PACK_CRYPT_TAG_LEN));
	le_put32(out + RECORD_CRC, crc32c(0, out, RECORD_CRC));
	return 0;
}

static int bad_record(const struct pack *pack, const struct pack_entry *entry, struct err *err,
		      const char *why)
{
	char id[CHUNK_ID_TEXT_LEN];

	hex_encode(entry->id.bytes, CHUNK_ID_LEN, id);
	return err_say(err, EBADMSG, "pack %s, offset %u, chunk %s: %s", pack->name_text,
		       entry->offset, id, why);
}

bool pack_record_head(const uint8_t *bytes, struct pack_entry *entry)
{
	if (memcmp(bytes, record_magic, 4) != 0 ||
	    le_get32(bytes + RECORD_CRC) != crc32c(0, bytes, RECORD_CRC))
		return false;
	entry->type = bytes[RECORD_TYPE];
	entry->codec = bytes[RECORD_CODEC];
	entry->raw_len = le_get32(bytes + RECORD_RAW_LEN);
	entry->len = le_get32(bytes + RECORD_LEN);
	return entry->raw_len && entry->raw_len <= CHUNK_MAX && entry->len &&
	       entry->len <= entry->raw_len && entry->type >= PACK_CHUNK &&
	       entry->type <= PACK_NOTE && entry->codec <= CHUNK_CODEC_ZSTD;
}

int pack_record_open(const struct pack *pack, const struct pack_entry *entry, uint8_t *bytes,
		     struct err *err)
{
	const struct pack_crypt how = { .key = pack->key,
					.part = PACK_CRYPT_RECORD,
					.offset = entry->offset,
					.aad = bytes,
					.aad_len = RECORD_AAD_LEN };
	int r = pack_crypt_open(&how, bytes + PACK_RECORD_HEADER_LEN,
				(size_t)CHUNK_ID_LEN + entry->len, err);

	return r == PACK_CRYPT_FORGED
		       ? bad_record(pack, entry, err, "the record cannot be decrypted")
		       : r;
}

static int record_header_check(const struct pack *pack, const struct pack_entry *entry,
			       const uint8_t *bytes, struct err *err)
{
	struct pack_entry head;

	if (!pack_record_head(bytes, &head))
		return bad_record(pack, entry, err, "the record's header is damaged");
	if (head.type != entry->type || head.codec != entry->codec ||
	    head.raw_len != entry->raw_len || head.len != entry->len)
		return bad_record(pack, entry, err, "the record and the footer disagree");
	return 0;
}

int pack_record_decrypt(const struct pack *pack, const struct pack_entry *entry, uint8_t *bytes,
			struct chunk_encoded *chunk, struct err *err)
{
	uint8_t *body = bytes + PACK_RECORD_HEADER_LEN;
	int r;

	r = record_header_check(pack, entry, bytes, err);
	if (r < 0)
		return r;
	r = pack_record_open(pack, entry, bytes, err);
	if (r < 0)
		return r;
	if (memcmp(body, entry->id.bytes, CHUNK_ID_LEN) != 0)
		return bad_record(pack, entry, err, "the record holds another chunk");
	*chunk = (struct chunk_encoded){ .id = entry->id,
					 .codec = (enum chunk_codec)entry->codec,
					 .raw_len = entry->raw_len,
					 .len = entry->len,
					 .data = body + CHUNK_ID_LEN };
	return 0;
}

int pack_record_parse(const struct pack *pack, const struct pack_entry *entry, uint8_t *bytes,
		      struct chunk_encoded *chunk, struct err *err)
{
	int r = record_header_check(pack, entry, bytes, err);

	if (r < 0)
		return r;
	if (le_get32(bytes + RECORD_BODY_CRC) !=
	    crc32c(0, bytes + PACK_RECORD_HEADER_LEN,
		   (size_t)CHUNK_ID_LEN + entry->len + PACK_CRYPT_TAG_LEN))
		return bad_record(pack, entry, err, "the record's checksum is wrong");
	return pack_record_decrypt(pack, entry, bytes, chunk, err);
}

/* ---- Open packs ------------------------------------------------------------------------------------------- */

static int read_part(const struct pack *pack, void *buf, size_t len, uint64_t offset,
		     const char *what, struct err *err)
{
	int r = io_pread_full(pack->fd, buf, len, offset);

	if (r == IO_SHORT)
		return err_say(err, EBADMSG, "it ends before its %s does", what);
	return r < 0 ? err_set(err, -r, "read the %s", what) : 0;
}

static int footer_read(struct pack *pack, struct err *err)
{
	CLEANUP_FREE uint8_t *bytes = NULL;
	uint8_t end[PACK_TRAILER_LEN];
	struct pack_trailer trailer;
	struct pack_crypt how;
	int r;

	if (pack->size < PACK_HEADER_LEN + PACK_TRAILER_LEN)
		return err_say(err, EBADMSG, "it has only %llu bytes",
			       (unsigned long long)pack->size);
	r = read_part(pack, end, sizeof(end), pack->size - sizeof(end), "trailer", err);
	if (r < 0)
		return r;
	r = pack_trailer_parse(&trailer, end, pack->size, err);
	if (r < 0)
		return r;
	bytes = malloc(trailer.footer_len);
	if (!bytes)
		return err_set(err, ENOMEM, "read the footer");
	r = read_part(pack, bytes, trailer.footer_len, trailer.footer_offset, "footer", err);
	if (r < 0)
		return r;
	if (crc32c(0, bytes, trailer.footer_len) != trailer.footer_crc)
		return err_say(err, EBADMSG, "offset %llu: the footer's checksum is wrong",
			       (unsigned long long)trailer.footer_offset);
	how = (struct pack_crypt){ .key = pack->key,
				   .part = PACK_CRYPT_FOOTER,
				   .offset = trailer.footer_offset,
				   .aad = pack->header,
				   .aad_len = PACK_HEADER_CLEAR_LEN };
	r = pack_crypt_open(&how, bytes, trailer.footer_len - PACK_CRYPT_TAG_LEN, err);
	if (r == PACK_CRYPT_FORGED)
		return err_say(err, EBADMSG, "offset %llu: the footer cannot be decrypted",
			       (unsigned long long)trailer.footer_offset);
	if (r < 0)
		return r;
	return pack_footer_parse(pack, bytes, trailer.footer_len - PACK_CRYPT_TAG_LEN,
				 trailer.footer_offset, err);
}

/* Is it the pack that its file is called after? A copy under another name would count as one that GC and mirrors do not know. */
static int name_check(const struct pack *pack, const char *path, struct err *err)
{
	const char *slash = strrchr(path, '/'), *file = slash ? slash + 1 : path;
	const size_t digits = PACK_NAME_TEXT_LEN - 1;

	if (strlen(file) == digits + strlen(".pack") && strcmp(file + digits, ".pack") == 0 &&
	    memcmp(file, pack->name_text, digits) != 0)
		return err_say(err, EBADMSG, "by its header it is %s.pack: give it that name back",
			       pack->name_text);
	return 0;
}

static int open_parts(struct pack *pack, const char *path, const struct store_keys *keys,
		      const uint8_t *store_id, struct err *err)
{
	uint8_t header[PACK_HEADER_LEN];
	struct stat st;
	int r;

	pack->fd = open(path, O_RDONLY | O_CLOEXEC);
	if (pack->fd < 0 || fstat(pack->fd, &st) < 0)
		return err_set(err, errno, "open");
	pack->size = (uint64_t)st.st_size;
	r = read_part(pack, header, sizeof(header), 0, "header", err);
	if (r < 0)
		return r;
	r = pack_header_parse(pack, header, keys, store_id, err);
	if (r == 0)
		r = name_check(pack, path, err);
	return r < 0 ? r : footer_read(pack, err);
}

int pack_open(struct pack **out, const char *path, const struct store_keys *keys,
	      const uint8_t *store_id, struct err *err)
{
	CLEANUP(pack_unref) struct pack *pack = calloc(1, sizeof(*pack));
	int r;

	if (!pack)
		return err_set(err, ENOMEM, "open pack %s", path);
	atomic_init(&pack->refs, 1);
	pack->fd = -1;
	r = open_parts(pack, path, keys, store_id, err);
	if (r < 0)
		return err_wrap(err, r, "pack %s", path);
	*out = TAKE(pack);
	return 0;
}

struct pack *pack_ref(struct pack *pack)
{
	atomic_fetch_add(&pack->refs, 1);
	return pack;
}

void pack_unref(struct pack *pack)
{
	if (!pack || atomic_fetch_sub(&pack->refs, 1) != 1)
		return;
	base_close(pack->fd);
	OPENSSL_cleanse(pack->key, sizeof(pack->key));
	free(atomic_load(&pack->slots));
	free(pack->entries);
	free(pack);
}

/* ---- Finding a chunk ---------------------------------------------------------------------------------------- */

enum { SLOT_FREE = 0xffff };
_Static_assert((int)PACK_RECORDS_MAX <= (int)SLOT_FREE, "a record's number fits a slot");

static size_t slot_count(const struct pack *pack)
{
	size_t n = 16;

	while (n < (size_t)pack->count * 2)
		n *= 2;
	return n;
}

/* An id is as good as random; its last bytes, as the index goes by a hash of its own. */
static size_t slot_of(const struct chunk_id *id, size_t slots)
{
	uint32_t word;

	memcpy(&word, id->bytes + CHUNK_ID_LEN - sizeof(word), sizeof(word));
	return word & (slots - 1);
}

static uint16_t *slots_make(struct pack *pack)
{
	size_t n = slot_count(pack);
	uint16_t *slots = malloc(n * sizeof(*slots)), *expected = NULL;

	if (!slots)
		return NULL;
	memset(slots, 0xff, n * sizeof(*slots));
	for (uint32_t i = 0; i < pack->count; i++) {
		size_t slot = slot_of(&pack->entries[i].id, n);

		if (pack->entries[i].type != PACK_CHUNK)
			continue;
		while (slots[slot] != SLOT_FREE)
			slot = (slot + 1) & (n - 1);
		slots[slot] = (uint16_t)i;
	}
	/* Two threads may make it at once: one table stays. */
	if (atomic_compare_exchange_strong(&pack->slots, &expected, slots))
		return slots;
	free(slots);
	return expected;
}

bool pack_find(struct pack *pack, const struct chunk_id *id, uint32_t *record)
{
	const uint16_t *slots = atomic_load_explicit(&pack->slots, memory_order_acquire);
	size_t n = slot_count(pack);

	if (!slots)
		slots = slots_make(pack);
	for (size_t slot = slot_of(id, n); slots && slots[slot] != SLOT_FREE;
	     slot = (slot + 1) & (n - 1)) {
		if (!chunk_id_equal(&pack->entries[slots[slot]].id, id))
			continue;
		*record = slots[slot];
		return true;
	}
	return false;
}

int pack_read(const struct pack *pack, uint32_t i, uint8_t *buf, struct chunk_encoded *chunk,
	      struct err *err)
{
	const struct pack_entry *entry = &pack->entries[i];
	int r;

	assert(i < pack->count);
	r = io_pread_full(pack->fd, buf, pack_record_len(entry), entry->offset);
	if (r == IO_SHORT)
		return bad_record(pack, entry, err, "the file ends inside the record");
	if (r < 0)
		return err_set(err, -r, "pack %s: read %zu bytes at %u", pack->name_text,
			       pack_record_len(entry), entry->offset);
	return pack_record_parse(pack, entry, buf, chunk, err);
}
