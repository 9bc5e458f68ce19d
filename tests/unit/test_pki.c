#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/rsa.h>
#include <openssl/x509.h>
#include <openssl/x509v3.h>

#include "common/clock.h"
#include "common/pki.h"

static struct {
	char *ca_key, *ca;
	char *foreign_key, *foreign;
	char *key, *request;
} made;

static int make_all(void **state)
{
	(void)state;
	return pki_key_new(&made.ca_key, NULL) ||
	       pki_ca_new(made.ca_key, "Godwit test CA", 30, &made.ca, NULL) ||
	       pki_key_new(&made.foreign_key, NULL) ||
	       pki_ca_new(made.foreign_key, "Godwit test CA", 30, &made.foreign, NULL) ||
	       pki_key_new(&made.key, NULL) ||
	       pki_request_new(made.key, "whoever asks", &made.request, NULL);
}

static int free_all(void **state)
{
	(void)state;
	free(made.ca_key);
	free(made.ca);
	free(made.foreign_key);
	free(made.foreign);
	free(made.key);
	free(made.request);
	return 0;
}

static struct pki_issue order_for(const char *name, const char *role)
{
	return (struct pki_issue){
		.ca_key_pem = made.ca_key,
		.ca_cert_pem = made.ca,
		.request_pem = made.request,
		.name = name,
		.role = role,
		.days = 7,
	};
}

static char *issue(const char *name, const char *role)
{
	struct pki_issue order = order_for(name, role);
	struct err err = { 0 };
	char *cert = NULL;

	if (pki_issue(&order, &cert, &err) < 0)
		fail_msg("%s", err_text(&err));
	return cert;
}

/* ---- OpenSSL by hand, for what pki.c refuses to make ------------------------------------------- */

static X509 *to_x509(const char *pem)
{
	BIO *bio = BIO_new_mem_buf(pem, -1);
	X509 *cert = PEM_read_bio_X509(bio, NULL, NULL, NULL);

	BIO_free(bio);
	assert_non_null(cert);
	return cert;
}

static EVP_PKEY *to_key(const char *pem)
{
	BIO *bio = BIO_new_mem_buf(pem, -1);
	EVP_PKEY *key = PEM_read_bio_PrivateKey(bio, NULL, NULL, NULL);

	BIO_free(bio);
	assert_non_null(key);
	return key;
}

static X509_REQ *to_request(const char *pem)
{
	BIO *bio = BIO_new_mem_buf(pem, -1);
	X509_REQ *request = PEM_read_bio_X509_REQ(bio, NULL, NULL, NULL);

	BIO_free(bio);
	assert_non_null(request);
	return request;
}

static char *text_of(BIO *bio)
{
	char *data;
	long len = BIO_get_mem_data(bio, &data);
	char *text = strndup(data, (size_t)len);

	BIO_free(bio);
	return text;
}

static char *sign_again(X509 *cert)
{
	EVP_PKEY *key = to_key(made.ca_key);
	BIO *bio = BIO_new(BIO_s_mem());

	assert_true(X509_sign(cert, key, EVP_sha256()));
	PEM_write_bio_X509(bio, cert);
	EVP_PKEY_free(key);
	X509_free(cert);
	return text_of(bio);
}

static char *request_text(X509_REQ *request)
{
	BIO *bio = BIO_new(BIO_s_mem());

	PEM_write_bio_X509_REQ(bio, request);
	X509_REQ_free(request);
	return text_of(bio);
}

/* ---- Certificates that are right --------------------------------------------------------------- */

static void test_pki_issued_certificate_verifies(void **state)
{
	CLEANUP_FREE char *cert = issue("laptop-17", "endpoint");
	uint64_t in_7_days = clock_wall_ms() + 7ull * 86400 * 1000;
	char fingerprint[PKI_FINGERPRINT_LEN];
	struct pki_subject subject;
	struct err err = { 0 };

	(void)state;
	assert_int_equal(pki_verify(made.ca, cert, "endpoint", &subject, &err), 0);
	assert_string_equal(subject.name, "laptop-17"); /* not "whoever asks" */
	assert_string_equal(subject.role, "endpoint");
	assert_in_range(subject.not_after_wall_ms, in_7_days - 60000, in_7_days + 1000);
	assert_int_equal(pki_fingerprint(cert, fingerprint, &err), 0);
	assert_string_equal(subject.fingerprint, fingerprint);
	assert_int_equal(strlen(fingerprint), PKI_FINGERPRINT_LEN - 1);
}

static void test_pki_each_certificate_has_its_own_serial(void **state)
{
	CLEANUP_FREE char *a = issue("same", "endpoint"), *b = issue("same", "endpoint");
	X509 *first = to_x509(a), *second = to_x509(b);

	(void)state;
	assert_int_not_equal(
		ASN1_INTEGER_cmp(X509_get0_serialNumber(first), X509_get0_serialNumber(second)), 0);
	X509_free(first);
	X509_free(second);
}

static void test_pki_certificates_may_do_what_they_are_for(void **state)
{
	CLEANUP_FREE char *endpoint = issue("laptop", "endpoint"), *server = issue("s", "server");
	X509 *ca = to_x509(made.ca), *e = to_x509(endpoint), *s = to_x509(server);

	(void)state;
	assert_int_equal(X509_check_ca(ca), 1);
	assert_int_equal(X509_get_pathlen(ca), 0); /* it makes no other CAs */
	assert_int_equal(X509_get_key_usage(ca), KU_KEY_CERT_SIGN | KU_CRL_SIGN);
	assert_int_equal(X509_check_ca(e), 0);
	assert_int_equal(X509_get_extension_flags(e) & EXFLAG_CA, 0);
	assert_int_equal(X509_get_key_usage(e), KU_DIGITAL_SIGNATURE);
	assert_int_equal(X509_get_extended_key_usage(e), XKU_SSL_CLIENT);
	assert_int_equal(X509_get_extended_key_usage(s), XKU_SSL_SERVER);
	X509_free(ca);
	X509_free(e);
	X509_free(s);
}

static void test_pki_alt_names_are_names_and_addresses(void **state)
{
	struct pki_issue order = order_for("server", "server");
	CLEANUP_FREE char *pem = NULL;
	X509 *cert;

	(void)state;
	order.alt_names = (const char *const[]){ "backup.example", "127.0.0.1", "::1",
						 "a.example,DNS:evil.example", NULL };
	assert_int_equal(pki_issue(&order, &pem, NULL), 0);
	cert = to_x509(pem);
	assert_int_equal(X509_check_host(cert, "backup.example", 0, 0, NULL), 1);
	assert_int_equal(X509_check_host(cert, "other.example", 0, 0, NULL), 0);
	assert_int_equal(X509_check_host(cert, "evil.example", 0, 0, NULL), 0);
	assert_int_equal(X509_check_ip_asc(cert, "127.0.0.1", 0), 1);
	assert_int_equal(X509_check_ip_asc(cert, "::1", 0), 1);
	assert_int_equal(X509_check_ip_asc(cert, "127.0.0.2", 0), 0);
	X509_free(cert);
}

static void test_pki_no_certificate_outlives_its_ca(void **state)
{
	struct pki_issue order = order_for("patient", "endpoint");
	CLEANUP_FREE char *cert = NULL;
	uint64_t in_30_days = clock_wall_ms() + 30ull * 86400 * 1000;
	struct pki_subject subject;

	(void)state;
	order.days = 3650;
	assert_int_equal(pki_issue(&order, &cert, NULL), 0);
	assert_int_equal(pki_verify(made.ca, cert, "endpoint", &subject, NULL), 0);
	assert_true(subject.not_after_wall_ms <= in_30_days);
}

/* ---- Certificates that are wrong --------------------------------------------------------------- */

static char *good(void)
{
	return issue("laptop", "endpoint");
}

static char *server_certificate(void)
{
	return issue("laptop", "server");
}

static char *expired(void)
{
	CLEANUP_FREE char *cert = good();
	X509 *x = to_x509(cert);

	ASN1_TIME_set(X509_getm_notAfter(x), time(NULL) - 10);
	return sign_again(x);
}

static char *not_yet(void)
{
	CLEANUP_FREE char *cert = good();
	X509 *x = to_x509(cert);

	ASN1_TIME_set(X509_getm_notBefore(x), time(NULL) + 600);
	return sign_again(x);
}

static char *of_foreign_ca(void)
{
	struct pki_issue order = order_for("laptop", "endpoint");
	char *cert = NULL;

	order.ca_key_pem = made.foreign_key; /* a CA of the same name */
	order.ca_cert_pem = made.foreign;
	assert_int_equal(pki_issue(&order, &cert, NULL), 0);
	return cert;
}

static char *self_signed(void)
{
	CLEANUP_FREE char *cert = good();
	X509 *x = to_x509(cert);
	EVP_PKEY *key = to_key(made.key);
	BIO *bio = BIO_new(BIO_s_mem());

	X509_set_issuer_name(x, X509_get_subject_name(x));
	X509_sign(x, key, EVP_sha256());
	PEM_write_bio_X509(bio, x);
	EVP_PKEY_free(key);
	X509_free(x);
	return text_of(bio);
}

/* One byte of the name is another one; OpenSSL would keep its cached encoding if asked to change it. */
static char *tampered(void)
{
	CLEANUP_FREE char *cert = good();
	X509 *x = to_x509(cert);
	uint8_t *der = NULL;
	int len = i2d_X509(x, &der);
	BIO *bio = BIO_new(BIO_s_mem());
	char *name = memmem(der, (size_t)len, "laptop", 6);

	assert_non_null(name);
	name[0] = 'L';
	PEM_write_bio(bio, "CERTIFICATE", "", der, len);
	OPENSSL_free(der);
	X509_free(x);
	return text_of(bio);
}

/* Right role in the name, wrong extended key usage: only a CA that was fooled would make this. */
static char *role_without_its_usage(void)
{
	CLEANUP_FREE char *cert = server_certificate();
	X509 *x = to_x509(cert);
	X509_NAME *name = X509_NAME_new();

	X509_NAME_add_entry_by_txt(name, "OU", MBSTRING_UTF8, (const uint8_t *)"endpoint", -1, -1,
				   0);
	X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_UTF8, (const uint8_t *)"laptop", -1, -1, 0);
	X509_set_subject_name(x, name);
	X509_NAME_free(name);
	return sign_again(x);
}

static char *two_roles(void)
{
	CLEANUP_FREE char *cert = good();
	X509 *x = to_x509(cert);

	X509_NAME_add_entry_by_txt(X509_get_subject_name(x), "OU", MBSTRING_UTF8,
				   (const uint8_t *)"server", -1, -1, 0);
	return sign_again(x);
}

static char *the_ca_itself(void)
{
	return strdup(made.ca);
}

static char *garbage(void)
{
	return strdup("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n");
}

static char *empty(void)
{
	return strdup("");
}

static char *a_private_key(void)
{
	return strdup(made.key);
}

static const struct {
	char *(*make)(void);
	int want;
	const char *text;
} verify_cases[] = {
	{ good, 0, NULL },
	{ server_certificate, -EACCES, "certificate purpose" },
	{ expired, -EACCES, "expired" },
	{ not_yet, -EACCES, "not yet valid" },
	{ of_foreign_ca, -EACCES, "another CA" },
	{ self_signed, -EACCES, "another CA" },
	{ tampered, -EACCES, "another CA" },
	{ role_without_its_usage, -EACCES, "certificate purpose" },
	{ two_roles, -EACCES, "one name and one role" },
	{ the_ca_itself, -EACCES, "certificate purpose" },
	{ garbage, -EACCES, "certificate refused: " },
	{ empty, -EACCES, "certificate refused: " },
	{ a_private_key, -EACCES, "certificate refused: " },
};

static void test_pki_verify_says_what_is_wrong(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(verify_cases); i++) {
		CLEANUP_FREE char *cert = verify_cases[i].make();
		struct pki_subject subject;
		struct err err = { 0 };
		int r = pki_verify(made.ca, cert, "endpoint", &subject, &err);

		if (r != verify_cases[i].want ||
		    (verify_cases[i].text && !strstr(err_text(&err), verify_cases[i].text)))
			fail_msg("case %zu: %d, %s", i, r, err_text(&err));
		if (r < 0)
			assert_int_equal(err.code, EACCES);
		assert_int_equal(pki_verify(made.ca, cert, "endpoint", &subject, NULL), r);
	}
}

static void test_pki_an_unreadable_ca_is_no_verdict(void **state)
{
	CLEANUP_FREE char *cert = good();
	struct pki_subject subject;
	struct err err = { 0 };

	(void)state;
	assert_int_equal(pki_verify("", cert, "endpoint", &subject, &err), -EINVAL);
	assert_non_null(strstr(err_text(&err), "CA certificate"));
}

/* ---- Requests that are wrong ------------------------------------------------------------------- */

static char *anothers_key(void)
{
	X509_REQ *request = to_request(made.request);
	EVP_PKEY *key = to_key(made.foreign_key);

	X509_REQ_set_pubkey(request, key); /* and not signed again */
	EVP_PKEY_free(key);
	return request_text(request);
}

static char *another_subject(void)
{
	X509_REQ *request = to_request(made.request);

	X509_NAME *name = X509_NAME_new();

	X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_UTF8, (const uint8_t *)"else", -1, -1, 0);
	X509_REQ_set_subject_name(request, name); /* and not signed again */
	X509_NAME_free(name);
	return request_text(request);
}

static char *with_key(EVP_PKEY *key)
{
	X509_REQ *request = to_request(made.request);

	X509_REQ_set_pubkey(request, key);
	X509_REQ_sign(request, key, EVP_sha256());
	EVP_PKEY_free(key);
	return request_text(request);
}

static char *rsa_key(void)
{
	return with_key(EVP_RSA_gen(2048));
}

static char *other_curve(void)
{
	return with_key(EVP_EC_gen("P-384"));
}

static char *truncated(void)
{
	return strndup(made.request, strlen(made.request) / 2);
}

static char *a_certificate(void)
{
	return strdup(made.ca);
}

static const struct {
	char *(*make)(void);
	const char *text;
} request_cases[] = {
	{ anothers_key, "does not prove its key" },
	{ another_subject, "does not prove its key" },
	{ rsa_key, "P-256" },
	{ other_curve, "P-256" },
	{ truncated, "certificate request" },
	{ a_certificate, "certificate request" },
	{ empty, "certificate request" },
};

static void test_pki_issue_refuses_bad_requests(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(request_cases); i++) {
		CLEANUP_FREE char *request = request_cases[i].make();
		struct pki_issue order = order_for("laptop", "endpoint");
		struct err err = { 0 };
		char *cert = NULL;

		order.request_pem = request;
		assert_int_equal(pki_issue(&order, &cert, &err), -EINVAL);
		assert_null(cert);
		if (!strstr(err_text(&err), request_cases[i].text))
			fail_msg("case %zu: %s", i, err_text(&err));
	}
}

static void test_pki_issue_refuses_bad_orders(void **state)
{
	static const char too_long[] = "12345678901234567890123456789012345678901234567890"
				       "123456789012345";
	static const struct {
		const char *name, *role;
		unsigned days;
	} cases[] = {
		{ "", "endpoint", 1 },       { too_long, "endpoint", 1 },
		{ "a\nb", "endpoint", 1 },   { "laptop", "admin", 1 },
		{ "laptop", "", 1 },         { "laptop", "endpoint", 0 },
		{ "laptop", "Endpoint", 1 },
	};
	char *cert = NULL;

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		struct pki_issue order = order_for(cases[i].name, cases[i].role);

		order.days = cases[i].days;
		assert_int_equal(pki_issue(&order, &cert, NULL), -EINVAL);
		assert_null(cert);
	}
}

static void test_pki_issue_wants_the_cas_own_key(void **state)
{
	struct pki_issue order = order_for("laptop", "endpoint");
	struct err err = { 0 };
	char *cert = NULL;

	(void)state;
	order.ca_key_pem = made.foreign_key;
	assert_int_equal(pki_issue(&order, &cert, &err), -EINVAL);
	assert_non_null(strstr(err_text(&err), "do not belong together"));
	order.ca_key_pem = "nonsense";
	assert_int_equal(pki_issue(&order, &cert, &err), -EINVAL);
	assert_non_null(strstr(err_text(&err), "private key"));
}

static void test_pki_an_issued_certificate_is_no_ca(void **state)
{
	CLEANUP_FREE char *cert = good();
	CLEANUP_FREE char *forged = NULL;
	struct pki_issue order = order_for("victim", "endpoint");
	struct pki_subject subject;

	(void)state;
	order.ca_cert_pem = cert;
	order.ca_key_pem = made.key;
	if (pki_issue(&order, &forged, NULL) == 0) {
		assert_int_equal(pki_verify(made.ca, forged, "endpoint", &subject, NULL), -EACCES);
		assert_int_equal(pki_verify(cert, forged, "endpoint", &subject, NULL), -EACCES);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_pki_issued_certificate_verifies),
		cmocka_unit_test(test_pki_each_certificate_has_its_own_serial),
		cmocka_unit_test(test_pki_certificates_may_do_what_they_are_for),
		cmocka_unit_test(test_pki_alt_names_are_names_and_addresses),
		cmocka_unit_test(test_pki_no_certificate_outlives_its_ca),
		cmocka_unit_test(test_pki_verify_says_what_is_wrong),
		cmocka_unit_test(test_pki_an_unreadable_ca_is_no_verdict),
		cmocka_unit_test(test_pki_issue_refuses_bad_requests),
		cmocka_unit_test(test_pki_issue_refuses_bad_orders),
		cmocka_unit_test(test_pki_issue_wants_the_cas_own_key),
		cmocka_unit_test(test_pki_an_issued_certificate_is_no_ca),
	};

	return cmocka_run_group_tests_name("pki", tests, make_all, free_all);
}
