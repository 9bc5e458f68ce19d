/* work_simple.h - the kinds of work that are one request to the hypervisor. */
#ifndef GODWIT_CLIENT_AGENT_WORK_SIMPLE_H
#define GODWIT_CLIENT_AGENT_WORK_SIMPLE_H

#include "client-agent/work.h"

work_fn work_simple_pause;
work_fn work_simple_unpause;
work_fn work_simple_discard;

#endif
