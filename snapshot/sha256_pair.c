/* The state is kept as the instructions want it: the words a, b, e, f in one register and c, d, g, h in another. */
#include "snapshot/sha256_pair.h"

#include <assert.h>
#include <endian.h>
#include <string.h>

#ifdef __x86_64__

#include <cpuid.h>
#include <immintrin.h>

#define TARGET        __attribute__((target("sha,avx")))
#define TARGET_INLINE __attribute__((target("sha,avx"), always_inline)) static inline

enum { BLOCK = 64, LENGTH_AT = BLOCK - 8, CPUID_SHA = 1 << 29 };

static const uint32_t round_constants[64] __attribute__((aligned(16))) = {
	0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4,
	0xab1c5ed5, 0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe,
	0x9bdc06a7, 0xc19bf174, 0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f,
	0x4a7484aa, 0x5cb0a9dc, 0x76f988da, 0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7,
	0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967, 0x27b70a85, 0x2e1b2138, 0x4d2c6dfc,
	0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85, 0xa2bfe8a1, 0xa81a664b,
	0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070, 0x19a4c116,
	0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3,
	0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7,
	0xc67178f2,
};

struct lane {
	__m128i abef, cdgh;
	__m128i w[4]; /* the sixteen words of the message schedule that are in use */
};

TARGET_INLINE void lane_begin(struct lane *lane)
{
	/* Highest word first: a, b, e, f and c, d, g, h of the initial hash value. */
	lane->abef = _mm_set_epi32(0x6a09e667, (int)0xbb67ae85, 0x510e527f, (int)0x9b05688c);
	lane->cdgh = _mm_set_epi32(0x3c6ef372, (int)0xa54ff53a, 0x1f83d9ab, 0x5be0cd19);
}

TARGET_INLINE void lane_load(struct lane *lane, const uint8_t *block)
{
	const __m128i big_endian = _mm_set_epi64x(0x0c0d0e0f08090a0b, 0x0405060700010203);
	const __m128i *words = (const __m128i *)(const void *)block;

	/* Written out: gcc keeps an array in registers only if no loop indexes it. */
	lane->w[0] = _mm_shuffle_epi8(_mm_loadu_si128(words), big_endian);
	lane->w[1] = _mm_shuffle_epi8(_mm_loadu_si128(words + 1), big_endian);
	lane->w[2] = _mm_shuffle_epi8(_mm_loadu_si128(words + 2), big_endian);
	lane->w[3] = _mm_shuffle_epi8(_mm_loadu_si128(words + 3), big_endian);
}

/* Four rounds with the words w[at]. */
TARGET_INLINE void lane_rounds(struct lane *lane, int at, __m128i k)
{
	__m128i wk = _mm_add_epi32(lane->w[at], k);

	lane->cdgh = _mm_sha256rnds2_epu32(lane->cdgh, lane->abef, wk);
	lane->abef = _mm_sha256rnds2_epu32(lane->abef, lane->cdgh, _mm_shuffle_epi32(wk, 0x0e));
}

/* Replace the words w[at] by those sixteen after them. */
TARGET_INLINE void lane_schedule(struct lane *lane, int at)
{
	__m128i *w = lane->w;
	__m128i last = w[(at + 3) % 4];
	__m128i sum = _mm_add_epi32(_mm_sha256msg1_epu32(w[at], w[(at + 1) % 4]),
				    _mm_alignr_epi8(last, w[(at + 2) % 4], 4));

	w[at] = _mm_sha256msg2_epu32(sum, last);
}

TARGET_INLINE void first_rounds(struct lane *a, struct lane *b, int at)
{
	const __m128i *k = (const __m128i *)(const void *)round_constants;

	lane_rounds(a, at, k[at]);
	lane_rounds(b, at, k[at]);
}

TARGET_INLINE void next_rounds(struct lane *a, struct lane *b, int at, const uint32_t *constants)
{
	const __m128i *k = (const __m128i *)(const void *)constants;

	lane_schedule(a, at);
	lane_schedule(b, at);
	lane_rounds(a, at, k[at]);
	lane_rounds(b, at, k[at]);
}

TARGET static void blocks(struct lane *lane_a, struct lane *lane_b, const uint8_t *data_a,
			  const uint8_t *data_b, size_t n)
{
	struct lane a = *lane_a, b = *lane_b;

	for (; n; n--, data_a += BLOCK, data_b += BLOCK) {
		const struct lane before_a = a, before_b = b;

		lane_load(&a, data_a);
		lane_load(&b, data_b);
		first_rounds(&a, &b, 0);
		first_rounds(&a, &b, 1);
		first_rounds(&a, &b, 2);
		first_rounds(&a, &b, 3);
		for (int i = 16; i < 64; i += 16) {
			next_rounds(&a, &b, 0, round_constants + i);
			next_rounds(&a, &b, 1, round_constants + i);
			next_rounds(&a, &b, 2, round_constants + i);
			next_rounds(&a, &b, 3, round_constants + i);
		}
		a.abef = _mm_add_epi32(a.abef, before_a.abef);
		a.cdgh = _mm_add_epi32(a.cdgh, before_a.cdgh);
		b.abef = _mm_add_epi32(b.abef, before_b.abef);
		b.cdgh = _mm_add_epi32(b.cdgh, before_b.cdgh);
	}
	*lane_a = a;
	*lane_b = b;
}

/* What is left of a message, padded: one block or two. Return how many. */
static size_t last_blocks(const uint8_t *data, size_t len, uint8_t out[2 * BLOCK])
{
	uint64_t bits = htobe64((uint64_t)len * 8);
	size_t rest = len % BLOCK, n = rest < LENGTH_AT ? 1 : 2;

	memset(out, 0, 2 * BLOCK);
	memcpy(out, data + (len - rest), rest);
	out[rest] = 0x80;
	memcpy(out + (n - 1) * BLOCK + LENGTH_AT, &bits, sizeof(bits));
	return n;
}

TARGET static void lane_digest(const struct lane *lane, uint8_t *digest)
{
	uint32_t abef[4], cdgh[4]; /* lowest word first */

	_mm_storeu_si128((__m128i *)(void *)abef, lane->abef);
	_mm_storeu_si128((__m128i *)(void *)cdgh, lane->cdgh);
	{
		const uint32_t words[8] = { abef[3], abef[2], cdgh[3], cdgh[2],
					    abef[1], abef[0], cdgh[1], cdgh[0] };

		for (int i = 0; i < 8; i++) {
			uint32_t word = htobe32(words[i]);

			memcpy(digest + 4 * i, &word, sizeof(word));
		}
	}
}

bool sha256_pair_possible(void)
{
	unsigned a, b = 0, c, d;

	return __builtin_cpu_supports("avx") && __get_cpuid_count(7, 0, &a, &b, &c, &d) &&
	       (b & CPUID_SHA);
}

TARGET void sha256_pair(const uint8_t *a, const uint8_t *b, size_t len, uint8_t *digest_a,
			uint8_t *digest_b)
{
	uint8_t last_a[2 * BLOCK], last_b[2 * BLOCK];
	struct lane lane_a, lane_b;
	size_t n;

	lane_begin(&lane_a);
	lane_begin(&lane_b);
	blocks(&lane_a, &lane_b, a, b, len / BLOCK);
	n = last_blocks(a, len, last_a);
	last_blocks(b, len, last_b);
	blocks(&lane_a, &lane_b, last_a, last_b, n);
	lane_digest(&lane_a, digest_a);
	lane_digest(&lane_b, digest_b);
}

#else

bool sha256_pair_possible(void)
{
	return false;
}

void sha256_pair(const uint8_t *a, const uint8_t *b, size_t len, uint8_t *digest_a,
		 uint8_t *digest_b)
{
	(void)a, (void)b, (void)len, (void)digest_a, (void)digest_b;
	assert(!"sha256_pair_possible");
}

#endif
