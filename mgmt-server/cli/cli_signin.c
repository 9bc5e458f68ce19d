#include "mgmt-server/cli/cli_signin.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <termios.h>
#include <unistd.h>

#include "common/io.h"
#include "mgmt-server/cli/cli_server.h"

enum { PASSWORD_MAX = 1024, CA_FILE_MAX = 1 << 20, LOGIN_DEADLINE_MS = 30000 };

/* A password in memory; wiped when it is not needed any more. */
struct password {
	char text[PASSWORD_MAX + 2];
};

static void wipe(struct password *p)
{
	explicit_bzero(p, sizeof(*p));
}

static int strip_line_end(struct password *p, const char *from, struct err *err)
{
	size_t len = strcspn(p->text, "\r\n");

	if (len > PASSWORD_MAX || (p->text[len] && p->text[len + strspn(p->text + len, "\r\n")]))
		return err_say(err, EINVAL, "%s: a password is one line of at most %d bytes", from,
			       PASSWORD_MAX);
	p->text[len] = 0;
	if (len == 0)
		return err_say(err, EINVAL, "%s: the password is empty", from);
	return 0;
}

static int read_password_fd(int fd, const char *from, struct password *p, struct err *err)
{
	size_t used = 0;

	while (used < sizeof(p->text) - 1) {
		ssize_t n = read(fd, p->text + used, sizeof(p->text) - 1 - used);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return err_set(err, errno, "read the password from %s", from);
		if (n == 0)
			break;
		used += (size_t)n;
	}
	p->text[used] = 0;
	return strip_line_end(p, from, err);
}

static int ask_password(const char *user, struct password *p, struct err *err)
{
	CLEANUP_FD int tty = open("/dev/tty", O_RDWR | O_NOCTTY | O_CLOEXEC);
	struct termios before, silent;
	ssize_t n;

	if (tty < 0 || tcgetattr(tty, &before) < 0)
		return err_say(
			err, EINVAL,
			"there is no terminal to ask for the password: use --password-file FILE "
			"(- reads stdin)");
	silent = before;
	silent.c_lflag &= ~(tcflag_t)ECHO;
	dprintf(tty, "Password of %s: ", user);
	tcsetattr(tty, TCSAFLUSH, &silent);
	n = read(tty, p->text, sizeof(p->text) - 1);
	tcsetattr(tty, TCSAFLUSH, &before);
	dprintf(tty, "\n");
	if (n < 0)
		return errno == EINTR ? err_say(err, ECANCELED, "interrupted")
				      : err_set(err, errno, "read the password");
	p->text[n] = 0;
	return strip_line_end(p, "the terminal", err);
}

static int get_password(const struct cli_call *call, const char *user, struct password *p,
			struct err *err)
{
	const struct cli_value *file = cli_command_value(call, "password-file");
	CLEANUP_FD int fd = -1;

	if (!file->given)
		return ask_password(user, p, err);
	if (strcmp(file->text, "-") == 0)
		return read_password_fd(STDIN_FILENO, "stdin", p, err);
	fd = open(file->text, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return err_set(err, errno, "open %s", file->text);
	return read_password_fd(fd, file->text, p, err);
}

/* --ca, --fingerprint or the machine's trust store. */
static int choose_trust(const struct cli_call *call, struct cli_login *login, struct err *err)
{
	const struct cli_value *ca = cli_command_value(call, "ca");
	const struct cli_value *fingerprint = cli_command_value(call, "fingerprint");
	size_t len;
	int r;

	if (ca->given && fingerprint->given)
		return err_say(err, EINVAL, "give --ca or --fingerprint, not both");
	login->trust = CLI_LOGIN_SYSTEM;
	if (fingerprint->given) {
		login->trust = CLI_LOGIN_FINGERPRINT;
		login->ca = cli_login_fingerprint(fingerprint->text, err);
		return login->ca ? 0 : -EINVAL;
	}
	if (!ca->given)
		return 0;
	login->trust = CLI_LOGIN_CA;
	r = io_read_file(ca->text, CA_FILE_MAX, (uint8_t **)&login->ca, &len, err);
	if (r < 0)
		return r;
	if (strlen(login->ca) != len || !strstr(login->ca, "-----BEGIN CERTIFICATE-----"))
		return err_say(err, EINVAL, "%s is no certificate in PEM form", ca->text);
	return 0;
}

static int distrusted(const struct cli_login *login, int r, struct err *err)
{
	static const char *const advice[] = {
		[CLI_LOGIN_CA] = "the server's certificate does not come from the CA in that file",
		[CLI_LOGIN_FINGERPRINT] =
			"this is not the server with that fingerprint. Compare it "
			"with what the server prints; do not go on if they differ",
		[CLI_LOGIN_SYSTEM] =
			"this machine does not trust the server's certificate. Give its CA "
			"with --ca FILE, or its fingerprint with --fingerprint HEX",
	};

	return err_wrap(err, r, "%s", advice[login->trust]);
}

/* The request's body holds the password: it is wiped, too. */
static int post_login(struct http_client *http, const char *user, const struct password *p,
		      struct http_response *response, struct err *err)
{
	json_t *body = json_pack("{s:s, s:s}", "user", user, "password", p->text);
	char *text = body ? json_text(body) : NULL;
	struct http_request request = {
		.method = "POST",
		.path = "/api/v1/login",
		.body = text,
		.body_len = text ? strlen(text) : 0,
		.deadline_ms = LOGIN_DEADLINE_MS,
		.cancel = &cli_server_interrupted,
	};
	int r;

	json_decref(body);
	if (!text)
		return err_say(err, EINVAL, "user name and password must be UTF-8");
	r = http_client_call(http, &request, response, err);
	explicit_bzero(text, strlen(text));
	free(text);
	return r;
}

static int take_token(struct cli_login *login, const struct http_response *response,
		      struct err *err)
{
	CLEANUP(json_decref) json_t *reply = NULL;
	const char *token, *expires;
	int r;

	r = http_response_check(response, "sign in", err);
	if (r < 0)
		return r;
	r = json_parse(&reply, (const char *)response->body, response->body_len,
		       "the server's answer", err);
	if (r < 0)
		return r;
	token = json_string_value(json_object_get(reply, "token"));
	expires = json_string_value(json_object_get(reply, "expires"));
	if (!token || !*token)
		return err_say(err, EBADMSG, "the server's answer to the sign-in has no token");
	login->token = strdup(token);
	login->expires = strdup(expires ? expires : "");
	return login->token && login->expires ? 0 : err_set(err, ENOMEM, "sign in");
}

static int sign_in(struct cli_login *login, const struct password *p, struct err *err)
{
	CLEANUP(http_client_free) struct http_client *http = NULL;
	struct http_response response = { .body = NULL };
	int r;

	r = cli_server_client(&http, login, err);
	if (r < 0)
		return r;
	r = post_login(http, login->user, p, &response, err);
	if (r == -EACCES)
		r = distrusted(login, r, err);
	else if (r == 0)
		r = take_token(login, &response, err);
	if (response.body)
		explicit_bzero(response.body, response.body_len);
	http_response_deinit(&response);
	return r;
}

/* What the command line says about the login. -EINVAL: it is wrong, and nothing was asked or sent yet. */
static int prepare(const struct cli_call *call, struct cli_login *login, struct err *err)
{
	const struct cli_value *user = cli_command_value(call, "user");

	if (!user->given)
		return err_say(err, EINVAL, "--user is missing");
	login->url = cli_login_url(call->words[0], err);
	if (!login->url)
		return -err->code;
	login->user = strdup(user->text);
	if (!login->user)
		return err_set(err, ENOMEM, "sign in");
	return choose_trust(call, login, err);
}

int cli_signin_login(struct cli_call *call, struct err *err)
{
	struct cli_login login = { .url = NULL };
	struct password password;
	int r;

	r = prepare(call, &login, err);
	if (r == -EINVAL) {
		fprintf(stderr, "godwit: %s\n", err_text(err));
		cli_login_deinit(&login);
		return CLI_EXIT_USAGE;
	}
	if (r == 0)
		r = get_password(call, login.user, &password, err);
	if (r == 0)
		r = sign_in(&login, &password, err);
	wipe(&password);
	if (r == 0)
		r = cli_login_save(&login, err);
	if (r == 0 && !call->quiet)
		fprintf(stderr, "Signed in to %s as %s.\n", login.url, login.user);
	cli_login_deinit(&login);
	return r;
}

int cli_signin_logout(struct cli_call *call, struct err *err)
{
	struct err said = { .code = 0 };
	struct cli_server server;
	int r;

	r = cli_server_open(&server, err);
	if (r == 0) {
		/* The server's copy of the token dies too, if it can be told; the file goes in any case. */
		r = cli_server_json(&server, "POST", "/api/v1/logout", NULL, NULL, &said);
		cli_server_close(&server);
		if (r < 0 && r != -EACCES && !call->quiet)
			fprintf(stderr,
				"godwit: the server was not told (%s); its token ends by itself\n",
				err_text(&said));
	}
	r = cli_login_forget(err);
	if (r == 0 && !call->quiet)
		fprintf(stderr, "Signed out.\n");
	return r;
}
