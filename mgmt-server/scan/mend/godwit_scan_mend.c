/* godwit_scan_mend.c - the program godwit-scan-mend. See --help. */
#include <errno.h>
#include <getopt.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "common/base.h"
#include "common/hex.h"
#include "common/json.h"
#include "mgmt-server/scan/mend/mend_run.h"

enum { EXIT_MENDED = 0, EXIT_REFUSED = 1, EXIT_COULD_NOT_RUN = 3 };

static const char help[] =
	"godwit-scan-mend - exchange one infected file of a snapshot for its version in an older "
	"one\n"
	"\n"
	"  godwit-scan-mend STORE SNAPSHOT --file VOLUME:PARTITION:PATH --from SNAPSHOT\n"
	"                   --signatures FOLDER --output FOLDER [--key FILE]\n"
	"\n"
	"Neither snapshot is changed. The new FOLDER gets VOLUME.img, sparse, with the blocks that "
	"differ, and\n"
	"VOLUME.extents, which says where they are; both are what godwit-store put --parent "
	"--changed takes.\n"
	"PATH is as godwit-scan prints it; in NTFS PATH:STREAM names an alternate stream. Only "
	"NTFS and ext2/3/4,\n"
	"only when the file system is clean: not hibernated, not dirty, no journal to replay, not "
	"encrypted.\n"
	"\n"
	"Exit status: 0 mended, a JSON object says what was exchanged; 1 refused, stderr says why; "
	"3 could not run.\n";

static int usage(const char *what)
{
	fprintf(stderr, "godwit-scan-mend: %s (try --help)\n", what);
	return -EINVAL;
}

/* Return 0, 1 when help was asked for, or -EINVAL. */
static int parse(int argc, char **argv, struct mend_order *o)
{
	static const struct option options[] = {
		{ "file", required_argument, NULL, 'f' },
		{ "from", required_argument, NULL, 'r' },
		{ "signatures", required_argument, NULL, 's' },
		{ "output", required_argument, NULL, 'o' },
		{ "key", required_argument, NULL, 'k' },
		{ "help", no_argument, NULL, 'h' },
		{ 0 },
	};
	const struct {
		int option;
		const char **text;
	} texts[] = { { 'f', &o->file },
		      { 'r', &o->from },
		      { 's', &o->signatures },
		      { 'o', &o->output },
		      { 'k', &o->key } };
	int c;

	while ((c = getopt_long(argc, argv, "", options, NULL)) != -1) {
		if (c == 'h')
			return 1;
		if (c == '?')
			return -EINVAL;
		for (size_t i = 0; i < ARRAY_LEN(texts); i++) {
			if (texts[i].option == c)
				*texts[i].text = optarg;
		}
	}
	if (argc - optind != 2)
		return usage("expected a store and a snapshot");
	if (!o->file || !o->from || !o->signatures || !o->output)
		return usage("this needs --file, --from, --signatures and --output");
	o->store = argv[optind];
	o->snapshot = argv[optind + 1];
	return 0;
}

static int print(const struct mend_order *o, const struct mend_result *r)
{
	char infected[65], clean[65];
	CLEANUP(json_decref) json_t *value = NULL;

	hex_encode(r->infected, sizeof(r->infected), infected);
	hex_encode(r->clean, sizeof(r->clean), clean);
	value = json_pack("{ss ss ss ss ss ss sI ss sI sI}", "snapshot", o->snapshot, "from",
			  o->from, "file", o->file, "volume", r->volume, "signature", r->signature,
			  "infected_sha256", infected, "infected_size",
			  (json_int_t)r->infected_size, "clean_sha256", clean, "clean_size",
			  (json_int_t)r->clean_size, "changed_bytes", (json_int_t)r->changed_bytes);
	if (!value || json_dumpf(value, stdout, JSON_COMPACT) < 0)
		return -ENOMEM;
	return putchar('\n') == EOF || fflush(stdout) ? -EIO : 0;
}

static int own_folder(char *folder, struct err *err)
{
	ssize_t n = readlink("/proc/self/exe", folder, PATH_MAX - 1);

	if (n < 0)
		return err_set(err, errno, "find where godwit-scan-mend is installed");
	folder[n] = 0;
	*strrchr(folder, '/') = 0;
	return 0;
}

int main(int argc, char **argv)
{
	char folder[PATH_MAX];
	struct mend_order order = { .libexec = folder };
	struct mend_result result;
	struct err err = { 0 };
	int r = parse(argc, argv, &order);

	if (r == 1)
		fputs(help, stdout);
	if (r)
		return r == 1 ? 0 : EXIT_COULD_NOT_RUN;
	signal(SIGPIPE, SIG_IGN);
	r = own_folder(folder, &err);
	if (r == 0)
		r = mend_run(&order, &result, &err);
	if (r == 0)
		r = print(&order, &result);
	if (r < 0)
		fprintf(stderr, "godwit-scan-mend: %s\n", err_text(&err));
	return r == 0 ? EXIT_MENDED : r == -EPERM ? EXIT_REFUSED : EXIT_COULD_NOT_RUN;
}
