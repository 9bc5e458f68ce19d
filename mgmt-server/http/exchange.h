/* exchange.h - requests and their replies on their connections, as libmicrohttpd's callbacks bring them; and the inside
 * of the server that those share with http.c. These two alone include microhttpd.h.
 */
#ifndef GODWIT_MGMT_SERVER_EXCHANGE_H
#define GODWIT_MGMT_SERVER_EXCHANGE_H

#include <microhttpd.h>
#include <netinet/in.h>
#include <pthread.h>

#include "common/task.h"
#include "mgmt-server/http/budget.h"
#include "mgmt-server/http/request.h"
#include "mgmt-server/http/timer.h"
#include "mgmt-server/http/watch.h"

enum { HTTP_LISTENERS_MAX = 2, EXCHANGE_MEMORY = 64 << 10 /* bytes of each connection */ };

struct http_connection {
	struct watch_entry watched;
	char address[INET6_ADDRSTRLEN];
	bool peer_checked;
	int peer_result;
	char *peer_pem;
	struct err peer_error;
};

struct http_listener {
	struct http *http;
	struct http_listener_options options; /* pointers are the caller's, valid until http_free */
	struct MHD_Daemon *daemon;
	int fd;
};

struct http {
	struct http_options options;
	struct http_listener listeners[HTTP_LISTENERS_MAX];
	size_t listener_count;
	struct task_pool *pools[2]; /* [1]: bulk */
	struct timer_wheel *timers;
	struct watch watch;
	pthread_mutex_t lock;
	struct http_request all; /* ring */
	size_t active;
	bool closing;
	struct budget budget;
};

/* Callbacks of libmicrohttpd; arg is the struct http_listener. Source: libmicrohttpd 0.9.75 manual. */
enum MHD_Result exchange_on_request(void *arg, struct MHD_Connection *mhd, const char *url,
				    const char *method, const char *version, const char *data,
				    size_t *data_len, void **context);
void exchange_on_completed(void *arg, struct MHD_Connection *mhd, void **context,
			   enum MHD_RequestTerminationCode code);
void exchange_on_connection(void *arg, struct MHD_Connection *mhd, void **context,
			    enum MHD_ConnectionNotificationCode code);
size_t exchange_on_unescape(void *arg, struct MHD_Connection *mhd, char *text);

#endif
