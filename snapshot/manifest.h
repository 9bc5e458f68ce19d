/* manifest.h - what a snapshot consists of, as the JSON text that is stored, sent and shown.
 *
 * Source: snapshot/FORMAT.md, "Manifests".
 */
#ifndef GODWIT_SNAPSHOT_MANIFEST_H
#define GODWIT_SNAPSHOT_MANIFEST_H

#include "common/json.h"
#include "snapshot/volume.h"

enum {
	MANIFEST_ID_LEN = 25,      /* "20261122-164512-3f9a1c2e" and the end: sorts by time */
	MANIFEST_DESKTOP_MAX = 63, /* [a-z0-9-]+, starts with a letter or digit */
	MANIFEST_VOLUMES_MAX = 128,
};

enum manifest_kind {
	MANIFEST_IMPORT, /* an image that somebody brought */
	MANIFEST_COLD,   /* disks of a desktop that was off */
	MANIFEST_LIVE,   /* disks, memory and devices of one instant */
	MANIFEST_MENDED, /* the disks of another snapshot, but for a file that was infected there */
};

struct manifest {
	char id[MANIFEST_ID_LEN];
	char desktop[MANIFEST_DESKTOP_MAX + 1];
	char parent[MANIFEST_ID_LEN]; /* "": none */
	uint64_t created_wall_ms;
	enum manifest_kind kind;
	uint64_t epoch;
	char domain[MANIFEST_DESKTOP_MAX + 1]; /* whose chunks it may share; "default" unless set */
	bool branch;                           /* off the main line: written under a stale epoch */
	bool application_consistent;
	json_t *machine; /* the desktop's virtual hardware (docs/protocol.md); owned; may be NULL */
	size_t volume_count;
	struct volume volumes[MANIFEST_VOLUMES_MAX];
};

void manifest_init(struct manifest *m);
void manifest_deinit(struct manifest *m);

/* A new id for @wall_ms. */
void manifest_new_id(uint64_t wall_ms, char id[MANIFEST_ID_LEN]);
bool manifest_id_valid(const char *id);
bool manifest_desktop_valid(const char *name);
bool manifest_volume_name_valid(const char *name);
/* What follows "1 to VOLUME_NAME_MAX" in a message. */
#define MANIFEST_VOLUME_NAME_RULE                                                                  \
	"visible ASCII characters without \" \\ and .. and without a / at its ends"

/* Untrusted text → *m; every bound is checked. Return 0 or -EINVAL with the place. */
int manifest_parse(struct manifest *m, const char *text, size_t len, struct err *err);
int manifest_from_json(struct manifest *m, const json_t *value, struct err *err);
json_t *manifest_to_json(const struct manifest *m);

const struct volume *manifest_volume(const struct manifest *m, const char *name);

#endif
