/* engine_wire.h - what godwit-scan and a worker of godwit-scan-engine say to each other: one datagram each way.
 *
 * Request: struct engine_request and a sealed memfd. Reply: struct engine_reply. Same machine, same build: native byte
 * order. The worker parses hostile files, so its reply is not believed either: texts are bounded and terminated here.
 */
#ifndef GODWIT_SCAN_ENGINE_WIRE_H
#define GODWIT_SCAN_ENGINE_WIRE_H

#include <stddef.h>
#include <stdint.h>

#include "common/err.h"

enum { ENGINE_TEXT_MAX = 256, ENGINE_WORKERS_MAX = 64 };

enum engine_way {
	ENGINE_FILE,   /* taken apart as what it is: archives, documents, programs */
	ENGINE_MEMORY, /* a piece of memory: patterns and programs; what looks like an archive there never is a whole one */
};

struct engine_request {
	uint64_t size;
	uint32_t way; /* enum engine_way */
	uint32_t reserved;
};

enum engine_verdict {
	ENGINE_CLEAN,
	ENGINE_INFECTED, /* text: the signature's name */
	ENGINE_UNFINISHED, /* text: why not every byte was looked at (limit, encrypted archive, engine message) */
};

struct engine_reply {
	uint32_t verdict;
	uint32_t
		canaries; /* bit 0: plain, bit 1: inside a zip; both must be set, else nothing is believed */
	char text[ENGINE_TEXT_MAX];
};

enum { ENGINE_CANARY_PLAIN = 1, ENGINE_CANARY_ARCHIVE = 2, ENGINE_CANARIES = 3 };

/* The first message on the engine's control socket, once its signatures are loaded. */
struct engine_hello {
	int32_t status; /* 0, or -errno */
	uint32_t signatures;
	uint64_t newest;               /* time of the newest signature file, seconds since 1970 */
	char version[ENGINE_TEXT_MAX]; /* engine; or the error's text */
	char signature_version[ENGINE_TEXT_MAX];
};

/* Every later message on the control socket: a worker is there, its socket comes along. */
struct engine_worker_ready {
	uint32_t reserved;
};

enum { ENGINE_WIRE_CLOSED = 1 };
/* Send @len bytes and maybe a descriptor (-1: none). Return 0 or -errno. */
int engine_wire_send(int fd, const void *message, size_t len, int descriptor);
/* Receive exactly @len bytes within @timeout_ms (-1: for ever). Return 0, ENGINE_WIRE_CLOSED, -ETIMEDOUT, -EBADMSG or -errno. */
int engine_wire_receive(int fd, void *message, size_t len, int *descriptor, int timeout_ms);

#endif
