#include "client-agent/disk_server.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <pthread.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/un.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/io.h"
#include "common/json.h"
#include "common/log.h"

extern char **environ;

enum {
	START_TIMEOUT_MS = 60 * 1000,
	START_GRACE_MS = 5000,
	STOP_TIMEOUT_MS = 5 * 1000,
	FILE_MAX = 4 << 20,
	LOG_TAIL = 512,
};

struct disk_server {
	struct agent *agent;
	char *plugin;         /* path of godwit-nbd-agent.so */
	pthread_mutex_t lock; /* one change at a time */
};

static char *path_in(const struct disk_server *s, const char *desktop, uint64_t epoch,
		     const char *file)
{
	return io_printf("%s/serve/%s.%" PRIu64 "/%s", s->agent->state_dir, desktop, epoch, file);
}

char *disk_server_socket(const struct disk_server *server, const char *desktop, uint64_t epoch)
{
	return path_in(server, desktop, epoch, "nbd.sock");
}

/* ---- The process ------------------------------------------------------------------------------------------------- */

/* Does @pid run with @socket on its command line? Guards against a number that was given to somebody else. */
static bool is_ours(pid_t pid, const char *socket)
{
	CLEANUP_FREE char *path = io_printf("/proc/%d/cmdline", (int)pid);
	CLEANUP_FD int fd = path ? open(path, O_RDONLY | O_CLOEXEC) : -1;
	char line[8192];
	ssize_t n = fd < 0 ? -1 : read(fd, line, sizeof(line));

	return n > 0 && memmem(line, (size_t)n, socket, strlen(socket));
}

/* A pidfd of the running server, or -1. */
static int find_process(const struct disk_server *s, const char *desktop, uint64_t epoch)
{
	CLEANUP_FREE char *pid_path = path_in(s, desktop, epoch, "nbd.pid");
	CLEANUP_FREE char *socket = disk_server_socket(s, desktop, epoch);
	CLEANUP_FREE uint8_t *text = NULL;
	size_t len;
	pid_t pid;
	int fd;

	if (!pid_path || !socket || io_read_file(pid_path, 64, &text, &len, NULL) < 0)
		return -1;
	pid = (pid_t)strtol((const char *)text, NULL, 10);
	fd = pid > 1 ? pidfd_open(pid, 0) : -1;
	if (fd >= 0 && is_ours(pid, socket))
		return fd;
	base_close(fd);
	return -1;
}

static void stop_process(const struct disk_server *s, const char *desktop, uint64_t epoch)
{
	uint64_t end = clock_now_ms() + STOP_TIMEOUT_MS;
	int sig = SIGTERM;
	int fd;

	for (;;) {
		CLEANUP_FD int process = find_process(s, desktop, epoch);

		if (process < 0)
			return;
		fd = process;
		if (sig && pidfd_send_signal(fd, sig, NULL, 0) < 0)
			return;
		sig = 0;
		if (clock_now_ms() >= end) {
			sig = SIGKILL; /* it waits for a server that does not answer */
			end += STOP_TIMEOUT_MS;
		}
		clock_sleep_ms(20);
	}
}

/* The end of its log: what nbdkit or the plugin complained about. */
static void log_tail(const char *path, char tail[LOG_TAIL])
{
	CLEANUP_FREE uint8_t *text = NULL;
	size_t len = 0, from;

	snprintf(tail, LOG_TAIL, "it said nothing");
	if (io_read_file(path, FILE_MAX, &text, &len, NULL) < 0 || len == 0)
		return;
	while (len > 0 && text[len - 1] == '\n')
		text[--len] = '\0';
	for (from = len; from > 0 && text[from - 1] != '\n' && len - from < LOG_TAIL - 1;)
		from--;
	snprintf(tail, LOG_TAIL, "%s", (const char *)text + from);
}

static int spawn(const char *const *argv, const char *log_path, pid_t *pid, struct err *err)
{
	posix_spawn_file_actions_t files;
	posix_spawnattr_t attr;
	sigset_t none, reset;
	int r;

	posix_spawn_file_actions_init(&files);
	posix_spawn_file_actions_addopen(&files, 0, "/dev/null", O_RDONLY, 0);
	posix_spawn_file_actions_addopen(&files, 1, log_path, O_WRONLY | O_CREAT | O_APPEND, 0600);
	posix_spawn_file_actions_adddup2(&files, 1, 2);
	posix_spawnattr_init(&attr);
	sigemptyset(&none);
	sigfillset(&reset);
	posix_spawnattr_setsigmask(&attr, &none);
	posix_spawnattr_setsigdefault(&attr, &reset);
	posix_spawnattr_setflags(&attr, POSIX_SPAWN_SETSID | POSIX_SPAWN_SETSIGMASK |
						POSIX_SPAWN_SETSIGDEF);
	r = posix_spawnp(pid, argv[0], &files, &attr, (char *const *)argv, environ);
	posix_spawnattr_destroy(&attr);
	posix_spawn_file_actions_destroy(&files);
	return r ? err_set(err, r, "start %s", argv[0]) : 0;
}

/* nbdkit forks into the background (in the foreground it would end with us, whatever its options say) and writes its pid
 * file when it listens. @pid: the process that forks; it is gone a little earlier, or long before when it failed. */
static int wait_ready(const struct disk_server *s, const char *desktop, uint64_t epoch, pid_t pid,
		      const char *log_path, struct err *err)
{
	uint64_t end = clock_now_ms() + START_TIMEOUT_MS;
	char tail[LOG_TAIL];

	while (clock_now_ms() < end) {
		CLEANUP_FD int process = find_process(s, desktop, epoch);

		if (process >= 0)
			return 0;
		if (kill(pid, 0) < 0 && end > clock_now_ms() + START_GRACE_MS)
			end = clock_now_ms() + START_GRACE_MS;
		clock_sleep_ms(5);
	}
	log_tail(log_path, tail);
	return err_say(err, EIO, "the disks of desktop %s cannot be served: %s", desktop, tail);
}

static int start_process(const struct disk_server *s, const char *desktop, uint64_t epoch,
			 struct err *err)
{
	CLEANUP_FREE char *socket = disk_server_socket(s, desktop, epoch);
	CLEANUP_FREE char *pid_path = path_in(s, desktop, epoch, "nbd.pid");
	CLEANUP_FREE char *log_path = path_in(s, desktop, epoch, "nbd.log");
	CLEANUP_FREE char *state = io_printf("state=%s", s->agent->state_dir);
	CLEANUP_FREE char *folder = path_in(s, desktop, epoch, "");
	CLEANUP_FREE char *serve = folder ? io_printf("folder=%s", folder) : NULL;
	CLEANUP_FREE char *cache = io_printf("cache=%" PRIu64, s->agent->config.cache_bytes);
	const char *argv[] = { s->agent->config.nbdkit,
			       "--log=stderr",
			       "--readonly",
			       "--threads",
			       "16",
			       "--unix",
			       socket,
			       "--pidfile",
			       pid_path,
			       s->plugin,
			       state,
			       serve,
			       cache,
			       NULL };
	pid_t pid;
	int r;

	if (!socket || !pid_path || !log_path || !state || !serve || !cache)
		return err_set(err, ENOMEM, "serve desktop %s", desktop);
	if (strlen(socket) >= sizeof(((struct sockaddr_un *)0)->sun_path))
		return err_say(err, ENAMETOOLONG,
			       "%s is too long for a socket: give the agent a shorter --state",
			       socket);
	unlink(socket);
	unlink(pid_path);
	r = spawn(argv, log_path, &pid, err);
	return r < 0 ? r : wait_ready(s, desktop, epoch, pid, log_path, err);
}

static int ensure(const struct disk_server *s, const char *desktop, uint64_t epoch, struct err *err)
{
	CLEANUP_FD int process = find_process(s, desktop, epoch);

	return process >= 0 ? 0 : start_process(s, desktop, epoch, err);
}

/* ---- The public functions ---------------------------------------------------------------------------------------- */

static int keep(const struct disk_server *s, const struct manifest *manifest, uint64_t epoch,
		const char *job, struct err *err)
{
	CLEANUP_FREE char *folder = path_in(s, manifest->desktop, epoch, "");
	CLEANUP_FREE char *path = path_in(s, manifest->desktop, epoch, "manifest.json");
	CLEANUP_FREE char *job_path = path_in(s, manifest->desktop, epoch, "job");
	CLEANUP(json_decref) json_t *value = manifest_to_json(manifest);
	CLEANUP_FREE char *text = value ? json_text(value) : NULL;
	int r;

	if (!folder || !path || !job_path || !text)
		return err_set(err, ENOMEM, "serve desktop %s", manifest->desktop);
	r = io_make_folders(folder, 0750, err);
	if (r == 0)
		r = io_replace_file(job_path, job, strlen(job), 0600, err);
	if (r == 0)
		r = io_replace_file(path, text, strlen(text), 0600, err);
	return r;
}

int disk_server_begin(struct disk_server *server, const struct manifest *manifest, uint64_t epoch,
		      const char *job, struct err *err)
{
	int r;

	pthread_mutex_lock(&server->lock);
	r = keep(server, manifest, epoch, job, err);
	if (r == 0)
		r = ensure(server, manifest->desktop, epoch, err);
	pthread_mutex_unlock(&server->lock);
	return r;
}

int disk_server_ensure(struct disk_server *server, const char *desktop, uint64_t epoch,
		       struct err *err)
{
	CLEANUP_FREE char *path = path_in(server, desktop, epoch, "manifest.json");
	int r;

	if (!path)
		return err_set(err, ENOMEM, "serve desktop %s", desktop);
	pthread_mutex_lock(&server->lock);
	if (access(path, F_OK) < 0)
		r = err_set(err, errno, "%s", path);
	else
		r = ensure(server, desktop, epoch, err);
	pthread_mutex_unlock(&server->lock);
	return r;
}

int disk_server_manifest(struct disk_server *server, const char *desktop, uint64_t epoch,
			 struct manifest *out, struct err *err)
{
	CLEANUP_FREE char *path = path_in(server, desktop, epoch, "manifest.json");
	CLEANUP_FREE uint8_t *text = NULL;
	size_t len;
	int r;

	if (!path)
		return err_set(err, ENOMEM, "serve desktop %s", desktop);
	r = io_read_file(path, FILE_MAX, &text, &len, err);
	return r < 0 ? r : manifest_parse(out, (const char *)text, len, err);
}

void disk_server_end(struct disk_server *server, const char *desktop, uint64_t epoch)
{
	/* The manifest goes first: from then on nothing starts the process again. */
	static const char *const files[] = { "manifest.json", "job",     "nbd.sock",
					     "nbd.pid",       "nbd.log", "" };
	size_t i;

	pthread_mutex_lock(&server->lock);
	for (i = 0; i < ARRAY_LEN(files); i++) {
		CLEANUP_FREE char *path = path_in(server, desktop, epoch, files[i]);

		if (i == 1)
			stop_process(server, desktop, epoch);
		if (path && remove(path) < 0 && errno != ENOENT)
			log_warning("remove %s: %m", path);
	}
	pthread_mutex_unlock(&server->lock);
}

void disk_server_each(struct disk_server *server, disk_server_visit *fn, void *arg)
{
	CLEANUP_FREE char *folder = io_printf("%s/serve", server->agent->state_dir);
	struct dirent *entry;
	DIR *dir = folder ? opendir(folder) : NULL;

	while (dir && (entry = readdir(dir))) {
		char *mark = strrchr(entry->d_name, '.'), *end;
		uint64_t epoch;

		if (!mark || mark == entry->d_name)
			continue;
		epoch = strtoull(mark + 1, &end, 10);
		*mark = '\0';
		if (*end == '\0' && manifest_desktop_valid(entry->d_name))
			fn(arg, entry->d_name, epoch);
	}
	if (dir)
		closedir(dir);
}

/* The plugin lies in ../lib beside the program's folder. */
static int find_plugin(const struct agent *agent, char **out, struct err *err)
{
	char program[PATH_MAX];
	ssize_t n;
	char *slash;

	if (agent->config.plugin[0]) {
		*out = strdup(agent->config.plugin);
	} else {
		n = readlink("/proc/self/exe", program, sizeof(program) - 1);
		if (n < 0)
			return err_set(err, errno, "read /proc/self/exe");
		program[n] = '\0';
		slash = strrchr(program, '/');
		*slash = '\0';
		*out = io_printf("%s/../lib/godwit-nbd-agent.so", program);
	}
	if (!*out)
		return err_set(err, ENOMEM, "find the NBD plugin");
	if (access(*out, R_OK) < 0)
		return err_set(err, errno, "NBD plugin %s (see 'plugin' in the configuration)",
			       *out);
	return 0;
}

int disk_server_new(struct disk_server **out, struct agent *agent, struct err *err)
{
	CLEANUP(disk_server_free) struct disk_server *s = calloc(1, sizeof(*s));
	int r;

	if (!s)
		return err_set(err, ENOMEM, "serve disks");
	s->agent = agent;
	pthread_mutex_init(&s->lock, NULL);
	r = find_plugin(agent, &s->plugin, err);
	if (r < 0)
		return r;
	*out = TAKE(s);
	return 0;
}

void disk_server_free(struct disk_server *server)
{
	if (!server)
		return;
	pthread_mutex_destroy(&server->lock);
	free(server->plugin);
	free(server);
}
