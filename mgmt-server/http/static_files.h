/* static_files.h - the web UI's files, read only below one folder.
 *
 * Names are letters, digits, '.', '-', '_' between slashes; nothing hidden, no "..", no link that leads out
 * (openat2 RESOLVE_BENEATH). An unknown path without a dot is the UI's own and gets index.html. Every answer carries
 * a Content-Security-Policy that allows this server's own files and nothing else.
 */
#ifndef GODWIT_MGMT_SERVER_STATIC_FILES_H
#define GODWIT_MGMT_SERVER_STATIC_FILES_H

#include <stdbool.h>

#include "mgmt-server/http/http.h"

/* The handler of "/{path...}"; the folder is server->config.web_root. */
void static_files_get(struct http_request *request);

bool static_files_name_ok(const char *path);
/* By the name's end; what nobody knows is application/octet-stream. */
const char *static_files_type(const char *path);

#endif
