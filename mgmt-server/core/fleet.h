/* fleet.h - what is known of endpoints and leases right now, in memory. The catalogue holds what must survive.
 *
 * All times are clock_now_ms() unless a name says wall. After a restart of the server every held lease begins with a
 * full ttl, and so it does after the server itself was stopped or asleep for seconds: silence is only counted while
 * somebody listens. Everything here needs the fleet's lock, which is recursive.
 */
#ifndef GODWIT_MGMT_SERVER_FLEET_H
#define GODWIT_MGMT_SERVER_FLEET_H

#include "common/json.h"
#include "mgmt-server/catalogue/catalogue_desktops.h"
#include "migrate/lease.h"

struct fleet;
struct server;

struct fleet_desktop {
	char name[CATALOGUE_NAME_LEN];
	char domain[CATALOGUE_NAME_LEN]; /* whose chunks it shares in the store */
	struct lease lease;
	uint64_t
		epoch_floor; /* no grant begins at or below it: older ones may have been given out and forgotten */
	uint64_t
		promised_ms; /* the longest ttl of a renewal under this grant, by this server or an earlier one */
	bool told; /* the holder was, since this server's start, that he may run (doubt.h) */
	uint64_t told_from_ms; /* a claim displaced a holder: the new one is not told before */
	bool starting; /* granted, and the run job did not report the guest running: heartbeats renew it anyway */
	bool quarantined;    /* without its network, wherever it runs (quarantines.h) */
	uint64_t crashed_ms; /* when a crash was failed over last; 0: never */
};

struct fleet_report { /* one desktop in an endpoint's last heartbeat */
	char desktop[CATALOGUE_NAME_LEN];
	char state[20];
	bool complete;
	uint64_t epoch;
	bool in_force;  /* the lease was, after this server's start (doubt.h) */
	char proof[65]; /* that the epoch is its (grants.h); "": none */
};

struct fleet_endpoint {
	char name[CATALOGUE_NAME_LEN];
	bool online;
	uint64_t seen_ms, seen_wall_ms; /* 0: not since this server runs */
	uint64_t saved_wall_ms;         /* last_seen in the catalogue */
	char version[32], accelerator[16];
	uint64_t cpus, memory_mib, disk_free_bytes;
	bool live_capture;
	struct fleet_report *reports;
	size_t report_count;

	struct http_request *poll; /* its parked long poll; NULL: none */
	char instance[72];         /* of that poll */
	uint64_t poll_end_ms;
	bool poll_due;   /* new work came: answer the poll (work_due) */
	bool work_waits; /* there is work that was not handed out or not confirmed */
};

int fleet_new(struct fleet **out, struct server *server, struct err *err);
void fleet_free(struct fleet *fleet);
DEFINE_CLEANUP(struct fleet *, fleet_free);
/* Leases and endpoints from the catalogue. */
int fleet_load(struct fleet *fleet, struct err *err);

void fleet_lock(struct fleet *fleet);
void fleet_unlock(struct fleet *fleet);
/* For CLEANUP(fleet_unlock): struct fleet *held = fleet_hold(fleet). */
struct fleet *fleet_hold(struct fleet *fleet);
DEFINE_CLEANUP(struct fleet *, fleet_unlock);

/* NULL: unknown. The pointers stay valid as long as the fleet. */
struct fleet_desktop *fleet_desktop(struct fleet *fleet, const char *name);
struct fleet_endpoint *fleet_endpoint(struct fleet *fleet, const char *name);
size_t fleet_desktop_count(const struct fleet *fleet);
struct fleet_desktop *fleet_desktop_at(struct fleet *fleet, size_t i);
size_t fleet_endpoint_count(const struct fleet *fleet);
struct fleet_endpoint *fleet_endpoint_at(struct fleet *fleet, size_t i);

/* The entry, made if it is not there; NULL: out of memory. */
struct fleet_desktop *fleet_desktop_add(struct fleet *fleet, const char *name,
					enum lease_policy policy);
/* A desktop's domain, once it is known. */
void fleet_desktop_place(struct fleet_desktop *desktop, const char *domain);
struct fleet_endpoint *fleet_endpoint_add(struct fleet *fleet, const char *name);

/* What @endpoint last said of @desktop; NULL: nothing. */
const struct fleet_report *fleet_report(const struct fleet_endpoint *endpoint, const char *desktop);

#endif
