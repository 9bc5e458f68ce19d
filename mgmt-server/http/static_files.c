/* static_files.c - see static_files.h. */
#include "mgmt-server/http/static_files.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "common/io.h"
#include "mgmt-server/core/server.h"

enum { FILE_MAX = 16 << 20 };

bool static_files_name_ok(const char *path)
{
	const char *p = path;

	if (path[0] == '/' || strstr(path, "//"))
		return false;
	for (; *p; p++) {
		bool first = p == path || p[-1] == '/';

		if (first && *p == '.')
			return false;
		if (!strchr("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-/",
			    *p))
			return false;
	}
	return true;
}

const char *static_files_type(const char *path)
{
	static const struct {
		const char *end, *type;
	} types[] = {
		{ ".html", "text/html; charset=utf-8" },
		{ ".css", "text/css; charset=utf-8" },
		{ ".js", "text/javascript; charset=utf-8" },
		{ ".mjs", "text/javascript; charset=utf-8" },
		{ ".json", "application/json" },
		{ ".svg", "image/svg+xml" },
		{ ".png", "image/png" },
		{ ".ico", "image/x-icon" },
		{ ".woff2", "font/woff2" },
		{ ".txt", "text/plain; charset=utf-8" },
		{ ".webmanifest", "application/manifest+json" },
	};
	size_t i, len = strlen(path);

	for (i = 0; i < ARRAY_LEN(types); i++) {
		size_t n = strlen(types[i].end);

		if (len > n && strcmp(path + len - n, types[i].end) == 0)
			return types[i].type;
	}
	return "application/octet-stream";
}

/* A regular file below @root, or -errno. */
static int open_below(const char *root, const char *path, struct stat *st)
{
	struct open_how how = { .flags = O_RDONLY | O_CLOEXEC | O_NONBLOCK,
				.resolve = RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS };
	int folder = open(root, O_PATH | O_DIRECTORY | O_CLOEXEC), fd;

	if (folder < 0)
		return -errno;
	fd = (int)syscall(SYS_openat2, folder, path, &how, sizeof(how));
	if (fd < 0)
		fd = -errno;
	close(folder);
	if (fd >= 0 && (fstat(fd, st) < 0 || !S_ISREG(st->st_mode) || st->st_size > FILE_MAX)) {
		close(fd);
		return -ENOENT;
	}
	return fd;
}

static void send_file(struct http_request *request, const char *path, int fd, const struct stat *st)
{
	const char *known = http_header(request, "If-None-Match");
	size_t len = (size_t)st->st_size;
	char tag[64];
	char *text;

	snprintf(tag, sizeof(tag), "\"%llx-%llx-%lx\"", (unsigned long long)st->st_size,
		 (unsigned long long)st->st_mtim.tv_sec, st->st_mtim.tv_nsec);
	http_reply_header(request, "ETag", tag);
	http_reply_header(request, "Cache-Control", "no-cache");
	http_reply_header(
		request, "Content-Security-Policy",
		"default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
		"font-src 'self'; connect-src 'self'; manifest-src 'self'; base-uri 'none'; "
		"form-action 'self'; frame-ancestors 'none'");
	http_reply_header(request, "Referrer-Policy", "no-referrer");
	http_reply_header(request, "Cross-Origin-Opener-Policy", "same-origin");
	if (known && strcmp(known, tag) == 0) {
		http_reply_empty(request, 304);
		return;
	}
	text = malloc(len + 1);
	if (!text || io_read_full(fd, text, len) != 0) {
		free(text);
		http_fail(request, 503, "%s could not be read", path);
		return;
	}
	http_reply_text(request, 200, static_files_type(path), text, len);
}

void static_files_get(struct http_request *request)
{
	const struct server *s = http_request_app(request);
	const char *path = http_param(request, "path");
	struct stat st;
	int fd = -ENOENT;

	if (strncmp(path, "api/", 4) == 0 || !static_files_name_ok(path)) {
		http_fail(request, 404, "there is no /%.200s", path);
		return;
	}
	if (path[0])
		fd = open_below(s->config.web_root, path, &st);
	if (fd < 0 && !strchr(path, '.')) {
		path = "index.html";
		fd = open_below(s->config.web_root, path, &st);
	}
	if (fd < 0) {
		http_fail(request, 404, "there is no /%.200s", http_param(request, "path"));
		return;
	}
	send_file(request, path, fd, &st);
	close(fd);
}
