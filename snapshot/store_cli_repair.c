#include "snapshot/store_cli_repair.h"

#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

#include "common/io.h"
#include "snapshot/store_cli.h"
#include "snapshot/store_repair.h"

enum { OPT_FROM = STORE_CLI_OPT_OWN, OPT_FROM_KEY, OPT_FROM_IMAGE, OPT_RATE, DONORS_MAX = 16 };

struct repair {
	struct store_cli cli;
	const char *paths[DONORS_MAX], *keys[DONORS_MAX], *images[DONORS_MAX];
	struct store *stores[DONORS_MAX];
	size_t store_count, image_count;
	uint64_t rate;
	json_t *repaired, *lost;
};

static bool take(void *arg, int option, const char *value)
{
	struct repair *r = arg;

	if (option == OPT_RATE)
		return store_cli_size("--rate", value, &r->rate);
	if (option == OPT_FROM_KEY && !r->store_count) {
		fprintf(stderr,
			"godwit-store repair: --from-key belongs to the --from before it\n");
		return false;
	}
	if (option == OPT_FROM_KEY) {
		r->keys[r->store_count - 1] = value;
		return true;
	}
	if (r->store_count == DONORS_MAX || r->image_count == DONORS_MAX) {
		fprintf(stderr, "godwit-store repair: at most %d sources\n", DONORS_MAX);
		return false;
	}
	if (option == OPT_FROM)
		r->paths[r->store_count++] = value;
	else
		r->images[r->image_count++] = value;
	return true;
}

/* A mirror is opened by our own key; another store has its own beside it. */
static int donor_open(struct repair *r, size_t i, struct err *err)
{
	CLEANUP_FREE char *beside = io_printf("%s.key", r->paths[i]);
	CLEANUP_FREE char *ours = io_printf("%s.key", r->cli.store_path);
	const char *key = r->keys[i];

	if (!beside || !ours)
		return err_set(err, ENOMEM, "open %s", r->paths[i]);
	if (!key && access(beside, R_OK) == 0)
		key = beside;
	if (!key)
		key = r->cli.key_path ? r->cli.key_path : ours;
	return store_open(&r->stores[i], r->paths[i], key, STORE_READ, err);
}

static void on_repaired(void *arg, const char *text)
{
	struct repair *r = arg;

	json_array_append_new(r->repaired, json_string(text));
}

static void on_lost(void *arg, const char *text)
{
	struct repair *r = arg;

	json_array_append_new(r->lost, json_string(text));
}

static int answer(const struct repair *r, const struct store_repair_result *result)
{
	int status = result->lost_chunks ? STORE_CLI_DAMAGE : STORE_CLI_DONE;
	const json_t *text;
	size_t i;

	if (r->cli.json) {
		int printed = store_cli_print(json_pack(
			"{sb sI sI sI sI sI sO sO}", "whole", !result->lost_chunks, "bad_records",
			(json_int_t)result->bad_records, "bad_packs", (json_int_t)result->bad_packs,
			"repaired_chunks", (json_int_t)result->repaired_chunks, "lost_chunks",
			(json_int_t)result->lost_chunks, "packs_replaced",
			(json_int_t)result->packs_replaced, "repaired", r->repaired, "lost",
			r->lost));

		return printed == STORE_CLI_DONE ? status : STORE_CLI_COULD_NOT_RUN;
	}
	json_array_foreach (r->repaired, i, text)
		printf("%s\n", json_string_value(text));
	json_array_foreach (r->lost, i, text)
		printf("%s\n", json_string_value(text));
	printf("%llu damaged records, %llu damaged packs; %llu chunks repaired, %llu lost\n",
	       (unsigned long long)result->bad_records, (unsigned long long)result->bad_packs,
	       (unsigned long long)result->repaired_chunks,
	       (unsigned long long)result->lost_chunks);
	return status;
}

static int run(struct repair *r)
{
	CLEANUP(store_close) struct store *store = NULL;
	struct volume_progress progress = { .bytes_per_second = r->rate };
	const struct store_repair order = { .stores = r->stores,
					    .store_paths = r->paths,
					    .store_count = r->store_count,
					    .images = r->images,
					    .image_count = r->image_count,
					    .progress = &progress,
					    .repaired = on_repaired,
					    .lost = on_lost,
					    .arg = r };
	struct store_repair_result result;
	struct err err = { 0 };
	int status = 0;

	if (store_cli_open(&r->cli, STORE_WRITE, &store))
		return STORE_CLI_COULD_NOT_RUN;
	for (size_t i = 0; status == 0 && i < r->store_count; i++)
		status = donor_open(r, i, &err);
	if (status == 0) {
		store_cli_progress_begin("repair", &progress);
		status = store_repair(store, &order, &result, &err);
		store_cli_progress_end();
	}
	if (status == 0)
		return answer(r, &result);
	store_cli_fail(&r->cli, &err);
	return STORE_CLI_COULD_NOT_RUN;
}

int store_cli_repair(int argc, char **argv)
{
	static const struct option options[] = {
		{ "from", required_argument, NULL, OPT_FROM },
		{ "from-key", required_argument, NULL, OPT_FROM_KEY },
		{ "from-image", required_argument, NULL, OPT_FROM_IMAGE },
		{ "rate", required_argument, NULL, OPT_RATE },
		{ 0 }
	};
	struct repair r = { 0 };
	int status;

	if (!store_cli_parse(&r.cli, argc, argv, options, take, &r) ||
	    !store_cli_operands(&r.cli, 0, 0))
		return STORE_CLI_USAGE;
	r.repaired = json_array();
	r.lost = json_array();
	status = run(&r);
	for (size_t i = 0; i < r.store_count; i++)
		store_close(r.stores[i]);
	json_decref(r.repaired);
	json_decref(r.lost);
	return status;
}
