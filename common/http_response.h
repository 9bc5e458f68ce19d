/* http_response.h - what an HTTP server answered, and which error that is.
 *
 * Source: RFC 7807 (problem documents).
 */
#ifndef GODWIT_COMMON_HTTP_RESPONSE_H
#define GODWIT_COMMON_HTTP_RESPONSE_H

#include <stddef.h>
#include <stdint.h>

#include "common/err.h"

struct http_response {
	long status;
	uint8_t *body; /* heap, a zero byte behind it; never NULL after a success */
	size_t body_len;
};
void http_response_deinit(struct http_response *response);

static inline void http_response_cleanup(struct http_response *response)
{
	http_response_deinit(response);
}
/* struct http_response response CLEANUP_HTTP_RESPONSE = { 0 }; */
#define CLEANUP_HTTP_RESPONSE __attribute__((cleanup(http_response_cleanup)))

/**
 * http_response_check(response, what, err):
 * A status outside 200–299 becomes an error with the problem document's title and detail, and a
 * code: 400 → -EINVAL, 401/403 → -EACCES, 404 → -ENOENT, 409 → -EEXIST, 412 → -ESTALE, 413 →
 * -EFBIG, 507 → -ENOSPC, others → -EIO.
 *
 * what  stands in front of the text: "GET /agent/v1/work", "renew the lease"
 *
 * Return 0 for 200–299, else the error.
 */
int http_response_check(const struct http_response *response, const char *what, struct err *err);

#endif
