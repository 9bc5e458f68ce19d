/* cli_suggest.h - "did you mean": the nearest of some words, if one is near. */
#ifndef GODWIT_CLI_SUGGEST_H
#define GODWIT_CLI_SUGGEST_H

#include <stddef.h>

/* Edits (insert, delete, replace, swap neighbours) from a to b; words longer than 31 bytes are far from everything. */
size_t cli_suggest_distance(const char *a, const char *b);

/* The nearest word that is at most a third of @given (rounded up) away; NULL: none. */
const char *cli_suggest(const char *given, const char *const *words, size_t n);

#endif
