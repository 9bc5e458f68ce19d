/* catalogue_schema.c - the tables. Times are milliseconds since 1970 (UTC), flags 0 or 1, JSON is TEXT. A migration
 * that was released is never edited: add the next one.
 *
 * What must hold across tables:
 * - each desktop has exactly one row in leases; grants lists every epoch that was ever given, and to whom
 * - at most one job that is queued or running per desktop has blocking = 1
 * - a snapshots row exists only after its manifest is durable in the store (the store is adopted at start)
 */
#include "mgmt-server/catalogue/catalogue_schema.h"

static const char schema_1[] =
	"CREATE TABLE users (name TEXT PRIMARY KEY, role TEXT NOT NULL, password TEXT NOT NULL, "
	"created BIGINT NOT NULL);"

	"CREATE TABLE sign_ins (token_hash TEXT PRIMARY KEY, username TEXT NOT NULL "
	"REFERENCES users(name), created BIGINT NOT NULL, expires BIGINT NOT NULL);"

	/* endpoint: the only name it may enrol, and then also anew; NULL: any new name */
	"CREATE TABLE endpoint_tokens (secret_hash TEXT PRIMARY KEY, endpoint TEXT, "
	"username TEXT NOT NULL, created BIGINT NOT NULL, expires BIGINT NOT NULL, used BIGINT);"

	"CREATE TABLE endpoints (name TEXT PRIMARY KEY, fingerprint TEXT NOT NULL, "
	"enrolled BIGINT NOT NULL, last_seen BIGINT, facts TEXT NOT NULL);"

	/* rest: the state when nobody holds the lease (empty, stopped, suspended, error); note: why error.
	 * machine: the complete virtual hardware once it was chosen, else what was ordered. */
	"CREATE TABLE desktops (name TEXT PRIMARY KEY, rest TEXT NOT NULL, note TEXT NOT NULL, "
	"machine TEXT NOT NULL, created BIGINT NOT NULL);"

	"CREATE TABLE leases (desktop TEXT PRIMARY KEY REFERENCES desktops(name), "
	"policy TEXT NOT NULL, state TEXT NOT NULL, holder TEXT NOT NULL, epoch BIGINT NOT NULL);"

	"CREATE TABLE grants (desktop TEXT NOT NULL REFERENCES desktops(name), "
	"epoch BIGINT NOT NULL, endpoint TEXT NOT NULL REFERENCES endpoints(name), "
	"granted BIGINT NOT NULL, PRIMARY KEY (desktop, epoch));"

	/* seq: order of arrival; wall clocks jump */
	"CREATE TABLE snapshots (id TEXT PRIMARY KEY, seq BIGINT NOT NULL UNIQUE, "
	"desktop TEXT NOT NULL REFERENCES desktops(name), parent TEXT, created BIGINT NOT NULL, "
	"kind TEXT NOT NULL, branch BIGINT NOT NULL, epoch BIGINT NOT NULL, "
	"memory BIGINT NOT NULL, read_bytes BIGINT, new_bytes BIGINT, stored_bytes BIGINT, "
	"pause_ms DOUBLE PRECISION, volumes TEXT NOT NULL);"
	"CREATE INDEX snapshots_desktop ON snapshots (desktop, branch, seq);"

	"CREATE TABLE jobs (id TEXT PRIMARY KEY, seq BIGINT NOT NULL UNIQUE, kind TEXT NOT NULL, "
	"desktop TEXT NOT NULL REFERENCES desktops(name), endpoint TEXT, state TEXT NOT NULL, "
	"step TEXT NOT NULL, blocking BIGINT NOT NULL, arguments TEXT NOT NULL, "
	"done_bytes BIGINT NOT NULL, total_bytes BIGINT NOT NULL, message TEXT NOT NULL, "
	"error TEXT, result TEXT NOT NULL, username TEXT NOT NULL, created BIGINT NOT NULL, "
	"started BIGINT, ended BIGINT, cancel BIGINT NOT NULL, attempts BIGINT NOT NULL, "
	"instance TEXT NOT NULL, reported BIGINT NOT NULL, sent_bytes BIGINT NOT NULL);"
	"CREATE UNIQUE INDEX jobs_blocking ON jobs (desktop) "
	"WHERE blocking = 1 AND state IN ('queued', 'running');"
	"CREATE INDEX jobs_state ON jobs (state, seq);"
	"CREATE INDEX jobs_desktop ON jobs (desktop, seq);"

	/* planned: the snapshot id that a commit of this upload has or will have; committed: it is in the catalogue */
	"CREATE TABLE uploads (id TEXT PRIMARY KEY, desktop TEXT NOT NULL REFERENCES "
	"desktops(name), "
	"epoch BIGINT NOT NULL, caller TEXT NOT NULL, job TEXT, created BIGINT NOT NULL, "
	"used BIGINT NOT NULL, planned TEXT, committed BIGINT NOT NULL);"
	"CREATE INDEX uploads_job ON uploads (job);"

	"CREATE TABLE audit (seq BIGINT PRIMARY KEY, at BIGINT NOT NULL, actor TEXT NOT NULL, "
	"address TEXT NOT NULL, action TEXT NOT NULL, object TEXT NOT NULL, detail TEXT NOT NULL, "
	"hash TEXT NOT NULL);"

	"CREATE TABLE idempotency (actor TEXT NOT NULL, idem_key TEXT NOT NULL, "
	"request_hash TEXT NOT NULL, status BIGINT NOT NULL, body TEXT NOT NULL, "
	"created BIGINT NOT NULL, PRIMARY KEY (actor, idem_key));";

/* verdict: of the last scan (none, clean, infected, incomplete); scans holds what it found */
static const char schema_2[] =
	"ALTER TABLE snapshots ADD COLUMN verdict TEXT NOT NULL DEFAULT 'none';"

	"CREATE TABLE scans (snapshot TEXT PRIMARY KEY REFERENCES snapshots(id), "
	"verdict TEXT NOT NULL, ended BIGINT NOT NULL, job TEXT NOT NULL, files BIGINT NOT NULL, "
	"bytes BIGINT NOT NULL, contents BIGINT NOT NULL, reasons TEXT NOT NULL, "
	"more_reasons BIGINT NOT NULL, findings TEXT NOT NULL, more_findings BIGINT NOT NULL, "
	"engine TEXT NOT NULL, signature_version TEXT NOT NULL);";

/* marks: pins and holds, one per source; scan_queue: snapshots that wait for a scan (tries > 0: again); owner: an address
 * that is mailed */
static const char schema_3[] =
	"CREATE TABLE marks (snapshot TEXT NOT NULL REFERENCES snapshots(id) ON DELETE CASCADE, "
	"kind TEXT NOT NULL, source TEXT NOT NULL, username TEXT NOT NULL, why TEXT NOT NULL, "
	"created BIGINT NOT NULL, PRIMARY KEY (snapshot, kind, source));"

	"CREATE TABLE notices (seq BIGINT PRIMARY KEY, at BIGINT NOT NULL, severity TEXT NOT NULL, "
	"kind TEXT NOT NULL, desktop TEXT NOT NULL, snapshot TEXT NOT NULL, job TEXT NOT NULL, "
	"message TEXT NOT NULL, details TEXT NOT NULL, read BIGINT, reader TEXT NOT NULL, "
	"mail TEXT NOT NULL, mail_tries BIGINT NOT NULL, mail_due BIGINT NOT NULL, "
	"mail_error TEXT NOT NULL);"
	"CREATE INDEX notices_unread ON notices (seq) WHERE read IS NULL;"
	"CREATE INDEX notices_mail ON notices (mail_due) WHERE mail = 'queued';"

	"CREATE TABLE scan_queue (snapshot TEXT PRIMARY KEY REFERENCES snapshots(id) "
	"ON DELETE CASCADE, due BIGINT NOT NULL, tries BIGINT NOT NULL, why TEXT NOT NULL);"
	"CREATE INDEX scan_queue_due ON scan_queue (due);"

	"ALTER TABLE desktops ADD COLUMN owner TEXT NOT NULL DEFAULT '';";

/* domain: desktops of one domain share chunks in the store; never changed */
static const char schema_4[] =
	"ALTER TABLE desktops ADD COLUMN domain TEXT NOT NULL DEFAULT 'default';"
	"CREATE INDEX desktops_domain ON desktops (domain);";

/* disk_changes: what happened since the snapshot before, and how it was judged; alarms: open ones */
static const char schema_5[] =
	"CREATE TABLE disk_changes (snapshot TEXT PRIMARY KEY REFERENCES snapshots(id) "
	"ON DELETE CASCADE, desktop TEXT NOT NULL, state TEXT NOT NULL, tries BIGINT NOT NULL, "
	"due BIGINT NOT NULL, level TEXT NOT NULL, encrypted DOUBLE PRECISION NOT NULL, "
	"excess DOUBLE PRECISION NOT NULL, changed_bytes BIGINT NOT NULL, ended BIGINT NOT NULL, "
	"why TEXT NOT NULL, report TEXT NOT NULL);"
	"CREATE INDEX disk_changes_due ON disk_changes (due) WHERE state = 'waiting';"
	"CREATE INDEX disk_changes_desktop ON disk_changes (desktop);"
	"CREATE TABLE alarms (desktop TEXT PRIMARY KEY REFERENCES desktops(name), "
	"snapshot TEXT NOT NULL, good TEXT NOT NULL, since BIGINT NOT NULL, why TEXT NOT NULL);";

/* floor: epochs up to it may have been given out by a catalogue that was lost since */
static const char schema_6[] = "ALTER TABLE leases ADD COLUMN floor BIGINT NOT NULL DEFAULT 0;";

/* searches over the fleet; what: hashes or a rule */
static const char schema_7[] =
	"CREATE TABLE hunts (id TEXT PRIMARY KEY, seq BIGINT NOT NULL UNIQUE, kind TEXT NOT NULL, "
	"state TEXT NOT NULL, username TEXT NOT NULL, what TEXT NOT NULL, message TEXT NOT NULL, "
	"error TEXT NOT NULL, result TEXT NOT NULL, created BIGINT NOT NULL, "
	"started BIGINT NOT NULL, ended BIGINT NOT NULL);"
	"CREATE INDEX hunts_waiting ON hunts (seq) WHERE ended = 0;";

/* ttl: the longest that a heartbeat may have been promised under this grant; 0: not known */
static const char schema_8[] = "ALTER TABLE leases ADD COLUMN ttl BIGINT NOT NULL DEFAULT 0;";

/* quarantined: since when its network is cut, ms; 0: it is not */
static const char schema_9[] =
	"ALTER TABLE desktops ADD COLUMN quarantined BIGINT NOT NULL DEFAULT 0;";

const struct db_migration catalogue_schema[] = {
	{ 1, "the first catalogue", schema_1 },
	{ 2, "verdicts of offline scans", schema_2 },
	{ 3, "pins, holds, notices, waiting scans, owners", schema_3 },
	{ 4, "domains of desktops", schema_4 },
	{ 5, "what changed between snapshots, alarms", schema_5 },
	{ 6, "epochs that are not given again", schema_6 },
	{ 7, "hunts", schema_7 },
	{ 8, "how long leases were promised", schema_8 },
	{ 9, "quarantined desktops", schema_9 },
};

const size_t catalogue_schema_count = ARRAY_LEN(catalogue_schema);
