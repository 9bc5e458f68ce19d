/* ransomware_alarm.h - what follows from an alarm: pins, a notice, and the end of it. Internal to ransomware. */
#ifndef GODWIT_MGMT_SERVER_RANSOMWARE_ALARM_H
#define GODWIT_MGMT_SERVER_RANSOMWARE_ALARM_H

#include "mgmt-server/catalogue/catalogue_changes.h"
#include "mgmt-server/core/change.h"

/* @changes was judged; not an @alarm: it is told only. Return 0 or -errno. */
int ransomware_alarm_raise(struct change *change, const struct catalogue_changes *changes,
			   const json_t *report, bool alarm, struct err *err);

/* A new snapshot of a desktop with an open alarm is kept, too. */
int ransomware_alarm_cover(struct change *change, const char *desktop, const char *snapshot,
			   struct err *err);

#endif
