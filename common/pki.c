#include "common/pki.h"

#include <assert.h>
#include <errno.h>
#include <string.h>
#include <time.h>

#include <openssl/asn1.h>
#include <openssl/bio.h>
#include <openssl/ec.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/objects.h>
#include <openssl/pem.h>
#include <openssl/x509.h>
#include <openssl/x509v3.h>

#include "common/hex.h"

DEFINE_CLEANUP(BIO *, BIO_free);
DEFINE_CLEANUP(EVP_PKEY *, EVP_PKEY_free);
DEFINE_CLEANUP(X509 *, X509_free);
DEFINE_CLEANUP(X509_REQ *, X509_REQ_free);
DEFINE_CLEANUP(X509_EXTENSION *, X509_EXTENSION_free);
DEFINE_CLEANUP(X509_STORE *, X509_STORE_free);
DEFINE_CLEANUP(X509_STORE_CTX *, X509_STORE_CTX_free);
DEFINE_CLEANUP(GENERAL_NAMES *, GENERAL_NAMES_free);
DEFINE_CLEANUP(BIGNUM *, BN_free);

/* Clocks differ a little: a certificate is valid from this long before it was made. */
enum { BACKDATE_S = 3600, SECONDS_A_DAY = 86400, SERIAL_BITS = 159 };

struct role {
	const char *name;
	const char *key_usage; /* X509v3 extended key usage */
	int purpose;
};

static const struct role roles[] = {
	{ "server", "serverAuth", X509_PURPOSE_SSL_SERVER },
	{ "endpoint", "clientAuth", X509_PURPOSE_SSL_CLIENT },
};

static const struct role *find_role(const char *name)
{
	for (size_t i = 0; i < ARRAY_LEN(roles); i++) {
		if (strcmp(roles[i].name, name) == 0)
			return &roles[i];
	}
	return NULL;
}

/* What OpenSSL said last, as the text of @err. */
static int openssl_failed(struct err *err, int code, const char *what)
{
	const char *reason = ERR_reason_error_string(ERR_peek_last_error());
	int r = err_say(err, code, "%s: %s", what, reason ? reason : "OpenSSL gives no reason");

	ERR_clear_error();
	return r;
}

/* ---- PEM ------------------------------------------------------------------------------------- */

/* No pass phrase is ever asked for on a terminal: an encrypted key is simply unreadable. */
static int refuse_pass_phrase(char *buf, int size, int rwflag, void *user)
{
	(void)buf, (void)size, (void)rwflag, (void)user;
	return -1;
}

static EVP_PKEY *read_key(const char *pem, struct err *err)
{
	CLEANUP(BIO_free) BIO *bio = BIO_new_mem_buf(pem, -1);
	EVP_PKEY *key = bio ? PEM_read_bio_PrivateKey(bio, NULL, refuse_pass_phrase, NULL) : NULL;

	if (!key)
		openssl_failed(err, EINVAL, "read a private key");
	return key;
}

static X509 *read_certificate(const char *pem, const char *what, struct err *err)
{
	CLEANUP(BIO_free) BIO *bio = BIO_new_mem_buf(pem, -1);
	X509 *cert = bio ? PEM_read_bio_X509(bio, NULL, refuse_pass_phrase, NULL) : NULL;

	if (!cert)
		openssl_failed(err, EINVAL, what);
	return cert;
}

static int take_text(BIO *bio, char **out, struct err *err)
{
	char *data;
	long len = BIO_get_mem_data(bio, &data);

	*out = len > 0 ? strndup(data, (size_t)len) : NULL;
	return *out ? 0 : err_set(err, ENOMEM, "write PEM");
}

static int write_certificate(X509 *cert, char **out, struct err *err)
{
	CLEANUP(BIO_free) BIO *bio = BIO_new(BIO_s_mem());

	if (!bio || !PEM_write_bio_X509(bio, cert))
		return openssl_failed(err, ENOMEM, "write a certificate");
	return take_text(bio, out, err);
}

int pki_key_new(char **key_pem, struct err *err)
{
	CLEANUP(EVP_PKEY_free) EVP_PKEY *key = EVP_EC_gen("P-256");
	CLEANUP(BIO_free) BIO *bio = BIO_new(BIO_s_secmem());

	if (!key || !bio || !PEM_write_bio_PrivateKey(bio, key, NULL, NULL, 0, NULL, NULL))
		return openssl_failed(err, EIO, "make a private key");
	return take_text(bio, key_pem, err);
}

/* ---- Names ----------------------------------------------------------------------------------- */

static int check_name(const char *name, struct err *err)
{
	size_t len = strlen(name);

	if (len < 1 || len > PKI_NAME_MAX)
		return err_say(err, EINVAL, "certificate name '%.80s': must have 1 to %d bytes",
			       name, PKI_NAME_MAX);
	for (size_t i = 0; i < len; i++) {
		if ((unsigned char)name[i] < ' ' || name[i] == 127)
			return err_say(err, EINVAL,
				       "certificate name: byte %zu is a control character", i);
	}
	return 0;
}

static int add_name(X509_NAME *subject, const char *field, const char *value, struct err *err)
{
	if (!X509_NAME_add_entry_by_txt(subject, field, MBSTRING_UTF8, (const uint8_t *)value, -1,
					-1, 0))
		return openssl_failed(err, EINVAL, "name a certificate");
	return 0;
}

/* The only value of a field of the subject; none or several are refused, and so is a zero byte
 * inside. */
static int get_name(X509 *cert, int nid, char out[PKI_NAME_MAX + 1])
{
	const X509_NAME *subject = X509_get_subject_name(cert);
	int at = X509_NAME_get_index_by_NID(subject, nid, -1);
	uint8_t *utf8 = NULL;
	int len;

	if (at < 0 || X509_NAME_get_index_by_NID(subject, nid, at) >= 0)
		return -EINVAL;
	len = ASN1_STRING_to_UTF8(&utf8,
				  X509_NAME_ENTRY_get_data(X509_NAME_get_entry(subject, at)));
	if (len < 1 || len > PKI_NAME_MAX || memchr(utf8, 0, (size_t)len)) {
		OPENSSL_free(utf8);
		return -EINVAL;
	}
	memcpy(out, utf8, (size_t)len);
	out[len] = 0;
	OPENSSL_free(utf8);
	return 0;
}

/* ---- Making certificates --------------------------------------------------------------------- */

static int set_serial(X509 *cert)
{
	CLEANUP(BN_free) BIGNUM *serial = BN_new();

	/* RFC 5280, 4.1.2.2: positive and at most 20 bytes. */
	return serial && BN_rand(serial, SERIAL_BITS, BN_RAND_TOP_ANY, BN_RAND_BOTTOM_ANY) &&
	       BN_to_ASN1_INTEGER(serial, X509_get_serialNumber(cert));
}

static int add_extension(X509 *cert, X509 *issuer, int nid, const char *value)
{
	X509V3_CTX context;
	CLEANUP(X509_EXTENSION_free) X509_EXTENSION *extension = NULL;

	X509V3_set_ctx(&context, issuer, cert, NULL, NULL, 0);
	X509V3_set_ctx_nodb(&context);
	extension = X509V3_EXT_conf_nid(NULL, &context, nid, value);
	return extension && X509_add_ext(cert, extension, -1);
}

static int add_alt_name(GENERAL_NAMES *names, const char *text)
{
	/* Typed values, never OpenSSL's "DNS:a,IP:b" mini-language: a comma in a name stays a part
	 * of that name. */
	GENERAL_NAME *name = GENERAL_NAME_new();
	ASN1_OCTET_STRING *address = a2i_IPADDRESS(text);
	ASN1_IA5STRING *dns = NULL;

	ERR_clear_error();
	if (name && address) {
		GENERAL_NAME_set0_value(name, GEN_IPADD, address);
	} else if (name && text[0] && (dns = ASN1_IA5STRING_new()) &&
		   ASN1_STRING_set(dns, text, -1)) {
		GENERAL_NAME_set0_value(name, GEN_DNS, dns);
	} else {
		ASN1_IA5STRING_free(dns);
		ASN1_OCTET_STRING_free(address);
		GENERAL_NAME_free(name);
		return 0;
	}
	if (sk_GENERAL_NAME_push(names, name))
		return 1;
	GENERAL_NAME_free(name);
	return 0;
}

static int add_alt_names(X509 *cert, const char *const *texts)
{
	CLEANUP(GENERAL_NAMES_free) GENERAL_NAMES *names = GENERAL_NAMES_new();

	if (!texts || !texts[0])
		return 1;
	for (; names && *texts; texts++) {
		if (!add_alt_name(names, *texts))
			return 0;
	}
	return names && X509_add1_ext_i2d(cert, NID_subject_alt_name, names, 0, X509V3_ADD_DEFAULT);
}

static int set_validity(X509 *cert, unsigned days, const X509 *ca)
{
	time_t now = time(NULL), from = now - BACKDATE_S, to;

	if (__builtin_mul_overflow((time_t)days, SECONDS_A_DAY, &to) ||
	    __builtin_add_overflow(to, now, &to))
		return 0;
	if (!ASN1_TIME_set(X509_getm_notBefore(cert), from) ||
	    !ASN1_TIME_set(X509_getm_notAfter(cert), to))
		return 0;
	/* What outlives its CA would only look valid. */
	if (ca && ASN1_TIME_compare(X509_get0_notAfter(ca), X509_get0_notAfter(cert)) < 0)
		return X509_set1_notAfter(cert, X509_get0_notAfter(ca));
	return 1;
}

int pki_ca_new(const char *key_pem, const char *name, unsigned days, char **cert_pem,
	       struct err *err)
{
	CLEANUP(EVP_PKEY_free) EVP_PKEY *key = NULL;
	CLEANUP(X509_free) X509 *cert = X509_new();
	int r;

	r = check_name(name, err);
	if (r < 0)
		return r;
	if (days < 1)
		return err_say(err, EINVAL, "a CA certificate must be valid for 1 day or more");
	key = read_key(key_pem, err);
	if (!key)
		return -EINVAL;
	if (!cert)
		return err_set(err, ENOMEM, "make a CA certificate");
	r = add_name(X509_get_subject_name(cert), "CN", name, err);
	if (r < 0)
		return r;
	if (!X509_set_version(cert, X509_VERSION_3) || !set_serial(cert) ||
	    !set_validity(cert, days, NULL) || !X509_set_pubkey(cert, key) ||
	    !X509_set_issuer_name(cert, X509_get_subject_name(cert)) ||
	    !add_extension(cert, cert, NID_basic_constraints, "critical,CA:TRUE,pathlen:0") ||
	    !add_extension(cert, cert, NID_key_usage, "critical,keyCertSign,cRLSign") ||
	    !add_extension(cert, cert, NID_subject_key_identifier, "hash") ||
	    !X509_sign(cert, key, EVP_sha256()))
		return openssl_failed(err, EIO, "make a CA certificate");
	return write_certificate(cert, cert_pem, err);
}

int pki_request_new(const char *key_pem, const char *name, char **request_pem, struct err *err)
{
	CLEANUP(EVP_PKEY_free) EVP_PKEY *key = NULL;
	CLEANUP(X509_REQ_free) X509_REQ *request = X509_REQ_new();
	CLEANUP(BIO_free) BIO *bio = BIO_new(BIO_s_mem());
	int r;

	r = check_name(name, err);
	if (r < 0)
		return r;
	key = read_key(key_pem, err);
	if (!key)
		return -EINVAL;
	if (!request || !bio)
		return err_set(err, ENOMEM, "make a certificate request");
	r = add_name(X509_REQ_get_subject_name(request), "CN", name, err);
	if (r < 0)
		return r;
	if (!X509_REQ_set_version(request, X509_REQ_VERSION_1) ||
	    !X509_REQ_set_pubkey(request, key) || !X509_REQ_sign(request, key, EVP_sha256()) ||
	    !PEM_write_bio_X509_REQ(bio, request))
		return openssl_failed(err, EIO, "make a certificate request");
	return take_text(bio, request_pem, err);
}

/* Take nothing from a request but its key, and that only if it is of our kind and whoever asks has
 * it. */
static int read_request(const char *pem, EVP_PKEY **out, struct err *err)
{
	CLEANUP(BIO_free) BIO *bio = BIO_new_mem_buf(pem, -1);
	CLEANUP(X509_REQ_free)
	X509_REQ *request = bio ? PEM_read_bio_X509_REQ(bio, NULL, refuse_pass_phrase, NULL) : NULL;
	CLEANUP(EVP_PKEY_free) EVP_PKEY *key = NULL;
	char group[32] = "";

	if (!request)
		return openssl_failed(err, EINVAL, "read a certificate request");
	key = X509_REQ_get_pubkey(request);
	if (!key)
		return openssl_failed(err, EINVAL, "read the key of a certificate request");
	if (!EVP_PKEY_is_a(key, "EC") ||
	    !EVP_PKEY_get_group_name(key, group, sizeof(group), NULL) ||
	    OBJ_txt2nid(group) != NID_X9_62_prime256v1) {
		ERR_clear_error();
		return err_say(err, EINVAL, "certificate request: its key must be ECDSA P-256");
	}
	if (X509_REQ_verify(request, key) != 1) {
		ERR_clear_error();
		return err_say(err, EINVAL,
			       "certificate request: its signature does not prove its key");
	}
	*out = TAKE(key);
	return 0;
}

static int check_order(const struct pki_issue *order, struct err *err)
{
	if (!find_role(order->role))
		return err_say(err, EINVAL, "issue a certificate: no role '%.64s'", order->role);
	if (order->days < 1)
		return err_say(err, EINVAL,
			       "issue a certificate: it must be valid for 1 day or more");
	return check_name(order->name, err);
}

static int build(X509 *cert, X509 *ca, const struct pki_issue *order, EVP_PKEY *key,
		 struct err *err)
{
	X509_NAME *subject = X509_get_subject_name(cert);
	int r;

	r = add_name(subject, "OU", order->role, err);
	if (r == 0)
		r = add_name(subject, "CN", order->name, err);
	if (r < 0)
		return r;
	if (!X509_set_version(cert, X509_VERSION_3) || !set_serial(cert) ||
	    !set_validity(cert, order->days, ca) || !X509_set_pubkey(cert, key) ||
	    !X509_set_issuer_name(cert, X509_get_subject_name(ca)) ||
	    !add_extension(cert, ca, NID_basic_constraints, "critical,CA:FALSE") ||
	    !add_extension(cert, ca, NID_key_usage, "critical,digitalSignature") ||
	    !add_extension(cert, ca, NID_ext_key_usage, find_role(order->role)->key_usage) ||
	    !add_extension(cert, ca, NID_subject_key_identifier, "hash") ||
	    !add_extension(cert, ca, NID_authority_key_identifier, "keyid:always"))
		return openssl_failed(err, EIO, "issue a certificate");
	if (!add_alt_names(cert, order->alt_names))
		return openssl_failed(err, EINVAL, "issue a certificate: its alternative names");
	return 0;
}

int pki_issue(const struct pki_issue *order, char **cert_pem, struct err *err)
{
	CLEANUP(X509_free) X509 *cert = X509_new(), *ca = NULL;
	CLEANUP(EVP_PKEY_free) EVP_PKEY *ca_key = NULL, *key = NULL;
	int r;

	r = check_order(order, err);
	if (r == 0)
		r = read_request(order->request_pem, &key, err);
	if (r < 0)
		return r;
	ca = read_certificate(order->ca_cert_pem, "read the CA certificate", err);
	ca_key = ca ? read_key(order->ca_key_pem, err) : NULL;
	if (!ca_key)
		return -EINVAL;
	if (X509_check_private_key(ca, ca_key) != 1)
		return openssl_failed(err, EINVAL,
				      "the CA's certificate and key do not belong together");
	if (!cert)
		return err_set(err, ENOMEM, "issue a certificate");

	r = build(cert, ca, order, key, err);
	if (r < 0)
		return r;
	if (!X509_sign(cert, ca_key, EVP_sha256()))
		return openssl_failed(err, EIO, "sign a certificate");
	return write_certificate(cert, cert_pem, err);
}

/* ---- Checking certificates ------------------------------------------------------------------- */

static int fingerprint(X509 *cert, char out[PKI_FINGERPRINT_LEN], struct err *err)
{
	uint8_t digest[EVP_MAX_MD_SIZE];
	unsigned len;

	if (!X509_digest(cert, EVP_sha256(), digest, &len))
		return openssl_failed(err, ENOMEM, "compute the fingerprint of a certificate");
	hex_encode(digest, len, out);
	return 0;
}

static int check_signature_and_time(X509 *ca, X509 *cert, int purpose, struct err *err)
{
	CLEANUP(X509_STORE_free) X509_STORE *store = X509_STORE_new();
	CLEANUP(X509_STORE_CTX_free) X509_STORE_CTX *context = X509_STORE_CTX_new();
	int failure;

	if (!store || !context || !X509_STORE_add_cert(store, ca) ||
	    !X509_STORE_CTX_init(context, store, cert, NULL))
		return openssl_failed(err, ENOMEM, "check a certificate");
	X509_STORE_CTX_set_purpose(context, purpose);
	if (X509_verify_cert(context) == 1)
		return 0;
	failure = X509_STORE_CTX_get_error(context);
	ERR_clear_error();
	if (failure == X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT_LOCALLY ||
	    failure == X509_V_ERR_DEPTH_ZERO_SELF_SIGNED_CERT ||
	    failure == X509_V_ERR_CERT_SIGNATURE_FAILURE)
		return err_say(err, EACCES, "certificate refused: another CA issued it (%s)",
			       X509_verify_cert_error_string(failure));
	return err_say(err, EACCES, "certificate refused: %s",
		       X509_verify_cert_error_string(failure));
}

int pki_verify(const char *ca_cert_pem, const char *cert_pem, const char *role,
	       struct pki_subject *out, struct err *err)
{
	CLEANUP(X509_free) X509 *ca = NULL, *cert = NULL;
	const struct role *known = find_role(role);
	struct tm end;
	int r;

	assert(known);
	ca = read_certificate(ca_cert_pem, "read the CA certificate", err);
	if (!ca)
		return -EINVAL;
	cert = read_certificate(cert_pem, "certificate refused", err);
	if (!cert) {
		if (err)
			err->code = EACCES;
		return -EACCES;
	}
	r = check_signature_and_time(ca, cert, known->purpose, err);
	if (r < 0)
		return r;
	if (get_name(cert, NID_commonName, out->name) < 0 ||
	    get_name(cert, NID_organizationalUnitName, out->role) < 0)
		return err_say(err, EACCES,
			       "certificate refused: it must have one name and one role");
	if (strcmp(out->role, role) != 0)
		return err_say(err, EACCES, "certificate refused: '%s' has the role '%s', not '%s'",
			       out->name, out->role, role);
	if (!ASN1_TIME_to_tm(X509_get0_notAfter(cert), &end))
		return openssl_failed(err, EACCES, "certificate refused: its end of validity");
	out->not_after_wall_ms = (uint64_t)timegm(&end) * 1000;
	return fingerprint(cert, out->fingerprint, err);
}

int pki_fingerprint(const char *cert_pem, char out[PKI_FINGERPRINT_LEN], struct err *err)
{
	CLEANUP(X509_free) X509 *cert = read_certificate(cert_pem, "read a certificate", err);

	if (!cert)
		return -EINVAL;
	return fingerprint(cert, out, err);
}
