/* mail.h - notices by e-mail: a thread of its own that sends what the catalogue says is queued.
 *
 * To the addresses of [notices] to, and to the owner of the desktop that a notice is about. A message that the SMTP
 * server does not take is tried again, later each time; the notice itself says how it fares. What was sent just before a
 * kill can be sent twice, never not at all. Source: RFC 5321, RFC 5322.
 */
#ifndef GODWIT_MGMT_SERVER_MAIL_H
#define GODWIT_MGMT_SERVER_MAIL_H

#include <stdio.h>

#include "mgmt-server/catalogue/catalogue_notices.h"
#include "mgmt-server/core/server.h"

struct mail;

/* *out stays NULL when [notices] smtp is empty: nothing is mailed. */
int mail_new(struct mail **out, struct server *server, struct err *err);
/* Waits for a message that is being sent. */
void mail_free(struct mail *mail);

/* One address: something@something, nothing that could end a header or a command. */
bool mail_address_valid(const char *address);

/* The whole message with its header, lines ended by CRLF, control characters replaced. */
void mail_compose(FILE *out, const char *from, const char *to,
		  const struct catalogue_notice *notice);

#endif
