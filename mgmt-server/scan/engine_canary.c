#include "mgmt-server/scan/engine_canary.h"

#include <endian.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>

#include "common/base.h"
#include "common/hex.h"
#include "common/io.h"

char engine_canary_text[ENGINE_CANARY_LEN + 1];

int engine_canary_new(const char *folder, struct err *err)
{
	CLEANUP_FREE char *path = io_printf("%s/godwit-canary.ndb", folder);
	CLEANUP_FREE char *line = NULL;
	char hex[2 * sizeof(engine_canary_text)];

	hex_random(engine_canary_text, ENGINE_CANARY_LEN / 2);
	/* Name:TargetType:Offset:HexSignature; type 0 is any file. */
	hex_encode((const uint8_t *)engine_canary_text, ENGINE_CANARY_LEN, hex);
	line = io_printf("%s:0:*:%s\n", ENGINE_CANARY_NAME, hex);
	if (!path || !line)
		return err_set(err, ENOMEM, "write the canary's signature");
	return io_replace_file(path, line, strlen(line), 0600, err);
}

static void put16(uint8_t **to, unsigned v)
{
	uint16_t le = htole16((uint16_t)v);

	memcpy(*to, &le, sizeof(le));
	*to += sizeof(le);
}

static void put32(uint8_t **to, size_t v)
{
	uint32_t le = htole32((uint32_t)v);

	memcpy(*to, &le, sizeof(le));
	*to += sizeof(le);
}

/* The fields that local header and central directory share, from "version needed" to the name's length. */
static void put_entry(uint8_t **to, size_t packed, size_t name_len)
{
	put16(to, 20);
	put16(to, 0);
	put16(to, 8); /* deflate */
	put16(to, 0);
	put16(to, 0x21); /* 1980-01-01 */
	put32(to, crc32(0, (const Bytef *)engine_canary_text, (uInt)ENGINE_CANARY_LEN));
	put32(to, packed);
	put32(to, ENGINE_CANARY_LEN);
	put16(to, (unsigned)name_len);
	put16(to, 0);
}

static size_t deflate_text(uint8_t *to, size_t cap)
{
	z_stream z = { .next_in = (Bytef *)(uintptr_t)engine_canary_text,
		       .avail_in = (uInt)ENGINE_CANARY_LEN,
		       .next_out = to,
		       .avail_out = (uInt)cap };

	if (deflateInit2(&z, 9, Z_DEFLATED, -15, 8, Z_DEFAULT_STRATEGY) != Z_OK)
		return 0;
	deflate(&z, Z_FINISH);
	deflateEnd(&z);
	return z.total_out;
}

size_t engine_canary_zip(uint8_t *zip)
{
	static const char name[] = "canary.txt";
	const size_t name_len = sizeof(name) - 1;
	uint8_t packed[256], *to = zip, *directory;
	size_t packed_len = deflate_text(packed, sizeof(packed));

	put32(&to, 0x04034b50);
	put_entry(&to, packed_len, name_len);
	memcpy(to, name, name_len);
	to += name_len;
	memcpy(to, packed, packed_len);
	to += packed_len;

	directory = to;
	put32(&to, 0x02014b50);
	put16(&to, 20);
	put_entry(&to, packed_len, name_len);
	put16(&to, 0); /* comment */
	put16(&to, 0); /* disk */
	put16(&to, 0);
	put32(&to, 0);
	put32(&to, 0); /* the local header is at 0 */
	memcpy(to, name, name_len);
	to += name_len;

	put32(&to, 0x06054b50);
	put16(&to, 0);
	put16(&to, 0);
	put16(&to, 1);
	put16(&to, 1);
	put32(&to, (size_t)(to - 12 - directory));
	put32(&to, (size_t)(directory - zip));
	put16(&to, 0);
	return (size_t)(to - zip);
}
