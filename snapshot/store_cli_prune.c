#include "snapshot/store_cli_prune.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "common/clock.h"
#include "snapshot/store_cli.h"
#include "snapshot/store_retention.h"

enum {
	OPT_DRY_RUN = STORE_CLI_OPT_OWN,
	OPT_DESKTOP,
	OPT_REPACK,
	OPT_REKEY,
	OPT_FULL,
	OPT_RATE,
	OPT_ACCEPT_LOSS,
	OPT_KEEP
};

/* ---- forget, pin -------------------------------------------------------------------------------------------- */

/* The full id of the snapshot that @text names. One that is given in full need not be readable: it may be the damage that has to go. */
static bool resolve(struct store *store, const char *text, char id[MANIFEST_ID_LEN])
{
	struct manifest m;

	if (manifest_id_valid(text)) {
		memcpy(id, text, MANIFEST_ID_LEN);
		return true;
	}
	if (!store_cli_snapshot(store, text, &m))
		return false;
	memcpy(id, m.id, MANIFEST_ID_LEN);
	manifest_deinit(&m);
	return true;
}

static int forget(const struct store_cli *cli, struct store *store, char (*ids)[MANIFEST_ID_LEN],
		  const char **list)
{
	struct err err = { 0 };

	for (int i = 0; i < cli->argc; i++) {
		if (!resolve(store, cli->argv[i], ids[i]))
			return STORE_CLI_FAILED;
		list[i] = ids[i];
	}
	if (store_forget(store, list, (size_t)cli->argc, &err) < 0)
		return store_cli_fail(cli, &err);
	if (cli->json)
		return store_cli_print(json_pack("{si}", "forgotten", cli->argc));
	for (int i = 0; i < cli->argc; i++)
		printf("%s is forgotten\n", ids[i]);
	printf("godwit-store gc gives the space back\n");
	return STORE_CLI_DONE;
}

int store_cli_prune_forget(int argc, char **argv)
{
	CLEANUP_FREE char(*ids)[MANIFEST_ID_LEN] = calloc((size_t)argc, sizeof(*ids));
	CLEANUP_FREE const char **list = calloc((size_t)argc, sizeof(*list));
	CLEANUP(store_close) struct store *store = NULL;
	struct store_cli cli;

	if (!store_cli_parse(&cli, argc, argv, NULL, NULL, NULL) ||
	    !store_cli_operands(&cli, 1, 1 << 20))
		return STORE_CLI_USAGE;
	if (!ids || !list || store_cli_open(&cli, STORE_WRITE, &store))
		return STORE_CLI_FAILED;
	return forget(&cli, store, ids, list);
}

static int pin(int argc, char **argv, bool pinned)
{
	CLEANUP(store_close) struct store *store = NULL;
	char id[MANIFEST_ID_LEN];
	struct err err = { 0 };
	struct store_cli cli;

	if (!store_cli_parse(&cli, argc, argv, NULL, NULL, NULL) || !store_cli_operands(&cli, 1, 1))
		return STORE_CLI_USAGE;
	if (store_cli_open(&cli, STORE_WRITE, &store) || !resolve(store, cli.argv[0], id))
		return STORE_CLI_FAILED;
	if (store_pin(store, id, pinned, &err) < 0)
		return store_cli_fail(&cli, &err);
	if (cli.json)
		return store_cli_print(json_pack("{ss sb}", "snapshot", id, "pinned", pinned));
	printf("%s is %s\n", id, pinned ? "pinned" : "not pinned");
	return STORE_CLI_DONE;
}

int store_cli_prune_pin(int argc, char **argv)
{
	return pin(argc, argv, true);
}

int store_cli_prune_unpin(int argc, char **argv)
{
	return pin(argc, argv, false);
}

/* ---- prune -------------------------------------------------------------------------------------------------- */

struct prune {
	struct store_cli cli;
	const char *desktop;
	bool dry_run;
	struct store_retention_policy policy;
	struct store *store;
	char (*ids)[MANIFEST_ID_LEN], (*parents)[MANIFEST_ID_LEN];
	struct store_retention_item *items;
	size_t count, capacity;
};

static bool prune_take(void *arg, int option, const char *value)
{
	struct prune *prune = arg;
	char what[32];

	if (option == OPT_DESKTOP) {
		prune->desktop = value;
		return true;
	}
	if (option == OPT_DRY_RUN) {
		prune->dry_run = true;
		return true;
	}
	snprintf(what, sizeof(what), "--keep-%s", store_retention_names[option - OPT_KEEP]);
	return store_cli_number(what, value, 1 << 20, &prune->policy.keep[option - OPT_KEEP]);
}

static int prune_list(void *arg, const struct manifest *m, struct err *err)
{
	struct prune *prune = arg;

	if (strcmp(m->desktop, prune->desktop) != 0)
		return 0;
	if (prune->count == prune->capacity) {
		size_t n = prune->capacity ? 2 * prune->capacity : 64;
		void *ids = realloc(prune->ids, n * sizeof(*prune->ids)), *items, *parents;

		if (ids)
			prune->ids = ids;
		parents = realloc(prune->parents, n * sizeof(*prune->parents));
		if (parents)
			prune->parents = parents;
		items = realloc(prune->items, n * sizeof(*prune->items));
		if (items)
			prune->items = items;
		if (!ids || !items || !parents)
			return err_set(err, ENOMEM, "list snapshots");
		prune->capacity = n;
	}
	memcpy(prune->ids[prune->count], m->id, MANIFEST_ID_LEN);
	memcpy(prune->parents[prune->count], m->parent, MANIFEST_ID_LEN);
	prune->items[prune->count++] =
		(struct store_retention_item){ .created_wall_ms = m->created_wall_ms,
					       .pinned = store_is_pinned(prune->store, m->id) };
	return 0;
}

struct dated {
	const char *id;
	uint64_t created_wall_ms;
};

static int by_id(const void *a, const void *b)
{
	return strcmp(((const struct dated *)a)->id, ((const struct dated *)b)->id);
}

/* A parent that is younger than its child says that a clock was wrong. */
static int prune_misdated(struct prune *prune, struct err *err)
{
	CLEANUP_FREE struct dated *dated = calloc(prune->count + 1, sizeof(*dated));

	if (!dated)
		return err_set(err, ENOMEM, "list snapshots");
	for (size_t i = 0; i < prune->count; i++)
		dated[i] = (struct dated){ prune->ids[i], prune->items[i].created_wall_ms };
	qsort(dated, prune->count, sizeof(*dated), by_id);
	for (size_t i = 0; i < prune->count; i++) {
		const struct dated wanted = { .id = prune->parents[i] };
		const struct dated *parent =
			bsearch(&wanted, dated, prune->count, sizeof(*dated), by_id);

		prune->items[i].misdated =
			parent && parent->created_wall_ms > prune->items[i].created_wall_ms;
	}
	return 0;
}

static int prune_forget(struct prune *prune, struct err *err)
{
	CLEANUP_FREE const char **ids = calloc(prune->count + 1, sizeof(*ids));
	size_t n = 0;

	if (!ids)
		return err_set(err, ENOMEM, "forget snapshots");
	for (size_t i = 0; i < prune->count; i++)
		if (!prune->items[i].keep)
			ids[n++] = prune->ids[i];
	return prune->dry_run || !n ? 0 : store_forget(prune->store, ids, n, err);
}

static int prune_answer(const struct prune *prune)
{
	json_t *list = json_array();

	for (size_t i = 0; i < prune->count; i++) {
		const struct store_retention_item *item = &prune->items[i];

		if (prune->cli.json)
			json_array_append_new(list, json_pack("{ss sb ss}", "snapshot",
							      prune->ids[i], "keep", item->keep,
							      "reason", item->reason));
		else
			printf("%-24s  %s  %s\n", prune->ids[i], item->keep ? "stays" : "goes ",
			       item->reason);
	}
	if (prune->cli.json)
		return store_cli_print(
			json_pack("{sb so}", "dry_run", prune->dry_run, "snapshots", list));
	json_decref(list);
	if (!prune->count)
		fprintf(stderr, "godwit-store prune: desktop %s has no snapshot in %s\n",
			prune->desktop, prune->cli.store_path);
	return STORE_CLI_DONE;
}

static bool prune_complete(const struct prune *prune)
{
	uint64_t any = 0;

	for (int rule = 0; rule < STORE_RETENTION_RULES; rule++)
		any |= prune->policy.keep[rule];
	if (prune->desktop && any)
		return true;
	fprintf(stderr, "godwit-store prune: --desktop and at least one --keep-… are needed\n");
	return false;
}

int store_cli_prune_policy(int argc, char **argv)
{
	static const struct option options[] = {
		{ "desktop", required_argument, NULL, OPT_DESKTOP },
		{ "dry-run", no_argument, NULL, OPT_DRY_RUN },
		{ "keep-last", required_argument, NULL, OPT_KEEP + STORE_RETENTION_LAST },
		{ "keep-hourly", required_argument, NULL, OPT_KEEP + STORE_RETENTION_HOURLY },
		{ "keep-daily", required_argument, NULL, OPT_KEEP + STORE_RETENTION_DAILY },
		{ "keep-weekly", required_argument, NULL, OPT_KEEP + STORE_RETENTION_WEEKLY },
		{ "keep-monthly", required_argument, NULL, OPT_KEEP + STORE_RETENTION_MONTHLY },
		{ "keep-yearly", required_argument, NULL, OPT_KEEP + STORE_RETENTION_YEARLY },
		{ 0 },
	};
	CLEANUP(store_close) struct store *store = NULL;
	struct prune prune = { 0 };
	struct err err = { 0 };
	int status;

	if (!store_cli_parse(&prune.cli, argc, argv, options, prune_take, &prune) ||
	    !store_cli_operands(&prune.cli, 0, 0) || !prune_complete(&prune))
		return STORE_CLI_USAGE;
	if (store_cli_open(&prune.cli, prune.dry_run ? STORE_READ : STORE_WRITE, &store))
		return STORE_CLI_FAILED;
	prune.store = store;
	prune.policy.now_wall_ms = clock_wall_ms();
	prune.policy.no_delete_ms = store_no_delete_ms(store);
	if (store_list(store, prune_list, &prune, &err) < 0 || prune_misdated(&prune, &err) < 0) {
		status = store_cli_fail(&prune.cli, &err);
	} else {
		store_retention_decide(&prune.policy, prune.items, prune.count);
		status = prune_forget(&prune, &err) < 0 ? store_cli_fail(&prune.cli, &err)
							: prune_answer(&prune);
	}
	free(prune.ids);
	free(prune.parents);
	free(prune.items);
	return status;
}

/* ---- gc ----------------------------------------------------------------------------------------------------- */

struct gc {
	struct store_cli cli;
	struct store_gc order;
	uint64_t percent, rate;
};

static bool gc_take(void *arg, int option, const char *value)
{
	struct gc *gc = arg;

	if (option == OPT_DRY_RUN) {
		gc->order.dry_run = true;
		return true;
	}
	if (option == OPT_REKEY) {
		gc->order.rekey = true;
		return true;
	}
	if (option == OPT_ACCEPT_LOSS) {
		gc->order.accept_loss = true;
		return true;
	}
	if (option == OPT_FULL) {
		gc->order.count_anew = true;
		return true;
	}
	if (option == OPT_RATE)
		return store_cli_size("--rate", value, &gc->rate);
	return store_cli_number("--repack", value, 100, &gc->percent);
}

static int gc_answer(const struct gc *gc, const struct store_gc_result *r, uint64_t ms)
{
	char freed[32], written[32], read[32];

	if (gc->cli.json)
		return store_cli_print(json_pack(
			"{sb sI sI sI sI sI sI sI sI sI sb sf}", "dry_run", gc->order.dry_run,
			"live_chunks", (json_int_t)r->live_chunks, "dead_chunks",
			(json_int_t)r->dead_chunks, "packs_deleted", (json_int_t)r->packs_deleted,
			"packs_rewritten", (json_int_t)r->packs_rewritten, "packs_waiting",
			(json_int_t)r->packs_waiting, "freed_bytes", (json_int_t)r->freed_bytes,
			"written_bytes", (json_int_t)r->written_bytes, "snapshots_walked",
			(json_int_t)r->snapshots_walked, "read_bytes", (json_int_t)r->read_bytes,
			"counted_anew", r->counted_anew, "seconds", (double)ms / 1000));
	store_cli_bytes(r->freed_bytes, freed);
	store_cli_bytes(r->read_bytes, read);
	store_cli_bytes(r->written_bytes, written);
	printf("walked %llu snapshots%s, %s of tree nodes read\n",
	       (unsigned long long)r->snapshots_walked,
	       r->counted_anew ? " (all: nothing was counted before)" : "", read);
	printf("%llu chunks are needed, %llu are not\n%s %llu packs (%s), of which %llu %s "
	       "rewritten (%s)\n",
	       (unsigned long long)r->live_chunks, (unsigned long long)r->dead_chunks,
	       gc->order.dry_run ? "would delete" : "deleted", (unsigned long long)r->packs_deleted,
	       freed, (unsigned long long)r->packs_rewritten,
	       gc->order.dry_run ? "would be" : "were", written);
	return STORE_CLI_DONE;
}

int store_cli_prune_gc(int argc, char **argv)
{
	static const struct option options[] = { { "dry-run", no_argument, NULL, OPT_DRY_RUN },
						 { "repack", required_argument, NULL, OPT_REPACK },
						 { "rekey", no_argument, NULL, OPT_REKEY },
						 { "full", no_argument, NULL, OPT_FULL },
						 { "rate", required_argument, NULL, OPT_RATE },
						 { "accept-loss", no_argument, NULL,
						   OPT_ACCEPT_LOSS },
						 { 0 } };
	CLEANUP(store_close) struct store *store = NULL;
	struct volume_progress progress = { 0 };
	uint64_t began = clock_now_ms();
	struct store_gc_result result;
	struct err err = { 0 };
	struct gc gc = { 0 };
	int r;

	if (!store_cli_parse(&gc.cli, argc, argv, options, gc_take, &gc) ||
	    !store_cli_operands(&gc.cli, 0, 0))
		return STORE_CLI_USAGE;
	if (store_cli_open(&gc.cli, STORE_WRITE, &store))
		return STORE_CLI_FAILED;
	gc.order.repack_percent = (unsigned)gc.percent;
	progress.bytes_per_second = gc.rate;
	gc.order.progress = &progress;
	store_cli_progress_begin("gc", &progress);
	r = store_gc(store, &gc.order, &result, &err);
	store_cli_progress_end();
	return r < 0 ? store_cli_fail(&gc.cli, &err)
		     : gc_answer(&gc, &result, clock_now_ms() - began);
}

/* ---- reindex ------------------------------------------------------------------------------------------------ */

int store_cli_prune_reindex(int argc, char **argv)
{
	CLEANUP(store_close) struct store *store = NULL;
	struct volume_progress progress = { 0 };
	uint64_t began = clock_now_ms();
	struct store_stat stat;
	struct err err = { 0 };
	struct store_cli cli;
	int r;

	if (!store_cli_parse(&cli, argc, argv, NULL, NULL, NULL) || !store_cli_operands(&cli, 0, 0))
		return STORE_CLI_USAGE;
	store_cli_progress_begin("reindex", &progress);
	r = store_reindex(cli.store_path, cli.key_path, &progress, &err);
	store_cli_progress_end();
	if (r < 0)
		return store_cli_fail(&cli, &err);
	if (store_cli_open(&cli, STORE_READ, &store))
		return STORE_CLI_FAILED;
	if (store_stat(store, &stat, &err) < 0)
		return store_cli_fail(&cli, &err);
	if (cli.json)
		return store_cli_print(json_pack("{sI sI sI sf}", "packs", (json_int_t)stat.packs,
						 "chunks", (json_int_t)stat.chunks, "snapshots",
						 (json_int_t)stat.snapshots, "seconds",
						 (double)(clock_now_ms() - began) / 1000));
	printf("%llu packs, %llu chunks, %llu snapshots\n", (unsigned long long)stat.packs,
	       (unsigned long long)stat.chunks, (unsigned long long)stat.snapshots);
	return STORE_CLI_DONE;
}
