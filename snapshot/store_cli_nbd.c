#include "snapshot/store_cli_nbd.h"

#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/io.h"
#include "common/unix_socket.h"
#include "snapshot/nbd_input.h"
#include "snapshot/ova_file.h"
#include "snapshot/store_cli.h"
#include "snapshot/store_cli_child.h"

enum {
	OPT_SOCKET = STORE_CLI_OPT_OWN,
	OPT_OVERLAY,
	OPT_FORMAT,
	OPT_DESKTOP,
	OPT_DOMAIN,
	OPT_RATE,
	ARGS_MAX = 24
};

/* ---- The plugin --------------------------------------------------------------------------------------------- */

/* Beside us in a build tree (../lib), else where packages put it. */
static char *plugin_path(void)
{
	char self[PATH_MAX];
	ssize_t n = readlink("/proc/self/exe", self, sizeof(self) - 1);
	char *path = NULL;

	if (n > 0) {
		self[n] = '\0';
		path = io_printf("%s/../lib/godwit-nbd-store.so", dirname(self));
	}
	if (path && access(path, R_OK) == 0)
		return path;
	free(path);
	return io_printf("/usr/lib/godwit/godwit-nbd-store.so");
}

struct served {
	char *args[ARGS_MAX];
	size_t count;
};

static bool add(struct served *s, char *text)
{
	if (!text || s->count == ARGS_MAX - 1) {
		free(text);
		return false;
	}
	s->args[s->count++] = text;
	return true;
}

static void served_deinit(struct served *s)
{
	for (size_t i = 0; i < s->count; i++)
		free(s->args[i]);
}

/* nbdkit's command line for one volume. */
static bool served_init(struct served *s, const struct store_cli *cli, const char *id,
			const char *volume, const char *socket, const char *overlay)
{
	*s = (struct served){ 0 };
	return add(s, strdup("nbdkit")) && add(s, strdup("-f")) && add(s, strdup("--unix")) &&
	       add(s, strdup(socket)) && add(s, plugin_path()) &&
	       add(s, io_printf("store=%s", cli->store_path)) &&
	       add(s, io_printf("snapshot=%s", id)) && add(s, io_printf("volume=%s", volume)) &&
	       (!cli->key_path || add(s, io_printf("key=%s", cli->key_path))) &&
	       (!overlay || add(s, io_printf("overlay=%s", overlay)));
}

/* The full id of the snapshot that the first operand names, if it has the volume that the second names. */
static bool operands_resolve(const struct store_cli *cli, char id[MANIFEST_ID_LEN])
{
	CLEANUP(store_close) struct store *store = NULL;
	struct manifest m;
	bool found;

	if (store_cli_open(cli, STORE_READ, &store) || !store_cli_snapshot(store, cli->argv[0], &m))
		return false;
	memcpy(id, m.id, MANIFEST_ID_LEN);
	found = store_cli_volume(cli, &m, cli->argv[1]) != NULL;
	manifest_deinit(&m);
	return found;
}

/* ---- serve -------------------------------------------------------------------------------------------------- */

struct serve {
	struct store_cli cli;
	const char *socket, *overlay;
};

static bool serve_take(void *arg, int option, const char *value)
{
	struct serve *serve = arg;

	if (option == OPT_SOCKET)
		serve->socket = value;
	else
		serve->overlay = value;
	return true;
}

/* nbdkit leaves its socket behind when it ends: one that nobody listens on is in the way, and worth nothing. */
static bool socket_free(const char *path)
{
	struct err why = { 0 };
	struct stat st;
	int fd;

	if (lstat(path, &st) < 0)
		return true;
	if (!S_ISSOCK(st.st_mode)) {
		fprintf(stderr, "godwit-store serve: %s is there and is no socket\n", path);
		return false;
	}
	fd = unix_socket_connect(path, &why);
	if (fd >= 0) {
		close(fd);
		fprintf(stderr, "godwit-store serve: somebody serves at %s already\n", path);
		return false;
	}
	if (why.code == ECONNREFUSED)
		unlink(path);
	return true;
}

/* Before nbdkit takes our place. It listens a moment later. */
static int serve_announce(const struct serve *serve, const char *id)
{
	CLEANUP_FREE char *uri = io_printf("nbd+unix:///?socket=%s", serve->socket);

	if (!uri)
		return STORE_CLI_FAILED;
	if (serve->cli.json)
		return store_cli_print(json_pack("{ss ss ss}", "snapshot", id, "volume",
						 serve->cli.argv[1], "uri", uri));
	printf("%s of %s is served %s at %s until interrupted\n", serve->cli.argv[1], id,
	       serve->overlay ? "with an overlay" : "read-only", uri);
	fflush(stdout);
	return STORE_CLI_DONE;
}

int store_cli_nbd_serve(int argc, char **argv)
{
	static const struct option options[] = { { "socket", required_argument, NULL, OPT_SOCKET },
						 { "overlay", required_argument, NULL,
						   OPT_OVERLAY },
						 { 0 } };
	struct serve serve = { 0 };
	char id[MANIFEST_ID_LEN];
	struct served served;

	if (!store_cli_parse(&serve.cli, argc, argv, options, serve_take, &serve) ||
	    !store_cli_operands(&serve.cli, 2, 2))
		return STORE_CLI_USAGE;
	if (!serve.socket) {
		fprintf(stderr, "godwit-store serve: --socket PATH is needed\n");
		return STORE_CLI_USAGE;
	}
	if (!operands_resolve(&serve.cli, id) || !socket_free(serve.socket) ||
	    !served_init(&served, &serve.cli, id, serve.cli.argv[1], serve.socket, serve.overlay) ||
	    serve_announce(&serve, id) != STORE_CLI_DONE)
		return STORE_CLI_FAILED;
	execvp(served.args[0], served.args);
	fprintf(stderr, "godwit-store serve: cannot start nbdkit: %s\n", strerror(errno));
	served_deinit(&served);
	return STORE_CLI_FAILED;
}

/* ---- A private folder for a socket -------------------------------------------------------------------------- */

struct room {
	char folder[64], socket[80];
};

static int room_init(struct room *room, struct err *err)
{
	strcpy(room->folder, "/tmp/godwit-store.XXXXXX");
	if (!mkdtemp(room->folder))
		return err_set(err, errno, "make a temporary folder");
	snprintf(room->socket, sizeof(room->socket), "%s/nbd.sock", room->folder);
	return 0;
}

static void room_deinit(struct room *room)
{
	unlink(room->socket);
	rmdir(room->folder);
}

/* ---- export ------------------------------------------------------------------------------------------------- */

struct export
{
	struct store_cli cli;
	const char *format;
	uint64_t rate; /* bytes a second; 0: no limit */
};

static const char *const formats[] = { "raw", "qcow2", "vmdk", "vhdx", "vdi" };

/* What the file's name ends with, if that is a format. */
static const char *format_of_name(const char *file)
{
	const char *dot = strrchr(file, '.');

	for (size_t i = 0; dot && i < ARRAY_LEN(formats); i++)
		if (strcasecmp(dot + 1, formats[i]) == 0)
			return formats[i];
	return "raw";
}

static bool export_take(void *arg, int option, const char *value)
{
	struct export *export = arg;

	if (option == OPT_RATE)
		return store_cli_size("--rate", value, &export->rate);
	export->format = value;
	for (size_t i = 0; i < ARRAY_LEN(formats); i++)
		if (strcmp(value, formats[i]) == 0)
			return true;
	fprintf(stderr,
		"godwit-store export: --format must be raw, qcow2, vmdk, vhdx or vdi, not '%s'\n",
		value);
	return false;
}

/* What has the name that was asked for is whole. */
static int convert(const struct export *export, const char *socket, struct err *err)
{
	const char *file = export->cli.argv[2];
	CLEANUP_FREE char *uri = io_printf("nbd+unix:///?socket=%s", socket);
	CLEANUP_FREE char *target = io_printf("%s%s.part", file[0] == '-' ? "./" : "", file);
	CLEANUP_FREE char *rate = io_printf("%llu", (unsigned long long)export->rate);
	char *args[ARGS_MAX] = { (char *)"qemu-img",
				 (char *)"convert",
				 (char *)"-f",
				 (char *)"raw",
				 (char *)"-O",
				 (char *)(uintptr_t) export->format,
				 (char *)"-W",
				 (char *)"-m",
				 (char *)"8",
				 uri,
				 target };
	size_t n = 11;
	pid_t pid;
	int r;

	if (!uri || !target || !rate)
		return err_set(err, ENOMEM, "export");
	if (export->rate) {
		args[n++] = (char *)"-r";
		args[n++] = rate;
	}
	if (isatty(STDERR_FILENO))
		args[n++] = (char *)"-p"; /* its progress goes to stdout, which is for answers */
	r = store_cli_child_start(args, STDERR_FILENO, &pid, err);
	if (r == 0)
		r = store_cli_child_wait(pid, "qemu-img convert", err);
	if (r == 0 && rename(target, file) < 0)
		r = err_set(err, errno, "rename %s", target);
	if (r < 0)
		unlink(target);
	return r;
}

static int export_run(const struct export *export, const char *id, struct err *err)
{
	struct served served = { 0 };
	struct room room;
	pid_t pid = 0;
	int r = room_init(&room, err);

	if (r < 0)
		return r;
	if (!served_init(&served, &export->cli, id, export->cli.argv[1], room.socket, NULL))
		r = err_set(err, ENOMEM, "export");
	if (r == 0)
		r = store_cli_child_start(served.args, -1, &pid, err);
	if (r == 0)
		r = store_cli_child_await_socket(pid, "nbdkit", room.socket, err);
	if (r == 0)
		r = convert(export, room.socket, err);
	store_cli_child_stop(pid);
	served_deinit(&served);
	room_deinit(&room);
	return r;
}

int store_cli_nbd_export(int argc, char **argv)
{
	static const struct option options[] = { { "format", required_argument, NULL, OPT_FORMAT },
						 { "rate", required_argument, NULL, OPT_RATE },
						 { 0 } };
	struct volume_progress progress = { 0 };
	struct export export = { 0 };
	uint64_t began = clock_now_ms();
	char id[MANIFEST_ID_LEN];
	struct err err = { 0 };
	int r;

	if (!store_cli_parse(&export.cli, argc, argv, options, export_take, &export) ||
	    !store_cli_operands(&export.cli, 3, 3))
		return STORE_CLI_USAGE;
	if (!export.format)
		export.format = format_of_name(export.cli.argv[2]);
	if (!operands_resolve(&export.cli, id))
		return STORE_CLI_FAILED;
	store_cli_progress_begin(NULL, &progress);
	r = export_run(&export, id, &err);
	store_cli_progress_end();
	if (r < 0)
		return store_cli_fail(&export.cli, &err);
	return export.cli.json ? store_cli_print(json_pack("{ss ss sf}", "snapshot", id, "format",
							   export.format, "seconds",
							   (double)(clock_now_ms() - began) / 1000))
			       : STORE_CLI_DONE;
}

/* ---- import ------------------------------------------------------------------------------------------------- */

struct import {
	struct store_cli cli;
	const char *desktop, *domain;
	struct store_session *session;
	struct manifest manifest;
	struct volume_put_stats stats;
	struct volume_progress progress;
};

static bool import_take(void *arg, int option, const char *value)
{
	struct import *import = arg;

	if (option == OPT_RATE)
		return store_cli_size("--rate", value, &import->progress.bytes_per_second);
	if (option == OPT_DESKTOP)
		import->desktop = value;
	else
		import->domain = value;
	return true;
}

/* What format is it, and does it stand alone? An image that names other files could make us read anything on this machine. */
static int image_inspect(const char *file, char format[16], struct err *err)
{
	char *const args[] = { (char *)"qemu-img", (char *)"info",          (char *)"--output",
			       (char *)"json",     (char *)(uintptr_t)file, NULL };
	CLEANUP(json_decref) json_t *info = NULL;
	CLEANUP_FREE char *text = NULL;
	const char *name;
	int r = store_cli_child_output(args, &text, err);

	if (r == 0)
		r = json_parse(&info, text, strlen(text), "qemu-img info", err);
	if (r < 0)
		return err_wrap(err, r, "inspect %s", file);
	if (json_object_get(info, "backing-filename") || strstr(text, "\"data-file\""))
		return err_say(
			err, EINVAL,
			"%s refers to another file; convert it into one that stands alone first",
			file);
	name = json_string_value(json_object_get(info, "format"));
	if (!name || strlen(name) >= 16)
		return err_say(err, EINVAL, "%s: qemu-img does not know its format", file);
	strcpy(format, name);
	return 0;
}

static int volume_from_socket(struct import *import, const char *socket, struct err *err)
{
	const struct nbd_input_options options = { .socket_path = socket, .connections = 4 };
	struct volume *v = &import->manifest.volumes[import->manifest.volume_count];
	CLEANUP(nbd_input_close) struct nbd_input *nbd = NULL;
	struct volume_put order = { .sink = store_session_sink(import->session),
				    .codec = CHUNK_CODEC_ZSTD,
				    .progress = &import->progress };
	struct volume_input input;
	int r = nbd_input_open(&nbd, &options, err);

	if (r < 0)
		return r;
	input = nbd_input_volume(nbd);
	order.input = &input;
	snprintf(v->name, sizeof(v->name), "disk%zu", import->manifest.volume_count);
	v->kind = VOLUME_DISK;
	v->grid = CHUNK_GRID_DISK;
	r = volume_put(&order, v, &import->stats, err);
	if (r == 0)
		import->manifest.volume_count++;
	return r;
}

/* options: qemu-nbd's description of the image. */
static int image_put(struct import *import, const char *options, struct err *err)
{
	struct room room;
	char *const args[] = {
		(char *)"qemu-nbd",     (char *)"--read-only",      (char *)"--persistent",
		(char *)"--shared=8",   (char *)"--socket",         room.socket,
		(char *)"--image-opts", (char *)(uintptr_t)options, NULL
	};
	pid_t pid = 0;
	int r = room_init(&room, err);

	if (r < 0)
		return r;
	if (import->manifest.volume_count == MANIFEST_VOLUMES_MAX)
		r = err_say(err, EINVAL, "more than %d disks", MANIFEST_VOLUMES_MAX);
	if (r == 0)
		r = store_cli_child_start(args, -1, &pid, err);
	if (r == 0)
		r = store_cli_child_await_socket(pid, "qemu-nbd", room.socket, err);
	if (r == 0)
		r = volume_from_socket(import, room.socket, err);
	store_cli_child_stop(pid);
	room_deinit(&room);
	return r;
}

/* A file name as QEMU's option syntax wants it: commas doubled. */
static char *escaped(const char *file)
{
	char *out = malloc(2 * strlen(file) + 1), *p = out;

	for (; out && *file; file++) {
		if (*file == ',')
			*p++ = ',';
		*p++ = *file;
	}
	if (out)
		*p = '\0';
	return out;
}

static int ova_put(struct import *import, const char *file, struct err *err)
{
	struct ova_file_disk disks[OVA_FILE_DISKS_MAX];
	CLEANUP_FREE char *name = escaped(file);
	CLEANUP_FD int fd = open(file, O_RDONLY | O_CLOEXEC);
	size_t count;
	int r;

	if (fd < 0 || !name)
		return err_set(err, fd < 0 ? errno : ENOMEM, "open %s", file);
	r = ova_file_disks(fd, disks, &count, err);
	for (size_t i = 0; r == 0 && i < count; i++) {
		CLEANUP_FREE char *options =
			io_printf("driver=vmdk,file.driver=raw,file.offset=%llu,file.size=%llu,"
				  "file.file.driver=file,file.file.filename=%s",
				  (unsigned long long)disks[i].offset,
				  (unsigned long long)disks[i].size, name);

		r = options ? image_put(import, options, err) : err_set(err, ENOMEM, "import");
	}
	return r;
}

static int file_put(struct import *import, const char *file, struct err *err)
{
	CLEANUP_FREE char *name = escaped(file), *options = NULL;
	char format[16];
	size_t len = strlen(file);
	int r;

	if (len > 4 && strcasecmp(file + len - 4, ".ova") == 0)
		return ova_put(import, file, err);
	r = image_inspect(file, format, err);
	if (r < 0)
		return r;
	options = name ? io_printf("driver=%s,file.driver=file,file.filename=%s", format, name)
		       : NULL;
	return options ? image_put(import, options, err) : err_set(err, ENOMEM, "import");
}

static int import_run(struct import *import, struct store *store, struct err *err)
{
	CLEANUP(store_session_close) struct store_session *session = NULL;
	int r = store_session_open_in(&session, store, import->desktop, import->domain, err);

	import->session = session;
	store_cli_progress_begin("import", &import->progress);
	for (int i = 0; r == 0 && i < import->cli.argc; i++) {
		r = file_put(import, import->cli.argv[i], err);
		if (r < 0)
			err_wrap(err, r, "import %s", import->cli.argv[i]);
	}
	if (r == 0)
		r = store_session_commit(session, &import->manifest, err);
	store_cli_progress_end();
	return r;
}

static int import_answer(const struct import *import, uint64_t ms)
{
	char read_text[32], stored_text[32];

	if (import->cli.json)
		return store_cli_print(json_pack(
			"{ss si sI sI sI sf}", "snapshot", import->manifest.id, "volumes",
			(int)import->manifest.volume_count, "read_bytes",
			(json_int_t)import->stats.read_bytes, "new_bytes",
			(json_int_t)import->stats.new_bytes, "stored_bytes",
			(json_int_t)import->stats.stored_bytes, "seconds", (double)ms / 1000));
	store_cli_bytes(import->stats.read_bytes, read_text);
	store_cli_bytes(import->stats.stored_bytes, stored_text);
	printf("snapshot %s: %zu disks, read %s, stored %s\n", import->manifest.id,
	       import->manifest.volume_count, read_text, stored_text);
	return STORE_CLI_DONE;
}

int store_cli_nbd_import(int argc, char **argv)
{
	static const struct option options[] = { { "desktop", required_argument, NULL,
						   OPT_DESKTOP },
						 { "domain", required_argument, NULL, OPT_DOMAIN },
						 { "rate", required_argument, NULL, OPT_RATE },
						 { 0 } };
	CLEANUP_FREE struct import *import = calloc(1, sizeof(*import));
	CLEANUP(store_close) struct store *store = NULL;
	uint64_t began = clock_now_ms();
	struct err err = { 0 };
	int r;

	if (!import || !store_cli_parse(&import->cli, argc, argv, options, import_take, import) ||
	    !store_cli_operands(&import->cli, 1, MANIFEST_VOLUMES_MAX))
		return STORE_CLI_USAGE;
	if (!import->desktop) {
		fprintf(stderr, "godwit-store import: --desktop NAME is needed\n");
		return STORE_CLI_USAGE;
	}
	if (store_cli_open(&import->cli, STORE_WRITE, &store))
		return STORE_CLI_FAILED;
	if (!import->domain)
		import->domain = "default";
	manifest_init(&import->manifest);
	snprintf(import->manifest.desktop, sizeof(import->manifest.desktop), "%s", import->desktop);
	r = import_run(import, store, &err);
	r = r < 0 ? store_cli_fail(&import->cli, &err)
		  : import_answer(import, clock_now_ms() - began);
	manifest_deinit(&import->manifest);
	return r;
}
