/* enrol_server.c - see enrol_server.h. The token is used up in the same transaction that registers the certificate: when the
 * answer is lost the operator makes another token.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "common/clock.h"
#include "common/hex.h"
#include "common/log.h"
#include "mgmt-server/api/api.h"
#include "mgmt-server/api/api_edit.h"
#include "mgmt-server/api/enrol_server.h"
#include "mgmt-server/core/auth.h"
#include "mgmt-server/core/change.h"
#include "mgmt-server/core/objects.h"

enum { SECRET_BYTES = 16, TTL_MAX_S = 30 * 24 * 3600 };

void enrol_server_token(struct http_request *request)
{
	struct server *s = http_request_app(request);
	CLEANUP_API_EDIT struct api_edit e = { .request = request };
	uint64_t ttl_s = 3600, now = clock_wall_ms();
	const char *endpoint = NULL;
	const struct json_field fields[] = {
		{ "ttl_s", JSON_KIND_UINT, true, &ttl_s },
		{ "endpoint", JSON_KIND_STRING, true, &endpoint },
	};
	char secret[2 * SECRET_BYTES + 1], hash[CATALOGUE_HASH_LEN], token[160];
	int r = api_edit_body(&e, fields, ARRAY_LEN(fields));

	if (r == 0 && (ttl_s == 0 || ttl_s > TTL_MAX_S))
		r = err_say(&e.err, EINVAL, "'ttl_s' must be 1 to %d", TTL_MAX_S);
	if (r == 0 && endpoint && !manifest_desktop_valid(endpoint))
		r = err_say(&e.err, EINVAL, "'endpoint' is no name: a-z 0-9 -, at most 63");
	if (!api_edit_begin(&e, r))
		return;
	hex_random(secret, SECRET_BYTES);
	auth_digest(secret, strlen(secret), hash);
	snprintf(token, sizeof(token), "gw1-%s-%s", secret, s->ca_fingerprint);
	r = catalogue_token_add(e.change.db, hash, endpoint, http_caller(request)->name, now,
				now + ttl_s * 1000, &e.err);
	if (r == 0)
		r = api_edit_audit(&e, "endpoint token", endpoint ? endpoint : "", "");
	api_edit_end(
		&e, r, 201,
		json_pack("{ss so}", "token", token, "expires", objects_time(now + ttl_s * 1000)));
}

struct enrolment {
	const char *secret, *name, *request_pem;
	char *certificate; /* heap */
	char fingerprint[PKI_FINGERPRINT_LEN];
};

static int check_name(struct change *change, const char *bound, const struct enrolment *e,
		      struct err *err)
{
	struct catalogue_endpoint known;
	int r = catalogue_endpoint_get(change->db, e->name, &known, err);

	if (r < 0)
		return r;
	if (bound[0] && strcmp(bound, e->name) != 0)
		return err_say(err, EACCES, "this token is for endpoint %s, not for %s", bound,
			       e->name);
	if (r == 0 && !bound[0])
		return err_say(
			err, EEXIST,
			"endpoint %s is enrolled already; to enrol it anew make a token for it "
			"(\"endpoint\": \"%s\")",
			e->name, e->name);
	return 0;
}

static int use_token(struct change *change, const struct enrolment *e, struct err *err)
{
	char hash[CATALOGUE_HASH_LEN], bound[CATALOGUE_NAME_LEN] = "";
	int r;

	auth_digest(e->secret, strlen(e->secret), hash);
	r = catalogue_token_use(change->db, hash, clock_wall_ms(), bound, err);
	switch (r) {
	case 0:
		return check_name(change, bound, e, err);
	case CATALOGUE_NONE:
		return err_say(err, EACCES,
			       "the token is wrong: make one with `godwit endpoint token`");
	case CATALOGUE_TOKEN_USED:
		return err_say(err, EACCES, "the token was used already: each enrols one endpoint");
	case CATALOGUE_TOKEN_EXPIRED:
		return err_say(err, EACCES, "the token has expired: make another one");
	default:
		return r;
	}
}

static int certify(struct server *s, struct enrolment *e, struct err *err)
{
	struct pki_issue order = { .ca_key_pem = s->ca_key_pem,
				   .ca_cert_pem = s->ca_pem,
				   .request_pem = e->request_pem,
				   .name = e->name,
				   .role = "endpoint",
				   .days = (unsigned)s->config.endpoint_days };
	int r = pki_issue(&order, &e->certificate, err);

	return r < 0 ? r : pki_fingerprint(e->certificate, e->fingerprint, err);
}

static int enrol(struct server *s, struct enrolment *e, const char *address, struct err *err)
{
	CLEANUP_CHANGE struct change change = { .held = false };
	int r = change_begin(&change, s, err);

	if (r == 0)
		r = use_token(&change, e, err);
	if (r == 0)
		r = certify(s, e, err);
	if (r == 0)
		r = catalogue_endpoint_put(change.db, e->name, e->fingerprint, clock_wall_ms(),
					   err);
	if (r == 0 && !fleet_endpoint_add(s->fleet, e->name))
		r = err_set(err, ENOMEM, "endpoint %s", e->name);
	if (r == 0)
		r = change_audit(&change, "", address, "enrol", e->name, e->fingerprint, err);
	change_touch(&change, CHANGE_ENDPOINT, e->name);
	return r < 0 ? r : change_commit(&change, err);
}

void enrol_server_post(struct http_request *request)
{
	struct server *s = http_request_app(request);
	CLEANUP(json_decref) json_t *body = NULL;
	struct enrolment e = { .certificate = NULL };
	const struct json_field fields[] = {
		{ "secret", JSON_KIND_STRING, false, &e.secret },
		{ "name", JSON_KIND_STRING, false, &e.name },
		{ "request_pem", JSON_KIND_STRING, false, &e.request_pem },
	};
	struct err err = { 0 };
	int r = api_body(request, fields, ARRAY_LEN(fields), &body, &err);

	if (r == 0 && !manifest_desktop_valid(e.name))
		r = err_say(&err, EINVAL, "'name' must be 1 to 63 of a-z 0-9 -, not first a -");
	if (r == 0)
		r = enrol(s, &e, http_address(request), &err);
	if (r < 0) {
		log_warning("enrolment refused address=%s: %s", http_address(request),
			    err_text(&err));
		http_fail_err(request, r, &err);
	} else {
		log_info("endpoint enrolled endpoint=%s fingerprint=%s", e.name, e.fingerprint);
		http_reply_json(request, 201,
				json_pack("{ss ss ss ss}", "name", e.name, "certificate_pem",
					  e.certificate, "ca_pem", s->ca_pem, "agent_url",
					  s->agent_url));
	}
	base_free(e.certificate);
}
