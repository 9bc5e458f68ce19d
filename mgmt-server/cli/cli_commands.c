/* The table of commands, and what their answers look like. Adding a command is adding a row. */
#include "mgmt-server/cli/cli_action.h"
#include "mgmt-server/cli/cli_command.h"
#include "mgmt-server/cli/cli_hunt.h"
#include "mgmt-server/cli/cli_image.h"
#include "mgmt-server/cli/cli_import.h"
#include "mgmt-server/cli/cli_query.h"
#include "mgmt-server/cli/cli_signatures.h"
#include "mgmt-server/cli/cli_signin.h"

/* ---- What lists and objects look like ---- */

/* clang-format off */
#define COLUMN(title_, path_, format_, ...) { .title = title_, .path = path_, .format = CLI_FORMAT_##format_, ##__VA_ARGS__ }

static const struct cli_column endpoint_list[] = {
	COLUMN("NAME", "name", TEXT, .shrinks = true),
	COLUMN("STATE", "state", STATE),
	COLUMN("LAST SEEN", "last_seen", AGO, .yields = 2),
	COLUMN("CPUS", "cpus", TEXT, .right = true, .yields = 4),
	COLUMN("MEMORY", "memory_mib", MIB, .right = true, .yields = 3),
	COLUMN("USED", "memory_used_mib", MIB, .right = true, .yields = 3),
	COLUMN("DISK FREE", "disk_free_bytes", BYTES, .right = true, .yields = 5),
	COLUMN("DESKTOPS", "desktops", LIST, .shrinks = true),
};
static const struct cli_column endpoint_record[] = {
	COLUMN("Name", "name", TEXT),
	COLUMN("State", "state", STATE),
	COLUMN("Last seen", "last_seen", AGO),
	COLUMN("Version", "version", TEXT),
	COLUMN("Accelerator", "accelerator", TEXT),
	COLUMN("Processors", "cpus", TEXT),
	COLUMN("Memory", "memory_mib", MIB),
	COLUMN("Memory used", "memory_used_mib", MIB),
	COLUMN("Disk free", "disk_free_bytes", BYTES),
	COLUMN("Desktops", "desktops", LIST),
	COLUMN("Enrolled", "enrolled", TIME),
};
static const struct cli_column desktop_list[] = {
	COLUMN("NAME", "name", TEXT, .shrinks = true),
	COLUMN("STATE", "state", STATE),
	COLUMN("ENDPOINT", "endpoint", TEXT, .shrinks = true),
	COLUMN("CPUS", "machine.vcpus", TEXT, .right = true, .yields = 5),
	COLUMN("MEMORY", "machine.memory_mib", MIB, .right = true, .yields = 4),
	COLUMN("DISK", "disk_bytes", BYTES, .right = true, .yields = 4),
	COLUMN("LEASE", "lease.policy", TEXT, .yields = 3),
	COLUMN("LATEST SNAPSHOT", "latest_snapshot", TEXT, .yields = 1),
	COLUMN("DOMAIN", "domain", TEXT, .shrinks = true, .yields = 6),
	COLUMN("QUARANTINED", "quarantined", TEXT, .yields = 2),
};
static const struct cli_column desktop_record[] = {
	COLUMN("Name", "name", TEXT),
	COLUMN("State", "state", STATE),
	COLUMN("Note", "note", TEXT),
	COLUMN("Owner", "owner", TEXT),
	COLUMN("Endpoint", "endpoint", TEXT),
	COLUMN("Processors", "machine.vcpus", TEXT),
	COLUMN("Memory", "machine.memory_mib", MIB),
	COLUMN("Network", "machine.network", TEXT),
	COLUMN("Quarantined", "quarantined", TEXT),
	COLUMN("Machine type", "machine.type", TEXT),
	COLUMN("Disks", "disk_bytes", BYTES),
	COLUMN("Latest snapshot", "latest_snapshot", TEXT),
	COLUMN("Domain", "domain", TEXT),
	COLUMN("Lease", "lease.state", TEXT),
	COLUMN("Lease policy", "lease.policy", TEXT),
	COLUMN("Lease ends", "lease.until", AGO),
	COLUMN("Epoch", "epoch", TEXT),
	COLUMN("Job", "job", TEXT),
	COLUMN("Alarm", "alarm.why", TEXT),
	COLUMN("Alarm at", "alarm.snapshot", TEXT),
	COLUMN("Last good", "alarm.last_good", TEXT),
	COLUMN("Created", "created", TIME),
};
static const struct cli_column snapshot_list[] = {
	COLUMN("SNAPSHOT", "id", TEXT),
	COLUMN("DESKTOP", "desktop", TEXT, .shrinks = true),
	COLUMN("TAKEN", "created", AGO),
	COLUMN("VERDICT", "verdict", STATE),
	COLUMN("HELD", "held", TEXT, .yields = 1),
	COLUMN("PINNED", "pinned", TEXT, .yields = 2),
	COLUMN("KIND", "kind", TEXT, .yields = 2),
	COLUMN("MEMORY", "memory", TEXT, .yields = 3),
	COLUMN("BRANCH", "branch", TEXT, .yields = 5),
	COLUMN("PAUSE", "pause_ms", MS, .right = true, .yields = 4),
	COLUMN("READ", "read_bytes", BYTES, .right = true, .yields = 4),
	COLUMN("STORED", "stored_bytes", BYTES, .right = true, .yields = 1),
};
static const struct cli_column snapshot_record[] = {
	COLUMN("Snapshot", "id", TEXT),
	COLUMN("Desktop", "desktop", TEXT),
	COLUMN("Taken", "created", TIME),
	COLUMN("Kind", "kind", TEXT),
	COLUMN("Verdict", "verdict", STATE),
	COLUMN("Held", "held", TEXT),
	COLUMN("Pinned", "pinned", TEXT),
	COLUMN("Changes", "changes.level", TEXT),
	COLUMN("Why", "changes.why", TEXT),
	COLUMN("Scanned", "scan.ended", TIME),
	COLUMN("Signatures", "scan.signature_version", TEXT),
	COLUMN("Parent", "parent", TEXT),
	COLUMN("With memory", "memory", TEXT),
	COLUMN("Branch", "branch", TEXT),
	COLUMN("Epoch", "epoch", TEXT),
	COLUMN("Pause", "pause_ms", MS),
	COLUMN("Read", "read_bytes", BYTES),
	COLUMN("New", "new_bytes", BYTES),
	COLUMN("Stored", "stored_bytes", BYTES),
};
static const struct cli_column job_list[] = {
	COLUMN("JOB", "id", TEXT),
	COLUMN("KIND", "kind", TEXT),
	COLUMN("DESKTOP", "desktop", TEXT, .shrinks = true),
	COLUMN("STATE", "state", STATE),
	COLUMN("DONE", "", PROGRESS, .right = true, .yields = 1),
	COLUMN("CREATED", "created", AGO, .yields = 2),
	COLUMN("BY", "user", TEXT, .yields = 3),
	COLUMN("MESSAGE", "message", TEXT, .shrinks = true, .yields = 4),
};
static const struct cli_column job_record[] = {
	COLUMN("Job", "id", TEXT),
	COLUMN("Kind", "kind", TEXT),
	COLUMN("Desktop", "desktop", TEXT),
	COLUMN("Endpoint", "endpoint", TEXT),
	COLUMN("State", "state", STATE),
	COLUMN("Step", "step", TEXT),
	COLUMN("Done", "", PROGRESS),
	COLUMN("Message", "message", TEXT),
	COLUMN("Error", "error", TEXT),
	COLUMN("By", "user", TEXT),
	COLUMN("Created", "created", TIME),
	COLUMN("Started", "started", TIME),
	COLUMN("Ended", "ended", TIME),
};
static const struct cli_column notice_list[] = {
	COLUMN("NOTICE", "id", TEXT, .right = true),
	COLUMN("AT", "at", AGO),
	COLUMN("SEVERITY", "severity", STATE),
	COLUMN("KIND", "kind", TEXT, .yields = 2),
	COLUMN("DESKTOP", "desktop", TEXT, .shrinks = true),
	COLUMN("READ", "read", AGO, .yields = 3),
	COLUMN("MAIL", "mail", TEXT, .yields = 4),
	COLUMN("TEXT", "text", TEXT, .shrinks = true),
};
static const struct cli_column notice_record[] = {
	COLUMN("Notice", "id", TEXT),
	COLUMN("At", "at", TIME),
	COLUMN("Severity", "severity", STATE),
	COLUMN("Kind", "kind", TEXT),
	COLUMN("Desktop", "desktop", TEXT),
	COLUMN("Snapshot", "snapshot", TEXT),
	COLUMN("Job", "job", TEXT),
	COLUMN("Text", "text", TEXT),
	COLUMN("Read", "read", TIME),
	COLUMN("By", "reader", TEXT),
	COLUMN("Mail", "mail", TEXT),
	COLUMN("Mail error", "mail_error", TEXT),
};
static const struct cli_column signatures_record[] = {
	COLUMN("Source", "source", TEXT),
	COLUMN("Folder", "folder", TEXT),
	COLUMN("There", "there", TEXT),
	COLUMN("Signatures", "signatures", TEXT),
	COLUMN("Built", "built", TIME),
	COLUMN("That is", "built", AGO),
	COLUMN("Outdated", "outdated", TEXT),
	COLUMN("Then", "policy", TEXT),
	COLUMN("Digest", "digest", TEXT),
	COLUMN("Update", "update.state", STATE),
	COLUMN("Last ended", "update.ended", TIME),
	COLUMN("Error", "update.error", TEXT),
};
static const struct cli_column server_record[] = {
	COLUMN("Version", "version", TEXT),
	COLUMN("CA fingerprint", "ca_fingerprint", TEXT),
	COLUMN("Started", "started", TIME),
	COLUMN("Snapshots", "store.snapshots", TEXT),
	COLUMN("Chunks", "store.chunks", TEXT),
	COLUMN("Data in them", "store.plain_bytes", BYTES),
	COLUMN("Packs", "store.packs", TEXT),
	COLUMN("On disk", "store.pack_bytes", BYTES),
};

static const struct cli_column store_record[] = {
	COLUMN("Damage found", "damaged", TEXT),
	COLUMN("Desktops hurt", "hurt_desktops", LIST),
	COLUMN("Snapshots hurt", "hurt_snapshots", LIST),
	COLUMN("Last verify", "verify.ended", AGO),
	COLUMN("Verify failed", "verify.error", TEXT),
	COLUMN("Packs repaired", "verify.result.repaired_packs", TEXT),
	COLUMN("Last collection", "gc.ended", AGO),
	COLUMN("Collection freed", "gc.result.freed_bytes", BYTES),
	COLUMN("Collection failed", "gc.error", TEXT),
	COLUMN("Mirror", "mirror.path", TEXT),
	COLUMN("Mirrored", "mirror.ended", AGO),
	COLUMN("Not mirrored yet", "mirror.lag_snapshots", TEXT),
	COLUMN("Mirror failed", "mirror.error", TEXT),
	COLUMN("Catalogue copied", "catalogue-copy.ended", AGO),
	COLUMN("Copy failed", "catalogue-copy.error", TEXT),
	COLUMN("Catalogue checked", "catalogue-check.ended", AGO),
};

#define VIEW(name, empty) static const struct cli_view name##_view = {name, ARRAY_LEN(name), empty}
VIEW(endpoint_list, "No endpoints yet. Enrol one with a token from: godwit endpoint token");
VIEW(endpoint_record, NULL);
VIEW(desktop_list, "No desktops yet. Bring one with: godwit desktop import NAME IMAGE");
VIEW(desktop_record, NULL);
VIEW(snapshot_list, "No snapshots.");
VIEW(snapshot_record, NULL);
VIEW(job_list, "No jobs.");
VIEW(job_record, NULL);
VIEW(notice_list, "No notices.");
VIEW(notice_record, NULL);
VIEW(signatures_record, NULL);
VIEW(server_record, NULL);
VIEW(store_record, NULL);

/* ---- Options ---- */

#define OPTION(name_, kind_, argument_, help_, ...) \
	{ .name = name_, .kind = CLI_##kind_, .argument = argument_, .help = help_, ##__VA_ARGS__ }

#define LIMIT          OPTION("limit", COUNT, "N", "at most so many (default: all of them)")
#define DESKTOP_FILTER OPTION("desktop", NAME, "DESKTOP", "only of this desktop", .json = "desktop")
#define TO_ENDPOINT    OPTION("endpoint", NAME, "ENDPOINT", "where (default: the server chooses)", .json = "endpoint")
#define FROM_SNAPSHOT  OPTION("snapshot", TEXT, "SNAPSHOT", "from this one (default: the newest good one)", .json = "snapshot")
#define MACHINE                                                                                                  \
	OPTION("vcpus", COUNT, "N", "virtual processors", .json = "vcpus"),                                      \
	OPTION("memory", MIB, "SIZE", "memory, such as 2G or 512M", .json = "memory_mib"),                       \
	OPTION("network", CHOICE, "KIND", "user: out through the endpoint; none",                                \
	       .choices = "user|none", .json = "network"),                                                       \
	OPTION("lease-policy", CHOICE, "POLICY",                                                                 \
	       "strict: paused when out of the server's reach; offline-ok: runs on",                             \
	       .choices = "strict|offline-ok", .json = "lease_policy"),                                          \
	OPTION("domain", NAME, "DOMAIN", "desktops of one domain share chunks (default: the server's rule)",     \
	       .json = "domain"),                                                                                \
	OPTION("owner", TEXT, "ADDRESS", "whom notices about it are mailed to", .json = "owner")

static const struct cli_option login_options[] = {
	OPTION("user", TEXT, "NAME", "who you are at the server"),
	OPTION("password-file", TEXT, "FILE", "first line is the password; - reads stdin (default: ask)"),
	OPTION("ca", TEXT, "FILE", "trust the server by this CA certificate (PEM)"),
	OPTION("fingerprint", TEXT, "HEX", "trust the server whose CA has this SHA-256"),
};
static const struct cli_option limit_options[] = { LIMIT };
static const struct cli_option by_desktop_options[] = { DESKTOP_FILTER, LIMIT };
static const struct cli_option job_list_options[] = {
	DESKTOP_FILTER,
	OPTION("state", CHOICE, "STATE", "only in this state",
	       .choices = "queued|running|done|failed|cancelled", .json = "state"),
	LIMIT,
};
static const struct cli_option token_options[] = {
	OPTION("endpoint", NAME, "ENDPOINT", "the only name it may enrol, also anew", .json = "endpoint"),
	OPTION("ttl", SECONDS, "TIME", "how long it is good (default 1h)", .json = "ttl_s"),
};
static const struct cli_option create_options[] = { MACHINE };
static const struct cli_option import_options[] = {
	MACHINE,
	OPTION("format", CHOICE, "FORMAT", "of the image (default: recognised)", .choices = CLI_IMAGE_FORMATS),
	OPTION("follow-backing", FLAG, NULL, "read the other files that the image refers to, too"),
};
static const struct cli_option owner_options[] = {
	OPTION("address", TEXT, "ADDRESS", "whom notices about it are mailed to (default: nobody)", .json = "owner"),
};
static const struct cli_option start_options[] = { TO_ENDPOINT, FROM_SNAPSHOT };
static const struct cli_option stop_options[] = {
	OPTION("force", FLAG, NULL, "do not ask the guest: pull the plug", .json = "force"),
	OPTION("timeout", MS, "TIME", "how long the guest may take to shut down", .json = "timeout_ms"),
};
static const struct cli_option snapshot_options[] = {
	OPTION("no-memory", FLAG_OFF, NULL, "disks only", .json = "memory"),
};
static const struct cli_option pin_options[] = {
	OPTION("why", TEXT, "TEXT", "shown wherever the pin is", .json = "why"),
};
static const struct cli_option mend_options[] = {
	OPTION("file", TEXT, "VOLUME:PARTITION:PATH", "the infected file, as the scan named it", .json = "file"),
	OPTION("from", TEXT, "SNAPSHOT", "take the clean version from here (default: the last clean one before)", .json = "from"),
};
static const struct cli_option unpin_options[] = {
	OPTION("source", TEXT, "SOURCE", "whose pin (default: person)", .json = "source"),
};
static const struct cli_option quarantine_options[] = {
	OPTION("why", TEXT, "TEXT", "for the notice and the audit trail", .json = "why"),
};
static const struct cli_option acknowledge_options[] = {
	OPTION("false-alarm", FLAG, NULL, "it was none: such changes are usual here", .json = "false_alarm"),
};
static const struct cli_option notice_list_options[] = {
	DESKTOP_FILTER,
	OPTION("unread", FLAG, NULL, "only those nobody has read", .json = "unread"),
	LIMIT,
};
static const struct cli_option hunt_options[] = {
	OPTION("sha256", TEXT, "HASH[,HASH...]", "contents with these hashes"),
	OPTION("list", TEXT, "FILE", "contents with these hashes, one a line"),
	OPTION("yara", TEXT, "FILE", "contents that match these YARA rules"),
};
static const struct cli_option endpoint_options[] = { TO_ENDPOINT };

#define OPTIONS(table)     .options = table, .option_count = ARRAY_LEN(table)
#define LIST(path_, view_) .run = cli_query_list, .path = path_, .view = &view_
#define SHOW(path_, view_) .run = cli_query_show, .path = path_, .view = &view_
#define JOB(path_)         .run = cli_action_job, .path = path_, .starts_job = true

/* ---- The commands ---- */

const struct cli_command cli_commands[] = {
	{ "login", NULL, "URL", "sign in to a server",
	  "URL is https://HOST:PORT, or HOST for port 8443. A server whose certificate this machine does not\n"
	  "trust is only accepted with --ca or --fingerprint; the fingerprint is shown by the server when it\n"
	  "starts, and by its web page. The login is kept in ~/.config/godwit/login.json.",
	  OPTIONS(login_options), .run = cli_signin_login },
	{ "logout", NULL, NULL, "end the sign-in, here and at the server", .run = cli_signin_logout },

	{ "endpoint", "list", NULL, "all endpoints", OPTIONS(limit_options),
	  LIST("/api/v1/endpoints", endpoint_list_view) },
	{ "endpoint", "show", "ENDPOINT", "one endpoint",
	  SHOW("/api/v1/endpoints/%s", endpoint_record_view) },
	{ "endpoint", "token", NULL, "make a token that enrols one endpoint",
	  "The token alone goes to stdout. It can be used once.", OPTIONS(token_options),
	  .run = cli_action_token, .path = "/api/v1/endpoint-tokens" },

	{ "desktop", "list", NULL, "all desktops", OPTIONS(limit_options),
	  LIST("/api/v1/desktops", desktop_list_view) },
	{ "desktop", "show", "DESKTOP", "one desktop", SHOW("/api/v1/desktops/%s", desktop_record_view) },
	{ "desktop", "create", "NAME", "make an empty desktop", OPTIONS(create_options),
	  .run = cli_action_create, .path = "/api/v1/desktops" },
	{ "desktop", "import", "NAME IMAGE", "make a desktop from a disk image",
	  "IMAGE is a file (raw, qcow2, vmdk, vhdx, vhd, vdi) or a disk. Only what the server does not have yet is\n"
	  "sent. If it is interrupted, the same command again goes on from where it was.",
	  OPTIONS(import_options), .run = cli_import_run },
	{ "desktop", "owner", "DESKTOP", "say whose it is: notices about it are mailed to him", OPTIONS(owner_options),
	  .run = cli_action_show, .path = "/api/v1/desktops/%s/owner", .view = &desktop_record_view },
	{ "desktop", "start", "DESKTOP", "boot it from its newest snapshot", OPTIONS(start_options),
	  JOB("/api/v1/desktops/%s/start") },
	{ "desktop", "stop", "DESKTOP", "shut it down and keep its disks", OPTIONS(stop_options),
	  JOB("/api/v1/desktops/%s/stop") },
	{ "desktop", "pause", "DESKTOP", "hold it where it is, in memory",
	  JOB("/api/v1/desktops/%s/pause") },
	{ "desktop", "unpause", "DESKTOP", "let a paused one go on",
	  JOB("/api/v1/desktops/%s/unpause") },
	{ "desktop", "suspend", "DESKTOP", "snapshot with memory, then off",
	  JOB("/api/v1/desktops/%s/suspend") },
	{ "desktop", "resume", "DESKTOP", "go on where a snapshot with memory was taken",
	  OPTIONS(start_options), JOB("/api/v1/desktops/%s/resume") },
	{ "desktop", "snapshot", "DESKTOP", "take a snapshot while it runs", OPTIONS(snapshot_options),
	  JOB("/api/v1/desktops/%s/snapshot") },
	{ "desktop", "move", "DESKTOP", "suspend it here, resume it there", OPTIONS(endpoint_options),
	  JOB("/api/v1/desktops/%s/move") },
	{ "desktop", "acknowledge", "DESKTOP", "end its ransomware alarm",
	  "Until then nothing of the desktop is deleted. The last good snapshot stays pinned afterwards, unless\n"
	  "it was a false alarm.",
	  OPTIONS(acknowledge_options), .run = cli_action_show,
	  .path = "/api/v1/desktops/%s/acknowledge", .view = &desktop_record_view },
	{ "desktop", "quarantine", "DESKTOP", "cut it off its network, wherever it runs",
	  "It runs on, and stays cut off when it is moved, resumed or failed over, until somebody releases it.",
	  OPTIONS(quarantine_options), .run = cli_action_show,
	  .path = "/api/v1/desktops/%s/quarantine", .view = &desktop_record_view },
	{ "desktop", "release", "DESKTOP", "give a quarantined desktop its network back", OPTIONS(quarantine_options),
	  .run = cli_action_show, .path = "/api/v1/desktops/%s/release", .view = &desktop_record_view },
	{ "desktop", "failover", "DESKTOP", "take it from a silent endpoint and resume it elsewhere",
	  "What the silent endpoint did since the last snapshot is not lost: it comes back as a branch when the\n"
	  "endpoint does.",
	  OPTIONS(endpoint_options), JOB("/api/v1/desktops/%s/failover") },

	{ "snapshot", "list", NULL, "snapshots, newest first", OPTIONS(by_desktop_options),
	  LIST("/api/v1/snapshots", snapshot_list_view) },
	{ "snapshot", "show", "SNAPSHOT", "one snapshot and its volumes",
	  SHOW("/api/v1/snapshots/%s", snapshot_record_view) },
	{ "snapshot", "scan", "SNAPSHOT", "look for viruses in its disks",
	  "Nothing is started or mounted. Status 0 only if it is clean: every file of every disk was looked at\n"
	  "and nothing was found. An infected snapshot is not chosen by failover, start or resume any more.",
	  .run = cli_action_scan, .path = "/api/v1/snapshots/%s/scan", .starts_job = true },

	{ "snapshot", "mend", "SNAPSHOT", "put the last clean version of an infected file back, in a new snapshot",
	  "The snapshot itself and the desktop that runs stay as they are. The new one has disks only: memory of that\n"
	  "instant would not match. Only NTFS and ext4 that were left clean; otherwise roll back to an older snapshot.",
	  OPTIONS(mend_options), JOB("/api/v1/snapshots/%s/mend") },

	{ "snapshot", "rescan", NULL, "try the present signatures on all snapshots that were scanned",
	  "Each different content is scanned once, wherever it lies; every snapshot's verdict follows.",
	  .run = cli_hunt_rescan, .path = "/api/v1/rescans" },
	{ "snapshot", "pin", "SNAPSHOT", "keep it: no retention rule and no command deletes it", OPTIONS(pin_options),
	  .run = cli_action_show, .path = "/api/v1/snapshots/%s/pin", .view = &snapshot_record_view },
	{ "snapshot", "unpin", "SNAPSHOT", "take a pin back",
	  "What others pinned stays pinned: snapshot show says who and why. The server pins the last clean\n"
	  "snapshot of a desktop that has an infected one, as source scan.",
	  OPTIONS(unpin_options), .run = cli_action_show,
	  .path = "/api/v1/snapshots/%s/unpin", .view = &snapshot_record_view },

	{ "hunt", NULL, NULL, "which desktops held a content, when and where",
	  "Looks at every file of every snapshot that was scanned. Hashes are answered from an index; rules are\n"
	  "tried once on each different content, whatever number of desktops has it.",
	  OPTIONS(hunt_options), .run = cli_hunt_run, .path = "/api/v1/hunts" },

	{ "notice", "list", NULL, "what needs a person's attention, newest first", OPTIONS(notice_list_options),
	  LIST("/api/v1/notices", notice_list_view) },
	{ "notice", "show", "NOTICE", "one notice with its details",
	  SHOW("/api/v1/notices/%s", notice_record_view) },
	{ "notice", "read", "NOTICE|all", "mark it, or all of them, as read",
	  .run = cli_action_read },

	{ "signatures", "show", NULL, "the virus signatures that scans use, and how old they are",
	  SHOW("/api/v1/signatures", signatures_record_view) },
	{ "signatures", "update", NULL, "fetch new ones from the mirror now", .run = cli_signatures_update },
	{ "signatures", "upload", "FILE", "use those in a bundle, or add one file",
	  "FILE is a tar archive (.tar, .tar.gz), which becomes the whole set, or one file of signatures (.cvd,\n"
	  ".hdb, .ndb …), which joins it. The server tries the new set in a sandbox; a set that does not load, or\n"
	  "with which the engine does not find its canaries, is refused and the old one stays.",
	  .run = cli_signatures_upload },

	{ "job", "list", NULL, "jobs, newest first", OPTIONS(job_list_options),
	  LIST("/api/v1/jobs", job_list_view) },
	{ "job", "show", "JOB", "one job and its result", SHOW("/api/v1/jobs/%s", job_record_view) },
	{ "job", "watch", "JOB", "follow a job to its end", .run = cli_action_watch },
	{ "job", "cancel", "JOB", "end a job before it is done", JOB("/api/v1/jobs/%s/cancel"), .wanted = "cancelled" },

	{ "server", "show", NULL, "the server and its store",
	  SHOW("/api/v1/server", server_record_view) },

	{ "store", "status", NULL, "how the store is kept sound: checks, damage, mirror",
	  SHOW("/api/v1/store", store_record_view) },
	{ "store", "run", "TASK", "do it now: verify, gc, mirror, catalogue-copy, catalogue-check",
	  .run = cli_action_show, .path = "/api/v1/store/%s", .once = true,
	  .view = &store_record_view },
};
const size_t cli_commands_count = ARRAY_LEN(cli_commands);
