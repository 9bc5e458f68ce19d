/* signatures_state.c - what is known of the signatures in use, who is told of it, and freshclam's settings; part of
 * signatures.h. */
#include <errno.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/io.h"
#include "common/log.h"
#include "mgmt-server/catalogue/catalogue_scan_queue.h"
#include "mgmt-server/core/hunts.h"
#include "mgmt-server/core/notices.h"
#include "mgmt-server/core/objects.h"
#include "mgmt-server/core/signatures_inside.h"

/* ---- freshclam ---- */

/* Each of a list of URLs behind a keyword. */
static void add_list(FILE *out, const char *keyword, const char *list)
{
	CLEANUP_FREE char *copy = strdup(list);
	char *rest = copy, *word;

	while (copy && (word = strsep(&rest, " \t"))) {
		if (*word)
			fprintf(out, "%s %s\n", keyword, word);
	}
}

int signatures_freshclam_config(const struct signatures *g, const char *path, struct err *err)
{
	const struct server_config *c = &g->server->config;
	const struct passwd *me = getpwuid(geteuid());
	CLEANUP_FREE char *text = NULL;
	size_t len = 0;
	FILE *out = open_memstream(&text, &len);

	if (!out)
		return err_set(err, ENOMEM, "write %s", path);
	fprintf(out,
		"# made by godwit-server\nDatabaseDirectory %s/mirror\nDatabaseOwner %s\n"
		"TestDatabases no\nMaxAttempts 2\nConnectTimeout 30\nReceiveTimeout 600\n"
		"Checks 0\n",
		g->root, me ? me->pw_name : "root");
	add_list(out, "PrivateMirror", c->scan_mirror);
	if (!c->scan_mirror[0]) /* it wants one, though only the further files are fetched */
		fprintf(out, "DatabaseMirror localhost\n");
	add_list(out, "DatabaseCustomURL", c->scan_custom);
	if (fclose(out) != 0)
		return err_set(err, ENOMEM, "write %s", path);
	return io_replace_file(path, text, len, 0600, err);
}

/* ---- Telling ---- */

static int unread(void *arg, const struct catalogue_notice *n, struct err *err)
{
	const char **kind = arg;

	(void)err;
	if (strcmp(n->kind, *kind) != 0)
		return 0;
	*kind = NULL;
	return DB_STOP;
}

/* Unless people were told already and have not read it. */
static void tell(struct signatures *g, const char *kind, const char *text)
{
	CLEANUP_CHANGE struct change change = { .held = false };
	struct notices_order order = { .severity = "warning", .kind = kind };
	struct catalogue_notice_filter filter = { .before = INT64_MAX, .unread = true };
	struct err err = { 0 };
	int r = change_begin(&change, g->server, &err);

	if (r == 0)
		r = catalogue_notice_each(change.db, &filter, unread, &kind, &err);
	if (r == 0 && kind)
		r = notices_add(&change, &order, text, &err);
	if (r == 0)
		r = change_commit(&change, &err);
	if (r < 0)
		log_error("tell of signatures: %s", err_text(&err));
}

void signatures_tell_failed(struct signatures *g)
{
	char text[sizeof(g->error) + 128];

	snprintf(text, sizeof(text), "signatures from the %s were not taken, the old ones stay: %s",
		 g->source ? g->source : "server", g->error);
	tell(g, "signatures-refused", text);
}

static bool outdated(const struct signatures *g, uint64_t *age_s)
{
	uint64_t built = (uint64_t)json_integer_value(json_object_get(g->info, "built_s"));
	uint64_t now = clock_wall_ms() / 1000, max = g->server->config.scan_max_age_ms / 1000;

	*age_s = built && now > built ? now - built : 0;
	return max && *age_s > max;
}

void signatures_tell_outdated(struct signatures *g)
{
	uint64_t age_s;
	char text[160];

	if (!outdated(g, &age_s)) {
		g->outdated_told = false;
		return;
	}
	if (g->outdated_told)
		return;
	g->outdated_told = true;
	snprintf(text, sizeof(text), "the virus signatures are %llu days old",
		 (unsigned long long)age_s / 86400);
	tell(g, "signatures-outdated", text);
}

bool signatures_outdated(struct server *s, uint64_t *age_s)
{
	bool is;

	*age_s = 0;
	if (!s->signatures)
		return false;
	pthread_mutex_lock(&s->signatures->lock);
	is = outdated(s->signatures, age_s);
	pthread_mutex_unlock(&s->signatures->lock);
	return is;
}

/* ---- Changes ---- */

/* What waited for better signatures is tried now; by policy, what was never scanned is, and a rescan (hunts.h) tries
 * them on everything that was. */
static void use_them(struct signatures *g, bool had_others)
{
	bool automatic = g->server->config.scan_automatic;
	char id[CATALOGUE_ID_LEN];
	CLEANUP_CHANGE struct change change = { .held = false };
	struct err err = { 0 };
	uint64_t now = clock_wall_ms();
	int r = change_begin(&change, g->server, &err);

	if (r == 0)
		r = catalogue_scan_queue_hurry(change.db, now, &err);
	if (r == 0 && automatic)
		r = catalogue_scan_queue_unscanned(change.db, now, "new signatures", &err);
	if (r >= 0 && automatic && had_others)
		r = hunts_order(&change, "rescan", "", "system", id, &err);
	if (r >= 0)
		r = change_commit(&change, &err);
	if (r < 0)
		log_error("scan with new signatures: %s", err_text(&err));
}

void signatures_take_info(struct signatures *g, json_t *info)
{
	CLEANUP_FREE char *path = io_printf("%s/known", g->root);
	const char *digest = json_string_value(json_object_get(info, "digest"));
	CLEANUP_FREE uint8_t *known = NULL;
	struct err err = { 0 };
	size_t len = 0;
	bool same;

	json_decref(g->info);
	g->info = json_incref(info);
	g->looked = true;
	if (!digest || !path)
		return;
	same = io_read_file(path, 256, &known, &len, NULL) == 0 && len == strlen(digest) &&
	       memcmp(known, digest, len) == 0;
	if (same)
		return;
	if (io_replace_file(path, digest, strlen(digest), 0600, &err) < 0)
		log_error("%s", err_text(&err));
	log_info("signatures digest=%.16s", digest);
	use_them(g, known != NULL);
}

/* ---- Showing ---- */

static json_t *second(const json_t *object, const char *key)
{
	return objects_time((uint64_t)json_integer_value(json_object_get(object, key)) * 1000);
}

static json_t *show_files(const json_t *info)
{
	json_t *files = json_array();
	const json_t *file;
	size_t i;

	json_array_foreach (json_object_get(info, "files"), i, file)
		json_array_append_new(files, json_pack("{sO sO so sO}", "name",
						       json_object_get(file, "name"), "bytes",
						       json_object_get(file, "bytes"), "built",
						       second(file, "built_s"), "version",
						       json_object_get(file, "version")));
	return files;
}

static json_t *or_null(const json_t *object, const char *key)
{
	json_t *value = json_object_get(object, key);

	return value ? json_incref(value) : json_null();
}

json_t *signatures_object(struct server *s)
{
	static const char *const phases[] = { "idle",     "idle",      "fetching",
					      "fetching", "unpacking", "trying" };
	struct signatures *g = s->signatures;
	char *folder = signatures_folder(s);
	const struct server_config *c = &s->config;
	const char *source = c->scan_signatures[0]                    ? "folder"
			     : c->scan_mirror[0] || c->scan_custom[0] ? "mirror"
								      : "upload";
	uint64_t age_s;
	json_t *object;
	bool old;

	pthread_mutex_lock(&g->lock);
	old = outdated(g, &age_s);
	object = json_pack("{ss ss* sb so so so so so sb sI ss s{ss so so}}", "source", source,
			   "folder", folder, "there", g->info != NULL, "signatures",
			   or_null(g->info, "signatures"), "digest", or_null(g->info, "digest"),
			   "built", second(g->info, "built_s"), "age_s",
			   g->info ? json_integer((json_int_t)age_s) : json_null(), "files",
			   show_files(g->info), "outdated", old, "max_age_s",
			   (json_int_t)(c->scan_max_age_ms / 1000), "policy", c->scan_outdated,
			   "update", "state", phases[g->phase], "ended",
			   objects_time(g->ended_wall_ms), "error", objects_text(g->error));
	pthread_mutex_unlock(&g->lock);
	free(folder);
	return object;
}
