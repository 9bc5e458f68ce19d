#include "client-agent/enrol.h"

#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "client-agent/identity.h"
#include "common/hex.h"
#include "common/io.h"
#include "common/json.h"
#include "snapshot/manifest.h"

static int token_malformed(struct err *err)
{
	return err_say(err, EINVAL,
		       "the token is malformed: it looks like gw1-SECRET-FINGERPRINT and is given "
		       "by 'godwit endpoint token'");
}

int enrol_token_parse(const char *text, struct enrol_token *out, struct err *err)
{
	uint8_t digest[32];
	const char *mark = strrchr(text, '-');
	size_t len, i;

	if (strncmp(text, "gw1-", 4) != 0 || mark <= text + 4)
		return token_malformed(err);
	len = (size_t)(mark - (text + 4));
	if (len > ENROL_SECRET_MAX)
		return token_malformed(err);
	for (i = 0; i < len; i++) {
		if (!isgraph((unsigned char)text[4 + i]))
			return token_malformed(err);
	}
	if (strlen(mark + 1) != PKI_FINGERPRINT_LEN - 1 ||
	    hex_decode(mark + 1, digest, sizeof(digest)) < 0)
		return token_malformed(err);
	memcpy(out->secret, text + 4, len);
	out->secret[len] = '\0';
	hex_encode(digest, sizeof(digest), out->fingerprint);
	return 0;
}

static int refuse_second(const char *state_dir, struct err *err)
{
	CLEANUP_FREE char *path = io_printf("%s/agent.json", state_dir);

	if (!path)
		return err_set(err, ENOMEM, "enrol");
	if (access(path, F_OK) == 0)
		return err_say(err, EEXIST,
			       "%s is enrolled already; to enrol it anew, move %s away first",
			       state_dir, path);
	return 0;
}

/* Trust nothing of the answer that we can check ourselves. */
static int check_answer(const struct identity *identity, const struct enrol_token *token,
			struct err *err)
{
	char fingerprint[PKI_FINGERPRINT_LEN];
	struct pki_subject subject;
	int r;

	r = pki_fingerprint(identity->ca_pem, fingerprint, err);
	if (r < 0)
		return r;
	if (strcmp(fingerprint, token->fingerprint) != 0)
		return err_say(err, EACCES, "the server sent another CA than the token names");
	r = pki_verify(identity->ca_pem, identity->cert_pem, "endpoint", &subject, err);
	if (r < 0)
		return err_wrap(err, r, "the certificate that the server issued");
	if (strcmp(subject.name, identity->name) != 0)
		return err_say(err, EACCES, "the server issued a certificate for '%s'",
			       subject.name);
	return 0;
}

static int ask(const struct enrol_order *order, const struct enrol_token *token,
	       struct identity *identity, struct err *err)
{
	CLEANUP(http_client_free) struct http_client *http = NULL;
	CLEANUP(json_decref) json_t *body = NULL;
	CLEANUP(json_decref) json_t *reply = NULL;
	CLEANUP_FREE char *request_pem = NULL;
	const char *name = NULL, *cert = NULL, *ca = NULL, *url = NULL;
	const struct json_field fields[] = {
		{ "name", JSON_KIND_STRING, false, &name },
		{ "certificate_pem", JSON_KIND_STRING, false, &cert },
		{ "ca_pem", JSON_KIND_STRING, false, &ca },
		{ "agent_url", JSON_KIND_STRING, false, &url },
	};
	int r;

	r = pki_request_new(identity->key_pem, order->name, &request_pem, err);
	if (r < 0)
		return r;
	r = http_client_new(&http,
			    &(struct http_client_options){
				    .base_url = order->server,
				    .ca_fingerprint = token->fingerprint,
			    },
			    err);
	if (r < 0)
		return r;
	body = json_pack("{s:s, s:s, s:s}", "secret", token->secret, "name", order->name,
			 "request_pem", request_pem);
	if (!body)
		return err_set(err, ENOMEM, "enrol");
	r = http_client_json(http, "POST", "/api/v1/enrol", body, &reply, err);
	if (r < 0)
		return r;
	r = json_fields(reply, fields, ARRAY_LEN(fields), "the answer to the enrolment", err);
	if (r < 0)
		return r;
	identity->name = strdup(name);
	identity->cert_pem = strdup(cert);
	identity->ca_pem = strdup(ca);
	identity->url = strdup(url);
	if (!identity->name || !identity->cert_pem || !identity->ca_pem || !identity->url)
		return err_set(err, ENOMEM, "enrol");
	if (strcmp(identity->name, order->name) != 0)
		return err_say(err, EBADMSG, "the server enrolled '%s'", identity->name);
	return 0;
}

int enrol_run(const struct enrol_order *order, struct err *err)
{
	struct identity identity = { 0 };
	struct enrol_token token;
	int r;

	if (!manifest_desktop_valid(order->name))
		return err_say(err, EINVAL,
			       "'%s' is no name for an endpoint: a-z, 0-9 and -, up to 63, not "
			       "starting with -",
			       order->name);
	r = enrol_token_parse(order->token, &token, err);
	if (r == 0)
		r = refuse_second(order->state_dir, err);
	if (r == 0)
		r = io_make_folders(order->state_dir, 0700, err);
	if (r == 0)
		r = pki_key_new(&identity.key_pem, err);
	if (r == 0)
		r = ask(order, &token, &identity, err);
	if (r == 0)
		r = check_answer(&identity, &token, err);
	if (r == 0)
		r = identity_save(&identity, order->state_dir, err);
	identity_deinit(&identity);
	return r < 0 ? err_wrap(err, r, "enrol %s at %s", order->name, order->server) : 0;
}
