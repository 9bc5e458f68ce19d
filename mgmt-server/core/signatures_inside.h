/* signatures_inside.h - what signatures.c and signatures_state.c share. */
#ifndef GODWIT_MGMT_SERVER_SIGNATURES_INSIDE_H
#define GODWIT_MGMT_SERVER_SIGNATURES_INSIDE_H

#include <pthread.h>
#include <time.h>

#include "mgmt-server/core/scans_child.h"
#include "mgmt-server/core/signatures.h"

enum signatures_phase {
	SIGNATURES_IDLE,
	SIGNATURES_LOOKS,    /* what is in the folder that is used */
	SIGNATURES_FETCHES,  /* freshclam */
	SIGNATURES_COMPARES, /* what is in freshclam's folder */
	SIGNATURES_UNPACKS,  /* a bundle into sets/new */
	SIGNATURES_TRIES,    /* sets/new */
};

struct signatures {
	struct server *server;
	pthread_mutex_t lock; /* over everything below */
	char *program, *root;
	enum signatures_phase phase; /* not IDLE: @child is there */
	struct scans_child child;
	uint64_t phase_began_ms;
	const char *source; /* of the candidate: "mirror", "upload" */

	json_t *info; /* godwit-scan's answer about the folder that is used; NULL: none, or not looked yet */
	bool looked;
	struct timespec folder_time;
	uint64_t look_ms, fetch_ms; /* when next */
	bool fetch_ordered;
	bool outdated_told;

	char error[512]; /* of the last replacement; "": it went well */
	uint64_t ended_wall_ms;

	struct {
		char id[MANIFEST_ID_LEN], name[128];
		uint64_t size, got, modified_s;
		int fd; /* -1: none */
	} upload;
};

/* info: NULL when there are no signatures. New ones make scans due. */
void signatures_take_info(struct signatures *g, json_t *info);
void signatures_tell_failed(struct signatures *g);
void signatures_tell_outdated(struct signatures *g);
int signatures_freshclam_config(const struct signatures *g, const char *path, struct err *err);

#endif
