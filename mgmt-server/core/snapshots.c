/* snapshots.c - see snapshots.h. */
#include "mgmt-server/core/snapshots.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "common/clock.h"
#include "common/log.h"
#include "mgmt-server/core/doubt.h"
#include "mgmt-server/core/leases.h"
#include "mgmt-server/core/recovery.h"
#include "mgmt-server/core/ransomware.h"
#include "mgmt-server/core/scan_queue.h"

static const char *const kind_names[] = {
	[MANIFEST_IMPORT] = "import",
	[MANIFEST_COLD] = "cold",
	[MANIFEST_LIVE] = "live",
	[MANIFEST_MENDED] = "mended",
};
static const char *const volume_names[] = {
	[VOLUME_DISK] = "disk", [VOLUME_RAM] = "ram", [VOLUME_BLOB] = "blob"
};

static json_t *volumes_json(const struct manifest *m, bool *memory)
{
	json_t *volumes = json_array();
	size_t i;

	*memory = false;
	for (i = 0; i < m->volume_count; i++) {
		const struct volume *v = &m->volumes[i];

		*memory |= v->kind == VOLUME_RAM;
		json_array_append_new(volumes, json_pack("{ss ss sI}", "name", v->name, "kind",
							 volume_names[v->kind], "size",
							 (json_int_t)v->size));
	}
	return volumes;
}

/* The first snapshot makes an empty desktop startable; each one knows the complete machine. */
static int update_desktop(struct change *change, const struct manifest *m, struct err *err)
{
	CLEANUP(json_decref) json_t *machine = NULL;
	CLEANUP_FREE char *text = NULL;
	struct catalogue_desktop d;
	int r = catalogue_desktop_get(change->db, m->desktop, &d, err);

	if (r != 0)
		return r < 0 ? r : err_say(err, ENOENT, "there is no desktop %s", m->desktop);
	if (strcmp(d.rest, "empty") == 0)
		r = catalogue_desktop_rest(change->db, m->desktop, "stopped", "", err);
	if (r < 0 || !m->machine)
		return r;
	r = json_parse(&machine, d.machine, strlen(d.machine), "the desktop's machine", err);
	if (r < 0)
		return r;
	json_object_update(machine, m->machine);
	text = json_text(machine);
	if (!text || strlen(text) >= sizeof(d.machine))
		return err_say(err, EINVAL, "the manifest's 'machine' is too long");
	return catalogue_desktop_machine(change->db, m->desktop, text, err);
}

int snapshots_enter(struct change *change, const struct manifest *m,
		    const struct snapshots_figures *figures, bool *branch, struct err *err)
{
	const struct fleet_desktop *d = fleet_desktop(change->server->fleet, m->desktop);
	CLEANUP_FREE char *text = NULL;
	struct catalogue_snapshot row = { .created_ms = m->created_wall_ms,
					  .epoch = m->epoch,
					  .read_bytes = -1,
					  .new_bytes = figures->new_bytes,
					  .stored_bytes = figures->stored_bytes,
					  .pause_ms = -1 };
	json_t *volumes = volumes_json(m, &row.memory);
	int r;

	text = json_text(volumes);
	json_decref(volumes);
	if (!text)
		return err_set(err, ENOMEM, "snapshot %s", m->id);
	*branch = row.branch = m->branch || !d || d->lease.epoch != m->epoch;
	row.volumes = text;
	snprintf(row.id, sizeof(row.id), "%s", m->id);
	snprintf(row.desktop, sizeof(row.desktop), "%s", m->desktop);
	snprintf(row.parent, sizeof(row.parent), "%s", m->parent);
	snprintf(row.kind, sizeof(row.kind), "%s", kind_names[m->kind]);
	r = catalogue_snapshot_add(change->db, &row, err);
	if (r == -EEXIST)
		return 0;
	if (r == 0 && !row.branch)
		r = update_desktop(change, m, err);
	if (r == 0)
		r = catalogue_upload_committed(change->db, m->id, err);
	if (r == 0)
		r = scan_queue_new(change, m->id, err);
	if (r == 0)
		r = ransomware_new(change, m->desktop, m->id, row.branch ? "" : m->parent, err);
	change_touch(change, CHANGE_SNAPSHOT, m->id);
	change_touch(change, CHANGE_DESKTOP, m->desktop);
	return r;
}

/* ---- Adoption ---- */

static int make_desktop(struct change *change, const struct manifest *m, struct err *err)
{
	struct catalogue_desktop d = { .created_ms = m->created_wall_ms };
	struct fleet_desktop *f;
	CLEANUP_FREE char *machine = m->machine ? json_text(m->machine) : NULL;
	int r;

	snprintf(d.name, sizeof(d.name), "%s", m->desktop);
	snprintf(d.rest, sizeof(d.rest), "empty");
	snprintf(d.machine, sizeof(d.machine), "%s",
		 machine && strlen(machine) < sizeof(d.machine)
			 ? machine
			 : "{\"vcpus\":2,\"memory_mib\":2048,\"network\":\"user\"}");
	snprintf(d.domain, sizeof(d.domain), "%s", m->domain);
	r = catalogue_desktop_add(change->db, &d, err);
	f = r == 0 ? fleet_desktop_add(change->server->fleet, m->desktop, LEASE_STRICT) : NULL;
	if (r == 0 && !f)
		r = err_set(err, ENOMEM, "desktop %s", m->desktop);
	if (r < 0)
		return r;
	fleet_desktop_place(f, m->domain);
	f->lease.epoch = m->epoch;
	if (!change->server->recovered[0])
		snprintf(change->server->recovered, sizeof(change->server->recovered),
			 "The catalogue did not know desktop %s, whose snapshots are in the store",
			 m->desktop);
	log_warning("the store knows a desktop that the catalogue did not know desktop=%s",
		    m->desktop);
	return leases_new(change, m->desktop, LEASE_STRICT, err);
}

static int take_it(void *arg, const struct catalogue_snapshot *snapshot, struct err *err)
{
	(void)snapshot;
	(void)err;
	*(bool *)arg = true;
	return DB_STOP;
}

static int adopt(void *arg, const struct manifest *m, struct err *err)
{
	const struct snapshots_figures unknown = { -1, -1 };
	struct change *change = arg;
	struct fleet_desktop *d;
	bool known = false, branch;
	int r;

	if (strcmp(m->domain, RECOVERY_NAME) == 0)
		return 0;
	r = catalogue_snapshot_get(change->db, NULL, m->id, take_it, &known, err);
	if (r < 0 || known)
		return r < 0 ? r : 0;
	d = fleet_desktop(change->server->fleet, m->desktop);
	if (!d) {
		r = make_desktop(change, m, err);
		if (r < 0)
			return r;
		d = fleet_desktop(change->server->fleet, m->desktop);
	}
	if (strcmp(d->domain, m->domain) != 0) {
		log_error(
			"a snapshot in the store is of another domain than its desktop: it is not "
			"adopted, godwit-store reads it snapshot=%s desktop=%s domain=%s "
			"desktop_domain=%s",
			m->id, m->desktop, m->domain, d->domain);
		return 0;
	}
	if (d->lease.epoch < m->epoch) {
		/* An older catalogue than the store: the right had moved on, to whom will be proven. */
		if (!change->server->recovered[0])
			snprintf(change->server->recovered, sizeof(change->server->recovered),
				 "The catalogue is older than the store: snapshot %s of desktop %s "
				 "is of a later epoch",
				 m->id, m->desktop);
		d->lease = (struct lease){ .policy = d->lease.policy,
					   .epoch = m->epoch,
					   .ttl_ms = d->lease.ttl_ms,
					   .margin_ms = d->lease.margin_ms };
		r = leases_new(change, m->desktop, d->lease.policy, err);
	}
	if (r >= 0)
		r = snapshots_enter(change, m, &unknown, &branch, err);
	log_warning("adopted a snapshot that only the store knew snapshot=%s desktop=%s", m->id,
		    m->desktop);
	return r;
}

int snapshots_adopt(struct server *s, struct err *err)
{
	CLEANUP_CHANGE struct change change = { .held = false };
	int r = change_begin(&change, s, err);

	if (r == 0)
		r = store_list(s->store, adopt, &change, err);
	/* Once it is committed nothing is found again that a restart would doubt. */
	if (r == 0 && s->recovered[0])
		r = doubt_mark(s, s->recovered, err);
	return r < 0 ? err_wrap(err, r, "compare store and catalogue")
		     : change_commit(&change, err);
}
