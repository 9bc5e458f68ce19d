/* listen.c - see listen.h. */
#include "mgmt-server/http/listen.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netdb.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/base.h"

static int socket_for(const struct addrinfo *a)
{
	int on = 1, fd = socket(a->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	if (fd < 0)
		return -errno;
	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
	if (bind(fd, a->ai_addr, a->ai_addrlen) < 0 || listen(fd, 1024) < 0) {
		int r = -errno;

		close(fd);
		return r;
	}
	return fd;
}

int listen_open(const char *where, struct err *err)
{
	struct addrinfo hints = { .ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE }, *found;
	CLEANUP_FREE char *host = strdup(where);
	char *colon = host ? strrchr(host, ':') : NULL, *name = host;
	int r;

	if (!host)
		return err_set(err, ENOMEM, "listen on %s", where);
	if (!colon)
		return err_say(err, EINVAL, "listen address '%s' must be ADDRESS:PORT", where);
	*colon = '\0';
	if (name[0] == '[' && colon > name && colon[-1] == ']') {
		colon[-1] = '\0';
		name++;
	}
	r = getaddrinfo(*name ? name : NULL, colon + 1, &hints, &found);
	if (r)
		return err_say(err, EINVAL, "listen on %s: %s", where, gai_strerror(r));
	r = socket_for(found);
	freeaddrinfo(found);
	return r < 0 ? err_set(err, -r, "listen on %s", where) : r;
}

unsigned listen_port(int fd)
{
	struct sockaddr_storage a;
	socklen_t len = sizeof(a);

	if (getsockname(fd, (struct sockaddr *)&a, &len) < 0)
		return 0;
	return ntohs(a.ss_family == AF_INET6 ? ((struct sockaddr_in6 *)&a)->sin6_port
					     : ((struct sockaddr_in *)&a)->sin_port);
}

void listen_address(const struct sockaddr *from, char *text, size_t len)
{
	snprintf(text, len, "unknown");
	if (from && from->sa_family == AF_INET)
		inet_ntop(AF_INET, &((const struct sockaddr_in *)from)->sin_addr, text,
			  (socklen_t)len);
	if (from && from->sa_family == AF_INET6)
		inet_ntop(AF_INET6, &((const struct sockaddr_in6 *)from)->sin6_addr, text,
			  (socklen_t)len);
}
