/* doubt.h - who is told that he may run, while the server does not know everything that it gave out.
 *
 * A catalogue that came back from an older copy may name a holder who lost the right long ago, and not know the present one.
 * So for the longest ttl and the margin after such a start - until then whoever runs has been heard or has stopped - no
 * right is given out, and a strict desktop's lease is renewed, but its endpoint is told so only if the lease was still in
 * force after this start: nobody begins to run meanwhile. What an endpoint says counts if it carries this start's number;
 * one without it may have been on its way since before. A claim (an epoch that the catalogue forgot, proven) is believed at
 * once; if it displaces a holder who was told that he may run, it is told when that one has certainly stopped.
 * STATE/catalogue.doubt exists from before the copy is there until both are over: a restart meanwhile doubts anew.
 * Everything here needs the fleet's lock, once requests come in. Source: tests/models/lease.pml.
 */
#ifndef GODWIT_MGMT_SERVER_DOUBT_H
#define GODWIT_MGMT_SERVER_DOUBT_H

#include "mgmt-server/core/fleet.h"
#include "mgmt-server/core/server.h"

/* Before the catalogue is opened: does an earlier start's doubt last? Then s->recovered says why. */
int doubt_load(struct server *s, struct err *err);
/* Durable on return: this and each following start doubts, until doubt_tick() finds that it is over. */
int doubt_mark(struct server *s, const char *why, struct err *err);
/* It lasts from now on, for @longest_ms (of any renewal that may be in force) and the margin. */
void doubt_begin(struct server *s, uint64_t longest_ms);

/* Until when; 0: there is none. */
uint64_t doubt_left(const struct server *s, uint64_t now_ms);
/* May an endpoint that holds @d be told that it is renewed? in_force: fleet_report's. */
bool doubt_tells(const struct server *s, const struct fleet_desktop *d, bool in_force,
		 uint64_t now_ms);
/* When the holder whom @endpoint's claim of @d displaces has certainly stopped; 0: none has to. */
uint64_t doubt_displaces(const struct server *s, const struct fleet_desktop *d,
			 const char *endpoint, uint64_t now_ms);
void doubt_tick(struct server *s, uint64_t now_ms);

#endif
