#include "mgmt-server/scan/scan_report.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/clock.h"
#include "common/hex.h"
#include "common/json.h"

/* How many bytes of valid UTF-8 begin here? 0: none. Source: RFC 3629 section 4. */
static size_t utf8_len(const unsigned char *s)
{
	static const struct {
		unsigned char first_min, first_max, second_min, second_max;
		size_t len;
	} forms[] = {
		{ 0x20, 0x7e, 0, 0, 1 },       { 0xc2, 0xdf, 0x80, 0xbf, 2 },
		{ 0xe0, 0xe0, 0xa0, 0xbf, 3 }, { 0xe1, 0xec, 0x80, 0xbf, 3 },
		{ 0xed, 0xed, 0x80, 0x9f, 3 }, { 0xee, 0xef, 0x80, 0xbf, 3 },
		{ 0xf0, 0xf0, 0x90, 0xbf, 4 }, { 0xf1, 0xf3, 0x80, 0xbf, 4 },
		{ 0xf4, 0xf4, 0x80, 0x8f, 4 },
	};

	for (size_t i = 0; i < ARRAY_LEN(forms); i++) {
		if (s[0] < forms[i].first_min || s[0] > forms[i].first_max)
			continue;
		if (forms[i].len > 1 && (s[1] < forms[i].second_min || s[1] > forms[i].second_max))
			return 0;
		for (size_t k = 2; k < forms[i].len; k++) {
			if ((s[k] & 0xc0) != 0x80)
				return 0;
		}
		return forms[i].len;
	}
	return 0;
}

char *scan_report_text(const char *bytes)
{
	const unsigned char *s = (const unsigned char *)bytes;
	char *text = malloc(strlen(bytes) * 4 + 1), *to = text;

	if (!text)
		return NULL;
	while (*s) {
		size_t n = utf8_len(s);

		if (!n || *s == '\\') {
			to += sprintf(to, "\\x%02x", *s++);
			continue;
		}
		memcpy(to, s, n);
		to += n;
		s += n;
	}
	*to = 0;
	return text;
}

size_t scan_report_size(const json_t *value)
{
	return json_dumpb(value, NULL, 0, JSON_COMPACT | JSON_ENCODE_ANY);
}

static void set_text(json_t *object, const char *key, const char *bytes)
{
	CLEANUP_FREE char *text = scan_report_text(bytes);

	json_object_set_new(object, key, text ? json_string(text) : json_null());
}

int scan_report_init(struct scan_report *r, bool as_json, struct err *err)
{
	*r = (struct scan_report){ .as_json = as_json,
				   .findings = json_array(),
				   .reasons = json_array() };
	return r->findings && r->reasons ? 0 : err_set(err, ENOMEM, "start a report");
}

void scan_report_deinit(struct scan_report *r)
{
	json_decref(r->findings);
	json_decref(r->reasons);
}

void scan_report_finding(void *arg, const struct scan_finding *f)
{
	struct scan_report *r = arg;
	json_t *item;

	/* Names can be 64 KiB long, and a disk can hold as many as it likes. */
	if (r->finding_bytes > SCAN_REPORT_FINDINGS_BYTES_MAX) {
		r->more_findings++;
		return;
	}
	item = json_object();
	set_text(item, "volume", f->volume);
	set_text(item, "partition", f->partition);
	set_text(item, "path", f->path);
	set_text(item, "stream", f->stream);
	set_text(item, "signature", f->signature);
	r->finding_bytes += scan_report_size(item);
	json_array_append_new(r->findings, item);
}

void scan_report_reason(void *arg, const char *reason)
{
	struct scan_report *r = arg;
	CLEANUP_FREE char *text = scan_report_text(reason);

	if (json_array_size(r->reasons) < SCAN_REPORT_REASONS_MAX && text)
		json_array_append_new(r->reasons, json_string(text));
	else
		r->more_reasons++;
}

static void print_line(json_t *value)
{
	CLEANUP_FREE char *text = json_text(value);

	puts(text ? text : "null");
}

void scan_report_file(void *arg, const struct scan_file *f)
{
	const struct scan_report *r = arg;
	CLEANUP(json_decref) json_t *item = json_object();
	char sha256[65] = "";

	if (f->has_sha256)
		hex_encode(f->sha256, sizeof(f->sha256), sha256);
	if (!r->as_json) {
		CLEANUP_FREE char *path = scan_report_text(f->path);

		printf("%-64s %12llu %s %s%s%s\n", f->has_sha256 ? sha256 : "-",
		       (unsigned long long)f->size, f->partition[0] ? f->partition : "-",
		       path ? path : "?", f->stream[0] ? ":" : "", f->stream);
		return;
	}
	set_text(item, "volume", f->volume);
	set_text(item, "partition", f->partition);
	set_text(item, "path", f->path);
	set_text(item, "stream", f->stream);
	json_object_set_new(item, "size", json_integer((json_int_t)f->size));
	json_object_set_new(item, "sha256", f->has_sha256 ? json_string(sha256) : json_null());
	print_line(item);
}

void scan_report_progress(void *arg, const struct scan_file *f)
{
	struct scan_report *r = arg;
	uint64_t now = clock_now_ms();

	r->files++;
	r->bytes += f->size;
	if (now - r->said_ms < 1000)
		return;
	r->said_ms = now;
	printf("{\"files\":%llu,\"bytes\":%llu}\n", (unsigned long long)r->files,
	       (unsigned long long)r->bytes);
	fflush(stdout);
}

const char *scan_report_verdict_name(enum scan_verdict verdict)
{
	static const char *const names[] = { "clean", "infected", "incomplete" };

	return names[verdict];
}

static void print_json(const struct scan_report *r, const struct scan_result *result)
{
	CLEANUP(json_decref)
	json_t *all = json_pack(
		"{s:s, s:O, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:O, s:I, s:s, s:s}", "verdict",
		scan_report_verdict_name(result->verdict), "reasons", r->reasons, "more_reasons",
		(json_int_t)r->more_reasons, "files", (json_int_t)result->files, "bytes",
		(json_int_t)result->bytes, "memory_bytes", (json_int_t)result->memory_bytes,
		"scanned_contents", (json_int_t)result->scanned_contents, "reused_files",
		(json_int_t)result->reused_files, "known_contents",
		(json_int_t)result->known_contents, "read_bytes", (json_int_t)result->read_bytes,
		"findings", r->findings, "more_findings", (json_int_t)r->more_findings, "engine",
		result->engine, "signature_version", result->signature_version);

	print_line(all);
}

void scan_report_print(const struct scan_report *r, const struct scan_result *result)
{
	json_t *item;
	size_t i;

	if (r->as_json) {
		print_json(r, result);
		return;
	}
	json_array_foreach (r->findings, i, item)
		printf("INFECTED %s %s %s%s%s: %s\n",
		       json_string_value(json_object_get(item, "volume")),
		       json_string_value(json_object_get(item, "partition")),
		       json_string_value(json_object_get(item, "path")),
		       json_string_length(json_object_get(item, "stream")) ? ":" : "",
		       json_string_value(json_object_get(item, "stream")),
		       json_string_value(json_object_get(item, "signature")));
	json_array_foreach (r->reasons, i, item)
		printf("incomplete: %s\n", json_string_value(item));
	if (r->more_reasons)
		printf("incomplete: and %llu more reasons\n", (unsigned long long)r->more_reasons);
	if (result->memory_bytes)
		printf("memory: %llu MiB in windows\n",
		       (unsigned long long)result->memory_bytes >> 20);
	printf("%s: %llu files, %llu bytes, %llu different contents scanned%s%s\n",
	       scan_report_verdict_name(result->verdict), (unsigned long long)result->files,
	       (unsigned long long)result->bytes, (unsigned long long)result->scanned_contents,
	       result->engine[0] ? " by " : "", result->engine);
}
