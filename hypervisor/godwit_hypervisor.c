/* godwit_hypervisor.c - the daemon: options, the state folder, signals. */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/io.h"
#include "common/log.h"
#include "hypervisor/guard.h"
#include "hypervisor/hypervisor.h"
#include "hypervisor/agent_socket.h"

enum { EXIT_USAGE = 2, FOLDER_MODE = 0750, LOCK_WAIT_MS = 15000, LOCK_POLL_MS = 20 };

struct options {
	const char *state, *config;
	enum log_level level;
};

static const char usage[] =
	"usage: godwit-hypervisor --state DIR [--config FILE] [--log-level "
	"error|warning|info|debug]\n"
	"\n"
	"Owns the desktops of this endpoint: QEMU, its disks, its leases. Serves "
	"DIR/hypervisor.sock.\n"
	"\n"
	"  --state DIR      where everything is kept; one hypervisor at a time\n"
	"  --config FILE    see --help-config\n"
	"  --log-level L    what goes to stderr (info)\n"
	"  --help-config    print a commented configuration file with the presets\n"
	"  --help, --version\n";

enum {
	OPTION_STATE = 1,
	OPTION_CONFIG,
	OPTION_LEVEL,
	OPTION_HELP_CONFIG,
	OPTION_HELP,
	OPTION_VERSION
};

static const struct option long_options[] = {
	{ "state", required_argument, NULL, OPTION_STATE },
	{ "config", required_argument, NULL, OPTION_CONFIG },
	{ "log-level", required_argument, NULL, OPTION_LEVEL },
	{ "help-config", no_argument, NULL, OPTION_HELP_CONFIG },
	{ "help", no_argument, NULL, OPTION_HELP },
	{ "version", no_argument, NULL, OPTION_VERSION },
	{ NULL, 0, NULL, 0 },
};

static _Noreturn void complain(const char *what)
{
	fprintf(stderr, "godwit-hypervisor: %s\n%s", what, usage);
	exit(EXIT_USAGE);
}

static void parse_options(int argc, char **argv, struct options *o)
{
	int c;

	*o = (struct options){ .level = LOG_LEVEL_INFO };
	while ((c = getopt_long(argc, argv, "", long_options, NULL)) != -1) {
		switch (c) {
		case OPTION_STATE:
			o->state = optarg;
			break;
		case OPTION_CONFIG:
			o->config = optarg;
			break;
		case OPTION_LEVEL:
			if (log_level_parse(optarg, &o->level) < 0)
				complain("--log-level must be error, warning, info or debug");
			break;
		case OPTION_HELP_CONFIG:
			hypervisor_config_print_help(stdout);
			exit(0);
		case OPTION_HELP:
			fputs(usage, stdout);
			exit(0);
		case OPTION_VERSION:
			puts("godwit-hypervisor " HYPERVISOR_VERSION);
			exit(0);
		default:
			exit(EXIT_USAGE);
		}
	}
	if (optind < argc)
		complain("arguments are not expected");
	if (!o->state)
		complain("--state is missing");
}

/* One that was killed keeps the lock until its last thread is gone: give it a moment. */
static int lock_state(int fd, const char *state, struct err *err)
{
	uint64_t end = clock_now_ms() + LOCK_WAIT_MS;

	while (flock(fd, LOCK_EX | LOCK_NB) < 0) {
		if (errno != EWOULDBLOCK)
			return err_set(err, errno, "lock %s", state);
		if (clock_now_ms() > end)
			return err_say(err, EBUSY, "another godwit-hypervisor runs on %s", state);
		clock_sleep_ms(LOCK_POLL_MS);
	}
	return 0;
}

/* Make the state folder and lock it for our life. *state: its absolute path, the caller's. */
static int open_state(const char *path, char **state, int *lock_fd, struct err *err)
{
	CLEANUP_FREE char *real = NULL, *desktops = NULL, *lock = NULL;
	CLEANUP_FD int fd = -1;
	int r;

	r = io_make_folders(path, FOLDER_MODE, err);
	if (r < 0)
		return r;
	real = realpath(path, NULL);
	if (!real)
		return err_set(err, errno, "open %s", path);
	desktops = io_printf("%s/desktops", real);
	lock = io_printf("%s/lock", real);
	if (!desktops || !lock)
		return err_set(err, ENOMEM, "open %s", path);
	r = io_make_folders(desktops, FOLDER_MODE, err);
	if (r < 0)
		return r;
	fd = open(lock, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	if (fd < 0)
		return err_set(err, errno, "open %s", lock);
	r = lock_state(fd, real, err);
	if (r < 0)
		return r;
	*state = TAKE(real);
	*lock_fd = TAKE_FD(fd);
	return 0;
}

static void announce(const struct hypervisor *hv, const char *socket)
{
	const struct probe *p = &hv->probe;

	if (p->note[0])
		log_warning("NOTE: desktops run under %s, which is slow: %s", p->accelerator,
			    p->note);
	if (!hv->config.live)
		log_warning("NOTE: a guest stands still while its memory is captured: [capture] "
			    "live is no");
	else if (!p->live_capture)
		log_warning("NOTE: a guest stands still while its memory is captured: %s",
			    p->live_note);
	log_info("READY socket=%s accelerator=%s qemu=%s live_capture=%s", socket, p->accelerator,
		 p->qemu_version, hv->config.live && p->live_capture ? "yes" : "no");
}

static int serve(struct hypervisor *hv, const sigset_t *signals, struct err *err)
{
	CLEANUP_FREE char *socket = io_printf("%s/hypervisor.sock", hv->state);
	CLEANUP(agent_socket_free) struct agent_socket *server = NULL;
	int signal, r;

	if (!socket)
		return err_set(err, ENOMEM, "serve");
	r = agent_socket_new(&server, hv, err);
	if (r < 0)
		return r;
	hv->emit_arg = server;
	hv->emit = agent_socket_emit;
	r = hypervisor_attach(hv, err);
	if (r == 0)
		r = agent_socket_listen(server, socket, err);
	if (r == 0) {
		announce(hv, socket);
		sigwait(signals, &signal);
		log_info("ending by signal %s; desktops run on", sigabbrev_np(signal));
		unlink(socket);
	}
	/* Requests first: they use the desktops. Then those: their threads send events. */
	agent_socket_end(server);
	hypervisor_detach(hv);
	return r;
}

static int run(const struct options *options, const sigset_t *signals, struct err *err)
{
	struct hypervisor hv = { .lock = PTHREAD_MUTEX_INITIALIZER };
	struct probe_options probe;
	CLEANUP_FREE char *state = NULL;
	CLEANUP_FD int lock_fd = -1;
	int r;

	r = hypervisor_config_load(&hv.config, options->config, err);
	if (r == 0)
		r = open_state(options->state, &state, &lock_fd, err);
	if (r == 0)
		r = process_boot_id(hv.boot_id, err);
	probe = (struct probe_options){ .state = state,
					.qemu = hv.config.qemu,
					.accelerator = hv.config.accelerator };
	if (r == 0)
		r = probe_host(&hv.probe, &probe, err);
	hv.state = state;
	if (r == 0)
		r = serve(&hv, signals, err);
	hypervisor_config_deinit(&hv.config);
	return r;
}

int main(int argc, char **argv)
{
	struct options options;
	struct err err = { .code = 0 };
	sigset_t signals;

	if (argc > 1 && strcmp(argv[1], "guard") == 0)
		return guard_main(argc - 1, argv + 1);
	parse_options(argc, argv, &options);
	log_init("godwit-hypervisor", options.level);
	umask(007);
	/* Before the first thread: all of them leave these signals to sigwait. */
	sigemptyset(&signals);
	sigaddset(&signals, SIGTERM);
	sigaddset(&signals, SIGINT);
	pthread_sigmask(SIG_BLOCK, &signals, NULL);
	signal(SIGPIPE, SIG_IGN);
	if (run(&options, &signals, &err) < 0) {
		log_error("%s", err_text(&err));
		return EXIT_FAILURE;
	}
	return EXIT_SUCCESS;
}
