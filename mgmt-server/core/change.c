/* change.c - see change.h. */
#include "mgmt-server/core/change.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "common/clock.h"
#include "mgmt-server/core/events.h"
#include "mgmt-server/core/marks.h"
#include "mgmt-server/core/notices.h"
#include "mgmt-server/core/objects.h"
#include "mgmt-server/core/work.h"

struct change_undo {
	struct fleet_desktop *desktop;
	struct fleet_desktop before;
	struct change_undo *next;
};

struct change_topic {
	enum change_kind kind;
	char name[CATALOGUE_NAME_LEN];
	struct change_topic *next;
};

int change_begin(struct change *change, struct server *server, struct err *err)
{
	int r;

	*change = (struct change){ .server = server };
	fleet_lock(server->fleet);
	r = db_begin(server->db, &change->db, err);
	if (r < 0) {
		fleet_unlock(server->fleet);
		return r;
	}
	change->held = true;
	return 0;
}

static void forget(struct change *change)
{
	struct change_undo *undo;
	struct change_topic *topic;

	while ((undo = change->undo)) {
		change->undo = undo->next;
		free(undo);
	}
	while ((topic = change->topics)) {
		change->topics = topic->next;
		free(topic);
	}
}

static void undo_all(struct change *change)
{
	struct change_undo *undo;

	for (undo = change->undo; undo; undo = undo->next)
		*undo->desktop = undo->before;
}

static json_t *object_of(struct server *s, struct db_conn *c, const struct change_topic *topic)
{
	switch (topic->kind) {
	case CHANGE_ENDPOINT:
		return objects_endpoint_named(s, c, topic->name);
	case CHANGE_DESKTOP:
		return objects_desktop_named(s, c, topic->name);
	case CHANGE_SNAPSHOT:
		return objects_snapshot_named(c, topic->name);
	case CHANGE_NOTICE:
		return notices_object_of(c, topic->name);
	default:
		return objects_job_named(c, topic->name);
	}
}

static void tell(struct change *change)
{
	static const char *const types[] = { "endpoint", "desktop", "snapshot", "job", "notice" };
	struct server *s = change->server;
	struct change_topic *topic;
	struct db_conn *c;

	for (topic = change->topics; topic; topic = topic->next) {
		if (topic->kind == CHANGE_WORK) {
			work_wake(s, topic->name);
			continue;
		}
		if (topic->kind == CHANGE_PIN)
			continue;
		c = db_read(s->db);
		events_publish(s->events, types[topic->kind], object_of(s, c, topic));
		db_read_end(c);
	}
}

static void sync_pins(struct change *change)
{
	struct change_topic *topic;

	for (topic = change->topics; topic; topic = topic->next) {
		if (topic->kind == CHANGE_PIN)
			marks_sync(change->server, topic->name);
	}
}

int change_commit(struct change *change, struct err *err)
{
	int r;

	change->held = false;
	r = db_commit(TAKE(change->db), err);
	if (r < 0)
		undo_all(change);
	else
		tell(change);
	sync_pins(change);
	forget(change);
	work_due(change->server); /* a change of its own for each poll that gets something now */
	fleet_unlock(change->server->fleet);
	return r;
}

void change_abort(struct change *change)
{
	if (!change->held)
		return;
	change->held = false;
	db_abort(TAKE(change->db));
	undo_all(change);
	sync_pins(change);
	forget(change);
	fleet_unlock(change->server->fleet);
}

void change_touch(struct change *change, enum change_kind kind, const char *name)
{
	struct change_topic *topic, **end = &change->topics;

	for (; *end; end = &(*end)->next) {
		if ((*end)->kind == kind && strcmp((*end)->name, name) == 0)
			return;
	}
	topic = calloc(1, sizeof(*topic));
	if (!topic)
		return; /* a watcher misses it; polls are looked at again within a second */
	topic->kind = kind;
	strncpy(topic->name, name, sizeof(topic->name) - 1);
	*end = topic;
}

int change_keep(struct change *change, struct fleet_desktop *d, struct err *err)
{
	struct change_undo *undo = malloc(sizeof(*undo));

	if (!undo)
		return err_set(err, ENOMEM, "desktop %s", d->name);
	*undo = (struct change_undo){ .desktop = d, .before = *d, .next = change->undo };
	change->undo = undo;
	return 0;
}

int change_audit(struct change *change, const char *actor, const char *address, const char *action,
		 const char *object, const char *detail, struct err *err)
{
	struct catalogue_audit entry = {
		.at_ms = clock_wall_ms(),
		.actor = actor,
		.address = address,
		.action = action,
		.object = object,
		.detail = detail,
	};

	return catalogue_audit_add(change->db, &entry, err);
}
