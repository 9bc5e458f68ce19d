#!/usr/bin/env bash
# Bad requests and bad clients: each gets a clear answer, none costs the others anything. And: static files, events,
# hundreds of parked polls.
# shellcheck disable=SC2154,SC2119,SC2016 # what tap.sh and server.sh set
# shellcheck source=tests/lib/tap.sh
. "$(dirname "$0")/../lib/tap.sh"
build=$1
# shellcheck source=tests/lib/server.sh
. "$(dirname "$0")/../lib/server.sh"
need curl openssl jq python3
raw=$(dirname "$0")/../lib/raw_https.py
web=$TAP_DIR/web
mkdir -p "$web/app" && echo '<!doctype html><title>Godwit</title>' >"$web/index.html" && echo 'export {}' >"$web/app/main.js"
echo secret >"$TAP_DIR/secret" && ln -s ../secret "$web/leak.txt" && echo x >"$web/.hidden"

check "the server gets ready" start_server "web_root = $web" "[limits]" "idle_timeout = 2s" "body_timeout = 3s"
check "signed in" login
check "endpoint a enrols" enrol a
where=${ui#https://}

# ---- JSON and paths
api POST /api/v1/desktops '{"name":"a","name":"b"}'
is "$http" 400 "duplicated keys: 400"
like "$(field .detail)" "duplicate" "... saying what"
api POST /api/v1/desktops '{"name":"a","colour":"red"}'
is "$http" 400 "an unknown key: 400"
like "$(field .detail)" "colour" "... naming it"
api POST /api/v1/desktops '{"name":"a","vcpus":-1}'
is "$http" 400 "a negative number: 400"
api POST /api/v1/desktops '{"name":"a"'
like "$http $(field .detail)" "^400 .*line 1" "half a document: 400 with the place"
api POST /api/v1/desktops '{"name":"../etc"}'
is "$http" 400 "a name that is a path: 400"
api GET "/api/v1/desktops?limit=0"
is "$http" 400 "limit=0: 400"
api GET "/api/v1/desktops?limit=1&limit=2"
is "$http" 400 "a repeated query key: 400"
api GET "/api/v1/jobs?color=red"
is "$http" 400 "an unknown query key: 400"
api GET "/api/v1/jobs?after=abc"
is "$http" 400 "a made-up cursor: 400"
api GET /api/v1/nothing
is "$http $(field .status)" "404 404" "an unknown path: 404, as a problem document"
api DELETE /api/v1/desktops
is "$http" 405 "a known path with another method: 405"
api POST /api/v1/desktops/none/start '{}'
is "$http" 404 "an unknown desktop: 404"
api POST /api/v1/sessions/00/query "12345"
is "$http" 400 "a query that is no row of ids: 400"
api GET "/api/v1/desktops/a%00b"
like "$http" "^40[04]$" "a NUL in the path: refused"
api GET "/api/v1/desktops/%2e%2e%2f%2e%2e"
is "$http" 404 "escapes do not lead out of the path"
for name in d1 d2 d3; do api POST /api/v1/desktops "{\"name\":\"$name\"}"; done
api GET "/api/v1/desktops?limit=2"
is "$(field '"\(.items|map(.name)|join(",")) \(.next)"')" "d1,d2 d2" "the first page of a list"
api GET "/api/v1/desktops?limit=2&after=d2"
is "$(field '"\(.items|map(.name)|join(",")) \(.next)"')" "d3 null" "... and the last"

# ---- Sizes
head -c 20000 /dev/zero | tr '\0' x >"$TAP_DIR/big"
api POST /api/v1/desktops "@$TAP_DIR/big"
is "$http" 413 "a body over the route's limit: 413"
request --cacert "$ca" "$ui/api/v1/login" -H "Transfer-Encoding: chunked" -d '{}'
is "$http" 411 "chunked bodies: 411"
api GET /api/v1/session "x"
is "$http" 413 "a GET with a body: 413"
request --cacert "$ca" "$ui/" -H "X-Long: $(head -c 100000 /dev/zero | tr '\0' y)"
like "$http" "^(431|413|400|000)$" "a header of 100 kB: refused"

# ---- Smuggling: each must end the connection, and the second request must never be answered
smuggle() {
	run "$raw" send "$where" "$ca" <<<"$2"
	like "$output" "^HTTP/1.1 400.*closed$" "$1: 400, and the connection ends"
	unlike "$output" "HTTP/1.1 [^4]|HTTP/1.1 40[^0]" "... without an answer to what came behind"
}
tail=$'\n\n0\n\nGET /api/v1/session HTTP/1.1\nHost: x\n\n'
smuggle "Content-Length and Transfer-Encoding" $'POST /api/v1/login HTTP/1.1\nHost: x\nContent-Length: 5\nTransfer-Encoding: chunked'"$tail"
smuggle "two Content-Lengths" $'POST /api/v1/login HTTP/1.1\nHost: x\nContent-Length: 5\nContent-Length: 50'"$tail"
smuggle "a list of Content-Lengths" $'POST /api/v1/login HTTP/1.1\nHost: x\nContent-Length: 5, 5'"$tail"
smuggle "Content-Length with a sign" $'POST /api/v1/login HTTP/1.1\nHost: x\nContent-Length: +5'"$tail"

# ---- Slow clients
run "$raw" trickle "$where" "$ca" 60
like "$output" "^[1-9][0-9]?\.[0-9]$" "a header that trickles is cut after idle_timeout (2 s): $output s"
run "$raw" body "$where" "$ca" 60
like "$output" "^([2-9]|[1-5][0-9])\.[0-9]$" "a body that trickles is cut after body_timeout (3 s): $output s"
"$raw" idle "$where" 300 6 &
holder=$!
sleep 0.3
check "300 connections that say nothing do not keep anybody out" login
api GET /api/v1/session
is "$http" 200 "... and requests are answered"
wait "$holder"

# ---- Static files
get() {
	request --cacert "$ca" --path-as-is -D "$TAP_DIR/headers" "$@"
	headers=$(tr -d '\r' <"$TAP_DIR/headers")
}
get "$ui/"
like "$http $answer" "^200 .*Godwit" "/ is index.html"
like "$headers" "Content-Type: text/html" "... as HTML"
like "$headers" "Content-Security-Policy: default-src 'none'" "... with a strict CSP"
unlike "$headers" "unsafe" "... without exceptions"
etag=$(sed -n 's/^ETag: //p' <<<"$headers")
get "$ui/" -H "If-None-Match: $etag"
is "$http" 304 "its ETag works"
get "$ui/app/main.js"
like "$headers" "Content-Type: text/javascript" "a module has a JavaScript type"
like "$headers" "X-Content-Type-Options: nosniff" "... and nosniff"
get "$ui/desktops/anna"
like "$answer" "Godwit" "the UI's own paths get index.html"
for path in /../secret /app/../../secret /%2e%2e/secret /app/%2e%2e/%2e%2e/secret /leak.txt /.hidden //etc/passwd /app/missing.js; do
	get "$ui$path"
	is "$http" 404 "$path: 404"
	is "$(grep -c '^secret' <<<"$answer")" 0 "... and nothing of it"
done

# ---- Events
# hear [CURL OPTION...]: listen in the background, $watcher, into $TAP_DIR/events
hear() {
	: >"$TAP_DIR/events.head"
	curl -sSN --cacert "$ca" -H "Authorization: Bearer $token" -D "$TAP_DIR/events.head" "$@" "$ui/api/v1/events" \
		>"$TAP_DIR/events" 2>/dev/null &
	watcher=$!
	adopt "$watcher"
	wait_for 180 test -s "$TAP_DIR/events.head"
}
check "a watcher listens" hear
api POST /api/v1/desktops '{"name":"seen"}'
check "watchers hear of a new desktop" wait_for 180 grep -q '"name":"seen"' "$TAP_DIR/events"
like "$(cat "$TAP_DIR/events")" $'event: desktop\ndata: \{' "... as an event with the object"
last=$(sed -n 's/^id: //p' "$TAP_DIR/events" | tail -n 1)
kill "$watcher"
api POST /api/v1/desktops '{"name":"missed"}'
hear -H "Last-Event-ID: $last"
check "Last-Event-ID brings what was missed" wait_for 180 grep -q '"name":"missed"' "$TAP_DIR/events"
unlike "$(cat "$TAP_DIR/events")" '"name":"seen"' "... and nothing twice"
kill "$watcher"
hear -H "Last-Event-ID: 0123456789abcdef-7"
check "an id of another life: reload" wait_for 180 grep -q "event: reload" "$TAP_DIR/events"
kill "$watcher"

# ---- Long polls: 120 endpoints with one each.
memory_kb() {
	awk '/^VmRSS/ { print $2 }' "/proc/$server_pid/status"
}
csr p
check "120 endpoints enrol" "$raw" enrol "$where" "$ca" "$token" "$TAP_DIR/p.csr" "$TAP_DIR" 120
diag "RSS before the polls: $(memory_kb) kB"
run "$raw" parked "${agents#https://}" "$ca" "$TAP_DIR" 120 6
like "$output" '^120 ([6-9]|[1-5][0-9])\.[0-9] ' "120 polls parked at once, all answered after their 6 s (count, first, last): $output"
diag "RSS after them: $(memory_kb) kB"
agent a GET "/agent/v1/work?wait_ms=100"
is "$http $answer" '200 {"work":[]}' "a poll without work ends with an empty list"
agent a GET "/agent/v1/work?wait_ms=60000" "" -o /dev/null &
sleep 0.5
started=$(tap_now_ms)
check "the server stops with a poll parked" stop_server
check "... without waiting for it" test $(($(tap_now_ms) - started)) -lt 45000
done_testing
