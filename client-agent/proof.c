/* proof.c - see proof.h. */
#include "client-agent/proof.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/io.h"
#include "common/json.h"

enum { FILE_MAX = 1024 };

int proof_keep(const struct agent *agent, const char *desktop, uint64_t epoch, const char *proof,
	       struct err *err)
{
	CLEANUP_FREE char *folder = io_printf("%s/proofs", agent->state_dir);
	CLEANUP_FREE char *path = io_printf("%s/proofs/%s", agent->state_dir, desktop);
	CLEANUP_FREE char *text =
		io_printf("{\"epoch\":%llu,\"proof\":\"%s\"}\n", (unsigned long long)epoch, proof);
	int r;

	if (!folder || !path || !text)
		return err_set(err, ENOMEM, "keep the proof of desktop %s", desktop);
	if (strlen(proof) != PROOF_LEN - 1 || strspn(proof, "0123456789abcdef") != PROOF_LEN - 1)
		return err_say(err, EINVAL, "desktop %s: the lease's 'proof' is none", desktop);
	r = io_make_folders(folder, 0700, err);
	return r < 0 ? r : io_replace_file(path, text, strlen(text), 0600, err);
}

bool proof_get(const struct agent *agent, const char *desktop, uint64_t epoch,
	       char proof[PROOF_LEN])
{
	CLEANUP_FREE char *path = io_printf("%s/proofs/%s", agent->state_dir, desktop);
	CLEANUP(json_decref) json_t *file = NULL;
	const char *kept = "";
	uint64_t of = 0;
	const struct json_field fields[] = {
		{ "epoch", JSON_KIND_UINT, false, &of },
		{ "proof", JSON_KIND_STRING, false, &kept },
	};

	if (!path || json_parse_file(&file, path, FILE_MAX, NULL) < 0 ||
	    json_fields(file, fields, ARRAY_LEN(fields), "", NULL) < 0 || of != epoch)
		return false;
	snprintf(proof, PROOF_LEN, "%s", kept);
	return true;
}
