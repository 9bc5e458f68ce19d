/* store_client_path.h - what may stand in the path of a request unescaped: identifiers that the server gave us. */
#ifndef GODWIT_SNAPSHOT_STORE_CLIENT_PATH_H
#define GODWIT_SNAPSHOT_STORE_CLIENT_PATH_H

#include <stdbool.h>
#include <string.h>

static inline bool store_client_path_word_valid(const char *word)
{
	static const char allowed[] = "abcdefghijklmnopqrstuvwxyz"
				      "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_";
	size_t len = strlen(word);

	return len >= 1 && len <= 127 && strspn(word, allowed) == len;
}

#endif
