#include "tests/lib/tls_server.h"

#include <arpa/inet.h>
#include <assert.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <openssl/pem.h>
#include <openssl/x509.h>

enum { CONNECTIONS_MAX = 256, PATHS_MAX = 32 };

struct connection {
	struct tls_server *server;
	pthread_t thread;
	int fd;
};

struct tls_server {
	struct tls_server_options options;
	SSL_CTX *context;
	int listen_fd;
	pthread_t thread;
	atomic_bool stopping;
	atomic_uint connection_count;
	struct connection connections[CONNECTIONS_MAX];
	pthread_mutex_t lock;
	struct {
		char path[256];
		unsigned count;
	} paths[PATHS_MAX]; /* under lock */
};

int tls_server_reserve(unsigned *port)
{
	struct sockaddr_in address = { .sin_family = AF_INET,
				       .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	socklen_t len = sizeof(address);
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (fd < 0 || bind(fd, (struct sockaddr *)&address, len) < 0 ||
	    getsockname(fd, (struct sockaddr *)&address, &len) < 0)
		abort();
	*port = ntohs(address.sin_port);
	return fd;
}

unsigned tls_server_port(const struct tls_server *server)
{
	struct sockaddr_in address;
	socklen_t len = sizeof(address);

	if (getsockname(server->listen_fd, (struct sockaddr *)&address, &len) < 0)
		abort();
	return ntohs(address.sin_port);
}

unsigned tls_server_connections(const struct tls_server *server)
{
	return server->connection_count;
}

/* Count a request of @path if add is 1. Return how many there were. */
static unsigned count_request(struct tls_server *server, const char *path, unsigned add)
{
	unsigned count = 0;

	pthread_mutex_lock(&server->lock);
	for (size_t i = 0; i < PATHS_MAX; i++) {
		if (!server->paths[i].path[0])
			snprintf(server->paths[i].path, sizeof(server->paths[i].path), "%s", path);
		if (strcmp(server->paths[i].path, path) == 0) {
			count = server->paths[i].count += add;
			break;
		}
	}
	pthread_mutex_unlock(&server->lock);
	return count;
}

unsigned tls_server_requests(const struct tls_server *server, const char *path)
{
	return count_request((struct tls_server *)server, path, 0);
}

/* ---- What answers are made of ------------------------------------------------------------------ */

bool tls_server_write(const struct tls_server_request *request, const char *bytes, size_t len)
{
	size_t written;

	return SSL_write_ex(request->ssl, bytes, len, &written) == 1;
}

bool tls_server_reply(const struct tls_server_request *request, int status, const char *extra,
		      const char *body, size_t len)
{
	char head[1024];
	int n = snprintf(head, sizeof(head),
			 "HTTP/1.1 %d Whatever\r\nContent-Length: %zu\r\n%s\r\n", status, len,
			 extra ? extra : "");

	return tls_server_write(request, head, (size_t)n) &&
	       (!len || tls_server_write(request, body, len));
}

bool tls_server_stall(const struct tls_server_request *request)
{
	struct pollfd p = { .fd = SSL_get_fd(request->ssl), .events = POLLIN };

	while (!request->server->stopping && poll(&p, 1, 20) == 0)
		;
	return false;
}

/* ---- Connections ------------------------------------------------------------------------------- */

static bool read_head(SSL *ssl, char *head, size_t size)
{
	size_t len = 0, got;

	while (len + 1 < size && SSL_read_ex(ssl, head + len, 1, &got)) {
		head[++len] = 0;
		if (len >= 4 && memcmp(head + len - 4, "\r\n\r\n", 4) == 0)
			return true;
	}
	return false;
}

static bool read_body(struct tls_server_request *request)
{
	size_t got;

	request->body = malloc(request->content_length + 1);
	while (request->body_len < request->content_length) {
		if (!SSL_read_ex(request->ssl, request->body + request->body_len,
				 request->content_length - request->body_len, &got))
			return false;
		request->body_len += got;
	}
	request->body[request->body_len] = 0;
	return true;
}

static bool serve_one(struct tls_server *server, SSL *ssl)
{
	struct tls_server_request request = { .server = server, .ssl = ssl };
	char head[4096], *rest, *length;
	bool go_on = false;

	if (!read_head(ssl, head, sizeof(head)))
		return false;
	rest = strstr(head, "\r\n") + 2;
	if (sscanf(head, "%15s %255s", request.method, request.path) != 2)
		return false;
	snprintf(request.headers, sizeof(request.headers), "%s", rest);
	length = strcasestr(rest, "Content-Length:");
	request.content_length = length ? strtoul(length + 15, NULL, 10) : 0;
	request.number = count_request(server, request.path, 1);
	if (!(server->options.cut_off && server->options.cut_off(&request)))
		go_on = read_body(&request) && server->options.answer(&request);
	free(request.body);
	return go_on;
}

static void *serve(void *arg)
{
	struct connection *c = arg;
	SSL *ssl = SSL_new(c->server->context);
	char rest[4096];

	SSL_set_fd(ssl, c->fd);
	if (SSL_accept(ssl) == 1) {
		while (serve_one(c->server, ssl))
			;
	} else {
		/* Take in what the client still sends: closing on unread bytes would destroy our alert. */
		shutdown(c->fd, SHUT_WR);
		while (read(c->fd, rest, sizeof(rest)) > 0)
			;
	}
	SSL_free(ssl);
	shutdown(c->fd, SHUT_RDWR);
	return NULL;
}

static void *accept_all(void *arg)
{
	struct tls_server *server = arg;

	for (;;) {
		int fd = accept4(server->listen_fd, NULL, NULL, SOCK_CLOEXEC);
		struct connection *c = &server->connections[server->connection_count];

		if (fd < 0)
			return NULL;
		assert(server->connection_count < CONNECTIONS_MAX);
		*c = (struct connection){ .server = server, .fd = fd };
		if (pthread_create(&c->thread, NULL, serve, c) != 0)
			abort();
		server->connection_count++;
	}
}

/* ---- Starting and stopping --------------------------------------------------------------------- */

static void load_chain(SSL_CTX *context, const char *pem)
{
	BIO *bio = BIO_new_mem_buf(pem, -1);
	X509 *cert = PEM_read_bio_X509(bio, NULL, NULL, NULL);

	if (!cert || SSL_CTX_use_certificate(context, cert) != 1)
		abort();
	X509_free(cert);
	while ((cert = PEM_read_bio_X509(bio, NULL, NULL, NULL)))
		SSL_CTX_add0_chain_cert(context, cert);
	BIO_free(bio);
}

static void load_key(SSL_CTX *context, const char *pem)
{
	BIO *bio = BIO_new_mem_buf(pem, -1);
	EVP_PKEY *key = PEM_read_bio_PrivateKey(bio, NULL, NULL, NULL);

	if (!key || SSL_CTX_use_PrivateKey(context, key) != 1)
		abort();
	EVP_PKEY_free(key);
	BIO_free(bio);
}

static void require_client_certificate(SSL_CTX *context, const char *ca_pem)
{
	BIO *bio = BIO_new_mem_buf(ca_pem, -1);
	X509 *ca = PEM_read_bio_X509(bio, NULL, NULL, NULL);

	if (!ca || !X509_STORE_add_cert(SSL_CTX_get_cert_store(context), ca))
		abort();
	SSL_CTX_set_verify(context, SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT, NULL);
	X509_free(ca);
	BIO_free(bio);
}

struct tls_server *tls_server_start(const struct tls_server_options *options)
{
	struct tls_server *server = calloc(1, sizeof(*server));
	sigset_t pipe, old;
	unsigned port;

	assert(server);
	server->options = *options;
	pthread_mutex_init(&server->lock, NULL);
	server->context = SSL_CTX_new(TLS_server_method());
	load_chain(server->context, options->chain_pem);
	load_key(server->context, options->key_pem);
	SSL_CTX_set_session_id_context(server->context, (const uint8_t *)"test", 4);
	if (options->client_ca_pem)
		require_client_certificate(server->context, options->client_ca_pem);
	server->listen_fd = options->listen_fd ? options->listen_fd : tls_server_reserve(&port);
	/* A client that leaves must not kill the server's threads; in the test's own, SIGPIPE stays deadly. */
	sigemptyset(&pipe);
	sigaddset(&pipe, SIGPIPE);
	pthread_sigmask(SIG_BLOCK, &pipe, &old);
	if (listen(server->listen_fd, 64) < 0 ||
	    pthread_create(&server->thread, NULL, accept_all, server) != 0)
		abort();
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	return server;
}

void tls_server_stop(struct tls_server *server)
{
	if (!server)
		return;
	server->stopping = true;
	shutdown(server->listen_fd, SHUT_RDWR); /* accept returns */
	pthread_join(server->thread, NULL);
	for (unsigned i = 0; i < server->connection_count; i++) {
		shutdown(server->connections[i].fd, SHUT_RDWR);
		pthread_join(server->connections[i].thread, NULL);
		close(server->connections[i].fd);
	}
	close(server->listen_fd);
	SSL_CTX_free(server->context);
	pthread_mutex_destroy(&server->lock);
	free(server);
}
