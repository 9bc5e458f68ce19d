/* listen.h - listening TCP sockets from "ADDRESS:PORT" texts; "[::]:8443" for IPv6, port 0 for any. */
#ifndef GODWIT_MGMT_SERVER_LISTEN_H
#define GODWIT_MGMT_SERVER_LISTEN_H

#include "common/err.h"

/* Return the descriptor or -errno. */
int listen_open(const char *where, struct err *err);
unsigned listen_port(int fd);

#endif
