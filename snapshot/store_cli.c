#include "snapshot/store_cli.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/clock.h"
#include "snapshot/store_cli_help.h"

/* ---- Options ----------------------------------------------------------------------------------------------- */

static const struct option common_options[] = {
	{ "key", required_argument, NULL, STORE_CLI_OPT_KEY },
	{ "output", required_argument, NULL, STORE_CLI_OPT_OUTPUT },
	{ "help", no_argument, NULL, STORE_CLI_OPT_HELP },
};

enum { OPTIONS_MAX = 32 };

static bool take_common(struct store_cli *cli, int option, const char *value)
{
	if (option == STORE_CLI_OPT_KEY) {
		cli->key_path = value;
		return true;
	}
	if (option == STORE_CLI_OPT_OUTPUT && strcmp(value, "json") == 0) {
		cli->json = true;
		return true;
	}
	if (option == STORE_CLI_OPT_OUTPUT && strcmp(value, "table") == 0)
		return true;
	if (option == STORE_CLI_OPT_OUTPUT)
		fprintf(stderr, "godwit-store %s: --output must be table or json, not '%s'\n",
			cli->command, value);
	return false;
}

bool store_cli_parse(struct store_cli *cli, int argc, char **argv, const struct option *own,
		     store_cli_take *take, void *arg)
{
	struct option all[OPTIONS_MAX] = { 0 };
	size_t n = ARRAY_LEN(common_options);
	char named[64]; /* how getopt_long(3) speaks of us */
	bool bad = false;
	int option;

	*cli = (struct store_cli){ .command = argv[0] };
	snprintf(named, sizeof(named), "godwit-store %s", cli->command);
	argv[0] = named;
	memcpy(all, common_options, sizeof(common_options));
	for (; own && own->name && n < OPTIONS_MAX - 1; own++)
		all[n++] = *own;
	while ((option = getopt_long(argc, argv, "", all, NULL)) != -1) {
		if (option == '?')
			break;
		if (option >= STORE_CLI_OPT_OWN ? !take(arg, option, optarg)
						: !take_common(cli, option, optarg)) {
			bad = true;
			break;
		}
	}
	argv[0] = (char *)(uintptr_t)cli->command;
	if (bad)
		return false; /* and said why */
	if (option == '?') {
		store_cli_help_usage(stderr, cli->command);
		return false;
	}
	if (optind >= argc) {
		fprintf(stderr, "godwit-store %s: which store?\n", cli->command);
		store_cli_help_usage(stderr, cli->command);
		return false;
	}
	cli->store_path = argv[optind];
	cli->argc = argc - optind - 1;
	cli->argv = argv + optind + 1;
	return true;
}

bool store_cli_operands(const struct store_cli *cli, int min, int max)
{
	if (cli->argc >= min && cli->argc <= max)
		return true;
	fprintf(stderr, "godwit-store %s: too %s operands\n", cli->command,
		cli->argc < min ? "few" : "many");
	store_cli_help_usage(stderr, cli->command);
	return false;
}

bool store_cli_number(const char *what, const char *value, uint64_t max, uint64_t *out)
{
	char *end;

	errno = 0;
	*out = strtoull(value, &end, 10);
	if (!errno && *value >= '0' && *value <= '9' && !*end && *out <= max)
		return true;
	fprintf(stderr, "godwit-store: %s must be a number from 0 to %llu, not '%s'\n", what,
		(unsigned long long)max, value);
	return false;
}

bool store_cli_size(const char *what, const char *value, uint64_t *out)
{
	static const char units[] = "KMGT";
	const char *unit;
	char *end;

	errno = 0;
	*out = strtoull(value, &end, 10);
	if (!errno && *value >= '0' && *value <= '9' && !*end)
		return true;
	unit = *end ? strchr(units, *end) : NULL;
	if (!errno && *value >= '0' && *value <= '9' && unit && !end[1] &&
	    *out <= UINT64_MAX >> (10 * (unit - units + 1))) {
		*out <<= 10 * (unit - units + 1);
		return true;
	}
	fprintf(stderr,
		"godwit-store: %s must be a number of bytes, or one with K, M, G or T behind it, "
		"not '%s'\n",
		what, value);
	return false;
}

/* ---- Store and snapshots ----------------------------------------------------------------------------------- */

/* What a cancel leaves, by command. */
static const struct {
	const char *command, *leaves;
} cancels[] = {
	{ "put",
	  "no snapshot was made; what was stored already serves the next try, or gc removes it" },
	{ "import",
	  "no snapshot was made; what was stored already serves the next try, or gc removes it" },
	{ "get", "no file was made" },
	{ "export", "no file was made" },
	{ "gc", "the store is as good as before; the next gc goes on" },
	{ "mirror", "whole packs stay; the next run goes on from there" },
	{ "verify", "packs that were repaired stay so; with --budget the next run begins with what "
		    "was not reached" },
	{ "reindex", "whatever opens the store next makes again what is missing" },
	{ "repair", "what was repaired stays; the next run goes on" },
};

int store_cli_fail(const struct store_cli *cli, const struct err *err)
{
	for (size_t i = 0; i < ARRAY_LEN(cancels) && err->code == ECANCELED; i++) {
		if (strcmp(cancels[i].command, cli->command) != 0)
			continue;
		fprintf(stderr, "godwit-store %s: cancelled: %s\n", cli->command,
			cancels[i].leaves);
		return STORE_CLI_FAILED;
	}
	fprintf(stderr, "godwit-store %s: %s\n", cli->command, err_text(err));
	return STORE_CLI_FAILED;
}

int store_cli_open(const struct store_cli *cli, enum store_mode mode, struct store **out)
{
	struct err err = { 0 };
	int r = store_open(out, cli->store_path, cli->key_path, mode, &err);

	return r < 0 ? store_cli_fail(cli, &err) : 0;
}

struct search {
	const char *text, *desktop; /* desktop: of "latest"; NULL: any */
	char id[MANIFEST_ID_LEN];
	unsigned found;
};

static int search_one(void *arg, const struct manifest *m, struct err *err)
{
	struct search *s = arg;

	(void)err;
	if (strcmp(s->text, "latest") == 0 ? s->desktop && strcmp(m->desktop, s->desktop) != 0
					   : strncmp(m->id, s->text, strlen(s->text)) != 0)
		return 0;
	memcpy(s->id, m->id, sizeof(s->id));
	s->found++;
	return 0;
}

bool store_cli_snapshot(struct store *store, const char *text, struct manifest *out)
{
	return store_cli_snapshot_of(store, text, NULL, out);
}

bool store_cli_snapshot_of(struct store *store, const char *text, const char *desktop,
			   struct manifest *out)
{
	struct search search = { .text = text, .desktop = desktop };
	struct err err = { 0 };
	int r;

	if (manifest_id_valid(text)) {
		memcpy(search.id, text, sizeof(search.id));
		search.found = 1;
	} else {
		r = store_list(store, search_one, &search, &err);
		if (r < 0) {
			fprintf(stderr, "godwit-store: %s\n", err_text(&err));
			return false;
		}
	}
	if (search.found > 1 && strcmp(text, "latest") != 0) {
		fprintf(stderr, "godwit-store: %u snapshots begin with '%s'\n", search.found, text);
		return false;
	}
	r = search.found ? store_manifest(store, search.id, out, &err) : STORE_ABSENT;
	if (r == STORE_ABSENT && desktop && strcmp(text, "latest") == 0)
		fprintf(stderr, "godwit-store: desktop %s has no snapshot in this store\n",
			desktop);
	else if (r == STORE_ABSENT)
		fprintf(stderr, "godwit-store: there is no snapshot '%s' in this store\n", text);
	else if (r < 0)
		fprintf(stderr, "godwit-store: %s\n", err_text(&err));
	return r == 0;
}

const struct volume *store_cli_volume(const struct store_cli *cli, const struct manifest *m,
				      const char *name)
{
	const struct volume *found = manifest_volume(m, name);

	if (found)
		return found;
	fprintf(stderr, "godwit-store %s: snapshot %s has no volume '%s'; it has", cli->command,
		m->id, name);
	for (size_t i = 0; i < m->volume_count; i++)
		fprintf(stderr, "%s %s", i ? "," : "", m->volumes[i].name);
	fputs(m->volume_count ? "\n" : " none\n", stderr);
	return NULL;
}

/* ---- Output ------------------------------------------------------------------------------------------------ */

int store_cli_print(json_t *value)
{
	int r = value ? json_dumpf(value, stdout, JSON_INDENT(2) | JSON_REAL_PRECISION(9)) : -1;

	json_decref(value);
	if (r < 0 || putchar('\n') < 0 || fflush(stdout) != 0) {
		fprintf(stderr, "godwit-store: the answer could not be written\n");
		return STORE_CLI_FAILED;
	}
	return STORE_CLI_DONE;
}

void store_cli_bytes(uint64_t bytes, char text[32])
{
	static const char *const units[] = { "B", "KiB", "MiB", "GiB", "TiB", "PiB" };
	double value = (double)bytes;
	size_t unit = 0;

	while (value >= 1024 && unit + 1 < ARRAY_LEN(units)) {
		value /= 1024;
		unit++;
	}
	snprintf(text, 32, unit ? "%.1f %s" : "%.0f %s", value, units[unit]);
}

/* ---- Progress ---------------------------------------------------------------------------------------------- */

static struct {
	const char *what;
	struct volume_progress *progress;
	atomic_bool done;
	pthread_t thread;
	bool has_thread;
} watch;

/* Only a flag is set: safe in a signal handler. */
static void on_interrupt(int sig)
{
	(void)sig;
	if (watch.progress)
		atomic_store(&watch.progress->cancel, true);
}

bool store_cli_cancelled(void)
{
	return watch.progress && atomic_load(&watch.progress->cancel);
}

static void print_line(uint64_t began)
{
	uint64_t done = atomic_load(&watch.progress->done_bytes);
	uint64_t total = atomic_load(&watch.progress->total_bytes);
	uint64_t ms = clock_now_ms() - began;
	char d[32], t[32], rate[32];

	store_cli_bytes(done, d);
	store_cli_bytes(total, t);
	store_cli_bytes(ms ? done * 1000 / ms : 0, rate);
	if (total)
		fprintf(stderr, "\r\033[K%s: %s of %s (%.0f %%), %s/s", watch.what, d, t,
			100.0 * (double)done / (double)total, rate);
	else
		fprintf(stderr, "\r\033[K%s: %s, %s/s", watch.what, d, rate);
}

static void *watch_run(void *arg)
{
	uint64_t began = clock_now_ms();

	(void)arg;
	while (!atomic_load(&watch.done)) {
		print_line(began);
		clock_sleep_ms(200);
	}
	fputs("\r\033[K", stderr);
	return NULL;
}

void store_cli_progress_begin(const char *what, struct volume_progress *progress)
{
	struct sigaction action = { .sa_handler = on_interrupt };

	watch.what = what;
	watch.progress = progress;
	atomic_store(&watch.done, false);
	sigaction(SIGINT, &action, NULL);
	sigaction(SIGTERM, &action, NULL);
	watch.has_thread = what && isatty(STDERR_FILENO) &&
			   pthread_create(&watch.thread, NULL, watch_run, NULL) == 0;
}

void store_cli_progress_end(void)
{
	atomic_store(&watch.done, true);
	if (watch.has_thread)
		pthread_join(watch.thread, NULL);
	watch.has_thread = false;
	/* Who presses ^C twice means the same: what has to be tidied up still is. */
	signal(SIGINT, store_cli_cancelled() ? SIG_IGN : SIG_DFL);
	signal(SIGTERM, store_cli_cancelled() ? SIG_IGN : SIG_DFL);
	watch.progress = NULL;
}
