/* store_internal.h - what the files of the store share and nobody else includes.
 *
 * Lock order: gc_lock, commit_lock, then a session's lock, then flush_lock, add_lock,
 * sync_lock, then store->lock; never the other way round.
 * commit_lock is held shared from a commit's check to the moment its snapshot is listed, and exclusively by GC while it
 * decides: so GC never misses a snapshot whose chunks it is about to condemn.
 */
#ifndef GODWIT_SNAPSHOT_STORE_INTERNAL_H
#define GODWIT_SNAPSHOT_STORE_INTERNAL_H

#include <pthread.h>

#include "snapshot/pack.h"
#include "snapshot/siphash.h"
#include "snapshot/store.h"
#include "snapshot/store_index.h"

/*
 * Footers in memory: so many packs, and so many entries of 48 bytes (32 MiB) together, whichever is reached first. Each
 * keeps its file open, so it is no more than a part of the descriptors that this process may have.
 */
enum {
	STORE_CACHE_PACKS = 1024,
	STORE_CACHE_FILES_PART = 4,
	STORE_CACHE_ENTRIES = 700000,
	STORE_HOT_PACKS = 4,
	STORE_PATH_JSON_MAX = 64 << 10
};

struct store_dead;

struct store_domain {
	struct store *store;
	char name[PACK_DOMAIN_LEN];
	uint8_t key[SIPHASH_KEY_LEN]; /* of tags */
	struct store_domain *next;
};

enum store_pack_state {
	STORE_PACK_LIVE,      /* may be used */
	STORE_PACK_CONDEMNED, /* counts as absent; deleted when no older session is left */
	STORE_PACK_DAMAGED,   /* its header or footer cannot be read, or the file is missing */
	STORE_PACK_GONE,      /* deleted */
};

/* A row of the pack table; its index there is the pack's number, which is never used again. */
struct store_pack {
	struct pack_name name;
	enum store_pack_state state;
	struct store_domain *domain;
	uint64_t size; /* bytes of the file */
	uint32_t records;
	uint32_t manifests;    /* how many of the records */
	bool unread;           /* a manifest or note in it is damaged: nobody knows what it said */
	uint64_t session;      /* of the open session that wrote it; 0: of none */
	uint64_t condemned_at; /* store->sequence then */
	uint64_t verified_wall_ms; /* 0: never */
	uint32_t cached;           /* its place in store->cache, + 1; 0: it is not there */
};

struct store_snapshot {
	char id[MANIFEST_ID_LEN];
	uint32_t pack, record;
	uint64_t created_wall_ms;
	bool forgotten, pinned;
	uint64_t noted_at_ms; /* of the newest note other than "forget" */
};

struct store {
	char *path, *packs_path, *temp_path, *index_path, *key_path;
	enum store_mode mode;
	uint8_t id[PACK_STORE_ID_LEN];
	struct store_keys keys;
	uint64_t
		no_delete_ms; /* snapshots and packs younger than this are not deleted; 0: no window */
	int lock_fd;
	struct volume_progress *opening; /* while the store is opened by reading footers; NULL */
	struct store_index *index;
	const struct store_key *index_key; /* tags are made with */
	pthread_mutex_t flush_lock;        /* one flush of the index at a time */
	pthread_mutex_t add_lock;          /* a row and its entries appear together */
	pthread_mutex_t gc_lock;           /* one GC at a time */
	pthread_rwlock_t commit_lock;
	pthread_mutex_t sync_lock; /* around the fsync of packs/ */

	pthread_mutex_t lock; /* everything below */
	struct store_pack *packs;
	size_t pack_count, pack_capacity;
	struct {
		uint32_t number;
		uint64_t used;
		struct pack *pack;
	} cache[STORE_CACHE_PACKS];
	size_t cache_slots; /* <= STORE_CACHE_PACKS */
	uint64_t cache_clock, cache_entries;
	atomic_size_t unlisted; /* snapshots that store_list could not read */
	uint32_t hot[STORE_HOT_PACKS],
		hot_next; /* packs in which chunks were found lately: their neighbours are probably there, too */
	struct store_domain *domains;
	struct store_snapshot *snapshots; /* sorted by id */
	size_t snapshot_count, snapshot_capacity;
	bool opened;                    /* store_open succeeded */
	bool state_stale;               /* index/state must be written even if no chunk came */
	bool folder_dirty;              /* a pack was renamed since the last fsync of packs/ */
	uint64_t sequence;              /* of sessions */
	struct store_session *sessions; /* open ones */
};

/* ---- store.c ---- */
struct store_domain *store_domain_get(struct store *store, const char *name, struct err *err);
/* fsync packs/ if a pack was renamed since the last time. */
int store_sync_folder(struct store *store, struct err *err);
int store_check_writable(const struct store *store, struct err *err);

/* ---- store_folder.c: which packs there are ---- */
/* Is that a pack's file name? */
bool store_folder_pack_name(const char *file, struct pack_name *name);
/* Take packs into the table that are in the folder and not yet known. *missing: how many known ones are not there. */
int store_folder_load(struct store *store, size_t *missing, struct err *err);
/* A pack has vanished: look again, unless this process writes and so knows what it did. */
int store_folder_refresh(struct store *store, struct err *err);
/* Packs are about to be deleted: durable, so that mirrors follow even if the index is lost. */
int store_folder_note_deleted(struct store *store, const struct pack_name *names, size_t n,
			      struct err *err);
/* Rows for what was noted, if the index did not know it. */
int store_folder_load_deleted(struct store *store, struct err *err);
/* A pack's file was replaced by a sound one. */
int store_folder_reload_pack(struct store *store, const struct pack_name *name, struct err *err);

/* ---- store_table.c: packs and what is in them ---- */
void store_table_init(struct store *store);
/* How many packs one request may hold open beside the cache. */
size_t store_table_packs_held(const struct store *store);
void store_table_tag(const struct store_domain *domain, const struct chunk_id *id,
		     uint8_t tag[STORE_INDEX_TAG_LEN]);
/* Add a complete pack to the table and its chunks to the index. *number: out. */
int store_table_add(struct store *store, struct pack *pack, uint64_t session, uint32_t *number,
		    struct err *err);
/* Only the entries of a row that exists. */
int store_table_index(struct store *store, struct pack *pack, uint32_t number, struct err *err);
/* A row for a pack that can't be read. */
int store_table_add_damaged(struct store *store, const struct pack_name *name, struct err *err);
/* A row for a pack that was deleted. */
int store_table_add_gone(struct store *store, const struct pack_name *name, struct err *err);
char *store_table_path(const struct store *store, const struct pack_name *name);

/* The open pack of that number, out of the cache or the folder; to be unref'd. */
int store_table_pack(struct store *store, uint32_t number, struct pack **out, struct err *err);

struct store_place {
	struct pack *pack; /* a reference; NULL: none */
	uint32_t number, record;
};
/* All live places of a chunk: it may have been stored twice. To be unref'd. Return how many, at most STORE_INDEX_CANDIDATES, or -errno. */
int store_table_find_all(struct store_domain *domain, const struct chunk_id *id,
			 struct store_place out[STORE_INDEX_CANDIDATES], struct err *err);
/* rescue: a condemned pack that has the chunk becomes live again. Return 0, STORE_ABSENT or -errno. */
int store_table_find(struct store_domain *domain, const struct chunk_id *id, bool rescue,
		     struct store_place *out, struct err *err);
/* Close the pack's file if it is cached. */
void store_table_uncache(struct store *store, uint32_t number);
void store_table_clear(struct store *store);

/* ---- store_source.c ---- */
struct chunk_source store_source_of(struct store_domain *domain);
/* What get() of a source does, for places that were found already: read, check, decode, hand over. */
int store_source_read(const struct store_place *places, size_t n, chunk_arrived *fn, void *arg,
		      struct err *err);

/* ---- store_catalogue.c ---- */
/* Take the manifests and notes of a pack into the list. */
int store_catalogue_take(struct store *store, struct pack *pack, uint32_t number, struct err *err);
/* One row, read. Return 0, STORE_ABSENT for a forgotten or unknown one, or -errno. */
int store_catalogue_read(struct store *store, const struct store_snapshot *row,
			 struct manifest *out, struct err *err);
/* Rows of forgotten snapshots whose manifests are deleted for good. */
void store_catalogue_drop_gone(struct store *store);
/* Is record @i, a note, about a manifest that is still in some pack? */
bool store_catalogue_note_needed(struct store *store, const struct store_dead *dead,
				 const struct pack *pack, uint32_t i);
enum {
	STORE_CATALOGUE_NEWS = 1, /* the store does not know that */
	STORE_CATALOGUE_KNOWN,
	STORE_CATALOGUE_POINTLESS, /* a note about a snapshot of which the store has no manifest */
};
/* What is manifest or note @i of a pack that is not the store's to the store? *number: the pack with the manifest, if it is known.
 * Return one of these, or -errno.
 */
int store_catalogue_knows(struct store *store, const struct pack *pack, uint32_t i,
			  uint32_t *number, struct err *err);
/* A copy of the rows that are not forgotten, oldest first; heap. */
int store_catalogue_rows(struct store *store, struct store_snapshot **out, size_t *count,
			 struct err *err);

#endif
