/* godwit-agent - the endpoint's side of Godwit: enrols it, renews its leases, does what the server asks for. */
#include <errno.h>
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <fcntl.h>
#include <unistd.h>

#include "client-agent/disk_server.h"
#include "client-agent/enrol.h"
#include "client-agent/heartbeat.h"
#include "client-agent/memory_server.h"
#include "client-agent/orphan.h"
#include "client-agent/tend.h"
#include "client-agent/work.h"
#include "common/clock.h"
#include "common/config.h"
#include "common/hex.h"
#include "common/io.h"
#include "common/log.h"

enum { TEND_EVERY_MS = 2000, EXIT_USAGE = 2 };

#define MEMBER(name) offsetof(struct agent_config, name)
static const struct config_key config_keys[] = {
	{ "agent", "poll", CONFIG_DURATION, MEMBER(poll_ms), "30s",
	  "how long a poll for work waits" },
	{ "restore", "nbdkit", CONFIG_STRING, MEMBER(nbdkit), "nbdkit",
	  "the NBD server's program" },
	{ "restore", "plugin", CONFIG_STRING, MEMBER(plugin), "",
	  "godwit-nbd-agent.so; empty: ../lib beside this program" },
	{ "restore", "cache", CONFIG_BYTES, MEMBER(cache_bytes), "32M",
	  "memory for chunks in each NBD server" },
	{ "restore", "fill_delay", CONFIG_DURATION, MEMBER(fill_delay_ms), "10s",
	  "after a boot, before the rest of the disks is fetched" },
	{ "upload", "retry", CONFIG_DURATION, MEMBER(upload_retry_ms), "10m",
	  "how long an upload that was cut is tried again" },
	{ "upload", "memory_max", CONFIG_BYTES, MEMBER(ram_max_bytes), "256G",
	  "more memory in one snapshot is refused" },
};

struct options {
	const char *state, *server, *token, *name; /* enrol */
	const char *hypervisor, *config;
	enum log_level level;
};

static void usage(FILE *out)
{
	fputs("Usage: godwit-agent enrol --state DIR --server URL --token TOKEN --name NAME\n"
	      "       godwit-agent --state DIR --hypervisor SOCKET [--config FILE] [--log-level "
	      "L]\n"
	      "       godwit-agent --print-config\n"
	      "The token comes from 'godwit endpoint token'. See godwit-agent(8).\n",
	      out);
}

static int parse_options(int argc, char **argv, struct options *o)
{
	static const struct option longs[] = {
		{ "state", required_argument, NULL, 's' },
		{ "server", required_argument, NULL, 'u' },
		{ "token", required_argument, NULL, 't' },
		{ "name", required_argument, NULL, 'n' },
		{ "hypervisor", required_argument, NULL, 'v' },
		{ "config", required_argument, NULL, 'c' },
		{ "log-level", required_argument, NULL, 'l' },
		{ "print-config", no_argument, NULL, 'p' },
		{ "help", no_argument, NULL, 'h' },
		{ 0 },
	};
	int c;

	while ((c = getopt_long(argc, argv, "", longs, NULL)) != -1) {
		switch (c) {
		case 's':
			o->state = optarg;
			break;
		case 'u':
			o->server = optarg;
			break;
		case 't':
			o->token = optarg;
			break;
		case 'n':
			o->name = optarg;
			break;
		case 'v':
			o->hypervisor = optarg;
			break;
		case 'c':
			o->config = optarg;
			break;
		case 'l':
			if (log_level_parse(optarg, &o->level) == 0)
				break;
			fprintf(stderr,
				"godwit-agent: no log level '%s'; there are: error warning "
				"info debug\n",
				optarg);
			return -EINVAL;
		case 'p':
			config_print_help(stdout, config_keys, ARRAY_LEN(config_keys));
			exit(0);
		case 'h':
			usage(stdout);
			exit(0);
		default:
			return -EINVAL;
		}
	}
	if (optind < argc) {
		fprintf(stderr, "godwit-agent: unexpected argument '%s'\n", argv[optind]);
		return -EINVAL;
	}
	return 0;
}

static int enrol_main(const struct options *o)
{
	struct err err = { 0 };
	int r;

	if (!o->state || !o->server || !o->token || !o->name) {
		usage(stderr);
		return EXIT_USAGE;
	}
	r = enrol_run(&(struct enrol_order){ .state_dir = o->state,
					     .server = o->server,
					     .token = o->token,
					     .name = o->name },
		      &err);
	if (r < 0) {
		fprintf(stderr, "godwit-agent: %s\n", err_text(&err));
		return 1;
	}
	printf("enrolled as %s\n", o->name);
	return 0;
}

/* One agent for each state folder. The lock is held until the process ends. */
static int lock_state(const char *state_dir, struct err *err)
{
	CLEANUP_FREE char *path = io_printf("%s/agent.lock", state_dir);
	int fd = path ? open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600) : -1;

	if (fd < 0)
		return err_set(err, path ? errno : ENOMEM, "lock %s", state_dir);
	if (flock(fd, LOCK_EX | LOCK_NB) < 0)
		return err_say(err, EBUSY, "another agent runs with %s", state_dir);
	return 0;
}

static int prepare(struct agent *agent, const struct options *o, struct err *err)
{
	int r;

	agent->state_dir = o->state;
	hex_random(agent->instance, 8);
	r = config_load(o->config, config_keys, ARRAY_LEN(config_keys), &agent->config, err);
	if (r == 0)
		r = identity_load(&agent->identity, o->state, err);
	if (r == 0)
		r = lock_state(o->state, err);
	if (r == 0)
		r = identity_http(&agent->identity, agent->config.poll_ms + 60000, &agent->http,
				  err);
	if (r == 0)
		r = disk_server_new(&agent->disks, agent, err);
	if (r == 0)
		r = memory_server_new(&agent->memory, agent, err);
	if (r == 0)
		r = hypervisor_client_new(&agent->hypervisor, o->hypervisor, err);
	return r;
}

static void tend_until_stopped(struct agent *agent, struct work *work)
{
	sigset_t stop;
	const struct timespec every = { .tv_sec = TEND_EVERY_MS / 1000 };

	sigemptyset(&stop);
	sigaddset(&stop, SIGTERM);
	sigaddset(&stop, SIGINT);
	while (sigtimedwait(&stop, NULL, &every) < 0)
		tend_round(agent, work);
}

static int run_main(const struct options *o)
{
	static struct agent agent; /* outlives every thread: the process just ends */
	struct heartbeat *heartbeat = NULL;
	struct work *work = NULL;
	struct err err = { 0 };
	sigset_t stop;
	int r;

	if (!o->state || !o->hypervisor) {
		usage(stderr);
		return EXIT_USAGE;
	}
	log_init("godwit-agent", o->level);
	signal(SIGPIPE, SIG_IGN);
	/* NBD servers are children that nobody waits for. */
	sigaction(SIGCHLD, &(struct sigaction){ .sa_handler = SIG_DFL, .sa_flags = SA_NOCLDWAIT },
		  NULL);
	sigemptyset(&stop);
	sigaddset(&stop, SIGTERM);
	sigaddset(&stop, SIGINT);
	pthread_sigmask(SIG_BLOCK, &stop, NULL);

	r = prepare(&agent, o, &err);
	if (r == 0)
		r = heartbeat_start(&heartbeat, &agent, &err);
	if (r == 0)
		r = work_start(&work, &agent, &err);
	if (r == 0)
		r = orphan_start(&agent, &err);
	if (r < 0) {
		log_error("%s", err_text(&err));
		return 1;
	}
	log_info("agent of endpoint %s started server=%s", agent.identity.name, agent.identity.url);
	tend_until_stopped(&agent, work);
	/* Jobs in flight are resumed by the next process; desktops and NBD servers go on. */
	agent.stop = true;
	heartbeat_stop(heartbeat);
	work_stop(work);
	log_info("agent stopped, desktops go on");
	_exit(0);
}

int main(int argc, char **argv)
{
	struct options o = { .level = LOG_LEVEL_INFO };
	bool enrol = argc > 1 && strcmp(argv[1], "enrol") == 0;

	if (parse_options(argc - enrol, argv + enrol, &o) < 0) {
		usage(stderr);
		return EXIT_USAGE;
	}
	return enrol ? enrol_main(&o) : run_main(&o);
}
