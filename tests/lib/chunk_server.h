/* chunk_server.h - the server that the tests of store_client meet: it keeps chunks in memory for desktop anna, and is as slow,
 * busy or wrong as a test says.
 */
#ifndef GODWIT_TESTS_CHUNK_SERVER_H
#define GODWIT_TESTS_CHUNK_SERVER_H

#include <pthread.h>

#include "common/http_client.h"
#include "snapshot/chunk_wire.h"

enum {
	CHUNK_SERVER_CHUNKS = 700,
	CHUNK_SERVER_CHUNK_LEN = 32 << 10,
	CHUNK_SERVER_KEPT_MAX = 4096,
};

extern struct chunk_server {
	struct http_client *http; /* of that server */
	/* Random, to be uploaded or kept: */
	uint8_t *plain; /* CHUNK_SERVER_CHUNKS × CHUNK_SERVER_CHUNK_LEN */
	struct chunk_encoded chunks[CHUNK_SERVER_CHUNKS];
	struct chunk_id ids[CHUNK_SERVER_CHUNKS];

	/* What it keeps and how it behaves; each test begins with chunk_server_reset(). */
	pthread_mutex_t lock;
	struct chunk_encoded kept[CHUNK_SERVER_KEPT_MAX];
	size_t kept_count;
	unsigned in_flight, most_in_flight, uploads;
	unsigned delay_ms;
	unsigned meet;         /* requests with chunks are answered when so many are under way */
	unsigned fail_uploads; /* so many answers are 503 first */
	int commit_status;     /* 0: 201 */
	const char *commit_body;
	int query_extra; /* bytes more or less than right */
	/* changes the answer to a fetch; returns its status */
	int (*spoil)(uint8_t *body, size_t *len);
} chunk_server;

/* What it says of anna's latest snapshot, and when a commit succeeds. */
extern const char chunk_server_manifest[];

/* cmocka's: for the group, and before each test. */
int chunk_server_set_up(void **state);
int chunk_server_tear_down(void **state);
int chunk_server_reset(void **state);

/* NULL: it has no such chunk. */
const struct chunk_encoded *chunk_server_find(const uint8_t *id);
/* As if it had been uploaded. */
void chunk_server_keep(const struct chunk_encoded *chunk);

#endif
