/* grants.c - see grants.h. */
#include "mgmt-server/core/grants.h"

#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <stdio.h>
#include <string.h>

#include "common/hex.h"

void grants_proof(const struct server *s, const char *desktop, const char *endpoint, uint64_t epoch,
		  char proof[GRANTS_PROOF_LEN])
{
	static const char purpose[] = "godwit lease grant 1";
	uint8_t key[EVP_MAX_MD_SIZE], mac[EVP_MAX_MD_SIZE];
	unsigned key_len = 0, len = 0;
	char text[2 * CATALOGUE_NAME_LEN + 32]; /* names have no slash */
	int n = snprintf(text, sizeof(text), "%s/%s/%llu", desktop, endpoint,
			 (unsigned long long)epoch);

	HMAC(EVP_sha256(), s->ca_key_pem, (int)strlen(s->ca_key_pem), (const uint8_t *)purpose,
	     sizeof(purpose) - 1, key, &key_len);
	HMAC(EVP_sha256(), key, (int)key_len, (const uint8_t *)text, (size_t)n, mac, &len);
	OPENSSL_cleanse(key, sizeof(key));
	hex_encode(mac, 32, proof);
}

bool grants_check(const struct server *s, const char *desktop, const char *endpoint, uint64_t epoch,
		  const char *proof)
{
	char want[GRANTS_PROOF_LEN];

	grants_proof(s, desktop, endpoint, epoch, want);
	return strlen(proof) == GRANTS_PROOF_LEN - 1 &&
	       CRYPTO_memcmp(want, proof, GRANTS_PROOF_LEN - 1) == 0;
}
