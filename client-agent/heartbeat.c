#include "client-agent/heartbeat.h"
#include "client-agent/proof.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "client-agent/hypervisor_status.h"
#include "client-agent/orphan.h"
#include "common/clock.h"
#include "common/log.h"
#include "snapshot/manifest.h"

enum {
	INTERVAL_FIRST_MS = 1000,
	INTERVAL_MIN_MS = 100,
	INTERVAL_MAX_MS = 60 * 1000,
	REQUEST_DEADLINE_MS = 5000, /* an answer that comes later renews nothing anyway */
	RETRY_MS = 250,             /* after a failure: a lease is only a few intervals long */
	QUARANTINE_MS = 1000,       /* other desktops' leases wait meanwhile */
	DOUBT_MAX = 63,
	STALES_MAX = 16, /* put aside at a time; the server repeats what is left */
};

/* A right that was granted and that the server must confirm. It lives on its caller's stack while it is in the list. */
struct wanted {
	const char *desktop;
	uint64_t epoch;
	bool sent,
		answered; /* in the heartbeat that is under way; the server said something of it */
	bool waits;       /* the server cannot say yet */
	int r;            /* when answered */
	struct heartbeat_right right; /* when r is 0 */
	struct wanted *next;
};

struct stale {
	struct heartbeat *heartbeat;
	char desktop[MANIFEST_DESKTOP_MAX + 1];
	uint64_t epoch;
	bool used;
};

struct heartbeat {
	struct agent *agent;
	struct http_client *http; /* its own: never behind an upload */
	pthread_t thread;
	uint64_t interval_ms;
	bool known, failing, questioned; /* questioned: by a doubt that is new */
	char doubt[DOUBT_MAX + 1];       /* of the last answer (docs/protocol.md); "": none */
	struct hypervisor_hello hello;   /* the last one, when known */
	struct hypervisor_status *list;  /* as this heartbeat says it */
	size_t listed;

	pthread_mutex_t lock; /* all below */
	pthread_cond_t changed;
	struct wanted *wanted;
	struct stale stales[STALES_MAX]; /* each used one has a thread */
};

uint64_t heartbeat_ttl_left(uint64_t ttl_ms, uint64_t sent_ms, uint64_t now_ms)
{
	uint64_t gone = now_ms > sent_ms ? now_ms - sent_ms : 0;

	return ttl_ms > gone ? ttl_ms - gone : 0;
}

/* ---- Rights that wait to be confirmed -------------------------------------------------------------------------- */

static bool listed(const struct hypervisor_status *list, size_t n, const struct wanted *w)
{
	size_t i;

	for (i = 0; i < n && strcmp(list[i].desktop, w->desktop) != 0; i++)
		;
	return i < n;
}

/* Ask for what the hypervisor does not have yet as well. */
static void add_wanted(struct heartbeat *h, const struct hypervisor_status *list, size_t n,
		       json_t *array)
{
	struct wanted *w;

	pthread_mutex_lock(&h->lock);
	for (w = h->wanted; w; w = w->next) {
		w->sent = true;
		if (!listed(list, n, w))
			json_array_append_new(
				array, json_pack("{s:s, s:I, s:s, s:s, s:b}", "desktop", w->desktop,
						 "epoch", (json_int_t)w->epoch, "state", "starting",
						 "memory", "arriving", "complete", 0));
	}
	pthread_mutex_unlock(&h->lock);
}

static const json_t *find_entry(const json_t *array, const struct wanted *w)
{
	const json_t *item;
	size_t i;

	json_array_foreach (array, i, item) {
		const char *desktop = json_string_value(json_object_get(item, "desktop"));
		json_int_t epoch = json_integer_value(json_object_get(item, "epoch"));

		if (desktop && strcmp(desktop, w->desktop) == 0 && (uint64_t)epoch == w->epoch)
			return item;
	}
	return NULL;
}

/* reply NULL: the heartbeat failed, whoever waits goes on waiting for the next one. So does who was in it, when the server
 * is in doubt and says neither that he may run nor that he may not. */
static void answer_wanted(struct heartbeat *h, const json_t *reply, uint64_t sent_ms)
{
	struct wanted *w;

	pthread_mutex_lock(&h->lock);
	for (w = h->wanted; w; w = w->next) {
		const json_t *lease = find_entry(json_object_get(reply, "leases"), w);
		json_int_t ttl = json_integer_value(json_object_get(lease, "ttl_ms"));

		w->waits = reply && w->sent && !lease && json_object_get(reply, "doubt") &&
			   !find_entry(json_object_get(reply, "stale"), w);
		if (reply && w->sent && !w->answered && !w->waits) {
			w->answered = true;
			w->r = lease && ttl > 0 ? 0 : -ESTALE;
			w->right.until_ms = sent_ms + (uint64_t)ttl;
			w->right.quarantined = json_is_true(json_object_get(lease, "quarantined"));
		}
		w->sent = false;
	}
	pthread_cond_broadcast(&h->changed);
	pthread_mutex_unlock(&h->lock);
}

/* Is @desktop only wanted? Then the hypervisor knows nothing of it that could be renewed. */
static bool is_wanted(struct heartbeat *h, const char *desktop)
{
	const struct wanted *w;

	pthread_mutex_lock(&h->lock);
	for (w = h->wanted; w && strcmp(w->desktop, desktop) != 0;)
		w = w->next;
	pthread_mutex_unlock(&h->lock);
	return w;
}

static void in_ms(struct timespec *ts, uint64_t ms)
{
	clock_gettime(CLOCK_MONOTONIC, ts);
	ts->tv_sec += (time_t)(ms / 1000);
	ts->tv_nsec += (long)(ms % 1000) * 1000000;
	if (ts->tv_nsec >= 1000000000) {
		ts->tv_sec++;
		ts->tv_nsec -= 1000000000;
	}
}

int heartbeat_confirm(struct heartbeat *h, const char *desktop, uint64_t epoch,
		      const atomic_bool *cancel, struct heartbeat_right *right, struct err *err)
{
	struct wanted w = { .desktop = desktop, .epoch = epoch };
	struct wanted **at;
	struct timespec until;

	pthread_mutex_lock(&h->lock);
	w.next = h->wanted;
	h->wanted = &w;
	pthread_cond_broadcast(&h->changed);
	while (!w.answered && !*cancel && !h->agent->stop) {
		in_ms(&until, 50);
		pthread_cond_timedwait(&h->changed, &h->lock, &until);
	}
	for (at = &h->wanted; *at != &w;)
		at = &(*at)->next;
	*at = w.next;
	pthread_mutex_unlock(&h->lock);
	if (!w.answered)
		return err_say(err, ECANCELED, "cancelled");
	if (w.r < 0)
		return err_say(err, ESTALE, "the right to run desktop %s under epoch %ju is over",
			       desktop, (uintmax_t)epoch);
	*right = w.right;
	return 0;
}

/* Does somebody wait who was not in a heartbeat yet? With the lock. */
static bool hurries(const struct heartbeat *h)
{
	const struct wanted *w;

	for (w = h->wanted; w && w->waits;)
		w = w->next;
	return w;
}

/* Until the next heartbeat is due, or somebody wants one. */
static void wait_due(struct heartbeat *h, uint64_t next_ms)
{
	struct timespec until;

	pthread_mutex_lock(&h->lock);
	while (!h->agent->stop && clock_now_ms() < next_ms && (h->failing || !hurries(h))) {
		in_ms(&until, 50);
		pthread_cond_timedwait(&h->changed, &h->lock, &until);
	}
	pthread_mutex_unlock(&h->lock);
}

/* ---- The request ---------------------------------------------------------------------------------------------- */

/* The server's own word that the right is ours (proof.h). */
static void add_proofs(struct heartbeat *h, json_t *desktops)
{
	char proof[PROOF_LEN];
	json_t *item;
	size_t i;

	json_array_foreach (desktops, i, item) {
		json_int_t epoch = json_integer_value(json_object_get(item, "epoch"));

		if (proof_get(h->agent, json_string_value(json_object_get(item, "desktop")),
			      (uint64_t)epoch, proof))
			json_object_set_new(item, "proof", json_string(proof));
	}
}

/* doubt: the server wants to know which leases are still in force. The list was made after it had said so. */
static json_t *desktops_json(const struct hypervisor_status *list, size_t n, bool doubt)
{
	json_t *array = json_array();
	size_t i;

	for (i = 0; array && i < n; i++) {
		json_array_append_new(
			array, json_pack("{s:s, s:I, s:s, s:s, s:b}", "desktop", list[i].desktop,
					 "epoch", (json_int_t)list[i].epoch, "state", list[i].state,
					 "memory", list[i].memory_arriving ? "arriving" : "local",
					 "complete", hypervisor_status_local(&list[i])));
		if (doubt)
			json_object_set_new(json_array_get(array, i), "lease_ms",
					    json_integer((json_int_t)list[i].lease_ms));
	}
	return array;
}

static int request_json(struct heartbeat *h, json_t **out, struct err *err)
{
	struct err no_list = { 0 };
	json_t *desktops;
	int r;

	free(TAKE(h->list));
	h->listed = 0;
	r = hypervisor_status_hello(h->agent->hypervisor, &h->hello, err);
	if (r < 0 && !h->known)
		return r;
	h->known = true;
	if (r == 0)
		r = hypervisor_status_list(h->agent->hypervisor, &h->list, &h->listed, &no_list);
	if (r < 0)
		log_debug("heartbeat without desktops: %s",
			  err_text(no_list.code ? &no_list : err));
	desktops = desktops_json(h->list, h->listed, h->doubt[0]);
	add_wanted(h, h->list, h->listed, desktops);
	add_proofs(h, desktops);
	*out = json_pack("{s:s, s:s, s:I, s:I, s:I, s:b, s:o}", "version", AGENT_VERSION,
			 "accelerator", h->hello.accelerator, "cpus", (json_int_t)h->hello.cpus,
			 "memory_mib", (json_int_t)h->hello.memory_mib, "disk_free_bytes",
			 (json_int_t)h->hello.disk_free_bytes, "live_capture",
			 h->hello.live_capture, "desktops", desktops);
	if (*out && h->doubt[0])
		json_object_set_new(*out, "doubt", json_string(h->doubt));
	return *out ? 0 : err_set(err, ENOMEM, "beat");
}

/* ---- The answer ------------------------------------------------------------------------------------------------ */

static int renew(struct heartbeat *h, const json_t *object, uint64_t sent_ms, struct err *err)
{
	CLEANUP(json_decref) json_t *args = NULL;
	struct err refused = { 0 };
	const char *desktop = NULL;
	uint64_t epoch = 0, ttl = 0, left;
	bool quarantined = false; /* follow_quarantine() */
	const struct json_field fields[] = {
		{ "desktop", JSON_KIND_STRING, false, &desktop },
		{ "epoch", JSON_KIND_UINT, false, &epoch },
		{ "ttl_ms", JSON_KIND_UINT, false, &ttl },
		{ "quarantined", JSON_KIND_BOOL, true, &quarantined },
	};
	int r;

	r = json_fields(object, fields, ARRAY_LEN(fields), "a renewed lease", err);
	if (r < 0)
		return r;
	left = heartbeat_ttl_left(ttl, sent_ms, clock_now_ms());
	if (is_wanted(h, desktop))
		return 0;
	if (left == 0) {
		log_warning("the renewal of a lease came too late desktop=%s ttl_ms=%ju", desktop,
			    (uintmax_t)ttl);
		return 0;
	}
	args = json_pack("{s:I, s:I, s:I}", "epoch", (json_int_t)epoch, "ttl_ms", (json_int_t)left,
			 "until_ms", (json_int_t)(sent_ms + ttl));
	if (!args)
		return err_set(err, ENOMEM, "renew a lease");
	r = hypervisor_client_call(
		h->agent->hypervisor,
		&(struct hypervisor_call){
			.op = "lease", .desktop = desktop, .args = args, .timeout_ms = left },
		&refused);
	if (r < 0)
		log_warning("lease not renewed: %s desktop=%s epoch=%ju", err_text(&refused),
			    desktop, (uintmax_t)epoch);
	return 0;
}

/* The hypervisor has to know of a quarantine that began or ended. What fails is repeated after the next heartbeat. */
static void follow_quarantine(struct heartbeat *h, const struct hypervisor_status *at,
			      const json_t *leases)
{
	const struct wanted key = { .desktop = at->desktop, .epoch = at->epoch };
	const json_t *lease = find_entry(leases, &key);
	bool on = json_is_true(json_object_get(lease, "quarantined"));
	CLEANUP(json_decref) json_t *args = NULL;
	struct err err = { 0 };

	if (!lease || on == at->quarantined)
		return;
	args = json_pack("{s:I, s:b}", "epoch", (json_int_t)at->epoch, "on", on);
	if (!args ||
	    hypervisor_client_call(h->agent->hypervisor,
				   &(struct hypervisor_call){ .op = "quarantine",
							      .desktop = at->desktop,
							      .args = args,
							      .timeout_ms = QUARANTINE_MS },
				   &err) < 0)
		log_warning("its network could not be %s: %s desktop=%s", on ? "cut" : "given back",
			    err_text(&err), at->desktop);
	else
		log_info("%s desktop=%s", on ? "its network is cut" : "its network is given back",
			 at->desktop);
}

static void *put_aside(void *arg)
{
	struct stale *stale = arg;
	struct heartbeat *h = stale->heartbeat;
	struct err failed = { 0 };

	if (orphan_begin(h->agent, stale->desktop, stale->epoch, &failed) < 0)
		log_error("a stale desktop could not be put aside: %s desktop=%s",
			  err_text(&failed), stale->desktop);
	pthread_mutex_lock(&h->lock);
	stale->used = false;
	pthread_cond_broadcast(&h->changed);
	pthread_mutex_unlock(&h->lock);
	return NULL;
}

/* A free place for @desktop; NULL: it is worked on already, or there is no room. With the lock. */
static struct stale *stale_place(struct heartbeat *h, const char *desktop)
{
	struct stale *place = NULL;
	size_t i;

	for (i = 0; i < STALES_MAX; i++) {
		struct stale *s = &h->stales[i];

		if (s->used && strcmp(s->desktop, desktop) == 0)
			return NULL;
		if (!s->used)
			place = s;
	}
	return place;
}

/* In a thread of its own: killing a QEMU may take long, and other desktops' leases must be renewed meanwhile. */
static void begin_stale(struct heartbeat *h, const char *desktop, uint64_t epoch)
{
	struct stale *place;
	pthread_attr_t attr;
	pthread_t thread;

	pthread_mutex_lock(&h->lock);
	place = stale_place(h, desktop);
	if (place) {
		*place = (struct stale){ .heartbeat = h, .epoch = epoch };
		snprintf(place->desktop, sizeof(place->desktop), "%s", desktop);
		pthread_attr_init(&attr);
		pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
		place->used = pthread_create(&thread, &attr, put_aside, place) == 0;
		pthread_attr_destroy(&attr);
	}
	pthread_mutex_unlock(&h->lock);
	if (place)
		log_warning("the right to run moved on; what this desktop wrote becomes a branch "
			    "desktop=%s epoch=%ju",
			    desktop, (uintmax_t)epoch);
}

static int stale(struct heartbeat *h, const json_t *object, struct err *err)
{
	const char *desktop = NULL;
	uint64_t epoch = 0;
	const struct json_field fields[] = {
		{ "desktop", JSON_KIND_STRING, false, &desktop },
		{ "epoch", JSON_KIND_UINT, false, &epoch },
	};
	int r;

	r = json_fields(object, fields, ARRAY_LEN(fields), "a stale desktop", err);
	if (r == 0 && !manifest_desktop_valid(desktop))
		r = err_say(err, EBADMSG, "'%.80s' is no name for a desktop", desktop);
	if (r == 0 && !is_wanted(h, desktop))
		begin_stale(h, desktop, epoch);
	return r;
}

static int take_answer(struct heartbeat *h, const json_t *reply, uint64_t sent_ms, struct err *err)
{
	json_t *leases = NULL, *stales = NULL;
	const char *doubt = "";
	const json_t *item;
	uint64_t interval = 0;
	const struct json_field fields[] = {
		{ "doubt", JSON_KIND_STRING, true, &doubt },
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
	if (strlen(doubt) > DOUBT_MAX)
		return err_say(err, EBADMSG, "the answer to a heartbeat: 'doubt' is too long");
	h->interval_ms = interval;
	h->questioned = doubt[0] && strcmp(h->doubt, doubt) != 0;
	snprintf(h->doubt, sizeof(h->doubt), "%s", doubt);
	/* Renewals first: they are short. */
	json_array_foreach (leases, i, item) {
		r = renew(h, item, sent_ms, err);
		if (r < 0)
			return r;
	}
	for (i = 0; i < h->listed; i++)
		follow_quarantine(h, &h->list[i], leases);
	json_array_foreach (stales, i, item) {
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
	if (r == 0)
		r = take_answer(h, reply, sent_ms, err);
	answer_wanted(h, r == 0 ? reply : NULL, sent_ms);
	return r;
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
		if (r == 0 && h->questioned) /* leases that are in force run out meanwhile */
			continue;
		if (h->failing && next_ms > clock_now_ms() + RETRY_MS)
			next_ms = clock_now_ms() + RETRY_MS;
		wait_due(h, next_ms);
	}
	return NULL;
}

int heartbeat_start(struct heartbeat **out, struct agent *agent, struct err *err)
{
	struct heartbeat *h = calloc(1, sizeof(*h));
	pthread_condattr_t attr;
	int r;

	if (!h)
		return err_set(err, ENOMEM, "start the heartbeat");
	h->agent = agent;
	h->interval_ms = INTERVAL_FIRST_MS;
	pthread_mutex_init(&h->lock, NULL);
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&h->changed, &attr);
	pthread_condattr_destroy(&attr);
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
	*out = agent->heartbeat = h;
	return 0;
}

void heartbeat_stop(struct heartbeat *h)
{
	if (!h)
		return;
	pthread_join(h->thread, NULL);
	free(TAKE(h->list));
	http_client_free(
		h->http); /* the rest stays: jobs may still wait for it until the process ends */
	h->http = NULL;
}

void heartbeat_free(struct heartbeat *h)
{
	size_t i;

	if (!h)
		return;
	pthread_mutex_lock(&h->lock);
	for (i = 0; i < STALES_MAX; i++) {
		while (h->stales[i].used)
			pthread_cond_wait(&h->changed, &h->lock);
	}
	pthread_mutex_unlock(&h->lock);
	pthread_cond_destroy(&h->changed);
	pthread_mutex_destroy(&h->lock);
	free(h);
}
