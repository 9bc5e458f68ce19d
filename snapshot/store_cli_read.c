#include "snapshot/store_cli_read.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/io.h"
#include "snapshot/store_cli.h"
#include "snapshot/store_mirror.h"

enum { OPT_THREADS = STORE_CLI_OPT_OWN, OPT_QUICK, OPT_BUDGET, OPT_RATE, OPT_REPAIR };

int store_cli_read_init(int argc, char **argv)
{
	CLEANUP_FREE char *key = NULL;
	struct err err = { 0 };
	struct store_cli cli;

	if (!store_cli_parse(&cli, argc, argv, NULL, NULL, NULL) || !store_cli_operands(&cli, 0, 0))
		return STORE_CLI_USAGE;
	if (store_init(cli.store_path, cli.key_path, &err) < 0)
		return store_cli_fail(&cli, &err);
	key = cli.key_path ? strdup(cli.key_path) : io_printf("%s.key", cli.store_path);
	if (cli.json)
		return store_cli_print(json_pack("{ss ss*}", "store", cli.store_path, "key", key));
	printf("store %s is ready; without its key file %s nobody can read it, so keep a copy of "
	       "that elsewhere\n",
	       cli.store_path, key ? key : "");
	return STORE_CLI_DONE;
}

/* ---- list -------------------------------------------------------------------------------------------------- */

static void print_row(const json_t *m)
{
	const json_t *volumes = json_object_get(m, "volumes");
	uint64_t bytes = 0;
	char text[32];

	for (size_t i = 0; i < json_array_size(volumes); i++)
		bytes += (uint64_t)json_integer_value(
			json_object_get(json_array_get(volumes, i), "size"));
	store_cli_bytes(bytes, text);
	printf("%-24s  %-20s  %-20s  %7zu  %10s\n",
	       json_string_value(json_object_get(m, "snapshot")),
	       json_string_value(json_object_get(m, "created")),
	       json_string_value(json_object_get(m, "desktop")), json_array_size(volumes), text);
}

struct list {
	bool json, any;
};

/* Each as it comes: there can be a hundred thousand. */
static int list_one(void *arg, const struct manifest *m, struct err *err)
{
	CLEANUP(json_decref) json_t *value = manifest_to_json(m);
	struct list *list = arg;

	if (!value)
		return err_set(err, ENOMEM, "list snapshots");
	if (!list->json) {
		print_row(value);
		return 0;
	}
	fputs(list->any ? ",\n" : "\n", stdout);
	list->any = true;
	return json_dumpf(value, stdout, JSON_INDENT(2)) == 0
		       ? 0
		       : err_set(err, errno ? errno : EIO, "print the list");
}

int store_cli_read_list(int argc, char **argv)
{
	CLEANUP(store_close) struct store *store = NULL;
	struct err err = { 0 };
	struct list list = { 0 };
	struct store_cli cli;
	size_t unread;

	if (!store_cli_parse(&cli, argc, argv, NULL, NULL, NULL) || !store_cli_operands(&cli, 0, 0))
		return STORE_CLI_USAGE;
	if (store_cli_open(&cli, STORE_READ, &store))
		return STORE_CLI_FAILED;
	list.json = cli.json;
	if (cli.json)
		putchar('[');
	else
		printf("%-24s  %-20s  %-20s  %7s  %10s\n", "SNAPSHOT", "CREATED", "DESKTOP",
		       "VOLUMES", "SIZE");
	if (store_list(store, list_one, &list, &err) < 0)
		return store_cli_fail(&cli, &err);
	if (cli.json)
		puts(list.any ? "\n]" : "]");
	/* On a disk that is not mounted, say: an empty list must not look as if there was nothing. */
	unread = store_packs_unread(store);
	if (unread)
		fprintf(stderr,
			"godwit-store list: %zu packs are damaged or missing, and with them maybe "
			"snapshots: godwit-store verify says which\n",
			unread);
	if (fflush(stdout) != 0) {
		err_set(&err, errno, "print the list");
		return store_cli_fail(&cli, &err);
	}
	return STORE_CLI_DONE;
}

/* ---- get --------------------------------------------------------------------------------------------------- */

struct get {
	struct store_cli cli;
	uint64_t threads, rate;
};

static bool get_take(void *arg, int option, const char *value)
{
	struct get *get = arg;

	return option == OPT_THREADS ? store_cli_number("--threads", value, 1024, &get->threads)
				     : store_cli_size("--rate", value, &get->rate);
}

/* Half a disk must not be taken for a whole one, by whoever comes after a kill -9: it has another name until it is whole. A target
 * that is no file (a device) is written as it is.
 */
static char *name_until_whole(const char *path)
{
	struct stat st;

	return stat(path, &st) == 0 && !S_ISREG(st.st_mode) ? strdup(path)
							    : io_printf("%s.part", path);
}

static int get_file(const struct get *get, struct store *store, const struct manifest *m,
		    const struct volume *v, struct err *err)
{
	struct volume_progress progress = { .bytes_per_second = get->rate };
	const char *path = get->cli.argv[2];
	CLEANUP_FREE char *part = name_until_whole(path);
	struct chunk_source source;
	CLEANUP_FD int fd = -1;
	int r;

	if (!part)
		return err_set(err, ENOMEM, "restore into %s", path);
	r = store_domain_source(store, m->domain, &source, err);
	if (r < 0)
		return r;
	fd = open(part, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	if (fd < 0)
		return err_set(err, errno, "open %s", part);
	store_cli_progress_begin("get", &progress);
	r = volume_get_file(v, source, fd, (unsigned)get->threads, &progress, err);
	store_cli_progress_end();
	if (r == 0 && strcmp(part, path) != 0) {
		if (rename(part, path) < 0)
			r = err_set(err, errno, "rename %s", part);
		else
			r = io_sync_parent(path, err);
	}
	if (r < 0 && strcmp(part, path) != 0)
		unlink(part);
	return r < 0 ? err_wrap(err, r, "restore into %s", path) : 0;
}

int store_cli_read_get(int argc, char **argv)
{
	static const struct option options[] = { { "threads", required_argument, NULL,
						   OPT_THREADS },
						 { "rate", required_argument, NULL, OPT_RATE },
						 { 0 } };
	CLEANUP(store_close) struct store *store = NULL;
	uint64_t began = clock_now_ms();
	struct err err = { 0 };
	const struct volume *v;
	struct get get = { 0 };
	struct manifest m;
	uint64_t size;
	int r = -ENOENT;

	if (!store_cli_parse(&get.cli, argc, argv, options, get_take, &get) ||
	    !store_cli_operands(&get.cli, 3, 3))
		return STORE_CLI_USAGE;
	if (store_cli_open(&get.cli, STORE_READ, &store) ||
	    !store_cli_snapshot(store, get.cli.argv[0], &m))
		return STORE_CLI_FAILED;
	v = store_cli_volume(&get.cli, &m, get.cli.argv[1]);
	size = v ? v->size : 0;
	if (v)
		r = get_file(&get, store, &m, v, &err);
	manifest_deinit(&m);
	if (!v)
		return STORE_CLI_FAILED;
	if (r < 0)
		return store_cli_fail(&get.cli, &err);
	if (get.cli.json)
		return store_cli_print(json_pack("{sI sf}", "bytes", (json_int_t)size, "seconds",
						 (double)(clock_now_ms() - began) / 1000));
	return STORE_CLI_DONE;
}

/* ---- verify ------------------------------------------------------------------------------------------------ */

struct verify {
	struct store_cli cli;
	struct store_verify order;
	const char *mirror; /* repair from it first */
	json_t *damages, *repairs;
};

static bool verify_take(void *arg, int option, const char *value)
{
	struct verify *v = arg;

	switch (option) {
	case OPT_QUICK:
		v->order.quick = true;
		return true;
	case OPT_BUDGET:
		return store_cli_size("--budget", value, &v->order.budget_bytes);
	case OPT_RATE:
		return store_cli_size("--rate", value, &v->order.bytes_per_second);
	case OPT_REPAIR:
		v->mirror = value;
		return true;
	}
	return false;
}

static void verify_repaired(void *arg, const char *text)
{
	struct verify *v = arg;

	json_array_append_new(v->repairs, json_string(text));
}

static void verify_damage(void *arg, const char *text)
{
	struct verify *v = arg;

	json_array_append_new(v->damages, json_string(text));
}

static int verify_answer(struct verify *v, uint64_t damaged)
{
	int status = damaged ? STORE_CLI_DAMAGE : STORE_CLI_DONE;
	const json_t *text;
	size_t i;

	if (v->cli.json) {
		int r = store_cli_print(json_pack("{sb sO sO}", "sound", !damaged, "damage",
						  v->damages, "repaired", v->repairs));

		return r == STORE_CLI_DONE ? status : STORE_CLI_COULD_NOT_RUN;
	}
	json_array_foreach (v->repairs, i, text)
		printf("%s\n", json_string_value(text));
	json_array_foreach (v->damages, i, text)
		printf("%s\n", json_string_value(text));
	if (damaged)
		printf("%llu damages; godwit-store repair mends what a mirror, another store or an "
		       "image still has\n",
		       (unsigned long long)damaged);
	else
		printf("%s is sound\n", v->cli.store_path);
	return status;
}

static int verify_run(struct verify *v, struct store *store, uint64_t *damaged, struct err *err)
{
	const struct store_mirror_repair repair = { .store = store,
						    .mirror = v->mirror,
						    .progress = v->order.progress,
						    .repaired = verify_repaired,
						    .arg = v };
	int r = 0;

	v->order.progress->bytes_per_second = v->order.bytes_per_second;
	if (v->mirror)
		r = store_mirror_repair(&repair, err);
	return r < 0 ? r : store_verify(store, &v->order, damaged, err);
}

int store_cli_read_verify(int argc, char **argv)
{
	static const struct option options[] = { { "quick", no_argument, NULL, OPT_QUICK },
						 { "budget", required_argument, NULL, OPT_BUDGET },
						 { "rate", required_argument, NULL, OPT_RATE },
						 { "repair-from", required_argument, NULL,
						   OPT_REPAIR },
						 { 0 } };
	CLEANUP(store_close) struct store *store = NULL;
	struct volume_progress progress = { 0 };
	struct verify v = { .order = { .progress = &progress, .damage = verify_damage } };
	struct err err = { 0 };
	uint64_t damaged = 0;
	int r;

	if (!store_cli_parse(&v.cli, argc, argv, options, verify_take, &v) ||
	    !store_cli_operands(&v.cli, 0, 0))
		return STORE_CLI_USAGE;
	/* What was checked when is written down, and a pack replaced, only by the one process that writes. */
	if (store_cli_open(&v.cli, v.mirror || v.order.budget_bytes ? STORE_WRITE : STORE_READ,
			   &store))
		return STORE_CLI_COULD_NOT_RUN;
	v.damages = json_array();
	v.repairs = json_array();
	v.order.arg = &v;
	store_cli_progress_begin("verify", &progress);
	r = verify_run(&v, store, &damaged, &err);
	store_cli_progress_end();
	if (r < 0) {
		store_cli_fail(&v.cli, &err);
		r = STORE_CLI_COULD_NOT_RUN;
	} else {
		r = verify_answer(&v, damaged);
	}
	json_decref(v.damages);
	json_decref(v.repairs);
	return r;
}

/* ---- stat -------------------------------------------------------------------------------------------------- */

int store_cli_read_stat(int argc, char **argv)
{
	CLEANUP(store_close) struct store *store = NULL;
	char packs[32], plain[32], index[32];
	struct err err = { 0 };
	struct store_stat stat;
	struct store_cli cli;

	if (!store_cli_parse(&cli, argc, argv, NULL, NULL, NULL) || !store_cli_operands(&cli, 0, 0))
		return STORE_CLI_USAGE;
	if (store_cli_open(&cli, STORE_READ, &store))
		return STORE_CLI_FAILED;
	if (store_stat(store, &stat, &err) < 0)
		return store_cli_fail(&cli, &err);
	if (cli.json)
		return store_cli_print(json_pack(
			"{sI sI sI sI sI sI sI}", "snapshots", (json_int_t)stat.snapshots, "packs",
			(json_int_t)stat.packs, "pack_bytes", (json_int_t)stat.pack_bytes, "chunks",
			(json_int_t)stat.chunks, "plain_bytes", (json_int_t)stat.plain_bytes,
			"index_bytes", (json_int_t)stat.index_bytes, "packs_damaged",
			(json_int_t)stat.packs_damaged));
	store_cli_bytes(stat.pack_bytes, packs);
	store_cli_bytes(stat.plain_bytes, plain);
	store_cli_bytes(stat.index_bytes, index);
	printf("snapshots %llu\npacks     %llu (%s)\nchunks    %llu (%s before compression)\nindex "
	       "    %s\n",
	       (unsigned long long)stat.snapshots, (unsigned long long)stat.packs, packs,
	       (unsigned long long)stat.chunks, plain, index);
	if (stat.packs_damaged)
		printf("damaged   %llu packs, not counted: run godwit-store verify\n",
		       (unsigned long long)stat.packs_damaged);
	return STORE_CLI_DONE;
}
