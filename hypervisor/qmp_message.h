/* qmp_message.h - one line of the QEMU Machine Protocol, told apart and checked.
 *
 * QEMU parses what the guest and the network give it, so what it says here is not trusted to have the right shape.
 * Source: QEMU docs/interop/qmp-spec.rst, "Server messages".
 */
#ifndef GODWIT_HYPERVISOR_QMP_MESSAGE_H
#define GODWIT_HYPERVISOR_QMP_MESSAGE_H

#include "common/err.h"
#include "common/json.h"

enum qmp_message_kind {
	QMP_MESSAGE_GREETING,
	QMP_MESSAGE_RETURN, /* id, body: what the command returned */
	QMP_MESSAGE_ERROR,  /* id (0: QEMU could not read the command), text */
	QMP_MESSAGE_EVENT,  /* text: its name; body: its data, may be NULL; time_us */
};

struct qmp_message {
	enum qmp_message_kind kind;
	uint64_t id;
	const char *text; /* borrowed from root */
	json_t *body;     /* borrowed from root */
	uint64_t time_us; /* of an event: QEMU's wall clock, microseconds */
	json_t *root;     /* owned */
};

/* Return 0, or -EBADMSG (with the text of what is wrong) for a line that no QEMU should send. */
int qmp_message_parse(struct qmp_message *out, const char *line, size_t len, struct err *err);
void qmp_message_deinit(struct qmp_message *message);

#endif
