#include "snapshot/store_cli_put.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "common/clock.h"
#include "common/io.h"
#include "snapshot/file_input.h"
#include "snapshot/store_cli.h"

enum {
	OPT_DESKTOP = STORE_CLI_OPT_OWN,
	OPT_VOLUME,
	OPT_PARENT,
	OPT_CHANGED,
	OPT_DOMAIN,
	OPT_THREADS,
	OPT_RATE,
	EXTENTS_FILE_MAX = 1 << 30,
};

/* name=file, as it stands on the command line. */
struct pair {
	char name[VOLUME_NAME_MAX + 1];
	const char *file;
};

struct put {
	struct store_cli cli;
	const char *desktop, *parent_id, *domain;
	struct pair volumes[MANIFEST_VOLUMES_MAX], changed[MANIFEST_VOLUMES_MAX];
	size_t volume_count, changed_count;
	uint64_t threads, rate;
	struct manifest manifest, parent;
	bool has_parent;
	struct volume_put_stats stats;
	json_t *compared; /* volumes that were read in full although there is a parent: name → why */
};

static const struct option options[] = {
	{ "desktop", required_argument, NULL, OPT_DESKTOP },
	{ "volume", required_argument, NULL, OPT_VOLUME },
	{ "parent", required_argument, NULL, OPT_PARENT },
	{ "changed", required_argument, NULL, OPT_CHANGED },
	{ "domain", required_argument, NULL, OPT_DOMAIN },
	{ "threads", required_argument, NULL, OPT_THREADS },
	{ "rate", required_argument, NULL, OPT_RATE },
	{ 0 },
};

static bool pair_add(struct pair *pairs, size_t *count, const char *option, const char *value)
{
	const char *equals = strchr(value, '=');
	size_t len = equals ? (size_t)(equals - value) : 0;

	if (!equals || !len || len > VOLUME_NAME_MAX || !equals[1]) {
		fprintf(stderr, "godwit-store put: %s must be NAME=FILE, not '%s'\n", option,
			value);
		return false;
	}
	if (*count == MANIFEST_VOLUMES_MAX) {
		fprintf(stderr, "godwit-store put: at most %d volumes\n", MANIFEST_VOLUMES_MAX);
		return false;
	}
	memcpy(pairs[*count].name, value, len);
	pairs[*count].name[len] = '\0';
	pairs[(*count)++].file = equals + 1;
	return true;
}

static bool take(void *arg, int option, const char *value)
{
	struct put *put = arg;

	switch (option) {
	case OPT_DESKTOP:
		put->desktop = value;
		return true;
	case OPT_PARENT:
		put->parent_id = value;
		return true;
	case OPT_DOMAIN:
		put->domain = value;
		return true;
	case OPT_THREADS:
		return store_cli_number("--threads", value, 1024, &put->threads);
	case OPT_RATE:
		return store_cli_size("--rate", value, &put->rate);
	case OPT_VOLUME:
		return pair_add(put->volumes, &put->volume_count, "--volume", value);
	case OPT_CHANGED:
		return pair_add(put->changed, &put->changed_count, "--changed", value);
	}
	return false;
}

/* ---- Extents ----------------------------------------------------------------------------------------------- */

struct extents {
	struct volume_extent *list;
	size_t count;
};

static int extent_add(struct extents *e, uint64_t offset, uint64_t length, struct err *err)
{
	if ((e->count & (e->count - 1)) == 0) {
		size_t n = e->count ? 2 * e->count : 1;
		struct volume_extent *list = realloc(e->list, n * sizeof(*list));

		if (!list)
			return err_set(err, ENOMEM, "read extents");
		e->list = list;
	}
	e->list[e->count++] = (struct volume_extent){ offset, length };
	return 0;
}

static bool number(char **p, uint64_t *out)
{
	char *end;

	if (**p < '0' || **p > '9')
		return false;
	errno = 0;
	*out = strtoull(*p, &end, 10);
	*p = end;
	return !errno;
}

/* "OFFSET LENGTH" lines, in bytes. */
static int extents_read(struct extents *e, const char *path, struct err *err)
{
	CLEANUP_FREE uint8_t *text = NULL;
	unsigned line = 1;
	size_t len;
	int r = io_read_file(path, EXTENTS_FILE_MAX, &text, &len, err);

	for (char *p = (char *)text; r == 0 && *p; line++) {
		uint64_t offset, length;
		bool ok = number(&p, &offset) && *p == ' ';

		p += ok;
		if (!ok || !number(&p, &length) || (*p && *p != '\n') || offset + length < offset)
			return err_say(
				err, EINVAL,
				"%s:%u: each line must be OFFSET LENGTH, two numbers of bytes",
				path, line);
		p += *p == '\n';
		r = extent_add(e, offset, length, err);
	}
	return r;
}

static const char *changed_file(const struct put *put, const char *name)
{
	for (size_t i = 0; i < put->changed_count; i++)
		if (strcmp(put->changed[i].name, name) == 0)
			return put->changed[i].file;
	return NULL;
}

/* ---- The work ---------------------------------------------------------------------------------------------- */

/* Fill in the incremental part of @order, or note why the volume is compared in full. */
static int order_parent(struct put *put, struct store *store, struct volume_put *order,
			const struct volume *v, struct extents *extents, struct err *err)
{
	const char *file = changed_file(put, v->name);
	const char *why = NULL;
	int r;

	if (!put->has_parent)
		return 0;
	order->parent = manifest_volume(&put->parent, v->name);
	r = store_domain_source(store, put->parent.domain, &order->parent_source, err);
	if (r < 0)
		return r;
	if (!order->parent)
		why = "the parent has no such volume";
	else if (!file)
		why = "no list of changed extents was given";
	else if (order->parent->grid != v->grid)
		why = "the parent has another grid";
	if (why) {
		json_object_set_new(put->compared, v->name, json_string(why));
		return 0;
	}
	r = extents_read(extents, file, err);
	if (r < 0)
		return r;
	if (!extents->list) { /* an empty list is a list, too: nothing changed */
		r = extent_add(extents, 0, 0, err);
		if (r < 0)
			return r;
	}
	order->changed = extents->list;
	order->changed_count = extents->count;
	return 0;
}

static int volume_store(struct put *put, struct store *store, struct store_session *session,
			const struct pair *pair, struct volume_progress *progress, struct err *err)
{
	CLEANUP(file_input_close) struct file_input *file = NULL;
	struct volume *v = &put->manifest.volumes[put->manifest.volume_count];
	struct extents extents = { 0 };
	struct volume_put order = { .sink = store_session_sink(session),
				    .codec = CHUNK_CODEC_ZSTD,
				    .threads = (unsigned)put->threads,
				    .progress = progress };
	struct volume_input input;
	int r;

	r = file_input_open(&file, pair->file, err);
	if (r < 0)
		return r;
	input = file_input_volume(file);
	order.input = &input;
	snprintf(v->name, sizeof(v->name), "%s", pair->name);
	v->kind = strncmp(v->name, "ram/", 4) == 0 ? VOLUME_RAM : VOLUME_DISK;
	v->grid = v->kind == VOLUME_RAM ? CHUNK_GRID_MEMORY : CHUNK_GRID_DISK;
	r = order_parent(put, store, &order, v, &extents, err);
	if (r == 0)
		r = volume_put(&order, v, &put->stats, err);
	free(extents.list);
	if (r == 0)
		put->manifest.volume_count++;
	return r;
}

static int run(struct put *put, struct store *store, struct err *err)
{
	CLEANUP(store_session_close) struct store_session *session = NULL;
	struct volume_progress progress = { .bytes_per_second = put->rate };
	int r;

	r = store_session_open_in(&session, store, put->desktop, put->domain, err);
	if (r < 0)
		return r;
	snprintf(put->manifest.desktop, sizeof(put->manifest.desktop), "%s", put->desktop);
	put->manifest.kind = MANIFEST_IMPORT;
	if (put->has_parent)
		memcpy(put->manifest.parent, put->parent.id, sizeof(put->parent.id));
	store_cli_progress_begin("put", &progress);
	for (size_t i = 0; r == 0 && i < put->volume_count; i++)
		r = volume_store(put, store, session, &put->volumes[i], &progress, err);
	if (r == 0)
		r = store_session_commit(session, &put->manifest, err);
	store_cli_progress_end();
	return r;
}

static int answer(struct put *put, uint64_t ms)
{
	char read_text[32], new_text[32], stored_text[32];
	json_t *value =
		json_pack("{ss ss sI sI sI sf sO}", "snapshot", put->manifest.id, "desktop",
			  put->manifest.desktop, "read_bytes", (json_int_t)put->stats.read_bytes,
			  "new_bytes", (json_int_t)put->stats.new_bytes, "stored_bytes",
			  (json_int_t)put->stats.stored_bytes, "seconds", (double)ms / 1000,
			  "full_compare", put->compared);
	const char *name;
	json_t *why;

	if (put->cli.json)
		return store_cli_print(value);
	json_decref(value);
	store_cli_bytes(put->stats.read_bytes, read_text);
	store_cli_bytes(put->stats.new_bytes, new_text);
	store_cli_bytes(put->stats.stored_bytes, stored_text);
	json_object_foreach (put->compared, name, why)
		printf("%s was compared in full: %s\n", name, json_string_value(why));
	printf("snapshot %s: read %s, new %s, stored %s, %.1f s\n", put->manifest.id, read_text,
	       new_text, stored_text, (double)ms / 1000);
	return STORE_CLI_DONE;
}

/* Before anything is read: the commit would refuse them hours later. */
static bool names_valid(const struct put *put)
{
	for (size_t i = 0; i < put->volume_count; i++) {
		const char *name = put->volumes[i].name;

		if (!manifest_volume_name_valid(name)) {
			fprintf(stderr,
				"godwit-store put: the volume's name '%s' is not 1 to "
				"%d " MANIFEST_VOLUME_NAME_RULE "\n",
				name, VOLUME_NAME_MAX);
			return false;
		}
		for (size_t k = 0; k < i; k++) {
			if (strcmp(put->volumes[k].name, name) != 0)
				continue;
			fprintf(stderr, "godwit-store put: two volumes are named %s\n", name);
			return false;
		}
	}
	return true;
}

static bool complete(const struct put *put)
{
	if (!put->desktop || !put->volume_count) {
		fprintf(stderr,
			"godwit-store put: --desktop and at least one --volume are needed\n");
		return false;
	}
	if (put->changed_count && !put->parent_id) {
		fprintf(stderr, "godwit-store put: --changed needs the --parent it counts from\n");
		return false;
	}
	for (size_t i = 0; i < put->changed_count; i++) {
		size_t k = 0;

		while (k < put->volume_count &&
		       strcmp(put->volumes[k].name, put->changed[i].name) != 0)
			k++;
		if (k == put->volume_count) {
			fprintf(stderr,
				"godwit-store put: --changed names %s, which no --volume does\n",
				put->changed[i].name);
			return false;
		}
	}
	return names_valid(put);
}

static int put_all(struct put *put)
{
	CLEANUP(store_close) struct store *store = NULL;
	uint64_t began = clock_now_ms();
	struct err err = { 0 };

	if (store_cli_open(&put->cli, STORE_WRITE, &store))
		return STORE_CLI_FAILED;
	if (put->parent_id) {
		put->has_parent =
			store_cli_snapshot_of(store, put->parent_id, put->desktop, &put->parent);
		if (!put->has_parent)
			return STORE_CLI_FAILED;
		if (!put->domain)
			put->domain = put->parent.domain;
	}
	if (!put->domain)
		put->domain = "default";
	if (run(put, store, &err) < 0)
		return store_cli_fail(&put->cli, &err);
	return answer(put, clock_now_ms() - began);
}

int store_cli_put(int argc, char **argv)
{
	CLEANUP_FREE struct put *put = calloc(1, sizeof(*put));
	int status;

	if (!put)
		return STORE_CLI_FAILED;
	if (!store_cli_parse(&put->cli, argc, argv, options, take, put) ||
	    !store_cli_operands(&put->cli, 0, 0) || !complete(put))
		return STORE_CLI_USAGE;
	manifest_init(&put->manifest);
	put->compared = json_object();
	status = put_all(put);
	manifest_deinit(&put->manifest);
	if (put->has_parent)
		manifest_deinit(&put->parent);
	json_decref(put->compared);
	return status;
}
