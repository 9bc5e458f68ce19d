#include "client-agent/identity.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "common/io.h"
#include "common/json.h"

enum { PEM_FILE_MAX = 64 << 10 };

/* The PEM files and where their text lives; agent.json is apart. */
static const struct {
	const char *file;
	size_t member;
	mode_t mode;
} pem_files[] = {
	{ "key.pem", offsetof(struct identity, key_pem), 0600 },
	{ "cert.pem", offsetof(struct identity, cert_pem), 0644 },
	{ "ca.pem", offsetof(struct identity, ca_pem), 0644 },
};

static char **member(struct identity *identity, size_t offset)
{
	return (char **)((char *)identity + offset);
}

static int load_names(struct identity *out, const char *state_dir, struct err *err)
{
	CLEANUP_FREE char *path = io_printf("%s/agent.json", state_dir);
	CLEANUP(json_decref) json_t *doc = NULL;
	const char *name = NULL, *url = NULL;
	const struct json_field fields[] = {
		{ "name", JSON_KIND_STRING, false, &name },
		{ "url", JSON_KIND_STRING, false, &url },
	};
	int r;

	if (!path)
		return err_set(err, ENOMEM, "read %s", state_dir);
	r = json_parse_file(&doc, path, PEM_FILE_MAX, err);
	if (r == -ENOENT)
		return err_say(err, ENOENT,
			       "%s is not enrolled: run godwit-agent enrol --state %s --server URL "
			       "--token TOKEN --name NAME",
			       state_dir, state_dir);
	if (r < 0)
		return r;
	r = json_fields(doc, fields, ARRAY_LEN(fields), path, err);
	if (r < 0)
		return r;
	out->name = strdup(name);
	out->url = strdup(url);
	return out->name && out->url ? 0 : err_set(err, ENOMEM, "read %s", path);
}

int identity_load(struct identity *out, const char *state_dir, struct err *err)
{
	size_t i, len;
	int r;

	*out = (struct identity){ 0 };
	r = load_names(out, state_dir, err);
	for (i = 0; r == 0 && i < ARRAY_LEN(pem_files); i++) {
		CLEANUP_FREE char *path = io_printf("%s/%s", state_dir, pem_files[i].file);

		if (!path)
			return err_set(err, ENOMEM, "read %s", state_dir);
		r = io_read_file(path, PEM_FILE_MAX, (uint8_t **)member(out, pem_files[i].member),
				 &len, err);
	}
	return r;
}

int identity_save(const struct identity *identity, const char *state_dir, struct err *err)
{
	CLEANUP_FREE char *names_path = io_printf("%s/agent.json", state_dir);
	CLEANUP(json_decref) json_t *names = NULL;
	CLEANUP_FREE char *text = NULL;
	size_t i;
	int r;

	for (i = 0; i < ARRAY_LEN(pem_files); i++) {
		const char *pem = *member((struct identity *)identity, pem_files[i].member);
		CLEANUP_FREE char *path = io_printf("%s/%s", state_dir, pem_files[i].file);

		if (!path)
			return err_set(err, ENOMEM, "write %s", state_dir);
		r = io_replace_file(path, pem, strlen(pem), pem_files[i].mode, err);
		if (r < 0)
			return r;
	}
	names = json_pack("{s:s, s:s}", "name", identity->name, "url", identity->url);
	text = names ? json_text(names) : NULL;
	if (!names_path || !text)
		return err_set(err, ENOMEM, "write %s", state_dir);
	return io_replace_file(names_path, text, strlen(text), 0644, err);
}

void identity_deinit(struct identity *identity)
{
	free(identity->name);
	free(identity->url);
	free(identity->key_pem);
	free(identity->cert_pem);
	free(identity->ca_pem);
	*identity = (struct identity){ 0 };
}

int identity_http(const struct identity *identity, uint64_t stall_timeout_ms,
		  struct http_client **out, struct err *err)
{
	return http_client_new(out,
			       &(struct http_client_options){
				       .base_url = identity->url,
				       .ca_pem = identity->ca_pem,
				       .cert_pem = identity->cert_pem,
				       .key_pem = identity->key_pem,
				       .connect_timeout_ms = 5000,
				       .stall_timeout_ms = stall_timeout_ms,
			       },
			       err);
}
