/* Any line that QEMU might send: parsed or refused, never believed. */
#include <errno.h>
#include <stdlib.h>

#include "hypervisor/qmp_message.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct qmp_message m;
	struct err err = { .code = 0 };

	if (qmp_message_parse(&m, (const char *)data, size, &err) == 0) {
		if ((m.kind == QMP_MESSAGE_ERROR || m.kind == QMP_MESSAGE_EVENT) && !m.text)
			abort();
		if (m.kind == QMP_MESSAGE_RETURN && !m.body)
			abort();
		qmp_message_deinit(&m);
	} else if (err.code != EBADMSG) {
		abort();
	}
	return 0;
}
