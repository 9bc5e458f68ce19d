/* server_config.h - godwit-server's settings: one table for the file, --print-config and the defaults. */
#ifndef GODWIT_MGMT_SERVER_CONFIG_H
#define GODWIT_MGMT_SERVER_CONFIG_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "common/base.h"
#include "common/err.h"

struct server_config {
	char *names, *listen, *agent_listen, *agent_url, *web_root, *store, *store_key,
		*store_domains, *store_mirror, *scan_signatures;
	bool scan_automatic;
	bool scan_quarantine;
	bool ransomware_watch;
	uint64_t ransomware_files, ransomware_slack;
	uint64_t scan_at_once, scan_nice, scan_retry_ms;
	char *scan_mirror, *scan_custom, *scan_outdated;
	char *notices_smtp, *notices_from, *notices_to, *notices_user, *notices_password_file;
	uint64_t notices_retry_ms;
	uint64_t scan_update_ms, scan_max_age_ms, scan_upload_max;
	uint64_t store_verify_every_ms, store_verify_rate, store_gc_every_ms, store_mirror_every_ms,
		store_mirror_rate, store_copy_every_ms, store_check_every_ms;
	uint64_t lease_ttl_ms, lease_margin_ms, heartbeat_ms;
	uint64_t sign_in_ms, endpoint_days;
	uint64_t download_bytes_per_s, body_budget, min_free_bytes;
	uint64_t connections, connections_per_address, workers, bulk_workers;
	uint64_t idle_timeout_ms, body_timeout_ms, send_timeout_ms;
};

/* path NULL: the defaults. Return 0 or -errno; after a failure deinit is still allowed. */
int server_config_load(struct server_config *config, const char *path, struct err *err);
void server_config_deinit(struct server_config *config);
void server_config_print(FILE *out);

#endif
