/* notices.c - see notices.h. */
#include "mgmt-server/core/notices.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/clock.h"
#include "common/log.h"
#include "mgmt-server/core/objects.h"

int notices_add(struct change *change, struct notices_order *order, const char *text,
		struct err *err)
{
	CLEANUP(json_decref) json_t *details = TAKE(order->details);
	CLEANUP_FREE char *kept = details ? json_text(details) : strdup("{}");
	struct catalogue_notice notice = {
		.at_ms = clock_wall_ms(),
		.severity = order->severity,
		.kind = order->kind,
		.desktop = order->desktop ? order->desktop : "",
		.snapshot = order->snapshot ? order->snapshot : "",
		.job = order->job ? order->job : "",
		.text = text,
		.details = kept,
		.mail = change->server->config.notices_smtp &&
					change->server->config.notices_smtp[0]
				? "queued"
				: "none",
	};
	char seq[24];
	int r;

	if (!kept)
		return err_set(err, ENOMEM, "notice");
	r = catalogue_notice_add(change->db, &notice, err);
	if (r < 0)
		return r;
	log_warning("notice severity=%s kind=%s desktop=%s snapshot=%s: %s", notice.severity,
		    notice.kind, notice.desktop, notice.snapshot, text);
	snprintf(seq, sizeof(seq), "%llu", (unsigned long long)notice.seq);
	change_touch(change, CHANGE_NOTICE, seq);
	return 0;
}

static json_t *parsed(const char *text)
{
	json_t *value = NULL;

	return json_parse(&value, text, strlen(text), "a notice", NULL) < 0 ? json_null() : value;
}

json_t *notices_object(const struct catalogue_notice *n)
{
	char id[24];

	snprintf(id, sizeof(id), "%llu", (unsigned long long)n->seq);
	return json_pack("{ss so ss ss so so so ss so so so ss so}", "id", id, "at",
			 objects_time(n->at_ms), "severity", n->severity, "kind", n->kind,
			 "desktop", objects_text(n->desktop), "snapshot", objects_text(n->snapshot),
			 "job", objects_text(n->job), "text", n->text, "details",
			 parsed(n->details), "read", objects_time(n->read_ms), "reader",
			 objects_text(n->reader), "mail", n->mail, "mail_error",
			 objects_text(n->mail_error));
}

static int take(void *arg, const struct catalogue_notice *notice, struct err *err)
{
	(void)err;
	*(json_t **)arg = notices_object(notice);
	return DB_STOP;
}

json_t *notices_object_of(struct db_conn *c, const char *seq)
{
	json_t *object = NULL;
	char *end;
	uint64_t n = strtoull(seq, &end, 10);

	if (*end || end == seq || n > INT64_MAX)
		return NULL;
	catalogue_notice_get(c, n, take, &object, NULL);
	return object;
}
