#include "mgmt-server/scan/scan_hunt.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/hex.h"
#include "common/json.h"
#include "mgmt-server/scan/content_hash.h"
#include "mgmt-server/scan/scan_index.h"
#include "mgmt-server/scan/scan_report.h"

enum {
	FINDINGS_MAX = 1000,
	REASONS_MAX = 100,
	PLACES_MAX = 100000,
	PLACES_BYTES_MAX = 64 << 20, /* of names */
	ID_MAX = 64,
	CUT_TEXT = 500, /* bytes of a text when there is no room for more */
};

static void set_text(json_t *object, const char *key, const char *bytes)
{
	CLEANUP_FREE char *text = scan_report_text(bytes);

	json_object_set_new(object, key, text ? json_string(text) : json_null());
}

/* ---- hits ---- */

struct hits {
	struct scan_state *state;
	struct scan_hunt_hits *out;
	json_t *found; /* hits whose snapshots are not looked up yet */
	size_t found_bytes;
};

static void set_sha256(json_t *hit, const struct db_row *row)
{
	uint8_t sha256[SCAN_STATE_SHA256_LEN];
	char text[2 * SCAN_STATE_SHA256_LEN + 1];

	snprintf(text, sizeof(text), "%s", db_column_text(row, 5));
	if (!strcmp(db_column_text(row, 11), SCAN_INDEX_MEMORY) &&
	    hex_decode(text, sha256, sizeof(sha256)) == 0) {
		content_hash_of_memory(sha256);
		hex_encode(sha256, sizeof(sha256), text);
	}
	json_object_set_new(hit, "sha256", json_string(text));
}

static int place_found(void *arg, const struct db_row *row, struct err *err)
{
	struct hits *h = arg;
	json_t *hit;

	(void)err;
	h->found_bytes += strlen(db_column_text(row, 3)) + strlen(db_column_text(row, 4));
	if (json_array_size(h->found) >= PLACES_MAX || h->found_bytes > PLACES_BYTES_MAX) {
		h->out->more++;
		return 0;
	}
	hit = json_object();
	json_object_set_new(hit, "desktop", json_string(db_column_text(row, 0)));
	set_text(hit, "volume", db_column_text(row, 1));
	set_text(hit, "partition", db_column_text(row, 2));
	set_text(hit, "path", db_column_text(row, 3));
	set_text(hit, "stream", db_column_text(row, 4));
	set_sha256(hit, row);
	json_object_set_new(hit, "size", json_integer((json_int_t)db_column_int(row, 6)));
	json_object_set_new(hit, "signature",
			    db_column_null(row, 7) ? json_null()
						   : json_string(db_column_text(row, 7)));
	/* Of our own, for the second step. */
	json_object_set_new(hit, "_desktop", json_integer((json_int_t)db_column_int(row, 8)));
	json_object_set_new(hit, "_first", json_integer((json_int_t)db_column_int(row, 9)));
	json_object_set_new(hit, "_last", json_integer((json_int_t)db_column_int(row, 10)));
	json_array_append_new(h->found, hit);
	return 0;
}

static int snapshot_found(void *arg, const struct db_row *row, struct err *err)
{
	json_t *list = arg;

	(void)err;
	json_array_append_new(list, json_pack("{ss sI}", "id", db_column_text(row, 0), "created",
					      (json_int_t)db_column_int(row, 1)));
	return 0;
}

static uint64_t take_number(json_t *hit, const char *key)
{
	uint64_t number = (uint64_t)json_integer_value(json_object_get(hit, key));

	json_object_del(hit, key);
	return number;
}

static void add_hit(struct scan_hunt_hits *out, json_t *hit)
{
	size_t bytes = scan_report_size(hit);

	if (json_array_size(out->items) >= SCAN_HUNT_HITS_MAX ||
	    out->bytes + bytes > SCAN_HUNT_HITS_BYTES_MAX) {
		out->more++;
		return;
	}
	out->bytes += bytes;
	json_array_append(out->items, hit);
}

/* Which snapshots? A place that is in none any more is no hit. */
static int add_snapshots(struct db_conn *c, struct hits *h, json_t *hit, struct err *err)
{
	uint64_t desktop = take_number(hit, "_desktop"), first = take_number(hit, "_first"),
		 last = take_number(hit, "_last");
	CLEANUP(json_decref) json_t *list = json_array();
	size_t count;
	int r = db_each(
		c, snapshot_found, list,
		"SELECT id, created FROM snapshots WHERE desktop = $1 AND seq BETWEEN $2 AND $3 "
		"ORDER BY created, id",
		DB_VALUES(db_i(desktop), db_i(first), db_i(last)), err);

	count = json_array_size(list);
	if (r < 0 || !count)
		return r < 0 ? r : 0;
	json_object_set_new(hit, "snapshot_count", json_integer((json_int_t)count));
	json_object_set(hit, "first", json_array_get(list, 0));
	json_object_set(hit, "last", json_array_get(list, count - 1));
	while (json_array_size(list) > SCAN_HUNT_SNAPSHOTS_MAX)
		json_array_remove(list, json_array_size(list) - 1);
	json_object_set(hit, "snapshots", list);
	add_hit(h->out, hit);
	return 0;
}

#define PLACE_COLUMNS "d.name, q.volume, q.name, p.path, p.stream, c.sha256, c.size, "
#define PLACE_TABLES                                                                               \
	", d.id, p.first, COALESCE(p.last, d.seq), q.type FROM places p JOIN contents c ON c.id "  \
	"= "                                                                                       \
	"p.content "                                                                               \
	"JOIN partitions q ON q.id = p.partition_id JOIN desktops d ON d.id = q.desktop "

static int hunt(struct hits *h, const char *sql, const struct db_value *values, size_t n,
		struct err *err)
{
	struct db_conn *c = db_read(scan_state_db(h->state));
	json_t *hit;
	size_t i;
	int r;

	h->found = json_array();
	r = h->found ? db_each(c, place_found, h, sql, values, n, err)
		     : err_set(err, ENOMEM, "hunt");
	json_array_foreach (h->found, i, hit) {
		if (r >= 0)
			r = add_snapshots(c, h, hit, err);
	}
	json_decref(h->found);
	db_read_end(c);
	return r < 0 ? r : 0;
}

int scan_hunt_hash(struct scan_state *state, const char *sha256, struct scan_hunt_hits *hits,
		   struct err *err)
{
	struct hits h = { .state = state, .out = hits };

	return hunt(&h,
		    "SELECT " PLACE_COLUMNS "NULL" PLACE_TABLES
		    "WHERE c.sha256 = $1 ORDER BY d.name, p.first, p.path",
		    DB_VALUES(db_t(sha256)), err);
}

int scan_hunt_set(struct scan_state *state, uint64_t set, struct scan_hunt_hits *hits,
		  struct err *err)
{
	struct hits h = { .state = state, .out = hits };

	return hunt(
		&h,
		"SELECT " PLACE_COLUMNS "v.text" PLACE_TABLES
		"JOIN verdicts v ON v.content = p.content WHERE v.set_id = $1 AND v.verdict <> 0 "
		"AND v.verdict = 1 ORDER BY d.name, p.first, p.path",
		DB_VALUES(db_i(set)), err);
}

/* ---- verdicts ---- */

/* What is told of one snapshot: all that fits into the bytes that are left for all of them, and else one of each, cut. */
struct told {
	json_t *items;
	size_t most;
	uint64_t more;
};

struct judged {
	struct told findings, reasons;
	size_t *left;
};

/* The begin of a text that is long, in whole characters. */
static json_t *cut(const json_t *text)
{
	const char *s = json_string_value(text);
	size_t len = json_string_length(text), n = CUT_TEXT;

	if (len <= CUT_TEXT)
		return json_string(s);
	while (n && ((unsigned char)s[n] & 0xc0) == 0x80)
		n--;
	return json_sprintf("%.*s…", (int)n, s);
}

static json_t *cut_texts(json_t *item)
{
	json_t *less = json_is_string(item) ? cut(item) : json_object(), *text;
	const char *key;

	json_object_foreach (item, key, text)
		json_object_set_new(less, key, cut(text));
	json_decref(item);
	return less;
}

/* Takes @item; NULL, for want of memory, is one that is not told. */
static void tell(struct told *told, json_t *item, size_t *left)
{
	size_t bytes = scan_report_size(item), count = json_array_size(told->items);

	if (!item || count >= told->most || (count && bytes > *left)) {
		told->more++;
		json_decref(item);
		return;
	}
	if (bytes > *left)
		item = cut_texts(item);
	*left -= bytes > *left ? *left : bytes;
	told->more += json_array_append_new(told->items, item) < 0;
}

static int bad_found(void *arg, const struct db_row *row, struct err *err)
{
	struct judged *j = arg;

	(void)err;
	if (db_column_int(row, 5) == ENGINE_INFECTED) {
		static const char *const keys[] = { "volume", "partition", "path", "stream",
						    "signature" };
		json_t *item = json_object();

		for (int i = 0; i < (int)ARRAY_LEN(keys); i++)
			set_text(item, keys[i], db_column_text(row, i));
		tell(&j->findings, item, j->left);
	} else {
		CLEANUP_FREE char *path = scan_report_text(db_column_text(row, 2));
		CLEANUP_FREE char *stream = scan_report_text(db_column_text(row, 3));

		tell(&j->reasons,
		     json_sprintf("unfinished: %s %s %s%s%s: %s", db_column_text(row, 0),
				  db_column_text(row, 1), path ? path : "?",
				  stream && stream[0] ? ":" : "", stream ? stream : "",
				  db_column_text(row, 4)),
		     j->left);
	}
	return 0;
}

struct judging {
	json_t *list;
	size_t left;
};

/* The reasons that the scan had, before those of this set. */
static void tell_earlier(struct told *told, const char *text, size_t *left)
{
	CLEANUP(json_decref) json_t *reasons = NULL;
	const json_t *reason;
	size_t i;

	if (json_parse(&reasons, text, strlen(text), "the scan state", NULL) < 0)
		told->more++;
	json_array_foreach (reasons, i, reason)
		tell(told, json_string(json_string_value(reason)), left);
}

static int snapshot_seen(void *arg, const struct db_row *row, struct err *err)
{
	struct judging *j = arg;
	struct told told = { json_array(), SIZE_MAX, db_column_int(row, 6) };
	json_t *item;

	tell_earlier(&told, db_column_text(row, 5), &j->left);
	item = json_pack("{ss sI sI sI sI so sI}", "snapshot", db_column_text(row, 0), "_desktop",
			 (json_int_t)db_column_int(row, 1), "_seq",
			 (json_int_t)db_column_int(row, 2), "files",
			 (json_int_t)db_column_int(row, 3), "bytes",
			 (json_int_t)db_column_int(row, 4), "reasons", told.items, "more_reasons",
			 (json_int_t)told.more);
	return item && json_array_append_new(j->list, item) == 0
		       ? 0
		       : err_set(err, ENOMEM, "judge the snapshots");
}

static int judge(struct db_conn *c, uint64_t set, json_t *item, size_t *left, struct err *err)
{
	uint64_t desktop = take_number(item, "_desktop"), seq = take_number(item, "_seq");
	struct judged j = { .findings = { json_array(), FINDINGS_MAX, 0 },
			    .reasons = { json_object_get(item, "reasons"), REASONS_MAX,
					 (uint64_t)json_integer_value(
						 json_object_get(item, "more_reasons")) },
			    .left = left };
	const char *verdict = "clean";
	int r = db_each(
		c, bad_found, &j,
		"SELECT q.volume, q.name, p.path, p.stream, v.text, v.verdict FROM verdicts v "
		"JOIN places p ON p.content = v.content JOIN partitions q ON q.id = p.partition_id "
		"WHERE v.set_id = $1 AND v.verdict <> 0 AND q.desktop = $2 AND p.first <= $3 "
		"AND (p.last IS NULL OR p.last >= $3) ORDER BY p.path",
		DB_VALUES(db_i(set), db_i(desktop), db_i(seq)), err);

	if (json_array_size(j.findings.items) || j.findings.more)
		verdict = "infected";
	else if (json_array_size(j.reasons.items) || j.reasons.more)
		verdict = "incomplete";
	json_object_set_new(item, "verdict", json_string(verdict));
	json_object_set_new(item, "findings", j.findings.items);
	json_object_set_new(item, "more_findings", json_integer((json_int_t)j.findings.more));
	json_object_set_new(item, "more_reasons", json_integer((json_int_t)j.reasons.more));
	return r < 0 ? r : 0;
}

int scan_hunt_verdicts(struct scan_state *state, uint64_t set, json_t *verdicts, struct err *err)
{
	struct db_conn *c = db_read(scan_state_db(state));
	struct judging judging = { verdicts, SCAN_HUNT_VERDICTS_BYTES_MAX };
	json_t *item;
	size_t i;
	int r = db_each(
		c, snapshot_seen, &judging,
		"SELECT id, desktop, seq, files, bytes, reasons, more_reasons FROM snapshots "
		"ORDER BY id",
		DB_NO_VALUES, err);

	json_array_foreach (verdicts, i, item) {
		if (r >= 0)
			r = judge(c, set, item, &judging.left, err);
	}
	db_read_end(c);
	return r < 0 ? r : 0;
}

/* ---- the files of a snapshot ---- */

static int file_seen(void *arg, const struct db_row *row, struct err *err)
{
	CLEANUP(json_decref) json_t *item = json_object();
	CLEANUP_FREE char *line = NULL;

	(void)arg, (void)err;
	set_text(item, "volume", db_column_text(row, 0));
	set_text(item, "partition", db_column_text(row, 1));
	set_text(item, "path", db_column_text(row, 2));
	set_text(item, "stream", db_column_text(row, 3));
	json_object_set_new(item, "size", json_integer((json_int_t)db_column_int(row, 4)));
	json_object_set_new(item, "sha256", json_string(db_column_text(row, 5)));
	line = json_text(item);
	puts(line ? line : "null");
	return 0;
}

struct which {
	uint64_t desktop, seq;
};

static int which_seen(void *arg, const struct db_row *row, struct err *err)
{
	struct which *w = arg;

	(void)err;
	*w = (struct which){ db_column_int(row, 0), db_column_int(row, 1) };
	return DB_STOP;
}

int scan_hunt_files(struct scan_state *state, const char *snapshot, struct err *err)
{
	struct db_conn *c = db_read(scan_state_db(state));
	struct which w = { 0 };
	int r = db_each(c, which_seen, &w, "SELECT desktop, seq FROM snapshots WHERE id = $1",
			DB_VALUES(db_t(snapshot)), err);

	if (r == 0)
		r = err_say(err, ENOENT, "snapshot %s was not scanned with this state", snapshot);
	if (r > 0)
		r = db_each(
			c, file_seen, NULL,
			"SELECT q.volume, q.name, p.path, p.stream, c.size, c.sha256 FROM places p "
			"JOIN partitions q ON q.id = p.partition_id JOIN contents c ON c.id = "
			"p.content "
			"WHERE q.desktop = $1 AND p.first <= $2 AND (p.last IS NULL OR p.last >= "
			"$2) AND q.type <> $3 ORDER BY q.volume, q.name, p.path, p.stream",
			DB_VALUES(db_i(w.desktop), db_i(w.seq), db_t(SCAN_INDEX_MEMORY)), err);
	db_read_end(c);
	return r < 0 ? r : 0;
}
