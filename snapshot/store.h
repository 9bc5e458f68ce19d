/* store.h - a store: a folder of packs that holds chunks and snapshot manifests, and an index derived from them.
 *
 * What was committed survives kill -9 and power cuts: packs arrive by temp file → fdatasync → rename → fsync(folder),
 * and a manifest is only readable after every pack it needs. One process writes (flock), any number read. Thread-safe.
 * Source: snapshot/FORMAT.md, "Store folder".
 */
#ifndef GODWIT_SNAPSHOT_STORE_H
#define GODWIT_SNAPSHOT_STORE_H

#include "snapshot/chunk_io.h"
#include "snapshot/manifest.h"

struct store;
struct store_session;
struct volume_progress;

/**
 * store_init(path, key_path, err):
 * Make an empty store in @path (a folder that is absent or empty) and, when @key_path is absent, a master key (0600).
 * key_path NULL: PATH.key beside the folder.
 */
int store_init(const char *path, const char *key_path, struct err *err);

/* The same with a no-delete window: snapshots and packs younger than that cannot be deleted, by nobody's command. */
int store_init_with(const char *path, const char *key_path, uint64_t no_delete_ms, struct err *err);

enum store_mode { STORE_READ, STORE_WRITE };

/* Return 0; -EBUSY when another process writes; -EACCES for a wrong key; -ENOENT …; or -errno. */
int store_open(struct store **out, const char *path, const char *key_path, enum store_mode mode,
	       struct err *err);
void store_close(struct store *store);
DEFINE_CLEANUP(struct store *, store_close);

uint64_t store_no_delete_ms(const struct store *store);

/**
 * store_reindex(path, key_path, progress, err):
 * Throw away everything that is derived and make it again from the packs: the index, and store.json if that is missing.
 *
 * progress  counts a pack's whole size once its footer was read; no rate; may be NULL
 *
 * Return 0; -ECANCELED: whoever opens the store next makes again what is missing; or -errno.
 */
int store_reindex(const char *path, const char *key_path, struct volume_progress *progress,
		  struct err *err);

/* Reads verified plaintext of any chunk in the store. */
struct chunk_source store_source(struct store *store);

/**
 * store_get_encoded(store, id, buf, out, err):
 * One chunk as it is kept (decrypted, still compressed), for sending on.
 *
 * buf  uint8_t[CHUNK_MAX], the caller's; out->data points into it
 *
 * Return 0, STORE_ABSENT, -EBADMSG for a damaged record (named), or -errno.
 */
enum { STORE_ABSENT = 1 };
int store_get_encoded(struct store *store, const struct chunk_id *id, uint8_t *buf,
		      struct chunk_encoded *out, struct err *err);

/* The same for chunks of one domain only: what a desktop of that domain may read. The source lives as long as the store. */
int store_domain_source(struct store *store, const char *domain, struct chunk_source *out,
			struct err *err);
int store_domain_get_encoded(struct store *store, const char *domain, const struct chunk_id *id,
			     uint8_t *buf, struct chunk_encoded *out, struct err *err);

/* An upload: what is put is visible to queries of this session at once, to everybody after the commit. */
int store_session_open(struct store_session **out, struct store *store, const char *desktop,
		       struct err *err);
/* The same in a domain other than "default": chunks of other domains are neither found nor accepted. */
int store_session_open_in(struct store_session **out, struct store *store, const char *desktop,
			  const char *domain, struct err *err);
/* Without a commit: what was put stays as garbage that a later upload may find and use, or GC removes. */
void store_session_close(struct store_session *session);
DEFINE_CLEANUP(struct store_session *, store_session_close);

/* put() through this sink trusts the ids: for chunks that this process hashed itself. */
struct chunk_sink store_session_sink(struct store_session *session);

/* Take chunks from outside: each is decoded and compared with its id first; -EBADMSG names a bad one. */
int store_session_put_untrusted(struct store_session *session, const struct chunk_encoded *chunks,
				size_t n, struct err *err);

/**
 * store_session_commit(session, manifest, err):
 * Check that every chunk the manifest's volumes need is there (cost O(different from its parent)), make all of it
 * durable, then the manifest. manifest->id is set when it is empty.
 *
 * Return 0; -ENOENT naming volume and chunk when something is missing; or -errno. After a failure the session may
 * be repaired by further puts and committed again.
 */
int store_session_commit(struct store_session *session, struct manifest *manifest, struct err *err);

typedef int store_listed(void *arg, const struct manifest *manifest, struct err *err);
/* Packs of which not all snapshots are known: damaged, missing, or a manifest or note in it is; and what a list had to leave out. */
size_t store_packs_unread(struct store *store);
/* Oldest first. */
int store_list(struct store *store, store_listed *fn, void *arg, struct err *err);

/* Return 0, STORE_ABSENT, or -errno. */
int store_manifest(struct store *store, const char *id, struct manifest *out, struct err *err);

/**
 * store_forget(store, ids, n, err):
 * Let snapshots go: durable on return. Their chunks stay until store_gc.
 *
 * Return 0, -ENOENT naming one that is not there, -EPERM for a pinned one or one inside the store's no-delete window
 * (then none was forgotten), or -errno.
 */
int store_forget(struct store *store, const char *const *ids, size_t n, struct err *err);

/* A pinned snapshot cannot be forgotten. Durable on return. */
int store_pin(struct store *store, const char *id, bool pinned, struct err *err);
bool store_is_pinned(struct store *store, const char *id);

struct store_gc {
	bool dry_run;
	bool count_anew; /* do not trust what earlier runs counted: walk all trees */
	bool rekey;      /* rewrite packs that are not under the newest key, too */
	bool accept_loss; /* go on although packs or manifests are damaged: what only they know of is given up */
	unsigned repack_percent; /* packs with less alive are rewritten; 0: 50 */
	struct volume_progress *
		progress; /* bytes: of tree nodes and of what is rewritten, which its rate limits; may be NULL */
};
struct store_gc_result {
	uint64_t live_chunks, dead_chunks;
	uint64_t packs_deleted, packs_rewritten; /* deleted: also those that were rewritten */
	uint64_t packs_waiting;                  /* condemned, until older sessions have ended */
	uint64_t freed_bytes, written_bytes;
	uint64_t snapshots_walked,
		read_bytes; /* came or went since the last run; of their tree nodes that had to be read */
	bool counted_anew; /* all snapshots were walked: the first run, or the earlier counts were of no use */
};
/**
 * store_gc(store, order, result, err):
 * Delete what no snapshot needs, at the cost of what came and went since the last run. Safe beside any number of sessions; reads
 * tree nodes, and chunk data only of packs that it rewrites; may be killed and repeated at any time.
 *
 * Return 0; -ENOENT or -EBADMSG when a snapshot or a pack is damaged (then nothing is deleted); -ECANCELED; or -errno.
 */
int store_gc(struct store *store, const struct store_gc *order, struct store_gc_result *result,
	     struct err *err);

struct store_stat {
	uint64_t packs, pack_bytes, chunks, plain_bytes, snapshots, index_bytes;
	uint64_t packs_damaged; /* in none of the others */
};
int store_stat(struct store *store, struct store_stat *out, struct err *err);

struct store_verify {
	bool quick; /* structure only: footers, trees, no chunk data */
	uint64_t
		budget_bytes; /* read about so much, the packs first whose last check is oldest; 0: all */
	uint64_t bytes_per_second; /* 0: as fast as it goes */
	struct volume_progress *progress;
	/* Called for each damage found, with a line that names pack, offset, chunk and the snapshots it hurts. */
	void (*damage)(void *arg, const char *text);
	void *arg;
};
/* *damaged: how many were reported. Return 0, or -errno when the check itself could not run. */
int store_verify(struct store *store, const struct store_verify *order, uint64_t *damaged,
		 struct err *err);

#endif
