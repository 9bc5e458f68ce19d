/* enrol_server.h - a machine becomes an endpoint: one-time tokens, and certificates for whoever brings one. */
#ifndef GODWIT_MGMT_SERVER_ENROL_SERVER_H
#define GODWIT_MGMT_SERVER_ENROL_SERVER_H

#include "mgmt-server/http/http.h"

void enrol_server_token(struct http_request *request); /* POST /api/v1/endpoint-tokens */
void enrol_server_post(struct http_request *request);  /* POST /api/v1/enrol */

#endif
