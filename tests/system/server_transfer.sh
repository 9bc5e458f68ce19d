#!/usr/bin/env bash
# Uploads that are damaged, incomplete, somebody else's, too much for the disk, or cut by kill -9; and how much memory
# the server needs while many come at once.
# shellcheck disable=SC2154,SC2119,SC2016 # what tap.sh and server.sh set
# shellcheck source=tests/lib/tap.sh
. "$(dirname "$0")/../lib/tap.sh"
build=$1
# shellcheck source=tests/lib/server.sh
. "$(dirname "$0")/../lib/server.sh"
need curl openssl jq python3
chunks=$(dirname "$0")/../lib/chunks.py

check "the server gets ready" start_server
check "signed in" login
api POST /api/v1/desktops '{"name":"anna"}'
api POST /api/v1/desktops '{"name":"bert"}'
"$chunks" make "$TAP_DIR/one" 30 1
"$chunks" make "$TAP_DIR/two" 30 2

# ---- Damage
check "a session" open_session api anna 0
cp "$TAP_DIR/one/records" "$TAP_DIR/bad"
"$chunks" flip "$TAP_DIR/bad" 70000
as api POST "/sessions/$session/chunks" "@$TAP_DIR/bad"
is "$http" 422 "a flipped bit in a record: 422"
like "$(field .detail)" "[0-9a-f]{16}" "... naming the chunk"
"$chunks" flip "$TAP_DIR/bad" 70000
"$chunks" flip "$TAP_DIR/bad" 40
as api POST "/sessions/$session/chunks" "@$TAP_DIR/bad"
is "$http" 422 "a wrong length in a header: 422"
head -c 100000 "$TAP_DIR/one/records" >"$TAP_DIR/half"
as api POST "/sessions/$session/chunks" "@$TAP_DIR/half"
is "$http" 422 "half a record at the end: 422"
head -c $((9 << 20)) /dev/zero >"$TAP_DIR/huge"
as api POST "/sessions/$session/chunks" "@$TAP_DIR/huge"
is "$http" 413 "more than 8 MiB: 413"

# ---- Missing chunks, then the rest
commit_session api anna 0 "$TAP_DIR/one" import
is "$http" 409 "a commit without its chunks: 409"
like "$(field .detail)" "missing.*disk0" "... naming the volume"
head -c $((65580 * 20)) "$TAP_DIR/one/records" >"$TAP_DIR/part"
as api POST "/sessions/$session/chunks" "@$TAP_DIR/part"
is "$http" 204 "two thirds of them"
head -c 960 "$TAP_DIR/one/ids" >"$TAP_DIR/ids"
as api POST "/sessions/$session/query" "@$TAP_DIR/ids"
is "$http $(stat -c %s "$answer_file") $(od -An -tx1 "$answer_file" | tr -d ' \n')" "200 4 ffff0f00" "a query tells which are there"
commit_session api anna 0 "$TAP_DIR/one" import
is "$http" 409 "still incomplete: 409"
as api POST "/sessions/$session/chunks" "@$TAP_DIR/one/records"
check "complete: committed" commit_session api anna 0 "$TAP_DIR/one" import
first=$snapshot
commit_session api anna 0 "$TAP_DIR/one" import
is "$http $(field .snapshot)" "201 $first" "committed again: the same snapshot"
as api POST "/sessions/$session/chunks" "@$TAP_DIR/two/records"
commit_session api anna 0 "$TAP_DIR/two" import "$first"
is "$http" 404 "other content on a session that was committed: over, never the earlier snapshot's id"
check "a session" open_session api anna 0
as api POST "/sessions/$session/chunks" "@$TAP_DIR/two/records"
as api POST "/sessions/$session/commit" "$(jq -nc --slurpfile v "$TAP_DIR/two/volumes.json" \
	'{version:1,desktop:"anna",parent:"",created:"2026-01-01T00:00:00Z",kind:"cold",epoch:0,branch:true,volumes:$v[0]}')"
is "$http $(field .branch)" "201 true" "what was put aside stays a branch, even while the epoch is the current one"
as api GET /desktops/anna/snapshots/latest
is "$(field .snapshot)" "$first" "... and is not the newest snapshot to go on from"

# ---- What is not the caller's
check "a session for anna" open_session api anna 0
mine=$session
commit_session api bert 0 "$TAP_DIR/one" import
is "$http" 400 "a manifest of another desktop: 400"
commit_session api anna 0 "$TAP_DIR/one" import 20200101-000000-00000000
is "$http" 409 "an unknown parent: 409"
check "endpoint a enrols" enrol a
as a POST "/sessions/$session/query" "@$TAP_DIR/ids"
is "$http" 404 "a session of a person is none for an endpoint"
open_session a anna 0
is "$http" 409 "an endpoint that was never given the desktop may not upload"
as a GET /desktops/anna/snapshots/latest
is "$http" 403 "... nor read its manifests"
as api DELETE "/sessions/$mine"
is "$http" 204 "a session is ended"
as api POST "/sessions/$mine/query" "@$TAP_DIR/ids"
is "$http" 404 "... and is gone"
head -c 32 /dev/urandom >"$TAP_DIR/unknown"
as api POST /desktops/anna/chunks "@$TAP_DIR/unknown"
is "$http" 404 "fetching an unknown chunk: 404"
like "$(field .detail)" "$(od -An -tx1 "$TAP_DIR/unknown" | tr -d ' \n')" "... naming it"

# ---- kill -9 at any time: what was answered is there, and the rest can be sent again
lost=0
for i in 1 2 3 4 5 6; do
	"$chunks" make "$TAP_DIR/k$i" 60 "1$i"
	(
		trap - EXIT
		upload api bert 0 "$TAP_DIR/k$i" import && echo "$snapshot" >"$TAP_DIR/k$i.done"
		echo "$session" >"$TAP_DIR/k$i.session"
	) >/dev/null 2>&1 &
	sleep "0.$((i * 7 % 10))$i"
	stop_server KILL
	wait $! 2>/dev/null
	start_server || fail "restart $i"
	if [ -e "$TAP_DIR/k$i.done" ]; then
		api GET "/api/v1/snapshots/$(cat "$TAP_DIR/k$i.done")"
		[ "$http" = 200 ] || lost=$((lost + 1))
	fi
done
is "$lost" 0 "no answered commit was lost by six kills"
check "an upload after all that" upload api bert 0 "$TAP_DIR/k6" import
tail -c 32 "$TAP_DIR/k6/ids" >"$TAP_DIR/root"
as api POST /desktops/bert/chunks "@$TAP_DIR/root"
is "$http $("$chunks" read "$answer_file")" "200 1 1920" "... reads back"
stop_server
run "$build/bin/godwit-store" verify "$TAP_DIR/server/store" --key "$TAP_DIR/server/store.key"
is "$status" 0 "the store verifies"
api_count() {
	api GET "/api/v1/snapshots?limit=1000"
	field '.items | length'
}
start_server
"$build/bin/godwit-store" list "$TAP_DIR/server/store" --key "$TAP_DIR/server/store.key" --output json >"$TAP_DIR/list"
is "$(api_count)" "$(jq '[.[] | select(.desktop != "godwit-server")] | length' "$TAP_DIR/list")" "catalogue and store know the same snapshots"

# ---- Memory, with 16 uploads at once
"$chunks" make "$TAP_DIR/bulk" 120 77
open_session api anna 0
uploads=()
for i in {1..16}; do
	(
		trap - EXIT
		for _ in 1 2 3 4 5 6; do as api POST "/sessions/$session/chunks" "@$TAP_DIR/bulk/records"; done
	) >/dev/null 2>&1 &
	uploads+=($!)
done
peak=0
for _ in {1..60}; do
	now=$(awk '/^VmRSS/ { print $2 }' "/proc/$server_pid/status")
	[ "$now" -le "$peak" ] || peak=$now
	sleep 0.1
	kill -0 "${uploads[@]}" 2>/dev/null || break
done
wait "${uploads[@]}"
diag "peak RSS with 16 uploads at once: $((peak / 1024)) MiB"
[ "$(basename "$build")" = asan ] || check "under 150 MiB" test "$peak" -lt $((150 * 1024))
check "and they are all there" commit_session api anna 0 "$TAP_DIR/bulk" import "$first"
stop_server

# ---- The limit of downloads, shared by all
start_server "[limits]" "download_bytes_per_s = 1M"
head -c 640 "$TAP_DIR/one/ids" >"$TAP_DIR/twenty"
begin=$(tap_now_ms)
for _ in 1 2; do
	as api POST /desktops/anna/chunks "@$TAP_DIR/twenty" &
done
mapfile -t fetches < <(jobs -p | tail -n 2)
wait "${fetches[@]}"
took=$(($(tap_now_ms) - begin))
diag "2 x 1.25 MiB at 1 MiB/s took $took ms"
check "two fetches share 1 MiB/s: 2.5 MiB take 2.5 s at least" test "$took" -ge 2300
as api POST /desktops/anna/chunks "@$TAP_DIR/twenty"
is "$http $("$chunks" read "$answer_file")" "200 20 1310720" "what is streamed arrives whole"
stop_server

# ---- A full disk
small=$TAP_DIR/small
mkdir "$small"
if ! mount -t tmpfs -o size=24m none "$small" 2>/dev/null; then
	skip "a full disk: 507, nothing is lost" "this user may not mount a tmpfs"
	done_testing
fi
at_end 'umount -l "$small"'
rm -rf "$TAP_DIR/server"
check "a server whose disk is 24 MiB" start_server "[store]" "path = $small/store" "[limits]" "min_free = 4M"
login
api POST /api/v1/desktops '{"name":"anna"}'
check "a snapshot fits" upload api anna 0 "$TAP_DIR/one" import
kept=$snapshot
for i in 1 2 3 4 5; do
	"$chunks" make "$TAP_DIR/fill" 110 "20$i"
	upload api anna 0 "$TAP_DIR/fill" import || break
done
is "$http" 507 "a full disk: 507"
like "$(field .detail)" "full" "... with a clear text"
api GET "/api/v1/snapshots/$kept"
is "$http" 200 "what was committed is still there"
head -c 32 "$TAP_DIR/one/ids" >"$TAP_DIR/root"
as api POST /desktops/anna/chunks "@$TAP_DIR/root"
is "$http $("$chunks" read "$answer_file")" "200 1 65536" "... and reads back"
api POST /api/v1/desktops '{"name":"still"}'
is "$http" 201 "the rest of the server goes on"
stop_server
start_server "[store]" "path = $small/store" "[limits]" "min_free = 4M"
api GET "/api/v1/snapshots/$kept"
is "$http" 200 "also after a restart"
stop_server
umount "$small"

mount -t tmpfs -o size=24m none "$small"
server_state_on_small=$TAP_DIR/server
rm -rf "$server_state_on_small"
ln -s "$small/state" "$server_state_on_small"
mkdir "$small/state"
check "a server whose state is on that disk" start_server "[limits]" "min_free = 0"
login
api POST /api/v1/desktops '{"name":"anna"}'
head -c 100M /dev/zero >"$small/ballast" 2>/dev/null
for i in {1..400}; do
	api POST /api/v1/desktops "{\"name\":\"d$i\"}"
	[ "$http" = 201 ] || break
done
is "$http" 507 "a full disk under the catalogue: 507"
like "$(field .detail)" "full|catalogue" "... naming it"
last_good=$((i - 1))
rm "$small/ballast"
api POST /api/v1/desktops '{"name":"after"}'
is "$http" 201 "it goes on when there is room again"
stop_server KILL
start_server "[limits]" "min_free = 0"
api GET "/api/v1/desktops?limit=1000"
is "$(field '.items | length')" "$((last_good + 2))" "exactly the desktops that were acknowledged are there"
stop_server
done_testing
