#include "snapshot/siphash.h"

#include <endian.h>
#include <string.h>

struct state {
	uint64_t v0, v1, v2, v3;
};

static uint64_t load(const uint8_t *p)
{
	uint64_t word;

	memcpy(&word, p, 8);
	return le64toh(word);
}

static void store(uint8_t *p, uint64_t word)
{
	word = htole64(word);
	memcpy(p, &word, 8);
}

static inline uint64_t rotate(uint64_t x, int bits)
{
	return x << bits | x >> (64 - bits);
}

static inline void rounds(struct state *s, int n)
{
	while (n--) {
		s->v0 += s->v1;
		s->v1 = rotate(s->v1, 13) ^ s->v0;
		s->v0 = rotate(s->v0, 32);
		s->v2 += s->v3;
		s->v3 = rotate(s->v3, 16) ^ s->v2;
		s->v0 += s->v3;
		s->v3 = rotate(s->v3, 21) ^ s->v0;
		s->v2 += s->v1;
		s->v1 = rotate(s->v1, 17) ^ s->v2;
		s->v2 = rotate(s->v2, 32);
	}
}

static inline void absorb(struct state *s, uint64_t word)
{
	s->v3 ^= word;
	rounds(s, 2);
	s->v0 ^= word;
}

void siphash(const uint8_t key[SIPHASH_KEY_LEN], const void *data, size_t len,
	     uint8_t out[SIPHASH_LEN])
{
	uint64_t k0 = load(key), k1 = load(key + 8);
	struct state s = { k0 ^ 0x736f6d6570736575u, k1 ^ 0x646f72616e646f6du ^ 0xee,
			   k0 ^ 0x6c7967656e657261u, k1 ^ 0x7465646279746573u };
	const uint8_t *p = data;
	uint8_t last[8] = { [7] = (uint8_t)len };
	size_t left = len;

	for (; left >= 8; p += 8, left -= 8)
		absorb(&s, load(p));
	if (left)
		memcpy(last, p, left);
	absorb(&s, load(last));

	s.v2 ^= 0xee;
	rounds(&s, 4);
	store(out, s.v0 ^ s.v1 ^ s.v2 ^ s.v3);
	s.v1 ^= 0xdd;
	rounds(&s, 4);
	store(out + 8, s.v0 ^ s.v1 ^ s.v2 ^ s.v3);
}
