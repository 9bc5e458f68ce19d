/* problem.h - failures as HTTP sees them: which status a code means, and the problem document (RFC 7807). */
#ifndef GODWIT_MGMT_SERVER_PROBLEM_H
#define GODWIT_MGMT_SERVER_PROBLEM_H

#include <stddef.h>

/* errno → status; what is the server's own trouble is 500. */
unsigned problem_status(int code);

/* {"type": "about:blank", "title": …, "status": …, "detail": …} as heap text; NULL: out of memory. */
char *problem_text(unsigned status, const char *detail, size_t *len);

#endif
