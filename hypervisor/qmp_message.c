#include "hypervisor/qmp_message.h"

#include <errno.h>

static int bad(struct err *err, const char *what)
{
	return err_say(err, EBADMSG, "QMP: %s", what);
}

/* Our ids are positive integers; a reply to a line that QEMU could not parse carries none. */
static int take_id(const json_t *root, uint64_t *id, struct err *err)
{
	const json_t *value = json_object_get(root, "id");

	*id = 0;
	if (!value)
		return 0;
	if (!json_is_integer(value) || json_integer_value(value) <= 0)
		return bad(err, "a reply whose id is no positive number");
	*id = (uint64_t)json_integer_value(value);
	return 0;
}

static int take_error(struct qmp_message *m, const json_t *error, struct err *err)
{
	const json_t *description = json_object_get(error, "desc");

	if (!json_is_string(description))
		return bad(err, "an error without a text");
	m->kind = QMP_MESSAGE_ERROR;
	m->text = json_string_value(description);
	return take_id(m->root, &m->id, err);
}

static int take_event(struct qmp_message *m, const json_t *name, struct err *err)
{
	const json_t *stamp = json_object_get(m->root, "timestamp");
	const json_t *seconds = json_object_get(stamp, "seconds");
	const json_t *microseconds = json_object_get(stamp, "microseconds");

	if (!json_is_string(name))
		return bad(err, "an event without a name");
	m->kind = QMP_MESSAGE_EVENT;
	m->text = json_string_value(name);
	m->body = json_object_get(m->root, "data");
	if (m->body && !json_is_object(m->body))
		return bad(err, "an event whose data is no object");
	/* QEMU writes -1 when its clock fails. */
	if (json_integer_value(seconds) > 0 && json_integer_value(microseconds) >= 0)
		m->time_us = (uint64_t)json_integer_value(seconds) * 1000000 +
			     (uint64_t)json_integer_value(microseconds);
	return 0;
}

static int classify(struct qmp_message *m, struct err *err)
{
	json_t *value;

	if (!json_is_object(m->root))
		return bad(err, "a line that is no object");
	if ((value = json_object_get(m->root, "event")))
		return take_event(m, value, err);
	if ((value = json_object_get(m->root, "error")))
		return take_error(m, value, err);
	if ((value = json_object_get(m->root, "return"))) {
		m->kind = QMP_MESSAGE_RETURN;
		m->body = value;
		return take_id(m->root, &m->id, err);
	}
	if (json_object_get(m->root, "QMP")) {
		m->kind = QMP_MESSAGE_GREETING;
		return 0;
	}
	return bad(err, "a line that is neither greeting, reply nor event");
}

int qmp_message_parse(struct qmp_message *out, const char *line, size_t len, struct err *err)
{
	struct qmp_message m = { .id = 0 };
	int r;

	r = json_parse(&m.root, line, len, "a line from QEMU", err);
	if (r < 0)
		return err_wrap(err, -EBADMSG, "QMP");
	r = classify(&m, err);
	if (r < 0) {
		json_decref(m.root);
		return r;
	}
	*out = m;
	return 0;
}

void qmp_message_deinit(struct qmp_message *message)
{
	json_decref(message->root);
	*message = (struct qmp_message){ .id = 0 };
}
