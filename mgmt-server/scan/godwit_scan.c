/* godwit_scan.c - the program godwit-scan: scan or list an image, without any server. See --help. */
#include <errno.h>
#include <getopt.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/base.h"
#include "mgmt-server/scan/scan_image.h"
#include "mgmt-server/scan/scan_report.h"
#include "mgmt-server/scan/scan_run.h"

enum { EXIT_CLEAN = 0, EXIT_INFECTED = 1, EXIT_INCOMPLETE = 2, EXIT_COULD_NOT_RUN = 3 };

static const char help[] =
	"godwit-scan - look for viruses in a disk image without starting or mounting it\n"
	"\n"
	"  godwit-scan image FILE --signatures FOLDER [--output json] [--deleted] [--workers N]\n"
	"      Scan every file of a raw or qcow2 image. FOLDER holds signatures as freshclam keeps them.\n"
	"  godwit-scan list FILE [--output jsonl] [--deleted]\n"
	"      Every file: SHA-256, size, partition, path, stream. Nothing is scanned.\n"
	"\n"
	"  --output json    one JSON object (image) or one for each line (list: jsonl)\n"
	"  --deleted        also files that were deleted but can still be read (ext)\n"
	"  --workers N      scanning processes (default: one per processor)\n"
	"\n"
	"Exit status of image: 0 clean, 1 infected, 2 incomplete (not every byte could be looked at; the reasons say why),\n"
	"3 could not run. Of list: 0 everything was listed, 2 incomplete, 3 could not run.\n";

struct options {
	const char *command, *image, *signatures;
	bool json, deleted;
	unsigned workers;
};

static atomic_bool cancelled;

static void on_signal(int number)
{
	(void)number;
	atomic_store(&cancelled, true);
}

static int usage(const char *what, const char *which)
{
	fprintf(stderr, "godwit-scan: %s%s%s (try --help)\n", what, which ? ": " : "", which ? which : "");
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

/* Return 0, 1 when help was asked for, or -EINVAL. */
static int parse(int argc, char **argv, struct options *o)
{
	static const struct option long_options[] = {
		{ "signatures", required_argument, NULL, 's' }, { "output", required_argument, NULL, 'o' },
		{ "deleted", no_argument, NULL, 'd' },		{ "workers", required_argument, NULL, 'w' },
		{ "help", no_argument, NULL, 'h' },		{ 0 },
	};
	int c;

	while ((c = getopt_long(argc, argv, "", long_options, NULL)) != -1) {
		switch (c) {
		case 's':
			o->signatures = optarg;
			break;
		case 'o':
			if (strcmp(optarg, "json") && strcmp(optarg, "jsonl") && strcmp(optarg, "table"))
				return usage("--output is json, jsonl or table", optarg);
			o->json = optarg[0] == 'j';
			break;
		case 'd':
			o->deleted = true;
			break;
		case 'w':
			if (parse_workers(optarg, &o->workers) < 0)
				return -EINVAL;
			break;
		case 'h':
			return 1;
		default:
			return -EINVAL;
		}
	}
	if (argc - optind != 2)
		return usage("expected a command and one image", NULL);
	o->command = argv[optind];
	o->image = argv[optind + 1];
	if (strcmp(o->command, "image") && strcmp(o->command, "list"))
		return usage("no such command", o->command);
	if (!strcmp(o->command, "image") && !o->signatures)
		return usage("image needs --signatures FOLDER", NULL);
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

static int run(const struct options *o, bool listing, struct scan_report *report, struct scan_result *result,
	       struct err *err)
{
	CLEANUP(scan_image_close) struct scan_image *image = NULL;
	char folder[PATH_MAX];
	struct scan_volume volume = { .name = "disk0" };
	struct scan_order order = {
		.volumes = &volume,
		.volume_count = 1,
		.signatures = listing ? NULL : o->signatures,
		.deleted = o->deleted,
		.workers = o->workers,
		.libexec = folder,
		.arg = report,
		.file = listing ? scan_report_file : NULL,
		.finding = scan_report_finding,
		.reason = scan_report_reason,
		.cancel = &cancelled,
	};
	int r;

	r = own_folder(folder, err);
	if (r == 0)
		r = scan_image_open(&image, o->image, err);
	if (r < 0)
		return r;
	volume.input = scan_image_input(image);
	volume.nbd_socket = scan_image_nbd_socket;
	return scan_run(&order, result, err);
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
	bool listing;
	int r = parse(argc, argv, &options);

	if (r == 1)
		fputs(help, stdout);
	if (r)
		return r == 1 ? 0 : EXIT_COULD_NOT_RUN;
	signal(SIGINT, on_signal);
	signal(SIGTERM, on_signal);
	signal(SIGPIPE, SIG_IGN);

	listing = !strcmp(options.command, "list");
	r = scan_report_init(&report, options.json, &err);
	if (r == 0)
		r = run(&options, listing, &report, &result, &err);
	if (r < 0)
		fprintf(stderr, "godwit-scan: %s\n", err_text(&err));
	else if (listing)
		print_reasons(&report);
	else
		scan_report_print(&report, &result);
	scan_report_deinit(&report);
	return r < 0 ? EXIT_COULD_NOT_RUN : exits[result.verdict];
}
