#include "mgmt-server/scan/scan_ask.h"

#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/hex.h"
#include "common/io.h"
#include "common/json.h"
#include "mgmt-server/scan/scan_hunt.h"
#include "mgmt-server/scan/scan_report.h"
#include "mgmt-server/scan/scan_rescan.h"

enum { EXIT_OK = 0, EXIT_FOUND = 1, EXIT_INCOMPLETE = 2, EXIT_COULD_NOT_RUN = 3 };
enum { HASHES_MAX = 100000, RULES_MAX = 16 << 20, HASH_LEN = 64 };

struct ask {
	const char *operand; /* the store or the snapshot; "" */
	const char *state, *signatures, *key, *store, *list, *yara;
	char (*hashes)[HASH_LEN + 1];
	size_t hash_count;
	bool json, progress;
	unsigned workers;
	char libexec[PATH_MAX];
	struct scan_report report;
};

static atomic_bool cancelled;

static void on_signal(int number)
{
	(void)number;
	atomic_store(&cancelled, true);
}

static int usage(const char *what, const char *which)
{
	fprintf(stderr, "godwit-scan: %s%s%s (try --help)\n", what, which ? ": " : "",
		which ? which : "");
	return -EINVAL;
}

/* ---- options ---- */

static int add_hash(struct ask *a, const char *text, struct err *err)
{
	uint8_t bytes[HASH_LEN / 2];
	void *more;

	if (hex_decode(text, bytes, sizeof(bytes)) < 0)
		return err_say(err, EINVAL,
			       "%.80s is not a SHA-256: expected 64 hexadecimal digits", text);
	if (a->hash_count == HASHES_MAX)
		return err_say(err, EINVAL, "more than %d hashes", HASHES_MAX);
	more = reallocarray(a->hashes, a->hash_count + 1, sizeof(*a->hashes));
	if (!more)
		return err_set(err, ENOMEM, "take in the hashes");
	a->hashes = more;
	hex_encode(bytes, sizeof(bytes), a->hashes[a->hash_count++]);
	return 0;
}

/* The first word of each line is a hash, as sha256sum writes it; empty lines and those with # are not. */
static int add_list(struct ask *a, struct err *err)
{
	FILE *file = strcmp(a->list, "-") ? fopen(a->list, "re") : stdin;
	CLEANUP_FREE char *line = NULL;
	size_t cap = 0;
	int r = 0;

	if (!file)
		return err_set(err, errno, "read the hashes in %s", a->list);
	while (r == 0 && getline(&line, &cap, file) >= 0) {
		line[strcspn(line, " \t\r\n")] = '\0';
		if (line[0] && line[0] != '#')
			r = add_hash(a, line, err);
	}
	if (file != stdin)
		fclose(file);
	return r < 0 ? err_wrap(err, r, "%s", a->list) : 0;
}

static int parse_number(const char *text, unsigned *number)
{
	char *end;
	unsigned long n = strtoul(text, &end, 10);

	if (*end || !n || n > 64)
		return usage("--workers takes a number from 1 to 64", text);
	*number = (unsigned)n;
	return 0;
}

static int parse(struct ask *a, int argc, char **argv, struct err *err)
{
	static const struct option long_options[] = {
		{ "state", required_argument, NULL, 'S' },
		{ "signatures", required_argument, NULL, 's' },
		{ "key", required_argument, NULL, 'k' },
		{ "store", required_argument, NULL, 't' },
		{ "sha256", required_argument, NULL, 'h' },
		{ "list", required_argument, NULL, 'l' },
		{ "yara", required_argument, NULL, 'y' },
		{ "output", required_argument, NULL, 'o' },
		{ "progress", no_argument, NULL, 'p' },
		{ "workers", required_argument, NULL, 'w' },
		{ 0 },
	};
	const struct {
		int option;
		const char **value;
	} texts[] = {
		{ 'S', &a->state }, { 's', &a->signatures }, { 'k', &a->key },
		{ 't', &a->store }, { 'l', &a->list },       { 'y', &a->yara },
	};
	int c, r = 0;

	while (r == 0 && (c = getopt_long(argc, argv, "", long_options, NULL)) != -1) {
		for (size_t i = 0; i < ARRAY_LEN(texts); i++) {
			if (texts[i].option == c)
				*texts[i].value = optarg;
		}
		if (c == '?')
			r = -EINVAL;
		if (c == 'h')
			r = add_hash(a, optarg, err);
		if (c == 'w')
			r = parse_number(optarg, &a->workers);
		a->json |= c == 'o' && optarg[0] == 'j';
		a->progress |= c == 'p';
	}
	if (r == 0 && !a->state)
		r = usage("this needs --state FOLDER", NULL);
	if (r == 0 && optind + 2 < argc)
		r = usage("one too many", argv[optind + 2]);
	a->operand = r == 0 && optind + 1 < argc ? argv[optind + 1] : "";
	return r;
}

/* ---- the commands ---- */

static void print_line(json_t *value)
{
	CLEANUP_FREE char *text = json_text(value);

	puts(text ? text : "null");
}

static int files(struct ask *a, struct scan_state *state, struct err *err)
{
	if (!a->operand[0])
		return usage("files takes a snapshot", NULL);
	return scan_hunt_files(state, a->operand, err);
}

static int run_set(struct ask *a, struct scan_state *state, const char *store,
		   const char *signatures, bool hunt, struct scan_rescan_result *result,
		   struct err *err)
{
	CLEANUP_FREE char *plugin = io_printf("%s/../lib/godwit-nbd-store.so", a->libexec);
	const struct scan_rescan order = { .state = state,
					   .store = store,
					   .key = a->key,
					   .libexec = a->libexec,
					   .plugin = plugin,
					   .signatures = signatures,
					   .hunt = hunt,
					   .workers = a->workers,
					   .cancel = &cancelled,
					   .arg = &a->report,
					   .file = a->progress ? scan_report_progress : NULL,
					   .reason = scan_report_reason };

	return plugin ? scan_rescan_run(&order, result, err) : err_set(err, ENOMEM, "rescan");
}

static json_t *sums(const struct ask *a, const struct scan_rescan_result *result)
{
	return json_pack("{sI sI sI sI sO ss ss}", "contents", (json_int_t)result->contents,
			 "scanned_contents", (json_int_t)result->scanned, "unread_contents",
			 (json_int_t)result->unread, "snapshots_read",
			 (json_int_t)result->snapshots_read, "reasons", a->report.reasons, "engine",
			 result->engine, "signature_version", result->signature_version);
}

static int rescan(struct ask *a, struct scan_state *state, struct err *err)
{
	CLEANUP(json_decref) json_t *verdicts = json_array();
	CLEANUP(json_decref) json_t *all = NULL;
	struct scan_rescan_result result;
	int r;

	if (!a->operand[0] || !a->signatures)
		return usage("rescan takes a store and --signatures FOLDER", NULL);
	r = run_set(a, state, a->operand, a->signatures, false, &result, err);
	if (r == 0)
		r = scan_hunt_verdicts(state, result.set, verdicts, err);
	if (r < 0)
		return r;
	all = sums(a, &result);
	if (!all || json_object_set(all, "snapshots", verdicts) < 0)
		return err_set(err, ENOMEM, "print the verdicts");
	print_line(all);
	return result.unread ? EXIT_INCOMPLETE : EXIT_OK;
}

/* Somebody's rules in a folder of their own, as the engine wants them. */
static int rules_folder(const char *rules, char *folder, struct err *err)
{
	CLEANUP_FREE uint8_t *text = NULL;
	CLEANUP_FREE char *path = NULL;
	CLEANUP_FD int fd = -1;
	size_t len;
	int r = io_read_file(rules, RULES_MAX, &text, &len, err);

	if (r < 0)
		return r;
	if (!mkdtemp(folder)) {
		folder[0] = '\0';
		return err_set(err, errno, "make a folder for the rules");
	}
	path = io_printf("%s/hunt.yar", folder);
	fd = path ? open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600) : -1;
	r = fd < 0 ? -errno : io_write_full(fd, text, len);
	return r < 0 ? err_set(err, -r, "copy the rules in %s", rules) : 0;
}

static void remove_rules(const char *folder)
{
	CLEANUP_FREE char *path = io_printf("%s/hunt.yar", folder);

	if (!folder[0])
		return;
	if (path)
		unlink(path);
	rmdir(folder);
}

static int hunt_rules(struct ask *a, struct scan_state *state, json_t *all,
		      struct scan_hunt_hits *hits, struct err *err)
{
	char folder[] = "/tmp/godwit-hunt.XXXXXX";
	struct scan_rescan_result result;
	CLEANUP(json_decref) json_t *counts = NULL;
	int r;

	if (!a->store)
		return usage(
			"--yara needs --store STORE, to read contents that no rule was tried on",
			NULL);
	r = rules_folder(a->yara, folder, err);
	if (r == 0)
		r = run_set(a, state, a->store, folder, true, &result, err);
	remove_rules(folder);
	if (r == 0)
		r = scan_hunt_set(state, result.set, hits, err);
	if (r < 0)
		return r;
	counts = sums(a, &result);
	json_object_update(all, counts);
	return result.unread ? EXIT_INCOMPLETE : EXIT_OK;
}

static void print_hits(const json_t *hits, uint64_t more)
{
	const json_t *hit;
	size_t i;

	json_array_foreach (hits, i, hit) {
		const char *stream = json_string_value(json_object_get(hit, "stream"));

		printf("%s %s..%s %s %s %s%s%s %s\n",
		       json_string_value(json_object_get(hit, "desktop")),
		       json_string_value(json_object_get(json_object_get(hit, "first"), "id")),
		       json_string_value(json_object_get(json_object_get(hit, "last"), "id")),
		       json_string_value(json_object_get(hit, "volume")),
		       json_string_value(json_object_get(hit, "partition")),
		       json_string_value(json_object_get(hit, "path")), *stream ? ":" : "", stream,
		       json_string_value(json_object_get(hit, "sha256")));
	}
	if (more)
		printf("and %llu more\n", (unsigned long long)more);
}

static int hunt(struct ask *a, struct scan_state *state, struct err *err)
{
	CLEANUP(json_decref) json_t *items = json_array();
	CLEANUP(json_decref) json_t *all = json_object();
	struct scan_hunt_hits hits = { .items = items };
	int r = a->list ? add_list(a, err) : 0, end = EXIT_OK;

	if (r == 0 && !a->hash_count == !a->yara)
		return usage("hunt takes --sha256 HASH, --list FILE or --yara FILE", NULL);
	for (size_t i = 0; r == 0 && i < a->hash_count; i++)
		r = scan_hunt_hash(state, a->hashes[i], &hits, err);
	if (r == 0 && a->yara)
		r = end = hunt_rules(a, state, all, &hits, err);
	if (r < 0)
		return r;
	if (a->json) {
		json_object_set(all, "hits", items);
		json_object_set_new(all, "more_hits", json_integer((json_int_t)hits.more));
		print_line(all);
	} else {
		print_hits(items, hits.more);
	}
	return json_array_size(items) ? EXIT_FOUND : end;
}

static const struct command {
	const char *name;
	/* Return the exit status or -errno; -EINVAL without a text: it was said. */
	int (*run)(struct ask *ask, struct scan_state *state, struct err *err);
} commands[] = {
	{ "files", files },
	{ "rescan", rescan },
	{ "hunt", hunt },
};

bool scan_ask_wanted(int argc, char **argv)
{
	for (size_t i = 0; argc > 1 && i < ARRAY_LEN(commands); i++) {
		if (!strcmp(argv[1], commands[i].name))
			return true;
	}
	return false;
}

static int run(struct ask *a, const char *name, struct err *err)
{
	CLEANUP(scan_state_close) struct scan_state *state = NULL;
	ssize_t n = readlink("/proc/self/exe", a->libexec, sizeof(a->libexec) - 1);
	int r;

	if (n < 0)
		return err_set(err, errno, "find where godwit-scan is installed");
	a->libexec[n] = '\0';
	*strrchr(a->libexec, '/') = '\0';
	r = scan_state_open(&state, a->state, NULL, err);
	for (size_t i = 0; r == 0 && i < ARRAY_LEN(commands); i++) {
		if (!strcmp(name, commands[i].name))
			return commands[i].run(a, state, err);
	}
	return r;
}

int scan_ask_main(int argc, char **argv)
{
	struct ask a = { .operand = "" };
	const char *name = argv[1]; /* getopt_long moves it */
	struct err err = { 0 };
	int r;

	signal(SIGINT, on_signal);
	signal(SIGHUP, on_signal); /* also when who stopped us (make_way.h) is gone */
	signal(SIGTERM, on_signal);
	signal(SIGPIPE, SIG_IGN);
	r = scan_report_init(&a.report, true, &err);
	if (r == 0)
		r = parse(&a, argc, argv, &err);
	if (r == 0)
		r = run(&a, name, &err);
	if (r < 0 && err.text[0])
		fprintf(stderr, "godwit-scan: %s\n", err_text(&err));
	scan_report_deinit(&a.report);
	free(a.hashes);
	return r < 0 ? EXIT_COULD_NOT_RUN : r;
}
