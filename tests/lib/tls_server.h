/* tls_server.h - a real HTTPS server inside a unit test that can misbehave in every way a client must survive.
 *
 * OpenSSL on 127.0.0.1, a thread a connection, keep-alive. What it answers is a function of the request, given by the
 * test, which may write any bytes at any time or close.
 */
#ifndef GODWIT_TESTS_TLS_SERVER_H
#define GODWIT_TESTS_TLS_SERVER_H

#include <stdbool.h>
#include <stddef.h>

#include <openssl/ssl.h>

struct tls_server;

struct tls_server_request {
	struct tls_server *server;
	SSL *ssl;
	char method[16], path[256];
	char headers[4096]; /* the header lines as they came, without the request line */
	char *body;
	size_t body_len, content_length;
	unsigned number; /* of this path's requests so far, 1: the first */
};

struct tls_server_options {
	const char *chain_pem, *key_pem; /* the server's certificate, then what else it sends */
	const char *client_ca_pem;       /* NULL: no client certificate is asked for */
	/* Called before the body is read when true comes back from it; the connection is closed then. May be NULL. */
	bool (*cut_off)(const struct tls_server_request *request);
	/* Write an answer; false closes the connection. */
	bool (*answer)(const struct tls_server_request *request);
	int listen_fd; /* 0: a fresh port; else a bound TCP socket, taken over */
};

/* A bound TCP socket on 127.0.0.1 that does not listen: connections to *port are refused. */
int tls_server_reserve(unsigned *port);

/* Asserts that it worked. */
struct tls_server *tls_server_start(const struct tls_server_options *options);
/* Ends all connections and threads; NULL is allowed. */
void tls_server_stop(struct tls_server *server);

unsigned tls_server_port(const struct tls_server *server);
unsigned
tls_server_connections(const struct tls_server *server); /* TCP connections accepted so far */
unsigned tls_server_requests(const struct tls_server *server, const char *path);

/* Write all; false: the client is gone. */
bool tls_server_write(const struct tls_server_request *request, const char *bytes, size_t len);
/* A whole answer. extra: more header lines, each with its CRLF. */
bool tls_server_reply(const struct tls_server_request *request, int status, const char *extra,
		      const char *body, size_t len);
/* Nothing, until the client goes away or the server is stopped; false. */
bool tls_server_stall(const struct tls_server_request *request);

#endif
