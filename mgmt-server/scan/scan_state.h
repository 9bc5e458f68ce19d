/* scan_state.h - what scans remember: verdicts by content for the whole fleet, and what each desktop's snapshots held.
 *
 * One SQLite file in a folder. Everything in it can be found out again by scanning, so a damaged file or one of another
 * version is removed and begun anew: that costs time, never a verdict. A scan's findings go in with one transaction at
 * its end; verdicts of contents in between, so that an interrupted scan need not repeat them.
 * A verdict belongs to (SHA-256, size, signature set). The hash is made by godwit-scan from the sealed bytes, so a
 * reader that was taken over by a hostile volume cannot give another desktop's content a verdict. Nor can it by an identity
 * (identity_memo.h), which stands for a hash of what godwit-scan read itself.
 * Thread-safe. Source: DESIGN section 9.
 */
#ifndef GODWIT_SCAN_SCAN_STATE_H
#define GODWIT_SCAN_SCAN_STATE_H

#include "common/base.h"
#include "mgmt-server/catalogue/db.h"
#include "mgmt-server/scan/engine_wire.h"

enum { SCAN_STATE_SHA256_LEN = 32, SCAN_STATE_VERSION_LEN = 65 };

struct scan_state;

/* The folder is made when it is missing. *anew (may be NULL): there was a state that could not be used. */
int scan_state_open(struct scan_state **out, const char *folder, bool *anew, struct err *err);
void scan_state_close(struct scan_state *state);
DEFINE_CLEANUP(struct scan_state *, scan_state_close);

/* It turned out to be damaged: the next one that opens it begins anew. */
void scan_state_forget(struct scan_state *state);

struct db *scan_state_db(struct scan_state *state);

/* A set of signatures or of rules, by what its files say (signature_set.h). */
struct scan_state_set {
	uint64_t id;
	bool loaded;                            /* an engine took it at least once */
	char engine[64], signature_version[64]; /* what that engine said */
};

/**
 * scan_state_set(state, version, hunt, set, err):
 * Find or enter the set. The newest few of each kind are kept (hunt: somebody's own rules), older ones are forgotten with
 * their verdicts.
 */
int scan_state_set(struct scan_state *state, const char *version, bool hunt,
		   struct scan_state_set *set, struct err *err);
/* An engine has loaded it and said so. */
int scan_state_set_loaded(struct scan_state *state, const struct scan_state_set *set,
			  struct err *err);

/* Return true and the reply, when the verdict is known. Unfinished ones never are: they may come out better. */
bool scan_state_find(struct scan_state *state, uint64_t set, const uint8_t *sha256, uint64_t size,
		     struct engine_reply *reply);

struct scan_state_verdict {
	uint8_t sha256[SCAN_STATE_SHA256_LEN];
	uint64_t size;
	uint32_t verdict; /* enum engine_verdict; an unfinished one is kept for its reason */
	char *text;       /* heap; NULL: none */
};
int scan_state_add(struct scan_state *state, uint64_t set,
		   const struct scan_state_verdict *verdicts, size_t count, struct err *err);

/* The number of a content, which is entered when it is new. Return 0 or -errno. */
int scan_state_content(struct db_conn *c, const char *sha256_hex, uint64_t size, uint64_t *id,
		       struct err *err);

#endif
