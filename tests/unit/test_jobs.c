/* jobs, leases and failover over a real catalogue and store, without a network: transitions, and what an abort undoes. */
#include <errno.h>
#include <ftw.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

#include "common/clock.h"
#include "common/io.h"
#include "mgmt-server/catalogue/catalogue_schema.h"
#include "mgmt-server/core/events.h"
#include "mgmt-server/core/doubt.h"
#include "mgmt-server/core/failover.h"
#include "mgmt-server/core/leases.h"
#include "mgmt-server/catalogue/catalogue_scans.h"
#include "mgmt-server/core/scans.h"
#include "mgmt-server/core/snapshots.h"
#include "mgmt-server/core/transfer.h"

static struct server s;
static struct err err;

#define OK(call) assert_int_equal((call), 0)

static void add_endpoint(const char *name)
{
	struct fleet_endpoint *e;
	struct db_conn *c;

	OK(db_begin(s.db, &c, &err));
	OK(catalogue_endpoint_put(c, name, "00", 1, &err));
	OK(db_commit(c, &err));
	e = fleet_endpoint_add(s.fleet, name);
	e->online = true;
	e->seen_ms = clock_now_ms();
	e->memory_mib = 4096;
	e->cpus = 4;
	e->disk_free_bytes = 1ULL << 40;
}

/* One block of 'x', committed through the store as a real snapshot of anna. */
static void add_snapshot(bool memory)
{
	static const uint8_t block[65536] = "x";
	const struct snapshots_figures unknown = { -1, -1 };
	struct chunk_encoded chunk = { .codec = CHUNK_CODEC_NONE,
				       .raw_len = sizeof(block),
				       .len = sizeof(block),
				       .data = block };
	struct store_session *session;
	struct chunk_sink sink;
	struct change change;
	struct manifest *m = calloc(1, sizeof(*m));
	bool branch;

	chunk_id_of(block, sizeof(block), &chunk.id);
	OK(store_session_open(&session, s.store, "anna", &err));
	sink = store_session_sink(session);
	OK(sink.put(sink.ctx, &chunk, 1, &err));
	manifest_init(m);
	strcpy(m->desktop, "anna");
	m->kind = memory ? MANIFEST_LIVE : MANIFEST_COLD;
	m->created_wall_ms = clock_wall_ms();
	m->epoch = fleet_desktop(s.fleet, "anna")->lease.epoch;
	m->volume_count = memory ? 2 : 1;
	m->volumes[0] = (struct volume){
		.name = "disk0", .kind = VOLUME_DISK, .size = 65536, .grid = 65536, .root = chunk.id
	};
	m->volumes[1] = (struct volume){
		.name = "ram/pc.ram", .kind = VOLUME_RAM, .size = 65536, .grid = 16384
	};
	OK(store_session_commit(session, m, &err));
	store_session_close(session);
	OK(change_begin(&change, &s, &err));
	OK(snapshots_enter(&change, m, &unknown, &branch, &err));
	assert_false(branch);
	OK(change_commit(&change, &err));
	manifest_deinit(m);
	free(m);
}

static int set_up(void **state)
{
	struct catalogue_desktop d = {
		.name = "anna",
		.rest = "empty",
		.created_ms = 1,
		.domain = "default",
		.machine = "{\"vcpus\":1,\"memory_mib\":512,\"network\":\"none\"}"
	};
	char folder[] = "/tmp/godwit-jobs-XXXXXX", path[64];
	struct change change;

	(void)state;
	memset(&s, 0, sizeof(s));
	s.state = strdup(mkdtemp(folder));
	s.ca_key_pem = strdup("any key");
	s.config.lease_ttl_ms = 1000;
	s.config.lease_margin_ms = 500;
	s.config.heartbeat_ms = 200;
	s.config.scan_at_once = 1;
	s.config.scan_signatures = strdup("");
	snprintf(path, sizeof(path), "%s/db", s.state);
	OK(db_open(&s.db, path, catalogue_schema, catalogue_schema_count, &err));
	snprintf(path, sizeof(path), "%s/store", s.state);
	OK(store_init(path, NULL, &err));
	OK(store_open(&s.store, path, NULL, STORE_WRITE, &err));
	OK(fleet_new(&s.fleet, &s, &err));
	OK(events_new(&s.events, &err));
	OK(transfer_new(&s.transfer, &s, &err));
	OK(scans_new(&s.scans, &s, &err));
	add_endpoint("a");
	OK(change_begin(&change, &s, &err));
	OK(catalogue_desktop_add(change.db, &d, &err));
	OK(leases_new(&change, "anna", LEASE_STRICT, &err));
	fleet_desktop_place(fleet_desktop(s.fleet, "anna"), "default");
	OK(change_commit(&change, &err));
	return 0;
}

static int remove_one(const char *path, const struct stat *st, int flag, struct FTW *ftw)
{
	(void)st;
	(void)flag;
	(void)ftw;
	return remove(path);
}

static int tear_down(void **state)
{
	(void)state;
	scans_free(s.scans);
	transfer_free(s.transfer);
	events_free(s.events);
	fleet_free(s.fleet);
	store_close(s.store);
	db_close(s.db);
	nftw(s.state, remove_one, 16, FTW_DEPTH | FTW_PHYS);
	free(s.state);
	free(s.config.scan_signatures);
	free(s.ca_key_pem);
	return 0;
}

/* ---- Small words ---- */

static int order(const char *kind, char *id)
{
	struct jobs_order o = { .kind = kind, .desktop = "anna", .user = "test" };
	CLEANUP_CHANGE struct change change = { .held = false };
	int r;

	OK(change_begin(&change, &s, &err));
	r = jobs_create(&change, &o, id, &err);
	if (r == 0)
		OK(change_commit(&change, &err));
	return r;
}

static struct catalogue_job job_now(const char *id)
{
	CLEANUP(db_read_end) struct db_conn *c = db_read(s.db);
	struct catalogue_job job;

	OK(catalogue_job_get(c, id, &job, &err));
	catalogue_job_deinit(&job);
	return job;
}

static size_t hand_out(const char *endpoint, const char *instance)
{
	CLEANUP_CHANGE struct change change = { .held = false };
	json_t *items = json_array();
	size_t n;

	OK(change_begin(&change, &s, &err));
	OK(jobs_hand_out(&change, fleet_endpoint(s.fleet, endpoint), instance, items, &err));
	OK(change_commit(&change, &err));
	n = json_array_size(items);
	json_decref(items);
	return n;
}

static int report(const char *endpoint, const char *id, const char *step, const char *state,
		  const char *result)
{
	struct jobs_report r = { .step = step, .state = state, .message = "because" };
	CLEANUP_CHANGE struct change change = { .held = false };
	bool cancel;
	int x;

	if (result)
		OK(json_parse(&r.result, result, strlen(result), "result", &err));
	OK(change_begin(&change, &s, &err));
	x = jobs_report(&change, endpoint, id, &r, &cancel, &err);
	if (x == 0)
		OK(change_commit(&change, &err));
	json_decref(r.result);
	return x;
}

static const struct lease *lease(void)
{
	return &fleet_desktop(s.fleet, "anna")->lease;
}

/* ---- Tests ---- */

static void test_jobs_start_to_end(void **state)
{
	char id[CATALOGUE_ID_LEN];

	(void)state;
	OK(order("start", id));
	assert_string_equal(job_now(id).state, "failed"); /* nothing to start from */
	add_snapshot(false);
	OK(order("start", id));
	assert_string_equal(job_now(id).step, "run");
	assert_string_equal(job_now(id).endpoint, "a");
	assert_int_equal(lease()->state, LEASE_HELD);
	assert_int_equal(lease()->epoch, 1);
	assert_int_equal(order("start", id + 0), -EBUSY);
}

static void test_jobs_one_blocking(void **state)
{
	char id[CATALOGUE_ID_LEN], other[CATALOGUE_ID_LEN];

	(void)state;
	add_snapshot(true);
	OK(order("resume", id));
	assert_int_equal(order("snapshot", other), -EEXIST);
	assert_int_equal(hand_out("a", "i1"), 1);
	OK(report("a", id, "run", "running", "{\"running_ms\":5}"));
	OK(order("snapshot", other)); /* the rest of the run goes on beside it */
	assert_string_equal(job_now(id).state, "running");
	OK(report("a", id, "run", "done", "{\"local_ms\":9}"));
	assert_string_equal(job_now(id).state, "done");
	assert_int_equal(report("a", id, "run", "done", NULL), JOBS_OVER);
	assert_int_equal(report("b", other, "capture", "done", NULL), -ENOENT);
	assert_int_equal(report("a", other, "capture", "done", NULL),
			 -EINVAL);                           /* names no snapshot */
	assert_string_equal(job_now(other).state, "queued"); /* and changed nothing */
}

static void test_jobs_handed_out_once_per_instance(void **state)
{
	char id[CATALOGUE_ID_LEN];

	(void)state;
	add_snapshot(true);
	OK(order("start", id));
	assert_int_equal(hand_out("a", "i1"), 1);
	assert_int_equal(hand_out("a", "i1"), 0);
	assert_int_equal(hand_out("a", "i2"), 1); /* the agent was restarted */
	OK(report("a", id, "run", "running", NULL));
	assert_int_equal(hand_out("a", "i2"), 0);
	assert_int_equal(hand_out("a", "i3"), 1);
}

static void test_jobs_run_waits_for_an_old_epoch(void **state)
{
	struct fleet_endpoint *e = fleet_endpoint(s.fleet, "a");
	char id[CATALOGUE_ID_LEN];

	(void)state;
	add_snapshot(true);
	e->reports = calloc(1, sizeof(*e->reports));
	e->report_count = 1;
	strcpy(e->reports[0].desktop, "anna");
	e->reports[0].epoch = 7;
	OK(order("start", id));
	assert_int_equal(hand_out("a", "i1"), 0);
	assert_true(e->work_waits);
	e->report_count = 0;
	assert_int_equal(hand_out("a", "i1"), 1);
}

static void test_jobs_failed_run_frees_the_lease(void **state)
{
	char id[CATALOGUE_ID_LEN];

	(void)state;
	add_snapshot(true);
	OK(order("start", id));
	assert_int_equal(hand_out("a", "i1"), 1);
	OK(report("a", id, "run", "failed", NULL));
	assert_string_equal(job_now(id).state, "failed");
	assert_string_equal(job_now(id).error, "because");
	assert_int_equal(lease()->state, LEASE_FREE);
	OK(order("start", id));
	assert_int_equal(lease()->epoch, 2); /* it never goes back */
}

static void test_jobs_failover_tries_three_times(void **state)
{
	struct change change;
	char id[CATALOGUE_ID_LEN];
	int i;

	(void)state;
	add_snapshot(true);
	OK(order("start", id));
	assert_int_equal(hand_out("a", "i1"), 1);
	OK(report("a", id, "run", "done", "{\"running_ms\":5}"));
	OK(change_begin(&change, &s, &err));
	OK(leases_release(&change, fleet_desktop(s.fleet, "anna"), "a", 1, &err));
	doubt_begin(&s, 3600000);
	OK(failover_crashed(&change, fleet_desktop(s.fleet, "anna"), "a", &err));
	OK(catalogue_job_active(change.db, "anna", id, &err));
	OK(change_commit(&change, &err));
	jobs_tick(&s);
	/* Somebody may run it whom an older catalogue does not know. */
	assert_string_equal(job_now(id).step, "place");
	assert_string_equal(job_now(id).state, "queued");
	s.doubt_until_ms = 0;
	jobs_tick(&s);
	for (i = 0; i < 3; i++) {
		assert_string_equal(job_now(id).step, i == 0 ? "run" : job_now(id).step);
		jobs_tick(&s);
		if (strcmp(job_now(id).step, "place") == 0) {
			/* The only endpoint is the one to avoid: another one must come. */
			add_endpoint(i == 1 ? "b" : "c");
			jobs_tick(&s);
		}
		assert_string_equal(job_now(id).step, "run");
		assert_int_equal(hand_out(job_now(id).endpoint, "i9"), 1);
		OK(report(job_now(id).endpoint, id, "run", "failed", NULL));
	}
	assert_string_equal(job_now(id).state, "failed");
	assert_int_equal(lease()->state, LEASE_FREE);
	assert_int_equal(lease()->epoch, 4);
}

static void test_jobs_cancel(void **state)
{
	struct change change;
	char id[CATALOGUE_ID_LEN];

	(void)state;
	add_snapshot(true);
	OK(order("start", id));
	OK(change_begin(&change, &s, &err));
	OK(jobs_cancel(&change, id, &err));
	OK(change_commit(&change, &err));
	assert_string_equal(job_now(id).state, "cancelled");
	assert_int_equal(lease()->state, LEASE_FREE);
	OK(change_begin(&change, &s, &err));
	assert_int_equal(jobs_cancel(&change, id, &err), -EEXIST);
	assert_int_equal(jobs_cancel(&change, "none", &err), -ENOENT);
	change_abort(&change);
}

/* offline-ok: its lease ends, but nothing follows from that by itself, so a person must be able to end the job. */
static void test_jobs_cancel_when_the_endpoint_is_gone(void **state)
{
	struct change change;
	char id[CATALOGUE_ID_LEN];
	int i;

	(void)state;
	add_snapshot(true);
	fleet_desktop(s.fleet, "anna")->lease.policy = LEASE_OFFLINE_OK;
	OK(order("start", id));
	assert_int_equal(hand_out("a", "i1"), 1);
	OK(change_begin(&change, &s, &err));
	OK(jobs_cancel(&change, id, &err));
	OK(change_commit(&change, &err));
	assert_string_equal(job_now(id).state,
			    "queued"); /* the agent is there: it must stop first */
	fleet_endpoint(s.fleet, "a")->online = false;
	for (i = 0; i < 600 && lease()->state == LEASE_HELD; i++) {
		leases_tick(&s);
		clock_sleep_ms(100);
	}
	assert_int_equal(lease()->state, LEASE_EXPIRED);
	OK(change_begin(&change, &s, &err));
	OK(jobs_cancel(&change, id, &err));
	OK(change_commit(&change, &err));
	assert_string_equal(job_now(id).state, "cancelled");
	assert_int_equal(lease()->state, LEASE_EXPIRED); /* a may run it all the same */
	assert_false(fleet_desktop(s.fleet, "anna")->starting);
	assert_int_equal(report("a", id, "run", "running", NULL), JOBS_OVER);
}

static void test_jobs_abort_puts_leases_back(void **state)
{
	struct jobs_order o = { .kind = "start", .desktop = "anna", .user = "test" };
	struct lease before;
	struct change change;
	char id[CATALOGUE_ID_LEN];

	(void)state;
	add_snapshot(true);
	before = *lease();
	OK(change_begin(&change, &s, &err));
	OK(jobs_create(&change, &o, id, &err));
	assert_int_equal(lease()->state, LEASE_HELD);
	change_abort(&change);
	assert_memory_equal(lease(), &before, sizeof(before));
	assert_int_equal(hand_out("a", "i1"), 0);
}

static void test_jobs_leases_survive_a_restart(void **state)
{
	char id[CATALOGUE_ID_LEN];
	uint64_t now;

	(void)state;
	add_snapshot(true);
	OK(order("start", id));
	fleet_free(s.fleet);
	OK(fleet_new(&s.fleet, &s, &err));
	now = clock_now_ms();
	OK(fleet_load(s.fleet, &err));
	assert_int_equal(lease()->state, LEASE_HELD);
	assert_int_equal(lease()->epoch, 1);
	assert_string_equal(lease()->holder, "a");
	assert_true(lease()->until_ms >= now + 1000); /* a full ttl, whatever was left of it */
}

static uint64_t left_after_restart(uint64_t ttl_ms)
{
	uint64_t now;

	fleet_free(s.fleet);
	s.config.lease_ttl_ms = ttl_ms;
	OK(fleet_new(&s.fleet, &s, &err));
	now = clock_now_ms();
	OK(fleet_load(s.fleet, &err));
	assert_int_equal(lease()->ttl_ms, ttl_ms);
	return lease()->until_ms - now;
}

/* An endpoint may still go by what a server with a longer ttl promised, be it two restarts ago. */
static void test_jobs_a_shorter_ttl_waits_for_the_longer_promise(void **state)
{
	const uint64_t before = s.config.lease_ttl_ms;
	char id[CATALOGUE_ID_LEN];

	(void)state;
	add_snapshot(true);
	OK(order("start", id));
	assert_true(left_after_restart(600000) >= 600000);
	assert_true(left_after_restart(before) >= 600000);
	assert_true(left_after_restart(before) >= 600000);
	s.tick_ms = clock_now_ms() - 60000; /* this server stood still, which must not shorten it */
	leases_tick(&s);
	assert_true(lease()->until_ms - clock_now_ms() > 500000);
	s.config.lease_ttl_ms = before;
}

/* The epochs of a copy begin anew far above; he who proved the newest real one keeps it when somebody else is refused. */
static void test_jobs_refused_grant_leaves_the_holder_his_epoch(void **state)
{
	struct fleet_desktop *d = fleet_desktop(s.fleet, "anna");
	char id[CATALOGUE_ID_LEN];
	struct change change;

	(void)state;
	add_snapshot(true);
	OK(order("start", id));
	d->epoch_floor = 1000;
	OK(change_begin(&change, &s, &err));
	assert_int_equal(leases_grant(&change, d, "b", &err), -EBUSY);
	OK(change_commit(&change, &err));
	assert_int_equal(lease()->epoch, 1);
	assert_string_equal(lease()->holder, "a");
}

static void test_jobs_lost_lease_fails_over(void **state)
{
	char id[CATALOGUE_ID_LEN], active[CATALOGUE_ID_LEN];
	struct db_conn *c;
	uint64_t began;

	(void)state;
	add_snapshot(true);
	OK(order("start", id));
	add_endpoint("b");
	began = clock_now_ms();
	fleet_endpoint(s.fleet, "a")->online = false;
	while (lease()->epoch == 1 && clock_now_ms() - began < 60000) {
		fleet_endpoint(s.fleet, "b")->seen_ms = clock_now_ms(); /* b's heartbeats */
		fleet_endpoint(s.fleet, "b")->online = true;
		leases_tick(&s);
		clock_sleep_ms(100);
	}
	assert_true(clock_now_ms() - began >= 1400); /* ttl 1000 + margin 500 */
	assert_int_equal(lease()->epoch, 2);
	assert_string_equal(lease()->holder, "b");
	assert_string_equal(job_now(id).state, "failed");
	c = db_read(s.db);
	OK(catalogue_job_active(c, "anna", active, &err));
	OK(catalogue_grant_check(c, "anna", 1, "a", &err));
	assert_int_equal(catalogue_grant_check(c, "anna", 2, "a", &err), CATALOGUE_NONE);
	db_read_end(c);
	assert_string_equal(job_now(active).kind, "failover");
	assert_int_equal(hand_out("b", "i1"), 1);
}

/* The newest snapshot of anna gets a verdict; its id into char[CATALOGUE_ID_LEN]. */
static void judge_newest(const char *verdict, char *id)
{
	struct catalogue_scan scan = {
		.reasons = "[]", .findings = "[]", .engine = "", .signature_version = ""
	};
	struct db_conn *c;

	OK(db_begin(s.db, &c, &err));
	OK(catalogue_snapshot_latest(c, "anna", id, &err));
	memcpy(scan.snapshot, id, sizeof(scan.snapshot));
	strcpy(scan.verdict, verdict);
	OK(catalogue_scan_put(c, &scan, &err));
	OK(db_commit(c, &err));
}

static void assert_job_chose(const char *job, const char *snapshot)
{
	CLEANUP(db_read_end) struct db_conn *c = db_read(s.db);
	struct catalogue_job row;

	OK(catalogue_job_get(c, job, &row, &err));
	assert_string_equal(jobs_text(&row, "snapshot"), snapshot);
	catalogue_job_deinit(&row);
}

static void test_jobs_infected_is_passed_over(void **state)
{
	char older[CATALOGUE_ID_LEN], newer[CATALOGUE_ID_LEN], id[CATALOGUE_ID_LEN];

	(void)state;
	add_snapshot(false);
	judge_newest("infected", older);
	OK(order("start", id));
	assert_string_equal(job_now(id).state, "failed");
	assert_non_null(strstr(job_now(id).error, "infected"));
	judge_newest("incomplete", older);
	add_snapshot(false);
	judge_newest("infected", newer);
	assert_string_not_equal(older, newer);
	OK(order("start", id));
	assert_string_equal(job_now(id).step, "run");
	assert_job_chose(id, older);
}

static void test_jobs_scan_beside_others(void **state)
{
	const struct scans_order missing = { .snapshot = "20200101-000000-00000000",
					     .user = "test" };
	char snapshot[CATALOGUE_ID_LEN], id[CATALOGUE_ID_LEN], run[CATALOGUE_ID_LEN];
	const struct scans_order scan = { .snapshot = snapshot, .user = "test" };
	struct change change;

	(void)state;
	add_snapshot(false);
	judge_newest("clean", snapshot);
	OK(order("start", run));
	s.make_way = (struct make_way){ 0 }; /* test_make_way.c: it would wait for the guest */
	OK(change_begin(&change, &s, &err));
	assert_int_equal(scans_order(&change, &missing, id, &err), -ENOENT);
	OK(scans_order(&change, &scan, id, &err));
	OK(change_commit(&change, &err));
	/* There is no godwit-scan beside this test: the job fails and the verdict stays. */
	assert_string_equal(job_now(id).state, "failed");
	assert_non_null(strstr(job_now(id).error, "godwit-scan"));
	assert_string_equal(job_now(run).state, "queued");
	judge_newest("clean", snapshot);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
	const struct CMUnitTest tests[] = {
		TEST(test_jobs_start_to_end),
		TEST(test_jobs_one_blocking),
		TEST(test_jobs_handed_out_once_per_instance),
		TEST(test_jobs_run_waits_for_an_old_epoch),
		TEST(test_jobs_failed_run_frees_the_lease),
		TEST(test_jobs_failover_tries_three_times),
		TEST(test_jobs_cancel),
		TEST(test_jobs_cancel_when_the_endpoint_is_gone),
		TEST(test_jobs_abort_puts_leases_back),
		TEST(test_jobs_leases_survive_a_restart),
		TEST(test_jobs_a_shorter_ttl_waits_for_the_longer_promise),
		TEST(test_jobs_refused_grant_leaves_the_holder_his_epoch),
		TEST(test_jobs_lost_lease_fails_over),
		TEST(test_jobs_infected_is_passed_over),
		TEST(test_jobs_scan_beside_others),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
