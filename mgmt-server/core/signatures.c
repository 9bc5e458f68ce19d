/* signatures.c - see signatures.h. */
#include "mgmt-server/core/signatures.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/io.h"
#include "common/log.h"
#include "mgmt-server/core/objects.h"
#include "mgmt-server/core/scans_child.h"
#include "mgmt-server/core/signatures_inside.h"
#include "mgmt-server/core/signatures_set.h"

enum { LOOK_EACH_MS = 600000, END_WAIT_MS = 5000, NICE = 10, DIGEST_KEPT = 32 };
static const uint64_t child_patience_ms = 40 * 60000;

/* ---- Folders ---- */

static bool own_set(const struct signatures *g)
{
	return g->server->config.scan_signatures[0] == '\0';
}

static char *folder_of(const struct signatures *g)
{
	CLEANUP_FREE char *current = NULL;
	char *whole;

	if (!own_set(g))
		return strdup(g->server->config.scan_signatures);
	current = io_printf("%s/current", g->root);
	/* Whole: a scan that loads it keeps its set when the link moves on. */
	whole = current ? realpath(current, NULL) : NULL;
	return whole ? whole : strdup("/var/lib/clamav");
}

char *signatures_folder(struct server *s)
{
	char *folder;

	if (!s->signatures) /* tests of other parts */
		return strdup(s->config.scan_signatures);
	pthread_mutex_lock(&s->signatures->lock);
	folder = folder_of(s->signatures);
	pthread_mutex_unlock(&s->signatures->lock);
	return folder;
}

int signatures_new(struct signatures **out, struct server *server, struct err *err)
{
	struct signatures *g = calloc(1, sizeof(*g));
	CLEANUP_FREE char *sets = io_printf("%s/signatures/sets", server->state);
	CLEANUP_FREE char *mirror = io_printf("%s/signatures/mirror", server->state);
	char self[PATH_MAX];
	ssize_t n = readlink("/proc/self/exe", self, sizeof(self) - 1);
	int r;

	self[n > 0 ? n : 0] = '\0';
	if (strrchr(self, '/'))
		*strrchr(self, '/') = '\0';
	if (!g || !sets || !mirror) {
		free(g);
		return err_set(err, ENOMEM, "prepare signatures");
	}
	*g = (struct signatures){ .server = server, .upload = { .fd = -1 } };
	pthread_mutex_init(&g->lock, NULL);
	g->program = io_printf("%s/godwit-scan", self);
	g->root = io_printf("%s/signatures", server->state);
	r = g->program && g->root ? 0 : err_set(err, ENOMEM, "prepare signatures");
	if (r == 0)
		r = io_make_folders(sets, 0700, err);
	if (r == 0)
		r = io_make_folders(mirror, 0700, err);
	if (r < 0)
		signatures_free(g);
	else
		*out = g;
	return r;
}

void signatures_free(struct signatures *g)
{
	uint64_t end = clock_now_ms() + END_WAIT_MS;
	int status;

	if (g->phase != SIGNATURES_IDLE) {
		scans_child_ask_to_end(&g->child);
		while (scans_child_poll(&g->child, &status) == SCANS_CHILD_RUNS &&
		       clock_now_ms() < end)
			clock_sleep_ms(20);
		scans_child_end(&g->child);
	}
	base_close(g->upload.fd);
	json_decref(g->info);
	free(g->program);
	free(g->root);
	pthread_mutex_destroy(&g->lock);
	free(g);
}

/* ---- One step after another ---- */

static void failed(struct signatures *g, const char *why)
{
	snprintf(g->error, sizeof(g->error), "%s", why);
	g->ended_wall_ms = clock_wall_ms();
	g->phase = SIGNATURES_IDLE;
	log_warning("signatures from %s are not taken: %s", g->source, why);
	signatures_tell_failed(g);
}

static void run(struct signatures *g, enum signatures_phase phase, const char *const *argv)
{
	struct err err = { 0 };

	if (scans_child_start(&g->child, argv, NICE, &err) < 0) {
		failed(g, err_text(&err));
		return;
	}
	g->phase = phase;
	g->phase_began_ms = clock_now_ms();
}

static void look(struct signatures *g, enum signatures_phase phase, const char *folder)
{
	const char *argv[] = { g->program, "signatures", folder, "--quick", NULL };

	run(g, phase, argv);
}

static void look_now(struct signatures *g)
{
	CLEANUP_FREE char *folder = folder_of(g);
	struct stat st = { .st_mtim = { .tv_sec = 0 } };
	uint64_t now = clock_now_ms();

	if (!folder || (stat(folder, &st) == 0 && st.st_mtim.tv_sec == g->folder_time.tv_sec &&
			st.st_mtim.tv_nsec == g->folder_time.tv_nsec && now < g->look_ms))
		return;
	if (st.st_mtim.tv_sec == 0 && now < g->look_ms)
		return; /* it is not there: no need to say so each second */
	g->folder_time = st.st_mtim;
	g->look_ms = now + LOOK_EACH_MS;
	look(g, SIGNATURES_LOOKS, folder);
}

static void fetch(struct signatures *g)
{
	struct err err = { 0 };
	CLEANUP_FREE char *config = io_printf("%s/freshclam.conf", g->root);
	CLEANUP_FREE char *option = io_printf("--config-file=%s", config);
	const char *argv[] = { "/usr/bin/freshclam", option, "--stdout", "--foreground",
			       "--update-db=custom", NULL };

	if (g->server->config.scan_mirror[0])
		argv[4] = NULL; /* everything that there is */
	g->source = "mirror";
	g->fetch_ordered = false;
	g->fetch_ms = clock_now_ms() + g->server->config.scan_update_ms;
	if (!config || !option || signatures_freshclam_config(g, config, &err) < 0)
		failed(g, err_text(&err));
	else
		run(g, SIGNATURES_FETCHES, argv);
}

static void try_new(struct signatures *g)
{
	CLEANUP_FREE char *folder = io_printf("%s/sets/new", g->root);
	const char *argv[] = { g->program, "signatures", folder, NULL };

	if (folder)
		run(g, SIGNATURES_TRIES, argv);
}

static void fetched(struct signatures *g, const json_t *info)
{
	CLEANUP_FREE char *mirror = io_printf("%s/mirror", g->root);
	CLEANUP_FREE char *new = io_printf("%s/sets/new", g->root);
	struct err err = { 0 };
	int r;

	g->phase = SIGNATURES_IDLE;
	if (json_equal(json_object_get(info, "digest"), json_object_get(g->info, "digest"))) {
		g->error[0] = '\0';
		g->ended_wall_ms = clock_wall_ms();
		return; /* the same as we have */
	}
	r = mirror && new ? signatures_set_empty(new, &err) : err_set(&err, ENOMEM, "fetch");
	if (r == 0)
		r = signatures_set_link(mirror, new, &err);
	if (r < 0)
		failed(g, err_text(&err));
	else
		try_new(g);
}

static void tried(struct signatures *g, json_t *info)
{
	const char *digest = json_string_value(json_object_get(info, "digest")) ?: "";
	struct err err = { 0 };
	char name[DIGEST_KEPT + 1];

	snprintf(name, sizeof(name), "%.*s", DIGEST_KEPT, digest);
	g->phase = SIGNATURES_IDLE;
	if (strlen(name) != DIGEST_KEPT)
		failed(g, "godwit-scan gave no digest");
	else if (signatures_set_install(g->root, name, &err) < 0)
		failed(g, err_text(&err));
	else {
		g->error[0] = '\0';
		g->ended_wall_ms = clock_wall_ms();
		log_info("signatures replaced source=%s version=%s", g->source,
			 json_string_value(json_object_get(info, "signature_version")) ?: "");
		signatures_take_info(g, info);
	}
}

/* What its child printed; the child is gone then. NULL: it failed, and that has been dealt with. */
static json_t *answer(struct signatures *g, int status)
{
	char said[SCANS_CHILD_SAID_MAX], printed[SCANS_CHILD_SAID_MAX];
	bool good = WIFEXITED(status) && WEXITSTATUS(status) == 0;
	json_t *info = good && g->phase != SIGNATURES_FETCHES ? scans_child_line(&g->child) : NULL;

	scans_child_said(&g->child, said);
	scans_child_printed(&g->child, printed);
	scans_child_end(&g->child);
	if (good && (info || g->phase == SIGNATURES_FETCHES))
		return info ? info : json_object();
	json_decref(info);
	if (g->phase == SIGNATURES_LOOKS) { /* no signatures at all: scans say so */
		g->phase = SIGNATURES_IDLE;
		signatures_take_info(g, NULL);
		return NULL;
	}
	failed(g, said[0] ? said : printed[0] ? printed : "it ended without a reason");
	return NULL;
}

static void next(struct signatures *g, int status)
{
	CLEANUP(json_decref) json_t *info = answer(g, status);
	CLEANUP_FREE char *mirror = io_printf("%s/mirror", g->root);

	if (!info || !mirror)
		return;
	switch (g->phase) {
	case SIGNATURES_LOOKS:
		g->phase = SIGNATURES_IDLE;
		signatures_take_info(g, info);
		break;
	case SIGNATURES_FETCHES:
		look(g, SIGNATURES_COMPARES, mirror);
		break;
	case SIGNATURES_COMPARES:
		fetched(g, info);
		break;
	case SIGNATURES_UNPACKS:
		try_new(g);
		break;
	default:
		tried(g, info);
		break;
	}
}

static bool has_mirror(const struct signatures *g)
{
	return g->server->config.scan_mirror[0] || g->server->config.scan_custom[0];
}

void signatures_tick(struct server *s)
{
	struct signatures *g = s->signatures;
	int status;

	if (!g || pthread_mutex_trylock(&g->lock) != 0)
		return; /* a part of an upload is being written */
	if (g->phase == SIGNATURES_IDLE) {
		if (g->looked && has_mirror(g) &&
		    (g->fetch_ordered || clock_now_ms() >= g->fetch_ms))
			fetch(g);
		else
			look_now(g);
	} else if (scans_child_poll(&g->child, &status) == 0) {
		next(g, status);
	} else if (clock_now_ms() - g->phase_began_ms > child_patience_ms) {
		scans_child_ask_to_end(&g->child);
	}
	signatures_tell_outdated(g);
	pthread_mutex_unlock(&g->lock);
}

int signatures_update(struct server *s, struct err *err)
{
	struct signatures *g = s->signatures;
	int r = 0;

	pthread_mutex_lock(&g->lock);
	if (!has_mirror(g))
		r = err_say(err, EEXIST,
			    "there is no mirror: set [scan] mirror or custom, or upload a bundle");
	else if (g->phase != SIGNATURES_IDLE && g->phase != SIGNATURES_LOOKS)
		r = err_say(err, EBUSY, "signatures are being replaced just now");
	else
		g->fetch_ordered = true;
	pthread_mutex_unlock(&g->lock);
	return r;
}

/* ---- Uploads ---- */

static bool ends_with(const char *name, const char *end)
{
	size_t n = strlen(name), m = strlen(end);

	return n > m && strcmp(name + n - m, end) == 0;
}

static bool is_bundle(const char *name)
{
	return ends_with(name, ".tar") || ends_with(name, ".tar.gz") || ends_with(name, ".tgz");
}

static int check_upload(const struct signatures *g, const struct signatures_upload *u,
			struct err *err)
{
	size_t len = strlen(u->name);

	if (!own_set(g))
		return err_say(err, EEXIST,
			       "this server uses the folder %s ([scan] signatures): put them there",
			       g->server->config.scan_signatures);
	if (len == 0 || len > 100 || u->name[0] == '.' ||
	    strspn(u->name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-") !=
		    len)
		return err_say(err, EINVAL, "'name' must be a file's name: letters, digits, . _ -");
	if (u->size == 0 || u->size > g->server->config.scan_upload_max)
		return err_say(err, EINVAL, "'size' must be 1 to %llu bytes ([scan] upload_max)",
			       (unsigned long long)g->server->config.scan_upload_max);
	if (g->phase != SIGNATURES_IDLE && g->phase != SIGNATURES_LOOKS)
		return err_say(err, EBUSY, "signatures are being replaced just now");
	return 0;
}

static int open_upload(struct signatures *g, const struct signatures_upload *u, struct err *err)
{
	CLEANUP_FREE char *folder = io_printf("%s/upload", g->root);
	CLEANUP_FREE char *path = io_printf("%s/upload/%s", g->root, u->name);
	int r = folder && path ? signatures_set_empty(folder, err)
			       : err_set(err, ENOMEM, "upload %s", u->name);

	if (r < 0)
		return r;
	base_close(g->upload.fd);
	g->upload.fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	if (g->upload.fd < 0)
		return err_set(err, errno, "make %s", path);
	snprintf(g->upload.name, sizeof(g->upload.name), "%s", u->name);
	g->upload.size = u->size;
	g->upload.got = 0;
	g->upload.modified_s = u->modified_s;
	manifest_new_id(clock_wall_ms(), g->upload.id);
	return 0;
}

int signatures_upload_open(struct server *s, const struct signatures_upload *u, char *id,
			   struct err *err)
{
	struct signatures *g = s->signatures;
	int r;

	pthread_mutex_lock(&g->lock);
	r = check_upload(g, u, err);
	if (r == 0)
		r = open_upload(g, u, err);
	if (r == 0)
		snprintf(id, SIGNATURES_ID_LEN, "%s", g->upload.id);
	pthread_mutex_unlock(&g->lock);
	return r;
}

static int the_upload(const struct signatures *g, const char *id, struct err *err)
{
	if (g->upload.fd < 0 || strcmp(g->upload.id, id) != 0)
		return err_say(err, ENOENT, "there is no upload %.32s: begin anew", id);
	return 0;
}

int signatures_upload_data(struct server *s, const char *id, uint64_t offset, const uint8_t *data,
			   size_t len, struct err *err)
{
	struct signatures *g = s->signatures;
	int r;

	pthread_mutex_lock(&g->lock);
	r = the_upload(g, id, err);
	if (r == 0 && (offset != g->upload.got || len > g->upload.size - offset))
		r = err_say(err, EINVAL, "this upload stands at byte %llu of %llu",
			    (unsigned long long)g->upload.got, (unsigned long long)g->upload.size);
	if (r == 0)
		r = io_pwrite_full(g->upload.fd, data, len, offset);
	if (r == 0)
		g->upload.got += len;
	else if (!err->code)
		err_set(err, -r, "write the upload");
	pthread_mutex_unlock(&g->lock);
	return r;
}

/* One file joins the set that there is, in place of one of the same name; a bundle is a set of its own. */
static int add_file(struct signatures *g, const char *path, const char *new, struct err *err)
{
	CLEANUP_FREE char *current = io_printf("%s/current", g->root);
	CLEANUP_FREE char *target = io_printf("%s/%s", new, g->upload.name);
	struct timespec times[2] = { { .tv_nsec = UTIME_OMIT },
				     { .tv_sec = (time_t)g->upload.modified_s } };
	int r = 0;

	if (!current || !target)
		return err_set(err, ENOMEM, "upload %s", g->upload.name);
	if (access(current, F_OK) == 0)
		r = signatures_set_link(current, new, err);
	if (r < 0)
		return r;
	unlink(target);
	if (g->upload.modified_s && g->upload.modified_s * 1000 <= clock_wall_ms())
		futimens(g->upload.fd, times);
	if (fsync(g->upload.fd) < 0 || rename(path, target) < 0)
		return err_set(err, errno, "rename %s", path);
	return 0;
}

static int begin_trial(struct signatures *g, struct err *err)
{
	CLEANUP_FREE char *path = io_printf("%s/upload/%s", g->root, g->upload.name);
	CLEANUP_FREE char *new = io_printf("%s/sets/new", g->root);
	const char *argv[] = { g->program, "unpack", path, new, NULL };
	int r = path && new ? signatures_set_empty(new, err) : err_set(err, ENOMEM, "upload");

	if (r == 0 && !is_bundle(g->upload.name))
		r = add_file(g, path, new, err);
	base_close(g->upload.fd);
	g->upload.fd = -1;
	if (r < 0)
		return r;
	g->source = "upload";
	g->error[0] = '\0';
	if (is_bundle(g->upload.name))
		run(g, SIGNATURES_UNPACKS, argv);
	else
		try_new(g);
	return 0;
}

int signatures_upload_end(struct server *s, const char *id, struct err *err)
{
	struct signatures *g = s->signatures;
	int r;

	pthread_mutex_lock(&g->lock);
	r = the_upload(g, id, err);
	if (r == 0 && g->upload.got != g->upload.size)
		r = err_say(err, EINVAL, "the upload has %llu of %llu bytes",
			    (unsigned long long)g->upload.got, (unsigned long long)g->upload.size);
	if (r == 0 && g->phase != SIGNATURES_IDLE)
		r = err_say(err, EBUSY, "the signatures are being looked at just now: try again");
	if (r == 0)
		r = begin_trial(g, err);
	pthread_mutex_unlock(&g->lock);
	return r;
}
