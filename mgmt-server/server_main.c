/* server_main.c - godwit-server: state folder, keys, catalogue, store, listeners; then time until a signal. */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <pthread.h>
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
#include "mgmt-server/api/api.h"
#include "mgmt-server/core/auth.h"
#include "mgmt-server/core/events.h"
#include "mgmt-server/core/fleet.h"
#include "mgmt-server/core/identity.h"
#include "mgmt-server/core/leases.h"
#include "mgmt-server/core/mail.h"
#include "mgmt-server/core/marks.h"
#include "mgmt-server/core/mends.h"
#include "mgmt-server/core/recovery.h"
#include "mgmt-server/core/hunts.h"
#include "mgmt-server/core/ransomware.h"
#include "mgmt-server/core/scans.h"
#include "mgmt-server/core/signatures.h"
#include "mgmt-server/core/snapshots.h"
#include "mgmt-server/core/transfer.h"
#include "mgmt-server/core/upkeep.h"
#include "mgmt-server/core/work.h"

enum { TICK_MS = 100, PURGE_TICKS = 36000 };

static const char usage[] =
	"godwit-server --state DIR [--config FILE] [--log-level error|warning|info|debug]\n"
	"\n"
	"Godwit's management server. At first start it makes in DIR: a certification authority, "
	"the\n"
	"server's certificate, the catalogue, the store, and the user admin with a random password "
	"in\n"
	"DIR/admin-password. When it is ready it writes DIR/ready.json with its URLs and its pid.\n"
	"\n"
	"  --state DIR       everything the server keeps (0700)\n"
	"  --config FILE     settings; --print-config shows all of them with their defaults\n"
	"  --log-level L     default info\n"
	"  --print-config    print a commented sample of the config file\n"
	"  --version, --help\n";

struct options {
	const char *state, *config;
	enum log_level level;
	int done; /* exit status + 1 when there is nothing left to do */
};

static void parse_options(int argc, char **argv, struct options *o)
{
	static const struct option long_options[] = {
		{ "state", required_argument, NULL, 's' },
		{ "config", required_argument, NULL, 'c' },
		{ "log-level", required_argument, NULL, 'l' },
		{ "print-config", no_argument, NULL, 'p' },
		{ "version", no_argument, NULL, 'V' },
		{ "help", no_argument, NULL, 'h' },
		{ NULL, 0, NULL, 0 },
	};
	int c;

	o->level = LOG_LEVEL_INFO;
	while ((c = getopt_long(argc, argv, "h", long_options, NULL)) != -1) {
		if (c == 's')
			o->state = optarg;
		else if (c == 'c')
			o->config = optarg;
		else if (c == 'l' && log_level_parse(optarg, &o->level) == 0)
			continue;
		else if (c == 'p')
			server_config_print(stdout), o->done = 1;
		else if (c == 'V')
			puts("godwit-server " SERVER_VERSION), o->done = 1;
		else if (c == 'h')
			fputs(usage, stdout), o->done = 1;
		else
			fputs(usage, stderr), o->done = 3;
		if (o->done)
			return;
	}
	if (!o->state || optind != argc)
		fputs(usage, stderr), o->done = 3;
}

/* ---- Parts ---- */

static void forget_ready(const struct server *s)
{
	CLEANUP_FREE char *path = io_printf("%s/ready.json", s->state);

	if (path)
		unlink(path);
}

/* One server per state folder. The descriptor stays open until the process ends. */
static int lock_state(struct server *s, struct err *err)
{
	CLEANUP_FREE char *path = io_printf("%s/lock", s->state);
	int fd, r = io_make_folders(s->state, 0700, err);

	if (r < 0 || !path)
		return r < 0 ? r : err_set(err, ENOMEM, "state folder");
	fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	if (fd < 0)
		return err_set(err, errno, "open %s", path);
	if (flock(fd, LOCK_EX | LOCK_NB) < 0)
		return err_say(err, EBUSY, "another godwit-server works in %s", s->state);
	forget_ready(s); /* one that was killed left it */
	return 0;
}

static int set_default(char **value, char *otherwise, struct err *err)
{
	if ((*value)[0]) {
		free(otherwise);
		return 0;
	}
	free(*value);
	*value = otherwise;
	return otherwise ? 0 : err_set(err, ENOMEM, "settings");
}

static char *default_web_root(void)
{
	char self[4096];
	ssize_t n = readlink("/proc/self/exe", self, sizeof(self) - 1);
	char *slash, *path;
	int up;

	self[n > 0 ? n : 0] = '\0';
	for (up = 0; up < 4; up++) { /* build/FLAVOUR/bin/godwit-server */
		slash = strrchr(self, '/');
		if (slash)
			*slash = '\0';
	}
	path = io_printf("%s/web-ui-static", self);
	if (path && access(path, X_OK) == 0)
		return path;
	free(path);
	return strdup("/usr/share/godwit/web-ui-static");
}

static int complete_config(struct server *s, struct err *err)
{
	struct server_config *c = &s->config;
	int r = set_default(&c->store, io_printf("%s/store", s->state), err);

	if (r == 0)
		r = set_default(&c->store_key, io_printf("%s.key", c->store), err);
	return r < 0 ? r : set_default(&c->web_root, default_web_root(), err);
}

static int open_store(struct server *s, struct err *err)
{
	const char *path = s->config.store, *key = s->config.store_key;
	int r = store_open(&s->store, path, key, STORE_WRITE, err);

	/* Only a store that was never there is made: a wrong path must not look like an empty store. */
	if (r == -ENOENT && access(key, F_OK) < 0 && errno == ENOENT) {
		r = store_init(path, key, err);
		if (r == 0)
			r = store_open(&s->store, path, key, STORE_WRITE, err);
		if (r == 0)
			log_info("made the store %s, its key is %s: keep a copy of the key "
				 "elsewhere",
				 path, key);
	}
	return r < 0 ? err_wrap(err, r, "store %s", path) : 0;
}

static int open_state(struct server *s, struct err *err)
{
	int r = lock_state(s, err);

	if (r == 0)
		r = complete_config(s, err);
	if (r == 0)
		r = open_store(s, err);
	if (r == 0)
		r = recovery_keys(s, err);
	if (r == 0)
		r = identity_load(s, err);
	if (r == 0)
		r = recovery_open(s, err);
	if (r == 0)
		r = auth_first_user(s, err);
	if (r == 0)
		r = fleet_new(&s->fleet, s, err);
	if (r == 0)
		r = events_new(&s->events, err);
	if (r == 0)
		r = auth_new(&s->auth, s, err);
	if (r == 0)
		r = transfer_new(&s->transfer, s, err);
	if (r == 0)
		r = scans_new(&s->scans, s, err);
	if (r == 0)
		r = mends_new(&s->mends, s, err);
	if (r == 0)
		r = signatures_new(&s->signatures, s, err);
	if (r == 0)
		r = ransomware_init(&s->ransomware, err);
	if (r == 0)
		r = hunts_new(&s->hunts, s, err);
	if (r == 0)
		r = fleet_load(s->fleet, err);
	if (r == 0)
		r = snapshots_adopt(s, err);
	if (r == 0)
		r = marks_adopt(s, err);
	if (r == 0)
		r = recovery_tell(s, err);
	if (r == 0)
		r = upkeep_new(&s->upkeep, s, err);
	return r < 0 ? r : mail_new(&s->mail, s, err);
}

/* ---- Listening ---- */

/* A wildcard address is nothing to connect to. */
static char *url_of(const char *listen, unsigned port)
{
	const char *colon = strrchr(listen, ':');
	int len = colon ? (int)(colon - listen) : (int)strlen(listen);
	char host[256] = "localhost";

	if (len == 0 || strncmp(listen, "0.0.0.0:", 8) == 0 || strncmp(listen, "[::]:", 5) == 0) {
		gethostname(host, sizeof(host) - 1);
		return io_printf("https://%s:%u", host, port);
	}
	return io_printf("https://%.*s:%u", len, listen, port);
}

static int write_ready(struct server *s, struct err *err)
{
	CLEANUP_FREE char *path = io_printf("%s/ready.json", s->state);
	json_t *ready = json_pack("{ss ss sI}", "ui_url", s->ui_url, "agent_url", s->agent_url,
				  "pid", (json_int_t)getpid());
	CLEANUP_FREE char *text = ready ? json_text(ready) : NULL;

	json_decref(ready);
	if (!path || !text)
		return err_set(err, ENOMEM, "ready.json");
	return io_replace_file(path, text, strlen(text), 0644, err);
}

static int serve(struct server *s, struct err *err)
{
	const struct server_config *c = &s->config;
	const struct http_options options = { .app = s,
					      .workers = (unsigned)c->workers,
					      .bulk_workers = (unsigned)c->bulk_workers,
					      .connections_max = (unsigned)c->connections,
					      .connections_per_address =
						      (unsigned)c->connections_per_address,
					      .body_budget = c->body_budget,
					      .idle_timeout_ms = c->idle_timeout_ms,
					      .body_timeout_ms = c->body_timeout_ms,
					      .send_timeout_ms = c->send_timeout_ms };
	struct http_listener_options people = { .listen = c->listen,
						.cert_pem = s->cert_pem,
						.key_pem = s->key_pem,
						.routes = routes_people,
						.route_count = routes_people_count,
						.admit = auth_admit_person };
	struct http_listener_options agents = { .listen = c->agent_listen,
						.cert_pem = s->cert_pem,
						.key_pem = s->key_pem,
						.client_ca_pem = s->ca_pem,
						.routes = routes_agents,
						.route_count = routes_agents_count,
						.admit = auth_admit_endpoint };
	unsigned ui_port, agent_port;
	int r = http_new(&s->http, &options, err);

	/* Agents first: who enrols gets agent_url, so it must be known. */
	if (r == 0)
		r = http_listen(s->http, &agents, &agent_port, err);
	if (r < 0)
		return r;
	s->agent_url = c->agent_url[0] ? strdup(c->agent_url) : url_of(c->agent_listen, agent_port);
	r = http_listen(s->http, &people, &ui_port, err);
	if (r < 0)
		return r;
	s->ui_url = url_of(c->listen, ui_port);
	if (!s->ui_url || !s->agent_url)
		return err_set(err, ENOMEM, "listen");
	r = write_ready(s, err);
	if (r == 0)
		log_info("ready ui=%s agents=%s ca_fingerprint=%s", s->ui_url, s->agent_url,
			 s->ca_fingerprint);
	return r;
}

/* ---- Running ---- */

static void purge(struct server *s)
{
	struct db_conn *c;
	struct err err = { 0 };
	int r;

	transfer_purge(s->transfer);
	r = db_begin(s->db, &c, &err);
	if (r == 0) {
		r = catalogue_answer_purge(c, clock_wall_ms() - 24ULL * 3600 * 1000, &err);
		r = r < 0 ? (db_abort(c), r) : db_commit(c, &err);
	}
	if (r < 0)
		log_error("purge: %s", err_text(&err));
}

static void run_until_signal(struct server *s, const sigset_t *signals)
{
	const struct timespec tick = { .tv_nsec = TICK_MS * 1000000L };
	unsigned ticks = 0;
	int sig;

	for (;;) {
		sig = sigtimedwait(signals, NULL, &tick);
		if (sig == SIGTERM || sig == SIGINT)
			break;
		leases_tick(s);
		if (++ticks % PURGE_TICKS == 0)
			purge(s);
	}
	log_info("stopping");
	forget_ready(s);
}

static void server_deinit(struct server *s)
{
	if (s->http) {
		http_close(s->http);
		work_stop(s);
		http_free(s->http);
	}
	if (s->upkeep)
		upkeep_free(s->upkeep);
	if (s->mail)
		mail_free(s->mail);
	if (s->scans)
		scans_free(s->scans);
	mends_free(s->mends);
	if (s->signatures)
		signatures_free(s->signatures);
	hunts_free(s->hunts);
	ransomware_free(s->ransomware);
	if (s->transfer)
		transfer_free(s->transfer);
	if (s->auth)
		auth_free(s->auth);
	if (s->events)
		events_free(s->events);
	if (s->fleet)
		fleet_free(s->fleet);
	if (s->store)
		store_close(s->store);
	if (s->db)
		db_close(s->db);
	free(s->ca_pem);
	free(s->ca_key_pem);
	free(s->cert_pem);
	free(s->key_pem);
	free(s->ui_url);
	free(s->agent_url);
	free(s->state);
	server_config_deinit(&s->config);
}

int main(int argc, char **argv)
{
	struct server s = { .started_wall_ms = clock_wall_ms() };
	struct options o = { .state = NULL };
	struct err err = { 0 };
	sigset_t signals;
	int r;

	parse_options(argc, argv, &o);
	if (o.done)
		return o.done - 1;
	log_init("godwit-server", o.level);
	io_allow_many_files();
	umask(0077);
	signal(SIGPIPE, SIG_IGN);
	sigemptyset(&signals);
	sigaddset(&signals, SIGTERM);
	sigaddset(&signals, SIGINT);
	pthread_sigmask(SIG_BLOCK, &signals, NULL); /* before any thread: they inherit it */

	s.state = realpath(o.state, NULL);
	if (!s.state)
		s.state = strdup(o.state);
	r = s.state ? server_config_load(&s.config, o.config, &err)
		    : err_set(&err, ENOMEM, "start");
	if (r == 0)
		r = open_state(&s, &err);
	if (r == 0)
		r = serve(&s, &err);
	if (r == 0)
		run_until_signal(&s, &signals);
	else
		log_error("%s", err_text(&err));
	server_deinit(&s);
	if (r == 0 && atomic_load(&s.begin_anew)) {
		/* The same process, so that whoever watches over it sees no end. */
		pthread_sigmask(SIG_UNBLOCK, &signals, NULL);
		execv("/proc/self/exe", argv);
		log_error("start again: %s", strerror(errno));
		return 1;
	}
	return r < 0 ? 1 : 0;
}
