#include "snapshot/store_cli_mirror.h"

#include "common/clock.h"
#include "snapshot/store_cli.h"
#include "snapshot/store_mirror.h"

enum { OPT_EVERY = STORE_CLI_OPT_OWN, OPT_RATE, OPT_NO_DELETE, HOURS_MAX = 24 * 366 * 100 };

struct mirror {
	struct store_cli cli;
	struct store_mirror order;
	uint64_t every_s, hours;
};

static bool take(void *arg, int option, const char *value)
{
	struct mirror *m = arg;

	switch (option) {
	case OPT_EVERY:
		return store_cli_number("--every", value, 86400, &m->every_s);
	case OPT_RATE:
		return store_cli_size("--rate", value, &m->order.bytes_per_second);
	case OPT_NO_DELETE:
		return store_cli_number("--no-delete-hours", value, HOURS_MAX, &m->hours);
	}
	return false;
}

static int answer(const struct mirror *m, const struct store_mirror_result *result)
{
	char bytes[32];

	if (m->cli.json)
		return store_cli_print(json_pack("{sI sI sI sI}", "packs_copied",
						 (json_int_t)result->packs_copied, "bytes_copied",
						 (json_int_t)result->bytes_copied, "packs_deleted",
						 (json_int_t)result->packs_deleted, "packs_damaged",
						 (json_int_t)result->packs_damaged));
	store_cli_bytes(result->bytes_copied, bytes);
	printf("%llu packs copied (%s), %llu deleted", (unsigned long long)result->packs_copied,
	       bytes, (unsigned long long)result->packs_deleted);
	if (result->packs_damaged)
		printf("; %llu are damaged here and were not copied: run verify",
		       (unsigned long long)result->packs_damaged);
	putchar('\n');
	fflush(stdout);
	return STORE_CLI_DONE;
}

/* The store is opened anew each round: another process writes to it, and its index says what came. */
static int round_run(struct mirror *m, struct volume_progress *progress)
{
	CLEANUP(store_close) struct store *store = NULL;
	struct store_mirror_result result;
	struct err err = { 0 };
	int r;

	if (store_cli_open(&m->cli, STORE_READ, &store))
		return STORE_CLI_FAILED;
	m->order.progress = progress;
	store_cli_progress_begin("mirror", progress);
	r = store_mirror(store, &m->order, &result, &err);
	store_cli_progress_end();
	return r < 0 ? store_cli_fail(&m->cli, &err) : answer(m, &result);
}

int store_cli_mirror(int argc, char **argv)
{
	static const struct option options[] = { { "every", required_argument, NULL, OPT_EVERY },
						 { "rate", required_argument, NULL, OPT_RATE },
						 { "no-delete-hours", required_argument, NULL,
						   OPT_NO_DELETE },
						 { 0 } };
	struct mirror m = { 0 };
	int status;

	if (!store_cli_parse(&m.cli, argc, argv, options, take, &m) ||
	    !store_cli_operands(&m.cli, 1, 1))
		return STORE_CLI_USAGE;
	m.order.dest = m.cli.argv[0];
	m.order.no_delete_ms = m.hours * 3600000;
	for (;;) {
		struct volume_progress progress = { 0 };

		status = round_run(&m, &progress);
		/* A mirror that is away today may be back tomorrow: with --every only a cancel ends it. */
		if (!m.every_s || atomic_load(&progress.cancel))
			return status;
		clock_sleep_ms(m.every_s * 1000);
	}
}
