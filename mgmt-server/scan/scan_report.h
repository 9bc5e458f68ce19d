/* scan_report.h - what a scan found, for people and for programs.
 *
 * Names on a disk are bytes; here they must be text: a byte that is not part of valid UTF-8, a control character and the
 * backslash itself are written as \xNN. Not thread-safe: scan_run calls back one at a time.
 */
#ifndef GODWIT_SCAN_SCAN_REPORT_H
#define GODWIT_SCAN_SCAN_REPORT_H

#include <jansson.h>
#include <stdbool.h>

#include "mgmt-server/scan/scan_run.h"

enum { SCAN_REPORT_REASONS_MAX = 1000, SCAN_REPORT_FINDINGS_BYTES_MAX = 16 << 20 };

struct scan_report {
	bool as_json;
	json_t *findings, *reasons;
	uint64_t more_reasons, more_findings; /* not kept */
	uint64_t finding_bytes;               /* of those that are, as JSON */
	uint64_t files, bytes, said_ms;       /* of the progress */
};

int scan_report_init(struct scan_report *report, bool as_json, struct err *err);
void scan_report_deinit(struct scan_report *report);

/* Callbacks for struct scan_order; arg is a struct scan_report. */
void scan_report_finding(void *arg, const struct scan_finding *finding);
void scan_report_reason(void *arg, const char *text);
/* One line on stdout for each file. */
void scan_report_file(void *arg, const struct scan_file *file);

/* Instead of that: one line each second with how far it is. */
void scan_report_progress(void *arg, const struct scan_file *file);

/* The whole, on stdout. */
void scan_report_print(const struct scan_report *report, const struct scan_result *result);

const char *scan_report_verdict_name(enum scan_verdict verdict);

/* The text form of a name, heap; NULL: out of memory. */
char *scan_report_text(const char *bytes);

/* How many bytes @value has as JSON: a name can have five times as many as on the disk. */
size_t scan_report_size(const json_t *value);

#endif
