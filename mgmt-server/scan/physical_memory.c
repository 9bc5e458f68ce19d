#include "mgmt-server/scan/physical_memory.h"

#include <string.h>

#include "common/base.h"

#define MIB   (1ULL << 20)
#define ABOVE (4096 * MIB)

/* With so much memory and more, only `low` of it stays below 4 GiB. */
static const struct {
	const char *type;
	uint64_t from, low;
} layouts[] = {
	{ "q35", 2816 * MIB, 2048 * MIB },
	{ "i440fx", 3584 * MIB, 3072 * MIB },
};

void physical_memory_init(struct physical_memory *m, const char *machine_type,
			  const struct volume_input *block)
{
	*m = (struct physical_memory){ .block = *block, .below = block->size };
	for (size_t i = 0; i < ARRAY_LEN(layouts); i++) {
		if (strstr(machine_type, layouts[i].type) && block->size >= layouts[i].from)
			m->below = layouts[i].low;
	}
}

/* How many bytes from @offset on lie together? @at: where in the block; false: in the hole. */
static bool place(const struct physical_memory *m, uint64_t offset, uint64_t *at, uint64_t *len)
{
	if (offset < m->below) {
		*at = offset;
		*len = m->below - offset;
		return true;
	}
	if (offset < ABOVE) {
		*len = ABOVE - offset;
		return false;
	}
	*at = offset - ABOVE + m->below;
	*len = m->block.size - *at;
	return true;
}

static int read_memory(void *ctx, uint8_t *buf, size_t len, uint64_t offset, struct err *err)
{
	const struct physical_memory *m = ctx;

	while (len) {
		uint64_t at, alike;
		bool there = place(m, offset, &at, &alike);
		size_t n = alike < len ? (size_t)alike : len;
		int r = 0;

		if (there)
			r = m->block.read(m->block.ctx, buf, n, at, err);
		else
			memset(buf, 0, n);
		if (r < 0)
			return r;
		buf += n;
		offset += n;
		len -= n;
	}
	return 0;
}

static int extent_of_memory(void *ctx, uint64_t offset, uint64_t *len, bool *zero, struct err *err)
{
	const struct physical_memory *m = ctx;
	uint64_t at, alike;
	int r = 0;

	if (!place(m, offset, &at, &alike)) {
		*zero = true;
		*len = alike;
		return 0;
	}
	*len = alike;
	*zero = false;
	if (m->block.extent)
		r = m->block.extent(m->block.ctx, at, len, zero, err);
	*len = *len < alike ? *len : alike;
	return r;
}

struct volume_input physical_memory_input(struct physical_memory *m)
{
	bool split = m->below < m->block.size;

	return (struct volume_input){
		.ctx = m,
		.size = split ? ABOVE + m->block.size - m->below : m->block.size,
		.read = read_memory,
		.extent = extent_of_memory,
	};
}
