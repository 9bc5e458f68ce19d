/* capture_upload.h - the kinds of work that end in a snapshot: capture, suspend, stop.
 *
 * Suspend and stop discard the desktop here, but never before its last instant is committed, and never when the guest
 * may have run since: an agent that finds itself half-way through one captures again.
 */
#ifndef GODWIT_CLIENT_AGENT_CAPTURE_UPLOAD_H
#define GODWIT_CLIENT_AGENT_CAPTURE_UPLOAD_H

#include "client-agent/work.h"

work_fn capture_upload_capture;
work_fn capture_upload_suspend;
work_fn capture_upload_stop;

#endif
