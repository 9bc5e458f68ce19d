#include "mgmt-server/cli/cli_suggest.h"

#include <stdint.h>
#include <string.h>

enum { WORD_MAX = 31 };

static size_t least(size_t a, size_t b, size_t c)
{
	size_t m = a < b ? a : b;

	return m < c ? m : c;
}

size_t cli_suggest_distance(const char *a, const char *b)
{
	size_t d[WORD_MAX + 1][WORD_MAX + 1];
	size_t la = strlen(a), lb = strlen(b), i, j;

	if (la > WORD_MAX || lb > WORD_MAX)
		return SIZE_MAX;
	for (i = 0; i <= la; i++)
		d[i][0] = i;
	for (j = 0; j <= lb; j++)
		d[0][j] = j;
	for (i = 1; i <= la; i++) {
		for (j = 1; j <= lb; j++) {
			d[i][j] = least(d[i - 1][j] + 1, d[i][j - 1] + 1,
					d[i - 1][j - 1] + (a[i - 1] != b[j - 1]));
			if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] &&
			    d[i - 2][j - 2] + 1 < d[i][j])
				d[i][j] = d[i - 2][j - 2] + 1;
		}
	}
	return d[la][lb];
}

const char *cli_suggest(const char *given, const char *const *words, size_t n)
{
	size_t i, best = strlen(given) / 3 + 1;
	const char *nearest = NULL;

	for (i = 0; i < n; i++) {
		size_t distance = words[i] ? cli_suggest_distance(given, words[i]) : SIZE_MAX;

		if (distance < best || (distance == best && !nearest)) {
			best = distance;
			nearest = words[i];
		}
	}
	return nearest;
}
