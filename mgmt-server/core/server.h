/* server.h - what all parts of godwit-server share: one struct, made by server_main.c, constant once requests come in.
 *
 * Locks, outer first: fleet (fleet.h; leases, endpoints, every transition of a job) · the writing db_conn · reading
 * db_conns · events. Never wait for the fleet while holding a db_conn.
 */
#ifndef GODWIT_MGMT_SERVER_SERVER_H
#define GODWIT_MGMT_SERVER_SERVER_H

#include <stdatomic.h>

#include "common/pki.h"
#include "mgmt-server/catalogue/catalogue_desktops.h"
#include "mgmt-server/catalogue/catalogue_jobs.h"
#include "mgmt-server/catalogue/catalogue_records.h"
#include "mgmt-server/core/make_way.h"
#include "mgmt-server/http/http.h"
#include "mgmt-server/server_config.h"
#include "snapshot/store.h"

#define SERVER_VERSION "0.1"

struct server {
	struct server_config config;
	char *state; /* folder */
	struct db *db;
	struct store *store;
	struct http *http;
	struct fleet *fleet;
	struct events *events;
	struct auth *auth;
	struct transfer *transfer;
	struct scans *scans;
	struct mends *mends;
	struct signatures *signatures;
	struct upkeep *upkeep;
	struct ransomware *ransomware;
	struct mail *mail; /* NULL: nothing is mailed */
	struct hunts *hunts;
	struct make_way make_way;
	char *ca_pem, *ca_key_pem, *cert_pem, *key_pem;
	char ca_fingerprint[PKI_FINGERPRINT_LEN];
	char *ui_url, *agent_url;
	uint64_t started_wall_ms;
	uint64_t doubt_until_ms; /* clock_now_ms (doubt.h); 0: there was none */
	char doubt[17];          /* number of this start's doubt; "": there was none */
	bool doubt_marked;       /* its file is there */
	atomic_bool begin_anew;  /* end, and be started again in this process */
	char recovered
		[1024]; /* how the catalogue came back at this start; "": nothing was wrong (recovery.h) */
	uint64_t tick_ms,
		slow_tick_ms; /* leases_tick's, the fleet's lock holds them and the doubt */
};

#endif
