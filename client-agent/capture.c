#include "client-agent/capture.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "common/log.h"

/* The hypervisor's own limits are shorter. What it does after these all the same is undone when it says so: otherwise
 * a capture would stay open, and a guest held, that nobody knows of. */
enum { CAPTURE_TIMEOUT_MS = 10 * 60 * 1000, END_TIMEOUT_MS = 2 * 60 * 1000 };

static void hear(void *arg, const char *event, const json_t *object)
{
	struct capture *c = arg;
	const char *text = object ? json_string_value(json_object_get(object, "text")) : NULL;

	if (strcmp(event, "capture_broken") == 0 && !text)
		text = "the hypervisor does not say why";
	else if (strcmp(event, "reconnected") == 0)
		text = "the connection to the hypervisor was lost";
	else if (strcmp(event, "capture_broken") != 0)
		return;
	pthread_mutex_lock(&c->lock);
	if (!c->begun) { /* this connection is the one that the capture began on */
		pthread_mutex_unlock(&c->lock);
		return;
	}
	if (!c->broken)
		snprintf(c->broken_text, sizeof(c->broken_text), "%s", text);
	c->broken = true;
	pthread_mutex_unlock(&c->lock);
}

static int parse_disk(const json_t *object, struct capture_disk *out, struct err *err)
{
	const char *name = NULL;
	const struct json_field fields[] = {
		{ "name", JSON_KIND_STRING, false, &name },
		{ "size", JSON_KIND_UINT, false, &out->size },
		{ "socket", JSON_KIND_STRING, false, &out->socket },
		{ "export", JSON_KIND_STRING, false, &out->export },
		{ "bitmap", JSON_KIND_STRING, false, &out->bitmap },
	};
	int r = json_fields(object, fields, ARRAY_LEN(fields), "a captured disk", err);

	if (r < 0)
		return r;
	if (strlen(name) >= sizeof(out->name))
		return err_say(err, EBADMSG, "the name of a captured disk is too long");
	memcpy(out->name, name, strlen(name) + 1);
	return 0;
}

static int parse(struct capture *c, struct err *err)
{
	json_t *pause = NULL, *disks = NULL;
	uint64_t memory_bytes;
	bool live;
	const struct json_field fields[] = {
		{ "pause_ms", JSON_KIND_ANY, false, &pause },
		{ "parent", JSON_KIND_STRING, false, &c->parent },
		{ "reason", JSON_KIND_STRING, false, &c->reason },
		{ "machine", JSON_KIND_OBJECT, false, &c->machine },
		{ "live", JSON_KIND_BOOL, true, &live },
		{ "memory_bytes", JSON_KIND_UINT, true, &memory_bytes },
		{ "disks", JSON_KIND_ARRAY, false, &disks },
	};
	const json_t *disk;
	size_t i;
	int r;

	r = json_fields(c->reply, fields, ARRAY_LEN(fields), "the reply to a capture", err);
	if (r < 0)
		return r;
	c->pause_ms = json_number_value(pause);
	if (json_array_size(disks) > HYPERVISOR_DISKS_MAX)
		return err_say(err, EBADMSG, "a capture of %zu disks", json_array_size(disks));
	json_array_foreach (disks, i, disk) {
		r = parse_disk(disk, &c->disks[c->disk_count++], err);
		if (r < 0)
			return r;
	}
	return 0;
}

int capture_begin(struct capture *c, const struct capture_order *order, struct err *err)
{
	CLEANUP(json_decref)
	json_t *args = json_pack("{s:b, s:b}", "memory", order->memory, "hold", order->hold);
	CLEANUP(json_decref) json_t *undo_args = json_pack("{s:b}", "ok", 0);
	int r;

	*c = (struct capture){
		.hypervisor = order->hypervisor,
		.memory_fd = -1,
		.hold = order->hold,
		.timeout_ms = order->timeout_ms,
		.listener = { .desktop = c->desktop, .fn = hear, .arg = c },
	};
	snprintf(c->desktop, sizeof(c->desktop), "%s", order->desktop);
	if (!args || !undo_args)
		return err_set(err, ENOMEM, "capture %s", c->desktop);
	pthread_mutex_init(&c->lock, NULL);
	hypervisor_client_listen(c->hypervisor, &c->listener);
	r = hypervisor_client_call(
		c->hypervisor,
		&(struct hypervisor_call){
			.op = "capture",
			.desktop = c->desktop,
			.args = args,
			.timeout_ms = c->timeout_ms ? c->timeout_ms : CAPTURE_TIMEOUT_MS,
			.undo = "capture_end",
			.undo_args = undo_args,
			.reply = &c->reply,
			.fd = &c->memory_fd,
		},
		err);
	pthread_mutex_lock(&c->lock);
	c->begun = r == 0;
	pthread_mutex_unlock(&c->lock);
	if (r == 0)
		r = parse(c, err);
	if (r == 0 && order->memory && c->memory_fd < 0)
		r = err_say(err, EBADMSG, "the hypervisor sent no memory");
	if (r < 0 && c->reply) { /* the capture stands, but we cannot use it */
		struct err ignored;

		capture_end(c, NULL, &ignored);
	} else if (r < 0) {
		hypervisor_client_unlisten(c->hypervisor, &c->listener);
		pthread_mutex_destroy(&c->lock);
	}
	return r;
}

bool capture_lost(struct capture *c, struct err *err)
{
	struct hypervisor_status status;
	struct err asked = { 0 };
	int r;

	pthread_mutex_lock(&c->lock);
	if (c->broken)
		err_say(err, EIO, "the capture broke: %s", c->broken_text);
	r = c->broken;
	pthread_mutex_unlock(&c->lock);
	if (r)
		return true;
	r = hypervisor_status_get(c->hypervisor, c->desktop, &status, &asked);
	if (r < 0) {
		err_say(err, -r, "the capture is gone: %s", err_text(&asked));
		return true;
	}
	if (status.capture && !hypervisor_status_is(&status, "crashed"))
		return false;
	err_say(err, EIO, "the capture is gone: desktop %s is %s", c->desktop, status.state);
	return true;
}

int capture_end(struct capture *c, const char *snapshot, struct err *err)
{
	CLEANUP(json_decref) json_t *args = json_pack("{s:b}", "ok", snapshot != NULL);
	CLEANUP(json_decref) json_t *undo_args = json_pack("{s:b}", "ok", 0);
	bool broken;
	int r = 0;

	pthread_mutex_lock(&c->lock);
	broken = c->broken;
	pthread_mutex_unlock(&c->lock);
	/* The hypervisor has ended it already, and put its tracking back. A capture that is open now is another one: giving
	 * it this snapshot's name would count changes from an instant that nobody stored. */
	if (broken)
		r = err_say(err, EIO, "the capture of %s was over too early: %s", c->desktop,
			    c->broken_text);
	else if (!args || !undo_args ||
		 (snapshot && json_object_set_new(args, "snapshot", json_string(snapshot)) < 0))
		r = err_set(err, ENOMEM, "end a capture of %s", c->desktop);
	if (r == 0)
		r = hypervisor_client_call(
			c->hypervisor,
			&(struct hypervisor_call){
				.op = "capture_end",
				.desktop = c->desktop,
				.args = args,
				.timeout_ms = c->timeout_ms ? c->timeout_ms : END_TIMEOUT_MS,
				/* Without hold a late end is as good as one in time. */
				.undo = c->hold ? "capture_end" : NULL,
				.undo_args = undo_args,
			},
			err);
	hypervisor_client_unlisten(c->hypervisor, &c->listener);
	base_close(c->memory_fd);
	json_decref(c->reply);
	pthread_mutex_destroy(&c->lock);
	return r;
}
