#include "tests/lib/certificates.h"

#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include <openssl/pem.h>
#include <openssl/x509.h>

#include "common/base.h"
#include "common/io.h"

static void must(int r, const struct err *err)
{
	if (r < 0) {
		fprintf(stderr, "certificates: %s\n", err_text(err));
		abort();
	}
}

char *certificates_issue(const struct certificates *c, bool by_foreign, const char *name,
			 const char *role)
{
	struct pki_issue order = {
		.ca_key_pem = by_foreign ? c->foreign_key : c->ca_key,
		.ca_cert_pem = by_foreign ? c->foreign : c->ca,
		.request_pem = c->request,
		.name = name,
		.role = role,
		.alt_names = (const char *const[]){ "127.0.0.1", NULL },
		.days = 1,
	};
	struct err err = { 0 };
	char *cert = NULL;

	must(pki_issue(&order, &cert, &err), &err);
	return cert;
}

void certificates_init(struct certificates *c)
{
	struct err err = { 0 };

	*c = (struct certificates){ 0 };
	must(pki_key_new(&c->ca_key, &err), &err);
	must(pki_ca_new(c->ca_key, "Test CA", 9, &c->ca, &err), &err);
	must(pki_key_new(&c->foreign_key, &err), &err);
	must(pki_ca_new(c->foreign_key, "Test CA", 9, &c->foreign, &err), &err);
	must(pki_key_new(&c->key, &err), &err);
	must(pki_request_new(c->key, "whoever asks", &c->request, &err), &err);
	must(pki_fingerprint(c->ca, c->fingerprint, &err), &err);
	c->server = certificates_issue(c, false, "server", "server");
	c->chain = io_printf("%s%s", c->server, c->ca);
	c->client = certificates_issue(c, false, "laptop", "endpoint");
	c->foreign_client = certificates_issue(c, true, "laptop", "endpoint");
}

void certificates_deinit(struct certificates *c)
{
	char *all[] = { c->ca_key,  c->ca,     c->foreign_key, c->foreign, c->key,
			c->request, c->server, c->chain,       c->client,  c->foreign_client };

	for (size_t i = 0; i < ARRAY_LEN(all); i++)
		free(all[i]);
}

char *certificates_expired_chain(const struct certificates *c)
{
	BIO *in = BIO_new_mem_buf(c->server, -1), *key_in = BIO_new_mem_buf(c->ca_key, -1);
	BIO *out = BIO_new(BIO_s_mem());
	X509 *cert = PEM_read_bio_X509(in, NULL, NULL, NULL);
	EVP_PKEY *key = PEM_read_bio_PrivateKey(key_in, NULL, NULL, NULL);
	char *data, *text;
	long len;

	if (!cert || !key || !ASN1_TIME_set(X509_getm_notAfter(cert), time(NULL) - 60) ||
	    !X509_sign(cert, key, EVP_sha256()) || !PEM_write_bio_X509(out, cert))
		abort();
	len = BIO_get_mem_data(out, &data);
	text = io_printf("%.*s%s", (int)len, data, c->ca);
	BIO_free(in);
	BIO_free(key_in);
	BIO_free(out);
	X509_free(cert);
	EVP_PKEY_free(key);
	return text;
}
