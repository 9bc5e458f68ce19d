/* server_config.c - see server_config.h. */
#include "mgmt-server/server_config.h"

#include <errno.h>
#include <stddef.h>
#include <string.h>

#include "common/config.h"

#define KEY(section, name, kind, member, preset, help)                                             \
	{                                                                                          \
		section, name, kind, offsetof(struct server_config, member), preset, help          \
	}

static const struct config_key keys[] = {
	KEY("server", "names", CONFIG_STRING, names, "",
	    "DNS names and addresses in the server certificate, separated by spaces; empty: this "
	    "host's name, "
	    "localhost, 127.0.0.1"),
	KEY("server", "listen", CONFIG_STRING, listen, "127.0.0.1:8443", "UI and API"),
	KEY("server", "agent_listen", CONFIG_STRING, agent_listen, "127.0.0.1:8444",
	    "agents, client certificate required"),
	KEY("server", "agent_url", CONFIG_STRING, agent_url, "",
	    "how endpoints reach agent_listen; empty: made of its address and port"),
	KEY("server", "web_root", CONFIG_STRING, web_root, "",
	    "folder of the web UI; empty: beside the program's build tree, else "
	    "/usr/share/godwit/web-ui-static"),
	KEY("server", "sign_in", CONFIG_DURATION, sign_in_ms, "12h", "how long a sign-in lasts"),
	KEY("server", "endpoint_days", CONFIG_UINT, endpoint_days, "825",
	    "validity of endpoint certificates, days"),
	KEY("store", "path", CONFIG_STRING, store, "", "store folder; empty: STATE/store"),
	KEY("store", "key", CONFIG_STRING, store_key, "",
	    "its master key; empty: the store's path + .key"),
	KEY("store", "domains", CONFIG_STRING, store_domains, "shared",
	    "which chunks a new desktop shares, unless its domain is named when it is made: "
	    "shared: "
	    "those of domain default; per-desktop: its own only"),
	KEY("store", "verify_every", CONFIG_DURATION, store_verify_every_ms, "168h",
	    "every pack is read and checked so often; 0s: never by itself"),
	KEY("store", "verify_rate", CONFIG_BYTES, store_verify_rate, "20M",
	    "bytes per second that checking reads at most; 0: no limit"),
	KEY("store", "gc_every", CONFIG_DURATION, store_gc_every_ms, "24h",
	    "what no snapshot needs is deleted so often; 0s: never by itself"),
	KEY("store", "mirror", CONFIG_STRING, store_mirror, "",
	    "folder of a second store, in another building if possible; empty: none"),
	KEY("store", "mirror_every", CONFIG_DURATION, store_mirror_every_ms, "1m",
	    "what is new is copied there so often"),
	KEY("store", "mirror_rate", CONFIG_BYTES, store_mirror_rate, "0",
	    "bytes per second that mirroring copies at most; 0: no limit"),
	KEY("store", "catalogue_copy_every", CONFIG_DURATION, store_copy_every_ms, "2m",
	    "the catalogue and the server's keys are copied into the store so often when something "
	    "changed; 0s: never"),
	KEY("store", "catalogue_check_every", CONFIG_DURATION, store_check_every_ms, "1h",
	    "the whole catalogue is read and checked so often; 0s: at start only"),
	KEY("scan", "signatures", CONFIG_STRING, scan_signatures, "",
	    "folder of virus signatures that somebody else keeps; empty: the server's own set, "
	    "fetched "
	    "or uploaded, and /var/lib/clamav while there is none"),
	KEY("scan", "mirror", CONFIG_STRING, scan_mirror, "",
	    "private mirrors from which freshclam fetches ClamAV's signatures, separated by "
	    "spaces"),
	KEY("scan", "custom", CONFIG_STRING, scan_custom, "",
	    "URLs of further signature files (.hdb, .ndb …) for freshclam, separated by spaces"),
	KEY("scan", "update", CONFIG_DURATION, scan_update_ms, "2h",
	    "how often it looks for new ones"),
	KEY("scan", "upload_max", CONFIG_BYTES, scan_upload_max, "1G",
	    "the largest bundle of signatures that can be uploaded"),
	KEY("scan", "max_age", CONFIG_DURATION, scan_max_age_ms, "7d",
	    "signatures older than that are outdated; 0s: never"),
	KEY("scan", "outdated", CONFIG_STRING, scan_outdated, "warn",
	    "warn: a notice; incomplete: also, no verdict is `clean`"),
	KEY("scan", "automatic", CONFIG_BOOL, scan_automatic, "no",
	    "yes: each new snapshot is scanned"),
	KEY("scan", "quarantine", CONFIG_BOOL, scan_quarantine, "no",
	    "yes: a running desktop whose newest snapshot is found infected loses its network "
	    "until "
	    "a person releases it"),
	KEY("scan", "at_once", CONFIG_UINT, scan_at_once, "1",
	    "so many scans run beside each other; one keeps every processor busy"),
	KEY("scan", "nice", CONFIG_UINT, scan_nice, "10",
	    "0 to 19: how far scans stand back behind everything else"),
	KEY("scan", "retry", CONFIG_DURATION, scan_retry_ms, "2m",
	    "a scan that could not finish is tried again after so long, then after twice that, "
	    "... at most 6h"),
	KEY("ransomware", "watch", CONFIG_BOOL, ransomware_watch, "yes",
	    "each new snapshot is compared with the one before: were files encrypted?"),
	KEY("ransomware", "files", CONFIG_UINT, ransomware_files, "20",
	    "so many encrypted files are an alarm, in one snapshot or little by little"),
	KEY("ransomware", "slack", CONFIG_UINT, ransomware_slack, "2",
	    "so many more than usual in one snapshot are not added up"),
	KEY("notices", "smtp", CONFIG_STRING, notices_smtp, "",
	    "mail notices through smtp://HOST:PORT (with STARTTLS, unless it is this host) or "
	    "smtps://HOST; empty: no mail"),
	KEY("notices", "from", CONFIG_STRING, notices_from, "", "the sender's address"),
	KEY("notices", "to", CONFIG_STRING, notices_to, "",
	    "who gets all of them, separated by spaces; a desktop's owner gets what is about it"),
	KEY("notices", "user", CONFIG_STRING, notices_user, "", "sign in at the SMTP server as"),
	KEY("notices", "password_file", CONFIG_STRING, notices_password_file, "",
	    "its first line is the password"),
	KEY("notices", "retry", CONFIG_DURATION, notices_retry_ms, "1m",
	    "a message that is not taken is tried again after so long, then after twice that, ..."),
	KEY("lease", "ttl", CONFIG_DURATION, lease_ttl_ms, "6s",
	    "a desktop may run for so long after its endpoint's last heartbeat"),
	KEY("lease", "margin", CONFIG_DURATION, lease_margin_ms, "3s",
	    "added before a lost desktop is started elsewhere"),
	KEY("lease", "heartbeat", CONFIG_DURATION, heartbeat_ms, "2s",
	    "interval of the heartbeats"),
	KEY("limits", "download_bytes_per_s", CONFIG_BYTES, download_bytes_per_s, "0",
	    "shared by all chunk fetches; 0: none"),
	KEY("limits", "body_memory", CONFIG_BYTES, body_budget, "48M",
	    "request bodies in memory, all requests together; more wait"),
	KEY("limits", "min_free", CONFIG_BYTES, min_free_bytes, "16M",
	    "free disk space below which uploads are refused (507), so that the catalogue can go "
	    "on"),
	KEY("limits", "connections", CONFIG_UINT, connections, "4096", "per listener"),
	KEY("limits", "connections_per_address", CONFIG_UINT, connections_per_address, "1024",
	    "per listener and client address"),
	KEY("limits", "workers", CONFIG_UINT, workers, "8", "threads for short requests"),
	KEY("limits", "bulk_workers", CONFIG_UINT, bulk_workers, "6",
	    "threads for chunk transfers"),
	KEY("limits", "idle_timeout", CONFIG_DURATION, idle_timeout_ms, "60s",
	    "from a reply (or the connection's begin) to the next complete request header"),
	KEY("limits", "body_timeout", CONFIG_DURATION, body_timeout_ms, "120s",
	    "from there to the end of the request's body"),
	KEY("limits", "send_timeout", CONFIG_DURATION, send_timeout_ms, "120s",
	    "for a reply; streams have none"),
};

/* An endpoint's guard stops a desktop at most 0.9 s after its lease (docs/protocol.md). */
enum { LEASE_MARGIN_MIN_MS = 1000 };

static int check_lease(const struct server_config *config, struct err *err)
{
	if (config->heartbeat_ms < 100 || config->heartbeat_ms * 2 > config->lease_ttl_ms)
		return err_say(
			err, EINVAL,
			"[lease] heartbeat must be at least 100ms and at most half of ttl, or one "
			"lost heartbeat fences desktops");
	if (config->lease_margin_ms < LEASE_MARGIN_MIN_MS)
		return err_say(err, EINVAL,
			       "[lease] margin must be at least 1s, or a desktop could be started "
			       "elsewhere before its endpoint has surely stopped it");
	return 0;
}

static int check_store(const struct server_config *config, struct err *err)
{
	if (strcmp(config->store_domains, "shared") != 0 &&
	    strcmp(config->store_domains, "per-desktop") != 0)
		return err_say(err, EINVAL,
			       "[store] domains must be shared or per-desktop, not '%s'",
			       config->store_domains);
	return 0;
}

static int check_scan(const struct server_config *config, struct err *err)
{
	if (config->scan_at_once < 1 || config->scan_at_once > 64 || config->scan_nice > 19)
		return err_say(err, EINVAL, "[scan] at_once must be 1 to 64, nice 0 to 19");
	if (strcmp(config->scan_outdated, "warn") != 0 &&
	    strcmp(config->scan_outdated, "incomplete") != 0)
		return err_say(err, EINVAL, "[scan] outdated must be warn or incomplete");
	if (config->scan_signatures[0] && (config->scan_mirror[0] || config->scan_custom[0]))
		return err_say(
			err, EINVAL,
			"[scan] signatures names a folder that somebody else keeps: leave it "
			"empty to use mirror or custom");
	if (config->scan_update_ms < 60000)
		return err_say(err, EINVAL, "[scan] update must be at least 1m");
	if (config->scan_retry_ms < 1000)
		return err_say(err, EINVAL, "[scan] retry must be at least 1s");
	if (config->ransomware_files < 5 || config->ransomware_files > 100000 ||
	    config->ransomware_slack >= config->ransomware_files)
		return err_say(err, EINVAL,
			       "[ransomware] files must be 5 to 100000, slack less than files");
	return 0;
}

static int check_limits(const struct server_config *config, struct err *err)
{
	if (config->body_budget < (8 << 20) + 4096)
		return err_say(err, EINVAL, "[limits] body_memory must be at least 9M: one upload");
	if (config->workers < 2 || config->bulk_workers < 1 || config->workers > 256 ||
	    config->bulk_workers > 256)
		return err_say(err, EINVAL,
			       "[limits] workers must be 2 to 256, bulk_workers 1 to 256");
	if (config->connections < 16 || config->connections > 100000 ||
	    config->connections_per_address < 8)
		return err_say(err, EINVAL,
			       "[limits] connections must be 16 to 100000, "
			       "connections_per_address at least 8");
	return 0;
}

int server_config_load(struct server_config *config, const char *path, struct err *err)
{
	static int (*const checks[])(const struct server_config *,
				     struct err *) = { check_lease, check_store, check_scan,
						       check_limits };
	int r = config_load(path, keys, ARRAY_LEN(keys), config, err);

	for (size_t i = 0; r == 0 && i < ARRAY_LEN(checks); i++)
		r = checks[i](config, err);
	return r;
}

void server_config_deinit(struct server_config *config)
{
	config_free(keys, ARRAY_LEN(keys), config);
}

void server_config_print(FILE *out)
{
	config_print_help(out, keys, ARRAY_LEN(keys));
}
