/* identity.c - see identity.h. */
#include "mgmt-server/core/identity.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/io.h"
#include "common/log.h"

enum {
	PEM_MAX = 64 << 10,
	NAMES_MAX = 32,
	CA_DAYS = 7300,
	SERVER_DAYS = 825,
};
#define MONTH_MS (30ULL * 24 * 3600 * 1000)

/* Read STATE/@name; *text stays NULL when it is not there. */
static int read_pem(struct server *s, const char *name, char **text, struct err *err)
{
	CLEANUP_FREE char *path = io_printf("%s/%s", s->state, name);
	size_t len;

	if (!path)
		return err_set(err, ENOMEM, "%s", name);
	if (access(path, F_OK) < 0 && errno == ENOENT)
		return 0;
	return io_read_file(path, PEM_MAX, (uint8_t **)text, &len, err);
}

static int write_pem(struct server *s, const char *name, const char *text, mode_t mode,
		     struct err *err)
{
	CLEANUP_FREE char *path = io_printf("%s/%s", s->state, name);

	return path ? io_replace_file(path, text, strlen(text), mode, err)
		    : err_set(err, ENOMEM, "%s", name);
}

/* A key, made when it is not there. */
static int need_key(struct server *s, const char *name, char **key, struct err *err)
{
	int r = read_pem(s, name, key, err);

	if (r < 0 || *key)
		return r;
	r = pki_key_new(key, err);
	return r < 0 ? r : write_pem(s, name, *key, 0600, err);
}

static int need_ca(struct server *s, struct err *err)
{
	int r = need_key(s, "ca.key", &s->ca_key_pem, err);

	if (r == 0)
		r = read_pem(s, "ca.pem", &s->ca_pem, err);
	if (r == 0 && !s->ca_pem) {
		r = pki_ca_new(s->ca_key_pem, "Godwit CA", CA_DAYS, &s->ca_pem, err);
		if (r == 0)
			r = write_pem(s, "ca.pem", s->ca_pem, 0644, err);
		if (r == 0)
			log_info("made a certification authority");
	}
	return r < 0 ? r : pki_fingerprint(s->ca_pem, s->ca_fingerprint, err);
}

/* "a b,c" → list of pointers into @text. */
static void split_names(char *text, const char *names[NAMES_MAX + 1])
{
	size_t n = 0;
	char *save, *word;

	for (word = strtok_r(text, " ,\t", &save); word && n < NAMES_MAX;
	     word = strtok_r(NULL, " ,\t", &save))
		names[n++] = word;
	names[n] = NULL;
}

static char *names_text(const struct server *s)
{
	char host[256] = "localhost";

	if (s->config.names[0])
		return strdup(s->config.names);
	gethostname(host, sizeof(host) - 1);
	return io_printf("%s localhost 127.0.0.1", host);
}

/* Is the certificate that is there good for another month, and for these names? */
static bool still_good(struct server *s, const char *names, const char *cert)
{
	CLEANUP_FREE char *kept = NULL;
	struct pki_subject subject;

	if (!cert || read_pem(s, "server.names", &kept, NULL) < 0 || !kept ||
	    strcmp(kept, names) != 0)
		return false;
	return pki_verify(s->ca_pem, cert, "server", &subject, NULL) == 0 &&
	       subject.not_after_wall_ms > clock_wall_ms() + MONTH_MS;
}

static int issue(struct server *s, const char *names, char **cert, struct err *err)
{
	CLEANUP_FREE char *request = NULL;
	CLEANUP_FREE char *words = strdup(names);
	const char *list[NAMES_MAX + 1];
	struct pki_issue order = { .ca_key_pem = s->ca_key_pem,
				   .ca_cert_pem = s->ca_pem,
				   .role = "server",
				   .alt_names = list,
				   .days = SERVER_DAYS };
	char name[PKI_NAME_MAX + 1];
	int r;

	if (!words)
		return err_set(err, ENOMEM, "server certificate");
	split_names(words, list);
	if (!list[0])
		return err_say(err, EINVAL, "[server] names holds no name");
	snprintf(name, sizeof(name), "%s", list[0]);
	order.name = name;
	r = pki_request_new(s->key_pem, name, &request, err);
	order.request_pem = request;
	if (r == 0)
		r = pki_issue(&order, cert, err);
	if (r == 0)
		r = write_pem(s, "server.pem", *cert, 0644, err);
	if (r == 0)
		r = write_pem(s, "server.names", names, 0644, err);
	if (r == 0)
		log_info("made a server certificate names=\"%s\"", names);
	return r;
}

int identity_load(struct server *s, struct err *err)
{
	CLEANUP_FREE char *names = names_text(s);
	CLEANUP_FREE char *cert = NULL;
	int r = names ? need_ca(s, err) : err_set(err, ENOMEM, "server certificate");

	if (r == 0)
		r = need_key(s, "server.key", &s->key_pem, err);
	if (r == 0)
		r = read_pem(s, "server.pem", &cert, err);
	if (r == 0 && !still_good(s, names, cert)) {
		free(TAKE(cert));
		r = issue(s, names, &cert, err);
	}
	if (r < 0)
		return err_wrap(err, r, "keys in %s", s->state);
	s->cert_pem = io_printf("%s%s", cert, s->ca_pem);
	return s->cert_pem ? 0 : err_set(err, ENOMEM, "server certificate");
}
