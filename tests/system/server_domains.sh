#!/usr/bin/env bash
# A hijacked endpoint, with its real certificate, tries to learn of other desktops' data: through queries, fetches,
# commits, manifests, other sessions, and after its own desktop has moved on.
# shellcheck disable=SC2154,SC2119,SC2016 # what tap.sh and server.sh set
# shellcheck source=tests/lib/tap.sh
. "$(dirname "$0")/../lib/tap.sh"
build=$1
# shellcheck source=tests/lib/server.sh
. "$(dirname "$0")/../lib/server.sh"
need curl openssl jq python3
chunks=$(dirname "$0")/../lib/chunks.py
settings=("[lease]" "ttl = 10m" "margin = 1s" "heartbeat = 1s" "[store]" "domains = per-desktop")

check "the server gets ready" start_server "${settings[@]}"
check "signed in" login
for name in a b; do check "endpoint $name enrols" enrol $name; done

# ---- Which domain a desktop gets
api POST /api/v1/desktops '{"name":"anna"}'
is "$http $(field .domain)" "201 anna" "per-desktop: a domain of its own"
api POST /api/v1/desktops '{"name":"bert"}'
is "$http $(field .domain)" "201 bert" "... each"
for name in carl cora; do api POST /api/v1/desktops "{\"name\":\"$name\",\"domain\":\"pair\"}"; done
is "$http $(field .domain)" "201 pair" "a domain by name"
api POST /api/v1/desktops '{"name":"pair"}'
is "$http" 409 "a desktop does not slip into a domain that others are in"
like "$(field .detail)" "domain" "... and is told what to do"
api POST /api/v1/desktops '{"name":"default"}'
is "$http" 409 "nor into the one that all share elsewhere"
api POST /api/v1/desktops '{"name":"dora","domain":"No Name"}'
is "$http" 400 "a domain's name is checked"

"$chunks" make "$TAP_DIR/secret" 30 1
"$chunks" make "$TAP_DIR/own" 30 2
check "anna has a snapshot" upload api anna 0 "$TAP_DIR/secret" import
annas=$snapshot
check "bert too" upload api bert 0 "$TAP_DIR/own" import
first=$snapshot
stored() {
	api GET /api/v1/server
	field .store.chunks
}

# ---- Inside a domain chunks are shared
upload api carl 0 "$TAP_DIR/own" import
before=$(stored)
open_session api cora 0
as api POST "/sessions/$session/query" "@$TAP_DIR/own/ids"
is "$(od -An -tx1 "$answer_file" | tr -d ' \n')" ffffff7f "what carl has, cora need not send"
commit_session api cora 0 "$TAP_DIR/own" import
is "$http $(stored)" "201 $before" "... and it is stored once"

# ---- b runs bert, and is hijacked
beat b
beat a
api POST /api/v1/desktops/bert/start '{"endpoint":"b"}'
job=$(field .id)
work_of b
report b "$job" run "done" '{"running_ms":1,"local_ms":2}'
running='[{"desktop":"bert","epoch":1,"state":"running","memory":"local","complete":true}]'
beat b "$running"
is "$(field '.leases[0].desktop')" bert "bert runs on b"
as b GET /desktops/bert/snapshots/latest
is "$http $(field .snapshot)" "200 $first" "b reads what is its own"

tail -c 32 "$TAP_DIR/secret/ids" >"$TAP_DIR/root"
head -c 960 /dev/urandom >"$TAP_DIR/nothing"
check "a session for bert" open_session b bert 1
as b POST "/sessions/$session/query" "@$TAP_DIR/nothing"
cp "$answer_file" "$TAP_DIR/answer"
head -c 960 "$TAP_DIR/secret/ids" >"$TAP_DIR/ids"
as b POST "/sessions/$session/query" "@$TAP_DIR/ids"
is "$http" 200 "a query for anna's chunks"
check "... is answered as one for chunks that nobody has" cmp "$answer_file" "$TAP_DIR/answer"

hex() {
	od -An -v -tx1 "$1" | tr -d ' \n' | head -c 64
}
fetch_text() { # the answer to a fetch of these ids, without the id
	as b POST /desktops/bert/chunks "@$1"
	printf '%s ' "$http"
	sed "s/$(hex "$1")/ID/" "$answer_file"
}
is "$(fetch_text "$TAP_DIR/ids")" "$(fetch_text "$TAP_DIR/nothing")" "a fetch of anna's chunks is answered as one of chunks that nobody has"
as b POST /desktops/bert/chunks "@$TAP_DIR/root"
is "$http" 404 "... 404"

as b POST /desktops/anna/chunks "@$TAP_DIR/root"
is "$http" 403 "b asks under anna's name: 403"
answer_anna=$(sed s/anna/NAME/g "$answer_file")
as b POST /desktops/nobody/chunks "@$TAP_DIR/root"
is "$(sed s/nobody/NAME/g "$answer_file")" "$answer_anna" "... just as under a name that nobody has"
as b GET "/desktops/anna/snapshots/$annas"
is "$http" 403 "anna's manifest: 403"
as b GET "/desktops/bert/snapshots/$annas"
is "$http" 404 "... as one of bert: 404"
open_session b anna 0
is "$http" 409 "a session for anna: 409"
answer_anna=$(sed s/anna/NAME/g "$answer_file")
open_session b nobody 0
is "$(sed s/nobody/NAME/g "$answer_file")" "$answer_anna" "... just as for a name that nobody has"
as b POST /jobs/00000000000000000000000000000000/report '{"step":"run","state":"done","done_bytes":0,"total_bytes":0,"message":"","result":{}}'
is "$http" 404 "a job that is none of its"

# ---- Commits that lead to what is not bert's
open_session b bert 1
commit_session b bert 1 "$TAP_DIR/secret" cold
is "$http" 409 "a commit of anna's root: 409"
like "$(field .detail)" "disk0.*$(hex "$TAP_DIR/root")" "... naming volume and chunk"
"$chunks" graft "$TAP_DIR/graft" "$TAP_DIR/secret/ids" 3
as b POST "/sessions/$session/chunks" "@$TAP_DIR/graft/records"
is "$http" 204 "a node of its own that names anna's chunks"
commit_session b bert 1 "$TAP_DIR/graft" cold
is "$http" 409 "... is not committed"
like "$(field .detail)" "disk0.*$(hex "$TAP_DIR/secret/ids")" "... naming volume and chunk"
commit_session b bert 1 "$TAP_DIR/graft" cold "$first"
is "$http" 409 "... nor as a child of bert's own snapshot"
"$chunks" graft "$TAP_DIR/deep" "$TAP_DIR/root" 300
as b POST "/sessions/$session/chunks" "@$TAP_DIR/deep/records"
commit_session b bert 1 "$TAP_DIR/deep" cold
is "$http" 409 "a tree whose inner node is anna's: 409"
like "$(field .detail)" "disk0.*$(hex "$TAP_DIR/root")" "... naming it"
commit_session b bert 1 "$TAP_DIR/secret" cold "$annas"
is "$http" 409 "anna's snapshot as the parent: 409"
manifest_in_domain() { # FOLDER DOMAIN
	jq -nc --slurpfile v "$1/volumes.json" --arg n "$2" '{version:1,desktop:"bert",domain:$n,parent:"",created:"2026-01-01T00:00:00Z",kind:"cold",epoch:1,volumes:$v[0]}'
}
as b POST "/sessions/$session/commit" "$(manifest_in_domain "$TAP_DIR/secret" anna)"
is "$http" 409 "a manifest that says it is of anna's domain: 409"
as b POST "/sessions/$session/commit" "$(manifest_in_domain "$TAP_DIR/own" anna)"
is "$http $(field .domain)" "201 bert" "... and with bert's own chunks it is of bert's domain"

# ---- Other sessions
open_session api anna 0
annas_session=$session
for try in query:ids chunks:own/records; do
	as b POST "/sessions/$annas_session/${try%%:*}" "@$TAP_DIR/${try#*:}"
	is "$http" 404 "somebody else's session: ${try%%:*} is 404"
done
session=$annas_session commit_session b anna 0 "$TAP_DIR/secret" cold
is "$http" 404 "... commit too"
as b DELETE "/sessions/$annas_session"
is "$http" 404 "... and DELETE"
session=$annas_session
as api POST "/sessions/$session/query" "@$TAP_DIR/ids"
is "$http $(od -An -tx1 "$answer_file" | tr -d ' \n')" "200 ffffff3f" "its owner goes on with it, and sees his own chunks"
as api DELETE "/sessions/$session"

# ---- What was really sent is bert's, and stored again
before=$(stored)
check "the same content, sent" upload b bert 1 "$TAP_DIR/secret" cold
is "$(stored)" $((before + 31)) "... is stored a second time, whoever has it already"
berts=$snapshot
as b POST /desktops/bert/chunks "@$TAP_DIR/ids"
is "$http $("$chunks" read "$answer_file")" "200 30 1966080" "... and bert's to read"

# ---- bert moves on to a
api POST /api/v1/desktops/bert/move '{"endpoint":"a"}'
job=$(field .id)
work_of b
"$chunks" make "$TAP_DIR/live" 5 3 --memory
check "it is suspended on b" upload b bert 1 "$TAP_DIR/live" live "$berts" "$job"
suspended=$snapshot
check "b has a session left" open_session b bert 1
report b "$job" suspend "done" "{\"snapshot\":\"$suspended\"}"
work_of a
is "$(field '"\(.kind) \(.epoch) \(.snapshot)"')" "run 2 $suspended" "it goes on on a"
report a "$job" run "done" '{"running_ms":1,"local_ms":2}'
"$chunks" make "$TAP_DIR/new" 5 4
check "a takes a snapshot" upload a bert 2 "$TAP_DIR/new" cold "$suspended"
later=$snapshot
as b GET "/desktops/bert/snapshots/$suspended"
is "$http" 200 "b, with a session from then, reads what was there"
for id in "$later" latest; do
	as b GET "/desktops/bert/snapshots/$id"
	is "$http" 404 "... and nothing that came later ($id)"
done
open_session b bert 2
is "$http" 409 "... nor uploads for it"
open_session b bert 1
"$chunks" make "$TAP_DIR/orphan" 5 5
check "its leftovers are taken" upload b bert 1 "$TAP_DIR/orphan" cold "$berts"
is "$(field .branch)" true "... as a branch"
as a GET /desktops/bert/snapshots/latest
is "$(field .snapshot)" "$later" "which is not the newest of bert"

# ---- A restart, and a catalogue made anew from the store
stop_server
check "restarted" start_server "${settings[@]}"
api GET /api/v1/desktops/cora
is "$(field .domain)" pair "a domain survives a restart"
as api POST /desktops/anna/chunks "@$TAP_DIR/ids"
is "$http $("$chunks" read "$answer_file")" "200 30 1966080" "a person reads anna's chunks"
stop_server
rm "$TAP_DIR"/server/catalogue.db*
check "an empty catalogue beside the store" start_server "${settings[@]}"
login
api GET /api/v1/desktops
is "$(field '[.items[] | "\(.name):\(.domain)"] | join(" ")')" "anna:anna bert:bert carl:pair cora:pair" "the desktops are back, in their domains"
as api POST /desktops/bert/chunks "@$TAP_DIR/root"
is "$http" 200 "bert's chunks are bert's"
as api POST /desktops/cora/chunks "@$TAP_DIR/root"
is "$http" 404 "... and not cora's"
stop_server
done_testing
