#include "client-agent/heartbeat.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "client-agent/hypervisor_status.h"
#include "client-agent/orphan.h"
#include "common/clock.h"
#include "common/log.h"

enum {
	INTERVAL_FIRST_MS = 1000,
	INTERVAL_MIN_MS = 100,
	INTERVAL_MAX_MS = 60 * 1000,
	REQUEST_DEADLINE_MS = 5000, /* an answer that comes later renews nothing anyway */
};

struct heartbeat {
	struct agent *agent;
	struct http_client *http; /* its own: never behind an upload */
	pthread_t thread;
	uint64_t interval_ms;
	bool known, failing;
	struct hypervisor_hello hello; /* the last one, when known */
};

uint64_t heartbeat_ttl_left(uint64_t ttl_ms, uint64_t sent_ms, uint64_t now_ms)
{
	uint64_t gone = now_ms > sent_ms ? now_ms - sent_ms : 0;

	return ttl_ms > gone ? ttl_ms - gone : 0;
}

/* ---- The request ---------------------------------------------------------------------------------------------- */

static json_t *desktops_json(const struct hypervisor_status *list, size_t n)
{
	json_t *array = json_array();
	size_t i;

	for (i = 0; array && i < n; i++)
		json_array_append_new(
			array, json_pack("{s:s, s:I, s:s, s:s, s:b}", "desktop", list[i].desktop,
					 "epoch", (json_int_t)list[i].epoch, "state", list[i].state,
					 "memory", list[i].memory_arriving ? "arriving" : "local",
					 "complete", hypervisor_status_local(&list[i])));
	return array;
}

static int request_json(struct heartbeat *h, json_t **out, struct err *err)
{
	CLEANUP_FREE struct hypervisor_status *list = NULL;
	struct err no_list = { 0 };
	size_t n = 0;
	int r;

	r = hypervisor_status_hello(h->agent->hypervisor, &h->hello, err);
	if (r < 0 && !h->known)
		return r;
	h->known = true;
	if (r == 0)
		r = hypervisor_status_list(h->agent->hypervisor, &list, &n, &no_list);
	if (r < 0)
		log_debug("heartbeat without desktops: %s", err_text(no_list.code ? &no_list : err));
	*out = json_pack("{s:s, s:s, s:I, s:I, s:I, s:b, s:o}", "version", AGENT_VERSION,
			 "accelerator", h->hello.accelerator, "cpus", (json_int_t)h->hello.cpus,
			 "memory_mib", (json_int_t)h->hello.memory_mib, "disk_free_bytes",
			 (json_int_t)h->hello.disk_free_bytes, "live_capture", h->hello.live_capture,
			 "desktops", desktops_json(list, n));
	return *out ? 0 : err_set(err, ENOMEM, "beat");
}

/* ---- The answer ------------------------------------------------------------------------------------------------ */

static int renew(struct heartbeat *h, const json_t *object, uint64_t sent_ms, struct err *err)
{
	CLEANUP(json_decref) json_t *args = NULL;
	struct err refused = { 0 };
	const char *desktop = NULL;
	uint64_t epoch = 0, ttl = 0, left;
	const struct json_field fields[] = {
		{ "desktop", JSON_KIND_STRING, false, &desktop },
		{ "epoch", JSON_KIND_UINT, false, &epoch },
		{ "ttl_ms", JSON_KIND_UINT, false, &ttl },
	};
	int r;

	r = json_fields(object, fields, ARRAY_LEN(fields), "a renewed lease", err);
	if (r < 0)
		return r;
	left = heartbeat_ttl_left(ttl, sent_ms, clock_now_ms());
	if (left == 0) {
		log_warning("the renewal of a lease came too late desktop=%s ttl_ms=%ju", desktop,
			    (uintmax_t)ttl);
		return 0;
	}
	args = json_pack("{s:I, s:I}", "epoch", (json_int_t)epoch, "ttl_ms", (json_int_t)left);
	if (!args)
		return err_set(err, ENOMEM, "renew a lease");
	r = hypervisor_client_call(h->agent->hypervisor,
				   &(struct hypervisor_call){ .op = "lease",
							      .desktop = desktop,
							      .args = args,
							      .timeout_ms = left },
				   &refused);
	if (r < 0)
		log_warning("lease not renewed: %s desktop=%s epoch=%ju", err_text(&refused),
			    desktop, (uintmax_t)epoch);
	return 0;
}

static int stale(struct heartbeat *h, const json_t *object, struct err *err)
{
	struct err failed = { 0 };
	const char *desktop = NULL;
	uint64_t epoch = 0;
	const struct json_field fields[] = {
		{ "desktop", JSON_KIND_STRING, false, &desktop },
		{ "epoch", JSON_KIND_UINT, false, &epoch },
	};
	int r;

	r = json_fields(object, fields, ARRAY_LEN(fields), "a stale desktop", err);
	if (r < 0)
		return r;
	log_warning("the right to run moved on; what this desktop wrote becomes a branch "
		    "desktop=%s epoch=%ju",
		    desktop, (uintmax_t)epoch);
	r = orphan_begin(h->agent, desktop, epoch, &failed);
	if (r < 0)
		log_error("a stale desktop could not be put aside: %s desktop=%s", err_text(&failed),
			  desktop);
	return 0;
}

static int take_answer(struct heartbeat *h, const json_t *reply, uint64_t sent_ms, struct err *err)
{
	json_t *leases = NULL, *stales = NULL;
	const json_t *item;
	uint64_t interval = 0;
	const struct json_field fields[] = {
		{ "interval_ms", JSON_KIND_UINT, false, &interval },
		{ "leases", JSON_KIND_ARRAY, false, &leases },
		{ "stale", JSON_KIND_ARRAY, false, &stales },
	};
	size_t i;
	int r;

	r = json_fields(reply, fields, ARRAY_LEN(fields), "the answer to a heartbeat", err);
	if (r < 0)
		return r;
	if (interval < INTERVAL_MIN_MS || interval > INTERVAL_MAX_MS)
		return err_say(err, EBADMSG, "a heartbeat every %ju ms is out of bounds",
			       (uintmax_t)interval);
	h->interval_ms = interval;
	json_array_foreach(leases, i, item) {
		r = renew(h, item, sent_ms, err);
		if (r < 0)
			return r;
	}
	json_array_foreach(stales, i, item) {
		r = stale(h, item, err);
		if (r < 0)
			return r;
	}
	return 0;
}

/* ---- The thread ------------------------------------------------------------------------------------------------ */

static int beat(struct heartbeat *h, struct err *err)
{
	CLEANUP(json_decref) json_t *body = NULL;
	CLEANUP(json_decref) json_t *reply = NULL;
	struct http_response response = { 0 };
	CLEANUP_FREE char *text = NULL;
	uint64_t sent_ms;
	int r;

	r = request_json(h, &body, err);
	if (r < 0)
		return r;
	text = json_text(body);
	if (!text)
		return err_set(err, ENOMEM, "beat");
	sent_ms = clock_now_ms();
	r = http_client_call(h->http,
			     &(struct http_request){
				     .method = "POST",
				     .path = AGENT_PREFIX "/heartbeat",
				     .body = text,
				     .body_len = strlen(text),
				     .deadline_ms = REQUEST_DEADLINE_MS,
				     .cancel = &h->agent->stop,
			     },
			     &response, err);
	if (r == 0)
		r = http_response_check(&response, AGENT_PREFIX "/heartbeat", err);
	if (r == 0)
		r = json_parse(&reply, (const char *)response.body, response.body_len,
			       "the answer to a heartbeat", err);
	http_response_deinit(&response);
	return r < 0 ? r : take_answer(h, reply, sent_ms, err);
}

static void *run(void *arg)
{
	struct heartbeat *h = arg;
	uint64_t next_ms;

	while (!h->agent->stop) {
		struct err err = { 0 };
		int r;

		next_ms = clock_now_ms() + h->interval_ms;
		r = beat(h, &err);
		if (r < 0 && !h->failing && !h->agent->stop)
			log_warning("heartbeat failed: %s", err_text(&err));
		if (r == 0 && h->failing)
			log_info("heartbeats are answered again");
		h->failing = r < 0;
		while (!h->agent->stop && clock_now_ms() < next_ms)
			clock_sleep_ms(50);
	}
	return NULL;
}

int heartbeat_start(struct heartbeat **out, struct agent *agent, struct err *err)
{
	struct heartbeat *h = calloc(1, sizeof(*h));
	int r;

	if (!h)
		return err_set(err, ENOMEM, "start the heartbeat");
	h->agent = agent;
	h->interval_ms = INTERVAL_FIRST_MS;
	r = identity_http(&agent->identity, REQUEST_DEADLINE_MS, &h->http, err);
	if (r == 0) {
		r = pthread_create(&h->thread, NULL, run, h);
		if (r != 0)
			r = err_set(err, r, "start the heartbeat");
	}
	if (r < 0) {
		http_client_free(h->http);
		free(h);
		return r;
	}
	*out = h;
	return 0;
}

void heartbeat_stop(struct heartbeat *h)
{
	if (!h)
		return;
	pthread_join(h->thread, NULL);
	http_client_free(h->http);
	free(h);
}
