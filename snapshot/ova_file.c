#include "snapshot/ova_file.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "common/io.h"

enum { NAME_LEN = 100, SIZE_AT = 124, SIZE_LEN = 12, SUM_AT = 148, SUM_LEN = 8 };

/* Octal digits, ended by a space, a NUL or the field's end; or, with the top bit set, a big-endian number (GNU, for 8 GiB and more). */
static bool number(const uint8_t *field, size_t len, uint64_t *out)
{
	size_t i = 0;

	*out = 0;
	if (field[0] & 0x80) {
		if (field[0] != 0x80)
			return false;
		for (i = 1; i < len; i++) {
			if (*out >> 55)
				return false;
			*out = *out << 8 | field[i];
		}
		return true;
	}
	while (i < len && field[i] == ' ')
		i++;
	for (; i < len && field[i] >= '0' && field[i] <= '7'; i++)
		*out = *out << 3 | (uint64_t)(field[i] - '0');
	return i == len || field[i] == ' ' || field[i] == '\0';
}

static uint64_t checksum(const uint8_t *header)
{
	uint64_t sum = 0;

	for (size_t i = 0; i < OVA_FILE_BLOCK; i++)
		sum += i >= SUM_AT && i < SUM_AT + SUM_LEN ? ' ' : header[i];
	return sum;
}

int ova_file_parse_header(const uint8_t header[OVA_FILE_BLOCK], struct ova_file_disk *member,
			  bool *is_end, struct err *err)
{
	uint64_t sum;

	*is_end = header[0] == 0;
	memset(member, 0, sizeof(*member));
	if (*is_end)
		return 0;
	if (!number(header + SUM_AT, SUM_LEN, &sum) || sum != checksum(header))
		return err_say(err, EINVAL, "this is no tar header: its checksum is wrong");
	if (!number(header + SIZE_AT, SIZE_LEN, &member->size))
		return err_say(err, EINVAL, "a tar header's size is no number");
	memcpy(member->name, header, NAME_LEN);
	return 0;
}

static bool is_disk(const char *name)
{
	size_t len = strlen(name);

	return len > 5 && strcasecmp(name + len - 5, ".vmdk") == 0;
}

int ova_file_disks(int fd, struct ova_file_disk *disks, size_t *count, struct err *err)
{
	uint8_t header[OVA_FILE_BLOCK];
	struct stat st;
	uint64_t at = 0;

	*count = 0;
	if (fstat(fd, &st) < 0)
		return err_set(err, errno, "read the OVA");
	while (at + OVA_FILE_BLOCK <= (uint64_t)st.st_size) {
		struct ova_file_disk member;
		bool is_end;
		int r = io_pread_full(fd, header, sizeof(header), at);

		if (r)
			return err_set(err, r < 0 ? -r : EIO, "read the OVA");
		r = ova_file_parse_header(header, &member, &is_end, err);
		if (r < 0)
			return err_wrap(err, r, "offset %llu", (unsigned long long)at);
		if (is_end)
			break;
		member.offset = at + OVA_FILE_BLOCK;
		if (member.size > (uint64_t)st.st_size - member.offset)
			return err_say(err, EINVAL, "'%s' goes beyond the end of the OVA",
				       member.name);
		if (is_disk(member.name)) {
			if (*count == OVA_FILE_DISKS_MAX)
				return err_say(err, EINVAL, "more than %d disks",
					       OVA_FILE_DISKS_MAX);
			disks[(*count)++] = member;
		}
		at = member.offset +
		     (member.size + OVA_FILE_BLOCK - 1) / OVA_FILE_BLOCK * OVA_FILE_BLOCK;
	}
	return *count ? 0 : err_say(err, EINVAL, "the OVA holds no disk image (*.vmdk)");
}
