/* routes.c - every request the server answers, in two tables: people (UI and API) and agents. */
#include "mgmt-server/api/api.h"
#include "mgmt-server/api/enrol_server.h"
#include "mgmt-server/api/heartbeat_server.h"
#include "mgmt-server/core/auth.h"
#include "mgmt-server/core/signatures.h"
#include "mgmt-server/core/transfer.h"
#include "mgmt-server/core/work.h"
#include "mgmt-server/http/static_files.h"
#include "snapshot/chunk_wire.h"

enum { FORM = 16 << 10, HUNT_MAX = 1 << 20, BEAT = 256 << 10, IDS = 32 << 10, MANIFEST = 1 << 20 };

#define API   "/api/v1"
#define AGENT "/agent/v1"

#define TRANSFER(prefix, role)                                                                         \
	{ "POST", prefix "/sessions", role, transfer_open, FORM, 0 },                                  \
		{ "POST", prefix "/sessions/{session}/query", role, transfer_query, IDS, ROUTE_BULK }, \
		{ "POST",                                                                              \
		  prefix "/sessions/{session}/chunks",                                                 \
		  role,                                                                                \
		  transfer_chunks,                                                                     \
		  CHUNK_WIRE_BODY_MAX,                                                                 \
		  ROUTE_BULK },                                                                        \
		{ "POST",    prefix "/sessions/{session}/commit", role, transfer_commit, MANIFEST,     \
		  ROUTE_BULK },                                                                        \
		{ "DELETE", prefix "/sessions/{session}", role, transfer_end, 0, ROUTE_BULK },         \
		{ "GET", prefix "/desktops/{desktop}/snapshots/{id}", role, transfer_manifest, 0, 0 }, \
	{                                                                                              \
		"POST", prefix "/desktops/{desktop}/chunks", role, transfer_fetch, IDS, ROUTE_BULK     \
	}

const struct http_route routes_people[] = {
	{ "POST", API "/login", ROUTE_PUBLIC, auth_login, FORM, ROUTE_BULK },
	{ "POST", API "/logout", ROUTE_SIGNED_IN, auth_logout, FORM, 0 },
	{ "GET", API "/session", ROUTE_SIGNED_IN, auth_session, 0, 0 },
	{ "POST", API "/enrol", ROUTE_PUBLIC, enrol_server_post, FORM, 0 },
	{ "GET", API "/server", ROUTE_SIGNED_IN, api_server, 0, 0 },
	{ "GET", API "/store", ROUTE_AUDITOR, api_store, 0, 0 },
	{ "POST", API "/store/{task}", ROUTE_ADMIN, api_store_run, FORM, 0 },
	{ "GET", API "/endpoints", ROUTE_AUDITOR, api_endpoints, 0, 0 },
	{ "GET", API "/endpoints/{name}", ROUTE_AUDITOR, api_endpoint, 0, 0 },
	{ "POST", API "/endpoint-tokens", ROUTE_ADMIN, enrol_server_token, FORM, ROUTE_SECRET },
	{ "GET", API "/desktops", ROUTE_AUDITOR, api_desktops, 0, 0 },
	{ "POST", API "/desktops", ROUTE_OPERATOR, api_desktop_new, FORM, 0 },
	{ "GET", API "/desktops/{name}", ROUTE_AUDITOR, api_desktop, 0, 0 },
	TRANSFER(API, ROUTE_OPERATOR),
	{ "POST", API "/desktops/{name}/acknowledge", ROUTE_ADMIN, api_desktop_acknowledge, FORM,
	  0 },
	{ "POST", API "/desktops/{name}/owner", ROUTE_OPERATOR, api_desktop_owner, FORM, 0 },
	{ "POST", API "/desktops/{name}/quarantine", ROUTE_OPERATOR, api_desktop_quarantine, FORM,
	  0 },
	{ "POST", API "/desktops/{name}/release", ROUTE_OPERATOR, api_desktop_release, FORM, 0 },
	{ "POST", API "/desktops/{name}/{action}", ROUTE_OPERATOR, api_desktop_action, FORM, 0 },
	{ "GET", API "/snapshots", ROUTE_AUDITOR, api_snapshots, 0, 0 },
	{ "GET", API "/snapshots/{id}", ROUTE_AUDITOR, api_snapshot, 0, 0 },
	{ "POST", API "/snapshots/{id}/scan", ROUTE_OPERATOR, api_snapshot_scan, FORM, 0 },
	{ "POST", API "/snapshots/{id}/mend", ROUTE_OPERATOR, api_snapshot_mend, FORM, 0 },
	{ "POST", API "/snapshots/{id}/pin", ROUTE_OPERATOR, api_snapshot_pin, FORM, 0 },
	{ "POST", API "/snapshots/{id}/unpin", ROUTE_OPERATOR, api_snapshot_unpin, FORM, 0 },
	{ "GET", API "/signatures", ROUTE_AUDITOR, api_signatures, 0, 0 },
	{ "POST", API "/signatures/update", ROUTE_OPERATOR, api_signatures_update, FORM, 0 },
	{ "POST", API "/signatures/uploads", ROUTE_ADMIN, api_signatures_upload, FORM, 0 },
	{ "POST", API "/signatures/uploads/{id}/data", ROUTE_ADMIN, api_signatures_data,
	  SIGNATURES_PART_MAX, ROUTE_BULK },
	{ "POST", API "/signatures/uploads/{id}/end", ROUTE_ADMIN, api_signatures_end, FORM, 0 },
	{ "GET", API "/hunts", ROUTE_AUDITOR, api_hunts, 0, 0 },
	{ "POST", API "/hunts", ROUTE_OPERATOR, api_hunt_new, HUNT_MAX, 0 },
	{ "GET", API "/hunts/{id}", ROUTE_AUDITOR, api_hunt, 0, 0 },
	{ "POST", API "/hunts/{id}/cancel", ROUTE_OPERATOR, api_hunt_cancel, FORM, 0 },
	{ "POST", API "/rescans", ROUTE_OPERATOR, api_rescan_new, FORM, 0 },
	{ "GET", API "/notices", ROUTE_AUDITOR, api_notices, 0, 0 },
	{ "POST", API "/notices/read", ROUTE_OPERATOR, api_notices_read, FORM, 0 },
	{ "GET", API "/notices/{id}", ROUTE_AUDITOR, api_notice, 0, 0 },
	{ "POST", API "/notices/{id}/read", ROUTE_OPERATOR, api_notice_read, FORM, 0 },
	{ "GET", API "/jobs", ROUTE_AUDITOR, api_jobs, 0, 0 },
	{ "GET", API "/jobs/{id}", ROUTE_AUDITOR, api_job, 0, 0 },
	{ "POST", API "/jobs/{id}/cancel", ROUTE_OPERATOR, api_job_cancel, FORM, 0 },
	{ "GET", API "/events", ROUTE_AUDITOR, api_events, 0, 0 },
	{ "GET", API "/audit", ROUTE_AUDITOR, api_audit, 0, 0 },
	{ "GET", "/{path...}", ROUTE_PUBLIC, static_files_get, 0, 0 },
};
const size_t routes_people_count = ARRAY_LEN(routes_people);

const struct http_route routes_agents[] = {
	{ "POST", AGENT "/heartbeat", ROUTE_ENDPOINT, heartbeat_server_post, BEAT, 0 },
	{ "GET", AGENT "/work", ROUTE_ENDPOINT, work_get, 0, 0 },
	{ "POST", AGENT "/jobs/{job}/report", ROUTE_ENDPOINT, work_report, BEAT, 0 },
	TRANSFER(AGENT, ROUTE_ENDPOINT),
};
const size_t routes_agents_count = ARRAY_LEN(routes_agents);
