/* listen.h - listening TCP sockets from "ADDRESS:PORT" texts; "[::]:8443" for IPv6, port 0 for any. */
#ifndef GODWIT_MGMT_SERVER_LISTEN_H
#define GODWIT_MGMT_SERVER_LISTEN_H

#include <stddef.h>
#include <sys/socket.h>

#include "common/err.h"

/* Return the descriptor or -errno. */
int listen_open(const char *where, struct err *err);
unsigned listen_port(int fd);

/* A peer's address without its port, "unknown" for NULL. */
void listen_address(const struct sockaddr *from, char *text, size_t len);

#endif
