#include "mgmt-server/cli/cli_login.h"

#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/io.h"
#include "common/json.h"

enum { LOGIN_FILE_MAX = 256 << 10, FINGERPRINT_DIGITS = 64, URL_MAX = 512 };

static const char default_port[] = ":8443";

void cli_login_deinit(struct cli_login *login)
{
	free(login->url);
	free(login->user);
	free(login->token);
	free(login->expires);
	free(login->ca);
	*login = (struct cli_login){ .url = NULL };
}

char *cli_login_path(const char *name, struct err *err)
{
	const char *godwit = getenv("GODWIT_CONFIG_HOME");
	const char *xdg = getenv("XDG_CONFIG_HOME"), *home = getenv("HOME");
	char *path;

	if (godwit && *godwit) {
		path = io_printf("%s/%s", godwit, name);
	} else if (xdg && *xdg == '/') {
		path = io_printf("%s/godwit/%s", xdg, name);
	} else if (home && *home) {
		path = io_printf("%s/.config/godwit/%s", home, name);
	} else {
		err_say(err, ENOENT,
			"no place for the saved login: set HOME, or GODWIT_CONFIG_HOME to a "
			"folder");
		return NULL;
	}
	if (!path)
		err_set(err, ENOMEM, "find the saved login");
	return path;
}

static int check_owner_only(const char *path, struct err *err)
{
	struct stat st;

	if (stat(path, &st) < 0)
		return errno == ENOENT ? CLI_LOGIN_NONE : err_set(err, errno, "read %s", path);
	if (st.st_mode & (S_IRWXG | S_IRWXO))
		return err_say(
			err, EACCES,
			"%s holds a secret but others may read it (mode %04o): chmod 600 it, or "
			"sign in again",
			path, (unsigned)(st.st_mode & 07777));
	return 0;
}

static int trust_from(struct cli_login *login, const char *ca_pem, const char *fingerprint,
		      const char *path, struct err *err)
{
	if (ca_pem && fingerprint)
		return err_say(err, EINVAL, "%s: both ca_pem and ca_fingerprint", path);
	login->trust = ca_pem        ? CLI_LOGIN_CA
		       : fingerprint ? CLI_LOGIN_FINGERPRINT
				     : CLI_LOGIN_SYSTEM;
	if (login->trust == CLI_LOGIN_SYSTEM)
		return 0;
	login->ca = strdup(ca_pem ? ca_pem : fingerprint);
	return login->ca ? 0 : err_set(err, ENOMEM, "read %s", path);
}

int cli_login_load(struct cli_login *login, struct err *err)
{
	CLEANUP(json_decref) json_t *file = NULL;
	CLEANUP_FREE char *path = NULL;
	const char *url = NULL, *user = NULL, *token = NULL, *expires = "", *ca_pem = NULL,
		   *fingerprint = NULL;
	int r;

	*login = (struct cli_login){ .url = NULL };
	path = cli_login_path("login.json", err);
	if (!path)
		return -err->code;
	r = check_owner_only(path, err);
	if (r != 0)
		return r;
	r = json_parse_file(&file, path, LOGIN_FILE_MAX, err);
	if (r < 0)
		return r;
	{
		const struct json_field fields[] = {
			{ "url", JSON_KIND_STRING, false, &url },
			{ "user", JSON_KIND_STRING, false, &user },
			{ "token", JSON_KIND_STRING, false, &token },
			{ "expires", JSON_KIND_STRING, true, &expires },
			{ "ca_pem", JSON_KIND_STRING, true, &ca_pem },
			{ "ca_fingerprint", JSON_KIND_STRING, true, &fingerprint },
		};

		r = json_fields(file, fields, ARRAY_LEN(fields), path, err);
	}
	if (r < 0)
		return r;

	login->url = strdup(url);
	login->user = strdup(user);
	login->token = strdup(token);
	login->expires = strdup(expires);
	if (!login->url || !login->user || !login->token || !login->expires)
		r = err_set(err, ENOMEM, "read %s", path);
	else
		r = trust_from(login, ca_pem, fingerprint, path, err);
	if (r < 0)
		cli_login_deinit(login);
	return r;
}

int cli_login_save(const struct cli_login *login, struct err *err)
{
	CLEANUP(json_decref) json_t *file = NULL;
	CLEANUP_FREE char *path = NULL, *folder = NULL, *text = NULL;
	int r;

	path = cli_login_path("login.json", err);
	folder = cli_login_path("", err);
	if (!path || !folder)
		return -err->code;
	folder[strlen(folder) - 1] = 0;
	r = io_make_folders(folder, 0700, err);
	if (r < 0)
		return r;
	file = json_pack("{s:s, s:s, s:s, s:s}", "url", login->url, "user", login->user, "token",
			 login->token, "expires", login->expires ? login->expires : "");
	if (file && login->trust != CLI_LOGIN_SYSTEM &&
	    json_object_set_new(file, login->trust == CLI_LOGIN_CA ? "ca_pem" : "ca_fingerprint",
				json_string(login->ca)) < 0)
		return err_set(err, ENOMEM, "save %s", path);
	text = file ? json_text(file) : NULL;
	if (!text)
		return err_set(err, ENOMEM, "save %s", path);
	return io_replace_file(path, text, strlen(text), 0600, err);
}

int cli_login_forget(struct err *err)
{
	CLEANUP_FREE char *path = cli_login_path("login.json", err);

	if (!path)
		return -err->code;
	if (unlink(path) < 0 && errno != ENOENT)
		return err_set(err, errno, "remove %s", path);
	return 0;
}

/* "[::1]" has colons but no port. */
static bool has_port(const char *host, size_t len)
{
	const char *colon = memrchr(host, ':', len);

	return colon && !memchr(colon, ']', len - (size_t)(colon - host));
}

char *cli_login_url(const char *given, struct err *err)
{
	static const char https[] = "https://";
	const char *host = given;
	char *url;
	size_t len;
	bool scheme = strncasecmp(given, https, strlen(https)) == 0;

	if (scheme)
		host += strlen(https);
	len = strlen(host);
	while (len > 0 && host[len - 1] == '/')
		len--;
	if (len == 0 || len > URL_MAX ||
	    strspn(host, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-:[]_") <
		    len) {
		err_say(err, EINVAL,
			"'%s' is no server address: give https://HOST:PORT, or HOST for port 8443",
			given);
		return NULL;
	}
	url = io_printf("%s%.*s%s", https, (int)len, host,
			scheme || has_port(host, len) ? "" : default_port);
	if (!url)
		err_set(err, ENOMEM, "read the server's address");
	return url;
}

char *cli_login_fingerprint(const char *given, struct err *err)
{
	char *digits = calloc(1, FINGERPRINT_DIGITS + 1);
	size_t n = 0;

	if (!digits) {
		err_set(err, ENOMEM, "read the fingerprint");
		return NULL;
	}
	for (; *given; given++) {
		if (*given == ':')
			continue;
		if (!isxdigit((unsigned char)*given) || n == FINGERPRINT_DIGITS)
			break;
		digits[n++] = (char)tolower((unsigned char)*given);
	}
	if (*given || n != FINGERPRINT_DIGITS) {
		free(digits);
		err_say(err, EINVAL,
			"a fingerprint is the SHA-256 of the server's CA: %d hexadecimal digits, "
			"colons "
			"allowed",
			FINGERPRINT_DIGITS);
		return NULL;
	}
	return digits;
}
