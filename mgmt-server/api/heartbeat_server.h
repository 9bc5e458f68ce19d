/* heartbeat_server.h - an endpoint says how it is; its leases are renewed. docs/protocol.md, "Heartbeat". */
#ifndef GODWIT_MGMT_SERVER_HEARTBEAT_SERVER_H
#define GODWIT_MGMT_SERVER_HEARTBEAT_SERVER_H

#include "mgmt-server/http/http.h"

void heartbeat_server_post(struct http_request *request);

#endif
