/* signatures.h - the set of virus signatures that scans use: where it comes from, how old it is, how it is replaced.
 *
 * Either a folder that somebody else keeps ([scan] signatures, for instance freshclam's), or this server's own set in
 * STATE/signatures: fetched by freshclam from a mirror, or uploaded. A new set is tried by godwit-scan in its sandbox
 * first; then one rename puts it in the old one's place, so that a scan loads either the old or the new set, whole. A
 * set that fails its trial changes nothing. One thing at a time: look, fetch, unpack or try.
 *
 *   STATE/signatures/current → sets/NAME    sets/new: a candidate    mirror/: freshclam's    upload/: what arrives
 *
 * Thread-safe (a lock of its own, taken after the fleet's); never held while a change is begun.
 */
#ifndef GODWIT_MGMT_SERVER_SIGNATURES_H
#define GODWIT_MGMT_SERVER_SIGNATURES_H

#include "mgmt-server/core/server.h"

struct signatures;

int signatures_new(struct signatures **out, struct server *server, struct err *err);
void signatures_free(struct signatures *signatures);

/* Each second, with the fleet's lock. */
void signatures_tick(struct server *server);

/* The folder that a scan shall load now; heap; NULL: out of memory. */
char *signatures_folder(struct server *server);

/* As the API shows it. */
json_t *signatures_object(struct server *server);

/* Are they older than [scan] max_age? age_s: out; 0 when it is not known. */
bool signatures_outdated(struct server *server, uint64_t *age_s);

/* Fetch now. Return 0; -EBUSY: something is under way; -EEXIST: there is no mirror. */
int signatures_update(struct server *server, struct err *err);

struct signatures_upload {
	const char *name; /* of the file: NAME.tar, NAME.tar.gz, or one signature file */
	uint64_t size, modified_s;
};
enum { SIGNATURES_ID_LEN = 33, SIGNATURES_PART_MAX = 4 << 20 };
/* An upload replaces one that was not finished. id: out. Return 0, -EINVAL, -EBUSY, -EEXIST (another
 * folder is used), -errno. */
int signatures_upload_open(struct server *server, const struct signatures_upload *upload, char *id,
			   struct err *err);
int signatures_upload_data(struct server *server, const char *id, uint64_t offset,
			   const uint8_t *data, size_t len, struct err *err);
/* All of it is there: try it. Return 0 (the object says how it goes), -EINVAL, -EBUSY, -ENOENT. */
int signatures_upload_end(struct server *server, const char *id, struct err *err);

#endif
