/* godwit_scan.c - the program godwit-scan: scan or list an image or a snapshot, without any server. See --help. */
#include <errno.h>
#include <getopt.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/base.h"
#include "common/io.h"
#include "common/json.h"
#include "mgmt-server/scan/scan_ask.h"
#include "mgmt-server/scan/scan_image.h"
#include "mgmt-server/scan/scan_memo.h"
#include "mgmt-server/scan/scan_report.h"
#include "mgmt-server/scan/scan_run.h"
#include "mgmt-server/scan/scan_signatures.h"
#include "mgmt-server/scan/scan_snapshot.h"
#include "mgmt-server/scan/watch.h"

enum { EXIT_CLEAN = 0, EXIT_INFECTED = 1, EXIT_INCOMPLETE = 2, EXIT_COULD_NOT_RUN = 3 };

static const char help[] =
	"godwit-scan - look for viruses in a disk image or a snapshot without starting or mounting "
	"it\n"
	"\n"
	"  godwit-scan image FILE --signatures FOLDER [--output json] [--deleted] [--workers N]\n"
	"      Scan every file of a raw or qcow2 image. FOLDER holds signatures as freshclam keeps "
	"them.\n"
	"  godwit-scan snapshot STORE SNAPSHOT --signatures FOLDER [--key FILE] [--progress] "
	"[...]\n"
	"      Scan the disks and the memory of a snapshot in a store. The key is STORE.key unless "
	"--key says otherwise.\n"
	"  godwit-scan changes STORE SNAPSHOT [--base SNAPSHOT] [--key FILE]\n"
	"      What changed since its parent (or --base), as far as it smells of encryption: one "
	"JSON "
	"object.\n"
	"  godwit-scan list FILE [--output jsonl] [--deleted]\n"
	"      Every file: SHA-256, size, partition, path, stream. Nothing is scanned.\n"
	"\n"
	"  godwit-scan rescan STORE --state FOLDER --signatures FOLDER [--key FILE] [--progress]\n"
	"      Other signatures: scan each different content of all snapshots in the state once, "
	"and "
	"print every snapshot's verdict.\n"
	"  godwit-scan hunt --state FOLDER --sha256 HASH ... | --list FILE | --yara FILE --store "
	"STORE "
	"[--key FILE]\n"
	"      Which desktops held these contents, when and where? Hashes are looked up; rules are "
	"tried "
	"on each different content once.\n"
	"  godwit-scan files SNAPSHOT --state FOLDER\n"
	"      Every file of a snapshot that was scanned with this state, as list prints them.\n"
	"  godwit-scan signatures FOLDER [--quick]\n"
	"      Try a folder of signatures: the engine loads them in its sandbox and must find its "
	"canaries.\n"
	"      One JSON object; --quick: only what the files say of themselves.\n"
	"  godwit-scan unpack BUNDLE FOLDER\n"
	"      The signature files of a tar archive (gzip or not) into a folder.\n"
	"\n"
	"  --output json    one JSON object (image) or one for each line (list: jsonl)\n"
	"  --memory         FILE is a machine's physical memory from address 0 on, not a disk\n"
	"  --deleted        also files that were deleted but can still be read (ext)\n"
	"  --progress       with --output json: each second a line with the files and bytes so "
	"far\n"
	"  --state FOLDER   what earlier scans found out: contents with a verdict are not scanned "
	"again, and of a snapshot only\n"
	"                   the files that changed are read; may be deleted at any time\n"
	"  --workers N      scanning processes (default: one per processor)\n"
	"  --content-memory MIB  files' contents in memory at once (default: half of this "
	"machine's); a file with more "
	"makes\n"
	"                   the scan incomplete\n"
	"\n"
	"Exit status of image and snapshot: 0 clean, 1 infected, 2 incomplete (not every byte "
	"could be looked at; the reasons say why),\n"
	"3 could not run. Of list and changes: 0 everything was listed, 2 incomplete, 3 could not "
	"run.\n";

struct options {
	const struct command *command;
	const char *what, *snapshot; /* the image or the store; a snapshot in the latter */
	const char *signatures, *key, *state, *base;
	bool json, deleted, progress, memory;
	unsigned workers;
	uint64_t content_memory;
};

struct command {
	const char *name;
	int operands;
	bool listing; /* nothing is scanned */
	int (*run)(const struct options *options, struct scan_order *order,
		   struct scan_result *result, struct err *err);
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

static int parse_workers(const char *text, unsigned *workers)
{
	char *end;
	unsigned long n = strtoul(text, &end, 10);

	if (*end || !n || n > 64)
		return usage("--workers takes a number from 1 to 64", text);
	*workers = (unsigned)n;
	return 0;
}

static int parse_content_memory(const char *text, uint64_t *bytes)
{
	char *end;
	unsigned long long mib = strtoull(text, &end, 10);

	if (*end || !mib || mib > 1 << 20)
		return usage("--content-memory takes a number of MiB", text);
	*bytes = mib << 20;
	return 0;
}

static int parse_option(int c, struct options *o)
{
	switch (c) {
	case 's':
		o->signatures = optarg;
		return 0;
	case 'b':
		o->base = optarg;
		return 0;
	case 'k':
		o->key = optarg;
		return 0;
	case 'o':
		if (strcmp(optarg, "json") && strcmp(optarg, "jsonl") && strcmp(optarg, "table"))
			return usage("--output is json, jsonl or table", optarg);
		o->json = optarg[0] == 'j';
		return 0;
	case 'd':
		o->deleted = true;
		return 0;
	case 'm':
		o->memory = true;
		return 0;
	case 'S':
		o->state = optarg;
		return 0;
	case 'p':
		o->progress = true;
		return 0;
	case 'w':
		return parse_workers(optarg, &o->workers);
	case 'c':
		return parse_content_memory(optarg, &o->content_memory);
	case 'h':
		return 1;
	default:
		return -EINVAL;
	}
}

static const struct command *command_named(const char *name);

/* Return 0, 1 when help was asked for, or -EINVAL. */
static int parse(int argc, char **argv, struct options *o)
{
	static const struct option long_options[] = {
		{ "signatures", required_argument, NULL, 's' },
		{ "output", required_argument, NULL, 'o' },
		{ "deleted", no_argument, NULL, 'd' },
		{ "workers", required_argument, NULL, 'w' },
		{ "content-memory", required_argument, NULL, 'c' },
		{ "base", required_argument, NULL, 'b' },
		{ "key", required_argument, NULL, 'k' },
		{ "memory", no_argument, NULL, 'm' },
		{ "progress", no_argument, NULL, 'p' },
		{ "state", required_argument, NULL, 'S' },
		{ "help", no_argument, NULL, 'h' },
		{ 0 },
	};
	int c, r;

	while ((c = getopt_long(argc, argv, "", long_options, NULL)) != -1) {
		r = parse_option(c, o);
		if (r)
			return r;
	}
	if (optind == argc)
		return usage("expected a command", NULL);
	o->command = command_named(argv[optind]);
	if (!o->command)
		return usage("no such command", argv[optind]);
	if (argc - optind - 1 != o->command->operands)
		return usage(o->command->operands == 1 ? "expected one image"
						       : "expected a store and a snapshot",
			     NULL);
	if (!o->command->listing && !o->signatures)
		return usage("this needs --signatures FOLDER", NULL);
	o->what = argv[optind + 1];
	o->snapshot = o->command->operands == 2 ? argv[optind + 2] : NULL;
	return 0;
}

static int own_folder(char *folder, struct err *err)
{
	ssize_t n = readlink("/proc/self/exe", folder, PATH_MAX - 1);

	if (n < 0)
		return err_set(err, errno, "find where godwit-scan is installed");
	folder[n] = 0;
	*strrchr(folder, '/') = 0;
	return 0;
}

/* The state, when one was asked for and there are signatures: without them the scan says so by itself. */
static int open_memo(const struct options *o, struct scan_order *order, struct scan_state **state,
		     struct scan_memo_file *memo, struct err *err)
{
	struct err none = { 0 };
	bool anew;
	int r;

	if (!o->state || !order->signatures)
		return 0;
	r = scan_state_open(state, o->state, &anew, err);
	if (r < 0)
		return r;
	if (anew)
		fprintf(stderr, "godwit-scan: the scan state in %s was damaged and is begun anew\n",
			o->state);
	r = scan_memo_open(memo, *state, order->signatures, order->libexec, false, &none);
	if (r == -EBADMSG)
		scan_state_forget(*state);
	if (r == 0)
		order->memo = &memo->memo;
	return 0;
}

static int run_image(const struct options *o, struct scan_order *order, struct scan_result *result,
		     struct err *err)
{
	CLEANUP(scan_image_close) struct scan_image *image = NULL;
	CLEANUP(scan_state_close) struct scan_state *state = NULL;
	struct scan_volume volume = { .name = "disk0", .nbd_socket = scan_image_nbd_socket };
	struct scan_memo_file memo;
	int r = scan_image_open(&image, o->what, err);

	if (r == 0)
		r = open_memo(o, order, &state, &memo, err);
	if (r < 0)
		return r;
	volume.input = scan_image_input(image);
	if (o->memory) {
		volume.name = "memory";
		volume.memory = true;
	}
	order->volumes = &volume;
	order->volume_count = 1;
	return scan_run(order, result, err);
}

static int run_snapshot(const struct options *o, struct scan_order *order,
			struct scan_result *result, struct err *err)
{
	CLEANUP(scan_state_close) struct scan_state *state = NULL;
	CLEANUP(scan_snapshot_close) struct scan_snapshot *snapshot = NULL;
	struct scan_memo_file memo = { 0 };
	CLEANUP_FREE char *plugin = io_printf("%s/../lib/godwit-nbd-store.so", order->libexec);
	const struct scan_snapshot_order which = {
		.store = o->what, .key = o->key, .id = o->snapshot, .plugin = plugin
	};
	int r;

	if (!plugin)
		return err_set(err, ENOMEM, "open snapshot %s", o->snapshot);
	r = scan_snapshot_open(&snapshot, &which, err);
	if (r == 0)
		r = open_memo(o, order, &state, &memo, err);
	/* Deleted files are nothing to build upon. */
	if (r == 0 && order->memo && !o->deleted)
		r = scan_memo_snapshot(&memo, snapshot, err);
	if (r < 0)
		return r;
	order->volumes = scan_snapshot_volumes(snapshot, &order->volume_count);
	r = scan_run(order, result, err);
	scan_memo_close(&memo);
	return r;
}

/* Prints its report itself: there is no verdict. */
static int run_changes(const struct options *o, struct scan_order *order,
		       struct scan_result *result, struct err *err)
{
	const struct watch_order watch = { .store = o->what,
					   .key = o->key,
					   .id = o->snapshot,
					   .base = o->base,
					   .libexec = order->libexec,
					   .cancel = order->cancel };
	CLEANUP(json_decref) json_t *report = NULL;
	CLEANUP_FREE char *text = NULL;
	int r = watch_run(&watch, &report, err);

	if (r < 0)
		return r;
	text = json_text(report);
	puts(text ? text : "null");
	*result = (struct scan_result){ .verdict = SCAN_CLEAN };
	return 0;
}

static const struct command commands[] = {
	{ "image", 1, false, run_image },
	{ "list", 1, true, run_image },
	{ "snapshot", 2, false, run_snapshot },
	{ "changes", 2, true, run_changes },
};

static const struct command *command_named(const char *name)
{
	for (size_t i = 0; i < ARRAY_LEN(commands); i++) {
		if (!strcmp(name, commands[i].name))
			return &commands[i];
	}
	return NULL;
}

static int run(const struct options *o, struct scan_report *report, struct scan_result *result,
	       struct err *err)
{
	char folder[PATH_MAX];
	struct scan_order order = {
		.signatures = o->command->listing ? NULL : o->signatures,
		.deleted = o->deleted,
		.workers = o->workers,
		.content_memory = o->content_memory,
		.libexec = folder,
		.arg = report,
		.file = o->command->listing ? scan_report_file
			: o->progress       ? scan_report_progress
					    : NULL,
		.finding = scan_report_finding,
		.reason = scan_report_reason,
		.cancel = &cancelled,
	};
	int r = own_folder(folder, err);

	return r < 0 ? r : o->command->run(o, &order, result, err);
}

static void print_reasons(const struct scan_report *report)
{
	json_t *reason;
	size_t i;

	json_array_foreach (report->reasons, i, reason)
		fprintf(stderr, "godwit-scan: incomplete: %s\n", json_string_value(reason));
}

int main(int argc, char **argv)
{
	static const int exits[] = { EXIT_CLEAN, EXIT_INFECTED, EXIT_INCOMPLETE };
	struct options options = { 0 };
	struct scan_result result;
	struct scan_report report;
	struct err err = { 0 };
	int r;

	if (scan_ask_wanted(argc, argv))
		return scan_ask_main(argc, argv);
	if (scan_signatures_wanted(argc, argv))
		return scan_signatures_main(argc, argv);
	r = parse(argc, argv, &options);
	if (r == 1)
		fputs(help, stdout);
	if (r)
		return r == 1 ? 0 : EXIT_COULD_NOT_RUN;
	signal(SIGINT, on_signal);
	signal(SIGHUP, on_signal); /* also when who stopped us (make_way.h) is gone */
	signal(SIGTERM, on_signal);
	signal(SIGPIPE, SIG_IGN);

	r = scan_report_init(&report, options.json, &err);
	if (r == 0)
		r = run(&options, &report, &result, &err);
	if (r < 0)
		fprintf(stderr, "godwit-scan: %s\n", err_text(&err));
	else if (options.command->listing)
		print_reasons(&report);
	else
		scan_report_print(&report, &result);
	if (r == 0 && result.unwritten[0])
		fprintf(stderr, "godwit-scan: this scan is not remembered: %s\n", result.unwritten);
	scan_report_deinit(&report);
	return r < 0 ? EXIT_COULD_NOT_RUN : exits[result.verdict];
}
