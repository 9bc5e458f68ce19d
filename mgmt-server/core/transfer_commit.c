/* transfer_commit.c - an upload becomes a snapshot. Order: plan its id → store → catalogue → answer. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/clock.h"
#include "common/log.h"
#include "mgmt-server/core/snapshots.h"
#include "mgmt-server/core/transfer_inside.h"

static int parent_seen(void *arg, const struct catalogue_snapshot *snapshot, struct err *err)
{
	(void)snapshot;
	(void)err;
	*(bool *)arg = true;
	return DB_STOP;
}

/* What a caller may not choose is compared or replaced here. */
static int check_manifest(struct server *s, const struct upload *u, struct manifest *m,
			  struct err *err)
{
	bool parent = m->parent[0] == '\0';
	struct db_conn *c;
	int r = 0;

	if (strcmp(m->desktop, u->row.desktop) != 0 || m->epoch != u->row.epoch)
		return err_say(
			err, EINVAL,
			"the manifest is of desktop %s at epoch %llu, this session of %s at %llu",
			m->desktop, (unsigned long long)m->epoch, u->row.desktop,
			(unsigned long long)u->row.epoch);
	if (m->volume_count == 0)
		return err_say(err, EINVAL, "the manifest has no volumes");
	if (!parent) {
		c = db_read(s->db);
		r = catalogue_snapshot_get(c, m->desktop, m->parent, parent_seen, &parent, err);
		db_read_end(c);
	}
	if (r < 0)
		return r;
	if (!parent)
		return err_say(err, EEXIST, "desktop %s has no snapshot %s, the manifest's parent",
			       m->desktop, m->parent);
	m->created_wall_ms = clock_wall_ms();
	snprintf(m->domain, sizeof(m->domain), "%s", u->row.domain);
	return 0;
}

/* The id of this upload's snapshot, durable before the store hears of it. */
static int plan(struct server *s, struct upload *u, char id[MANIFEST_ID_LEN], struct err *err)
{
	CLEANUP(db_abort) struct db_conn *c = NULL;
	int r;

	if (u->row.planned[0]) {
		snprintf(id, MANIFEST_ID_LEN, "%.*s", MANIFEST_ID_LEN - 1, u->row.planned);
		return 0;
	}
	manifest_new_id(clock_wall_ms(), id);
	r = db_begin(s->db, &c, err);
	if (r == 0)
		r = catalogue_upload_plan(c, u->row.id, id, err);
	if (r == 0)
		r = db_commit(TAKE(c), err);
	if (r == 0)
		snprintf(u->row.planned, sizeof(u->row.planned), "%s", id);
	return r;
}

static bool epoch_over(struct server *s, const struct upload *u)
{
	CLEANUP(fleet_unlock) struct fleet *held = fleet_hold(s->fleet);

	return fleet_desktop(held, u->row.desktop)->lease.epoch != u->row.epoch;
}

static int enter(struct server *s, struct upload *u, struct manifest *m, struct err *err)
{
	struct snapshots_figures figures = { (int64_t)u->new_bytes, (int64_t)u->stored_bytes };
	CLEANUP_CHANGE struct change change = { .held = false };
	bool branch = false;
	int r = change_begin(&change, s, err);

	if (r == 0)
		r = snapshots_enter(&change, m, &figures, &branch, err);
	if (r == 0)
		r = change_audit(&change, u->row.caller, "", branch ? "branch" : "snapshot",
				 m->desktop, m->id, err);
	if (r == 0)
		r = change_commit(&change, err);
	m->branch |= branch; /* the lease may have moved while the store was writing */
	return r;
}

static int commit(struct server *s, struct upload *u, struct manifest *m, struct err *err)
{
	int r;

	r = plan(s, u, m->id, err);
	if (r < 0)
		return r;
	m->branch |=
		epoch_over(s, u); /* who says himself that it is off the main line is believed */
	r = store_session_commit(u->session, m, err);
	if (r == -ENOENT)
		return err_wrap(err, -EEXIST, "chunks are missing, query and send them again");
	if (r < 0)
		return r;
	r = enter(s, u, m, err);
	if (r == 0)
		log_info("snapshot committed snapshot=%s desktop=%s epoch=%llu%s new_bytes=%llu",
			 m->id, m->desktop, (unsigned long long)m->epoch,
			 m->branch ? " branch=yes" : "", (unsigned long long)u->new_bytes);
	return r;
}

static int take_branch(void *arg, const struct catalogue_snapshot *snapshot, struct err *err)
{
	(void)err;
	*(bool *)arg = snapshot->branch;
	return DB_STOP;
}

/* Are these the same volumes with the same content? Roots are hashes of everything below them. */
static bool same_content(const struct manifest *a, const struct manifest *b)
{
	const struct volume *v, *w;
	size_t i;

	for (i = 0; i < a->volume_count; i++) {
		v = &a->volumes[i];
		w = manifest_volume(b, v->name);
		if (!w || v->kind != w->kind || v->size != w->size || v->grid != w->grid ||
		    memcmp(&v->root, &w->root, sizeof(v->root)) != 0)
			return false;
	}
	return a->volume_count == b->volume_count;
}

static void replace(struct manifest *m, struct manifest *by)
{
	manifest_deinit(m);
	*m = *by;
	manifest_init(by);
}

/* Was this upload committed before, its answer lost? 0: *m is that snapshot now; CATALOGUE_NONE; -errno.
 *
 * Only the same content is the same snapshot. An agent that died before it heard the answer captures again, a later
 * instant: if it were told the earlier one's id, it would count changes from an instant that nobody stored.
 */
static int committed_before(struct server *s, struct upload *u, struct manifest *m, struct err *err)
{
	struct manifest *before;
	struct db_conn *c;
	bool branch = false;
	int r;

	if (!u->row.planned[0])
		return CATALOGUE_NONE;
	c = db_read(s->db);
	r = catalogue_snapshot_get(c, u->row.desktop, u->row.planned, take_branch, &branch, err);
	db_read_end(c);
	if (r != 0)
		return r;
	before = malloc(sizeof(*before));
	if (!before)
		return err_set(err, ENOMEM, "commit");
	manifest_init(before);
	r = store_manifest(s->store, u->row.planned, before, err);
	if (r == 0 && !same_content(m, before))
		r = err_say(err, ENOENT,
			    "session %s is over: it became snapshot %s, which has other content",
			    u->row.id, u->row.planned);
	else if (r > 0)
		r = err_say(err, EIO, "snapshot %s is not in the store", u->row.planned);
	if (r == 0)
		replace(m, before);
	m->branch |= branch;
	manifest_deinit(before);
	free(before);
	return r;
}

static int parse_and_commit(struct http_request *request, struct upload *u, struct manifest *m,
			    struct err *err)
{
	struct server *s = http_request_app(request);
	CLEANUP(json_decref) json_t *body = NULL;
	size_t len;
	const uint8_t *text = http_body(request, &len);
	int r;

	r = json_parse(&body, (const char *)text, len, "the manifest", err);
	if (r == 0)
		r = manifest_from_json(m, body, err);
	if (r < 0)
		return r;
	r = committed_before(s, u, m, err);
	if (r <= 0)
		return r;
	r = check_manifest(s, u, m, err);
	return r < 0 ? r : commit(s, u, m, err);
}

void transfer_commit(struct http_request *request)
{
	struct server *s = http_request_app(request);
	struct manifest *m = malloc(sizeof(*m));
	struct err err = { 0 };
	json_t *json = NULL;
	struct upload *u;
	int r = m ? transfer_take(request, &u, &err) : err_set(&err, ENOMEM, "commit");

	if (r == 0) {
		manifest_init(m);
		pthread_mutex_lock(&u->commit);
		r = parse_and_commit(request, u, m, &err);
		pthread_mutex_unlock(&u->commit);
		if (r ==
		    0) /* garbage collection waits for open sessions; a repeated commit revives this one */
			transfer_over(s->transfer, u);
		transfer_give(s->transfer, u);
		json = r == 0 ? manifest_to_json(m) : NULL;
		manifest_deinit(m);
	}
	free(m);
	if (r < 0)
		http_fail_err(request, r, &err);
	else
		http_reply_json(request, 201, json);
}
