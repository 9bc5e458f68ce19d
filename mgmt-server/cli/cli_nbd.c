#include "mgmt-server/cli/cli_nbd.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/io.h"
#include "common/json.h"
#include "common/unix_socket.h"
#include "snapshot/nbd_input.h"

enum {
	START_TIMEOUT_MS = 60000,
	POLL_MS = 20,
	SAID_MAX = 64 << 10,
	CONNECTIONS = 2,
	NOT_FOUND = 127
};

struct cli_nbd {
	pid_t pid;    /* 0: not running */
	char *folder; /* 0700; holds the socket and what the programs say */
	char *socket, *said, *info;
	struct nbd_input *input;
};

/* Every comma of a path doubled: how QEMU quotes option values. */
static char *image_options(const char *driver, const char *path)
{
	CLEANUP_FREE char *quoted = malloc(2 * strlen(path) + 1);
	char *at = quoted;

	if (!quoted)
		return NULL;
	for (; *path; path++) {
		*at++ = *path;
		if (*path == ',')
			*at++ = ',';
	}
	*at = 0;
	return io_printf("driver=%s,file.driver=file,file.filename=%s", driver, quoted);
}

/* Start a program with stdout and stderr in files. Return its pid or -errno. */
static pid_t start(const char *const *argv, const char *out_path, const char *said_path)
{
	pid_t parent = getpid(), pid = fork();
	int in, out, said;

	if (pid != 0)
		return pid < 0 ? -errno : pid;
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	/* Ctrl-C is ours to handle: the program ends when we have ended our reading. */
	setpgid(0, 0);
	in = open("/dev/null", O_RDONLY);
	out = open(out_path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
	said = open(said_path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
	if (getppid() != parent || dup2(in, 0) < 0 || dup2(out, 1) < 0 || dup2(said, 2) < 0)
		_exit(NOT_FOUND);
	execvp(argv[0], (char *const *)argv);
	_exit(NOT_FOUND);
}

/* Why a program failed: the last line that it wrote. */
static int failed(struct cli_nbd *nbd, const char *program, const char *path, int status,
		  struct err *err)
{
	CLEANUP_FREE uint8_t *text = NULL;
	char *line;
	size_t len;

	if (WIFEXITED(status) && WEXITSTATUS(status) == NOT_FOUND)
		return err_say(err, ENOENT,
			       "%s is needed to read this format and is not installed (Debian: "
			       "qemu-utils)",
			       program);
	if (io_read_file(nbd->said, SAID_MAX, &text, &len, NULL) < 0 || len == 0)
		return err_say(err, EIO, "%s ended with status %d and said nothing about %s",
			       program, status, path);
	while (len > 0 && text[len - 1] == '\n')
		text[--len] = 0;
	line = strrchr((char *)text, '\n');
	return err_say(err, EINVAL, "%s can't be read: %s", path, line ? line + 1 : (char *)text);
}

/* An image that refers to other files is a stranger's wish to read files of ours. */
static int refuse_references(struct cli_nbd *nbd, const struct cli_nbd_options *options,
			     const char *image, struct err *err)
{
	const char *argv[] = { "qemu-img", "info", "--output=json", "--image-opts", image, NULL };
	CLEANUP(json_decref) json_t *info = NULL;
	const json_t *backing, *data;
	int r, status;
	pid_t pid = start(argv, nbd->info, nbd->said);

	if (pid < 0)
		return err_set(err, (int)-pid, "start qemu-img");
	while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
		;
	if (status != 0)
		return failed(nbd, "qemu-img", options->path, status, err);
	r = json_parse_file(&info, nbd->info, SAID_MAX, err);
	if (r < 0)
		return r;
	backing = json_object_get(info, "backing-filename");
	data = json_object_get(json_object_get(json_object_get(info, "format-specific"), "data"),
			       "data-file");
	if (!json_is_string(backing) && !json_is_string(data))
		return 0;
	return err_say(
		err, EINVAL,
		"%s is only a part: it refers to %s. Make one file of them with qemu-img convert, "
		"or give --follow-backing if you know where it comes from",
		options->path, json_string_value(json_is_string(backing) ? backing : data));
}

/* Wait until it listens, or has ended. */
static int wait_until_ready(struct cli_nbd *nbd, const char *path, struct err *err)
{
	uint64_t end = clock_now_ms() + START_TIMEOUT_MS;

	for (;;) {
		int status, fd = unix_socket_connect(nbd->socket, err);

		if (fd >= 0) {
			close(fd);
			return 0;
		}
		if (waitpid(nbd->pid, &status, WNOHANG) == nbd->pid) {
			nbd->pid = 0;
			return failed(nbd, "qemu-nbd", path, status, err);
		}
		if (clock_now_ms() > end)
			return err_say(err, ETIME, "qemu-nbd did not open %s within %d s", path,
				       START_TIMEOUT_MS / 1000);
		clock_sleep_ms(POLL_MS);
	}
}

static int start_nbd(struct cli_nbd *nbd, const struct cli_nbd_options *options, struct err *err)
{
	CLEANUP_FREE char *image = image_options(options->driver, options->path);
	CLEANUP_FREE char *socket = io_printf("--socket=%s", nbd->socket);
	const char *argv[] = { "qemu-nbd", "--read-only",  "--persistent", "--shared=8",
			       socket,     "--image-opts", image,          NULL };
	int r;

	if (!image || !socket)
		return err_set(err, ENOMEM, "start qemu-nbd");
	if (!options->follow_backing) {
		r = refuse_references(nbd, options, image, err);
		if (r < 0)
			return r;
	}
	nbd->pid = start(argv, "/dev/null", nbd->said);
	if (nbd->pid < 0) {
		r = err_set(err, (int)-nbd->pid, "start qemu-nbd");
		nbd->pid = 0;
		return r;
	}
	return wait_until_ready(nbd, options->path, err);
}

static int make_folder(struct cli_nbd *nbd, struct err *err)
{
	const char *tmp = getenv("TMPDIR");

	nbd->folder = io_printf("%s/godwit-import.XXXXXX", tmp && *tmp ? tmp : "/tmp");
	if (!nbd->folder)
		return err_set(err, ENOMEM, "make a folder for the import");
	if (!mkdtemp(nbd->folder)) {
		int r = err_set(err, errno, "make the folder %s", nbd->folder);

		free(TAKE(nbd->folder));
		return r;
	}
	nbd->socket = io_printf("%s/nbd.sock", nbd->folder);
	nbd->said = io_printf("%s/said", nbd->folder);
	nbd->info = io_printf("%s/info", nbd->folder);
	return nbd->socket && nbd->said && nbd->info ? 0
						     : err_set(err, ENOMEM, "prepare the import");
}

int cli_nbd_open(struct cli_nbd **out, const struct cli_nbd_options *options, struct err *err)
{
	CLEANUP(cli_nbd_close) struct cli_nbd *nbd = calloc(1, sizeof(*nbd));
	int r;

	if (!nbd)
		return err_set(err, ENOMEM, "open %s", options->path);
	r = make_folder(nbd, err);
	if (r == 0)
		r = start_nbd(nbd, options, err);
	if (r == 0) {
		struct nbd_input_options input = {
			.socket_path = nbd->socket,
			.export_name = "",
			.connections = CONNECTIONS,
		};

		r = nbd_input_open(&nbd->input, &input, err);
	}
	if (r == 0)
		*out = TAKE(nbd);
	return r;
}

void cli_nbd_close(struct cli_nbd *nbd)
{
	if (!nbd)
		return;
	if (nbd->input)
		nbd_input_close(nbd->input);
	if (nbd->pid > 0) {
		kill(nbd->pid, SIGTERM);
		while (waitpid(nbd->pid, NULL, 0) < 0 && errno == EINTR)
			;
	}
	if (nbd->socket)
		unlink(nbd->socket);
	if (nbd->said)
		unlink(nbd->said);
	if (nbd->info)
		unlink(nbd->info);
	if (nbd->folder)
		rmdir(nbd->folder);
	free(nbd->folder);
	free(nbd->socket);
	free(nbd->said);
	free(nbd->info);
	free(nbd);
}

struct volume_input cli_nbd_input(struct cli_nbd *nbd)
{
	return nbd_input_volume(nbd->input);
}
