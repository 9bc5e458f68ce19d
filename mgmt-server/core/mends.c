/* mends.c - see mends.h. */
#include "mgmt-server/core/mends.h"

#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/io.h"
#include "common/log.h"
#include "mgmt-server/catalogue/catalogue_scans.h"
#include "mgmt-server/core/jobs.h"
#include "mgmt-server/core/mends_put.h"
#include "mgmt-server/core/scans_child.h"
#include "mgmt-server/core/signatures.h"

enum { FILE_MAX = 32 << 10 };
enum phase { FREE, READING, PUTTING, PUT };

struct mends {
	char *program,
		*folder; /* folder: of what the child leaves behind, below this server's state */
	char job[CATALOGUE_ID_LEN];
	struct scans_child child;
	pthread_t thread;
	atomic_int
		phase; /* enum phase; PUTTING → PUT by the thread, all others under the fleet's lock */
	/* The thread's, from PUTTING to PUT: */
	struct mends_put order;
	char snapshot[CATALOGUE_ID_LEN], volume[VOLUME_NAME_MAX + 1];
	struct manifest manifest;
	struct snapshots_figures figures;
	struct err err;
	int result;
};

static void remove_flat(const char *path)
{
	DIR *dir = opendir(path);
	struct dirent *entry;

	while (dir && (entry = readdir(dir)))
		unlinkat(dirfd(dir), entry->d_name, 0);
	if (dir)
		closedir(dir);
	rmdir(path);
}

int mends_new(struct mends **out, struct server *server, struct err *err)
{
	struct mends *m = calloc(1, sizeof(*m));
	char self[PATH_MAX];
	ssize_t n = readlink("/proc/self/exe", self, sizeof(self) - 1);

	self[n > 0 ? n : 0] = '\0';
	if (strrchr(self, '/'))
		*strrchr(self, '/') = '\0';
	if (m) {
		m->program = io_printf("%s/godwit-scan-mend", self);
		m->folder = io_printf("%s/mend", server->state);
	}
	if (!m || !m->program || !m->folder) {
		free(m);
		return err_set(err, ENOMEM, "prepare to mend");
	}
	remove_flat(m->folder);
	*out = m;
	return 0;
}

static void release(struct mends *m)
{
	if (atomic_load(&m->phase) >= PUTTING) {
		pthread_join(m->thread, NULL);
		manifest_deinit(&m->manifest);
	} else {
		scans_child_end(&m->child);
	}
	remove_flat(m->folder);
	m->job[0] = '\0';
	atomic_store(&m->phase, FREE);
}

void mends_free(struct mends *m)
{
	if (!m)
		return;
	if (atomic_load(&m->phase) != FREE)
		release(m);
	free(m->program);
	free(m->folder);
	free(m);
}

/* ---- Ordering ---- */

static int take_snapshot(void *arg, const struct catalogue_snapshot *snapshot, struct err *err)
{
	char *desktop = arg;

	(void)err;
	memcpy(desktop, snapshot->desktop, sizeof(snapshot->desktop));
	return DB_STOP;
}

int mends_order(struct change *change, const struct mends_order *o, char *id, struct err *err)
{
	char desktop[CATALOGUE_NAME_LEN] = "", clean[CATALOGUE_ID_LEN] = "", other[sizeof(desktop)];
	struct jobs_order order = { .kind = "mend", .desktop = desktop, .user = o->user };
	int r = catalogue_snapshot_get(change->db, NULL, o->snapshot, take_snapshot, desktop, err);

	if (r == CATALOGUE_NONE)
		return err_say(err, ENOENT, "there is no snapshot %.32s", o->snapshot);
	if (r == 0 && (!o->file[0] || strlen(o->file) > FILE_MAX))
		return err_say(err, EINVAL, "'file' must be VOLUME:PARTITION:PATH");
	if (r == 0 && o->from[0]) {
		r = catalogue_snapshot_get(change->db, desktop, o->from, take_snapshot, other, err);
		if (r == CATALOGUE_NONE)
			return err_say(err, ENOENT, "desktop %s has no snapshot %.32s", desktop,
				       o->from);
		snprintf(clean, sizeof(clean), "%s", o->from);
	} else if (r == 0) {
		r = catalogue_scan_last_clean(change->db, o->snapshot, clean, err);
		if (r == CATALOGUE_NONE)
			return err_say(
				err, ENOENT,
				"desktop %s has no clean snapshot before %s to take the file "
				"from: scan older ones, or name one",
				desktop, o->snapshot);
	}
	if (r < 0)
		return r;
	order.arguments =
		json_pack("{ss ss ss}", "snapshot", o->snapshot, "from", clean, "file", o->file);
	return order.arguments ? jobs_create(change, &order, id, err)
			       : err_say(err, EINVAL, "'file' must be text; other bytes as \\xHH");
}

/* ---- Running ---- */

static int fail(struct catalogue_job *job, const char *text)
{
	snprintf(job->error, sizeof(job->error), "%s", text);
	return JOBS_FAIL;
}

static int start(struct server *server, struct mends *m, struct catalogue_job *job)
{
	const struct server_config *config = &server->config;
	CLEANUP_FREE char *signatures = signatures_folder(server);
	const char *argv[] = { m->program,
			       config->store,
			       jobs_text(job, "snapshot"),
			       "--key",
			       config->store_key,
			       "--file",
			       jobs_text(job, "file"),
			       "--from",
			       jobs_text(job, "from"),
			       "--signatures",
			       signatures,
			       "--output",
			       m->folder,
			       NULL };
	struct err err = { 0 };

	if (!signatures)
		return fail(job, "out of memory");
	if (scans_child_start(&m->child, argv, (int)config->scan_nice, &err) < 0)
		return fail(job, err_text(&err));
	memcpy(m->job, job->id, sizeof(m->job));
	atomic_store(&m->phase, READING);
	snprintf(job->state, sizeof(job->state), "running");
	job->started_ms = clock_wall_ms();
	snprintf(job->message, sizeof(job->message), "comparing the two versions");
	return JOBS_WAIT;
}

static void *put_thread(void *arg)
{
	struct mends *m = arg;

	m->result = mends_put(&m->order, &m->manifest, &m->figures, &m->err);
	atomic_store(&m->phase, PUT);
	return NULL;
}

/* On the main line only if nothing came after the infected snapshot: it must not undo what was done since. */
static int is_branch(struct change *change, const struct catalogue_job *job, bool *branch,
		     struct err *err)
{
	const struct fleet_desktop *d = fleet_desktop(change->server->fleet, job->desktop);
	char latest[CATALOGUE_ID_LEN] = "";
	int r = catalogue_snapshot_latest(change->db, job->desktop, latest, err);

	*branch = !d || d->lease.state != LEASE_FREE ||
		  strcmp(latest, jobs_text(job, "snapshot")) != 0;
	return r < 0 ? r : 0;
}

static int begin_put(struct change *change, struct mends *m, struct catalogue_job *job,
		     struct err *err)
{
	const struct fleet_desktop *d = fleet_desktop(change->server->fleet, job->desktop);
	CLEANUP(json_decref) json_t *report = scans_child_line(&m->child);
	const char *volume = json_string_value(json_object_get(report, "volume"));
	bool branch;
	int r = is_branch(change, job, &branch, err);

	if (r < 0)
		return r;
	if (!volume || strlen(volume) >= sizeof(m->volume) || strchr(volume, '/'))
		return fail(job, "godwit-scan-mend gave no report");
	json_object_update(job->result, report);
	snprintf(m->volume, sizeof(m->volume), "%s", volume);
	snprintf(m->snapshot, sizeof(m->snapshot), "%s", jobs_text(job, "snapshot"));
	m->order = (struct mends_put){ .store = change->server->store,
				       .snapshot = m->snapshot,
				       .volume = m->volume,
				       .folder = m->folder,
				       .epoch = d ? d->lease.epoch : 0,
				       .branch = branch };
	m->err = (struct err){ 0 };
	scans_child_end(&m->child);
	atomic_store(&m->phase, PUTTING);
	if (pthread_create(&m->thread, NULL, put_thread, m)) {
		atomic_store(&m->phase, READING);
		return fail(job, "no thread to keep the mended disk");
	}
	snprintf(job->message, sizeof(job->message), "keeping the mended disk");
	return JOBS_WAIT;
}

static int child_ended(struct change *change, struct mends *m, struct catalogue_job *job,
		       int status, struct err *err)
{
	char said[SCANS_CHILD_SAID_MAX];
	const char *text = said;

	if (WIFEXITED(status) && WEXITSTATUS(status) == 0)
		return begin_put(change, m, job, err);
	scans_child_said(&m->child, said);
	if (strncmp(text, "godwit-scan-mend: ", 18) == 0)
		text += 18;
	return fail(job, text[0] ? text : "godwit-scan-mend ended without a reason");
}

static int enter(struct change *change, struct mends *m, struct catalogue_job *job, struct err *err)
{
	bool branch = false;
	int r;

	if (m->result < 0)
		return fail(job, err_text(&m->err));
	r = snapshots_enter(change, &m->manifest, &m->figures, &branch, err);
	if (r == 0)
		r = change_audit(change, "system", "", "mend", m->manifest.id, m->snapshot, err);
	if (r < 0)
		return r;
	json_object_set_new(job->result, "mended", json_string(m->manifest.id));
	json_object_set_new(job->result, "branch", json_boolean(branch));
	snprintf(job->message, sizeof(job->message),
		 "mended in snapshot %s: disks only, the memory of that instant would not match%s",
		 m->manifest.id,
		 branch ? "; off the main line, because the desktop went on since" : "");
	log_info("mended snapshot=%s new=%s job=%s", m->snapshot, m->manifest.id, job->id);
	return JOBS_NEXT;
}

int mends_step(struct change *change, struct catalogue_job *job, struct err *err)
{
	struct mends *m = change->server->mends;
	int status, r;

	if (atomic_load(&m->phase) == FREE)
		return start(change->server, m, job);
	if (strcmp(m->job, job->id) != 0) {
		snprintf(job->message, sizeof(job->message),
			 "waiting until another file is mended");
		return JOBS_WAIT;
	}
	switch (atomic_load(&m->phase)) {
	case READING:
		if (scans_child_poll(&m->child, &status) == SCANS_CHILD_RUNS)
			return JOBS_WAIT;
		r = child_ended(change, m, job, status, err);
		break;
	case PUT:
		r = enter(change, m, job, err);
		break;
	default:
		return JOBS_WAIT;
	}
	if (r != JOBS_WAIT)
		release(m);
	return r;
}

void mends_tick(struct server *server)
{
	struct mends *m = server->mends;
	struct catalogue_job job;
	struct db_conn *c;
	bool ended = true;

	if (!m || !m->job[0] || atomic_load(&m->phase) == PUTTING)
		return;
	c = db_read(server->db);
	if (catalogue_job_get(c, m->job, &job, NULL) == 0) {
		ended = job.ended_ms != 0;
		catalogue_job_deinit(&job);
	}
	db_read_end(c);
	if (ended)
		release(m);
}
