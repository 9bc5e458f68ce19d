#!/usr/bin/env bash
# The server's side of a desktop's life, with curl as the agents: import, start, snapshot, a lost endpoint, failover,
# a stale epoch that becomes a branch, stop, and restarts of the server in between.
# shellcheck disable=SC2154,SC2119,SC2016 # what tap.sh and server.sh set
# shellcheck source=tests/lib/tap.sh
. "$(dirname "$0")/../lib/tap.sh"
build=$1
# shellcheck source=tests/lib/server.sh
. "$(dirname "$0")/../lib/server.sh"
need curl openssl jq python3
chunks=$(dirname "$0")/../lib/chunks.py
lease=("[lease]" "ttl = 8s" "margin = 1s" "heartbeat = 500ms")

check "the server gets ready" start_server "${lease[@]}"
check "signed in" login
for name in a b; do check "endpoint $name enrols" enrol $name; done

# ---- Import
api POST /api/v1/desktops '{"name":"anna","memory_mib":512,"network":"none"}' -H "Idempotency-Key: k1"
is "$http $(field .state) $(field .epoch)" "201 empty 0" "a new desktop is empty"
api POST /api/v1/desktops '{"name":"anna","memory_mib":512,"network":"none"}' -H "Idempotency-Key: k1"
is "$http $(field .name)" "201 anna" "the same request with the same Idempotency-Key: the same answer"
api POST /api/v1/desktops '{"name":"anna","memory_mib":999}' -H "Idempotency-Key: k1"
is "$http" 422 "another request with that key: 422"
api POST /api/v1/desktops '{"name":"anna"}'
is "$http" 409 "a name that is taken: 409"
api POST /api/v1/desktops/anna/start '{}'
is "$http $(field .state)" "202 failed" "an empty desktop cannot start"
like "$(field .error)" "no snapshot" "... and says why"

"$chunks" make "$TAP_DIR/disk" 40 1
"$chunks" make "$TAP_DIR/live" 40 2 --memory
check "an import" upload api anna 0 "$TAP_DIR/disk" import
first=$snapshot
api GET "/api/v1/snapshots/$first"
is "$(field '"\(.kind) \(.branch) \(.memory) \(.parent) \(.volumes[0].size) \(.manifest.snapshot)"')" \
	"import false false null 2621440 $first" "the snapshot as the API shows it"
check "the desktop can start now" desktop_is anna stopped

# ---- Start
beat b
keep_beating a
wait_for 60 eval 'api GET /api/v1/endpoints/a; [ "$(field .state)" = online ]'
api POST /api/v1/desktops/anna/start '{"endpoint":"a"}'
job=$(field .id)
is "$http $(field '"\(.kind) \(.step) \(.endpoint)"')" "202 start run a" "a job"
check "the desktop is starting" desktop_is anna starting
api POST /api/v1/desktops/anna/start '{}'
is "$http" 409 "one job at a time"
work_of a
is "$(field '"\(.job) \(.kind) \(.desktop) \(.epoch) \(.snapshot) \(.memory) \(.lease.policy) \(.lease.ttl_ms) \(.machine.memory_mib)"')" \
	"$job run anna 1 $first false strict 8000 512" "the work item"
work_of a aaaa 0
is "$answer" null "it is not handed out twice"
work_of a bbbb 0
is "$(field .job)" "$job" "... but to a restarted agent"
work_of b bbbb 0
is "$answer" null "and not to others"
report b "$job" run running
is "$http" 404 "nor may others report on it"
head -c 320 "$TAP_DIR/disk/ids" >"$TAP_DIR/ten"
as a POST "/desktops/anna/chunks?job=$job" "@$TAP_DIR/ten"
cp "$answer_file" "$TAP_DIR/fetched"
is "$http $("$chunks" read "$TAP_DIR/fetched")" "200 10 655360" "a fetches chunks, in order and intact"
as b POST "/desktops/anna/chunks" "@$TAP_DIR/ten"
is "$http" 403 "b may not"
as a GET "/desktops/anna/snapshots/latest"
is "$http $(field .snapshot)" "200 $first" "the manifest of the newest snapshot"
report a "$job" run running '{"running_ms":120}'
is "$http $(field .cancel)" "200 false" "a reports that the guest runs"
api GET "/api/v1/jobs/$job"
sent=$(field .result.bytes_before_run)
check "bytes_before_run is what the server had sent" test "$sent" = "$(stat -c %s "$TAP_DIR/fetched")"
stop_beating a
running='[{"desktop":"anna","epoch":1,"state":"running","memory":"local","complete":true}]'
keep_beating a "$running"
report a "$job" run "done" '{"running_ms":120,"local_ms":900}'
check "the job is done" job_is "$job" "done"
report a "$job" run "done" '{"running_ms":120,"local_ms":900}'
is "$http" 409 "a repeated report: the job is over"
check "the desktop runs" wait_for 60 desktop_is anna running
beat a "$running"
is "$(field '"\(.leases[0].desktop) \(.leases[0].ttl_ms) \(.stale|length)"')" "anna 8000 0" "its lease is renewed"
beat b "$running"
is "$(field '"\(.leases|length) \(.stale[0].desktop)"')" "0 anna" "b is told that it has no right to it"

# ---- Snapshot
api POST /api/v1/desktops/anna/snapshot '{}'
job=$(field .id)
work_of a bbbb
is "$(field '"\(.kind) \(.memory) \(.session)"')" "capture true null" "the agent is asked for a capture"
check "it uploads" upload a anna 1 "$TAP_DIR/live" live "$first" "$job"
second=$snapshot
commit_session a anna 1 "$TAP_DIR/live" live "$first"
is "$http $(field .snapshot)" "201 $second" "a repeated commit names the same snapshot"
report a "$job" capture "done" "{\"snapshot\":\"$second\",\"pause_ms\":23.5,\"read_bytes\":100,\"new_bytes\":90,\"stored_bytes\":80,\"seconds\":1,\"full_compare\":\"\"}"
check "the job is done" job_is "$job" "done"
api GET "/api/v1/snapshots/$second"
is "$(field '"\(.pause_ms) \(.read_bytes) \(.memory) \(.parent)"')" "23.5 100 true $first" "its figures are kept"

# ---- The server is killed with a job under way
api POST /api/v1/desktops/anna/snapshot '{"memory":false}'
job=$(field .id)
work_of a bbbb
check "an upload begins" open_session a anna 1 "$job"
stop_server KILL
start_server "${lease[@]}"
check "after kill -9 the job is still there" job_is "$job" queued
work_of a cccc
is "$(field '"\(.job) \(.session)"')" "$job $session" "a restarted agent gets it with the session it had opened"
as a POST "/sessions/$session/chunks" "@$TAP_DIR/disk/records"
is "$http" 204 "the session goes on"
check "... to its commit" commit_session a anna 1 "$TAP_DIR/disk" cold "$second"
report a "$job" capture "done" "{\"snapshot\":\"$snapshot\"}"
check "the job is done" job_is "$job" "done"
third=$snapshot

# ---- The endpoint is lost
curl -sSN --cacert "$ca" -H "Authorization: Bearer $token" -D "$TAP_DIR/events.head" "$ui/api/v1/events" >"$TAP_DIR/events" 2>/dev/null &
watcher=$!
adopt "$watcher"
check "somebody watches" wait_for 60 test -s "$TAP_DIR/events.head"
check "a session that will be late" open_session a anna 1
keep_beating b
stop_beating a
lost_at=$(tap_now_ms)
beat a "$running" # the last one
work_of b dddd 59000
noticed=$(($(tap_now_ms) - lost_at))
diag "noticed after $noticed ms (ttl 8000, margin 1000)"
is "$(field '"\(.kind) \(.desktop) \(.epoch) \(.snapshot) \(.memory)"')" "run anna 2 $third false" "b is told to run it, from the newest snapshot"
check "not before ttl and margin have passed" test "$noticed" -ge 9000
job=$(field .job)
check "the desktop is failing over" desktop_is anna failing-over
api GET "/api/v1/jobs/$job"
is "$(field '"\(.kind) \(.result.from) \(.result.reason) \(.user)"')" "failover a lease lost system" "the job says what happened"
# The last word about an endpoint: its list of desktops.
watched() { grep -a -A1 '^event: endpoint' "$TAP_DIR/events" | sed -n 's/^data: //p' | jq -rs --arg n "$1" '[.[] | select(.name == $n)] | last | if . then (.desktops | join(" ")) else "not heard of" end'; }
watched_is() { [ "$(watched "$1")" = "$2" ]; }
check "watchers hear that a has it no more" wait_for 60 watched_is a ""
check "... and that b has it" wait_for 60 watched_is b anna
kill "$watcher"
check "silent_ms is at least ttl and margin" test "$(field .result.silent_ms)" -ge 8900 -a "$(field .result.silent_ms)" -lt 60000
report b "$job" run running '{"running_ms":50,"first_output_ms":80}'
report b "$job" run "done" '{"running_ms":50,"first_output_ms":80,"local_ms":700}'
check "the failover is done" job_is "$job" "done"
keep_beating b '[{"desktop":"anna","epoch":2,"state":"running","memory":"local","complete":true}]'
check "it runs on b" wait_for 60 desktop_is anna running
is "$(field .endpoint)" b "... says the desktop"

# ---- The lost one comes back
beat a "$running"
is "$(field '"\(.leases|length) \(.stale[0].desktop) \(.stale[0].epoch)"')" "0 anna 1" "a is told that its epoch is over"
as a POST "/sessions/$session/chunks" "@$TAP_DIR/live/records"
check "its late upload is taken" commit_session a anna 1 "$TAP_DIR/live" live "$second"
is "$(field .branch)" true "... as a branch"
api GET /api/v1/desktops/anna
is "$(field .latest_snapshot)" "$third" "a branch is never the newest good snapshot"
open_session a anna 2
is "$http" 409 "a cannot upload under b's epoch"
open_session b anna 1
is "$http" 409 "nor b under a's"
open_session b anna 3
is "$http" 409 "nor anybody under one that is not there yet"
api POST /api/v1/desktops/anna/failover '{}'
is "$http" 409 "failover is refused while the endpoint is alive"

# ---- Move, stop
keep_beating a
api POST /api/v1/desktops/anna/move '{"endpoint":"a"}'
job=$(field .id)
work_of b dddd
is "$(field '"\(.job) \(.kind) \(.epoch)"')" "$job suspend 2" "a move begins with suspend"
check "uploaded" upload b anna 2 "$TAP_DIR/live" live "$third" "$job"
stop_beating b
report b "$job" suspend "done" "{\"snapshot\":\"$snapshot\"}"
work_of a eeee
is "$(field '"\(.job) \(.kind) \(.epoch) \(.memory) \(.snapshot)"')" "$job run 3 true $snapshot" "... and goes on with run, from memory"
report a "$job" run "done" '{"running_ms":1,"local_ms":2}'
keep_beating a '[{"desktop":"anna","epoch":3,"state":"off","memory":"local","complete":true}]'
work_of a eeee
is "$(field '"\(.kind) \(.epoch) \(.force)"')" "stop 3 false" "a guest that powers off: its disks are saved by themselves"
job=$(field .job)
check "saved" upload a anna 3 "$TAP_DIR/disk" cold "$snapshot" "$job"
report a "$job" stop "done" "{\"snapshot\":\"$snapshot\"}"
check "the desktop is stopped" wait_for 60 desktop_is anna stopped
is "$(field '"\(.endpoint) \(.lease.state)"')" "null free" "nobody holds it"

# ---- Failure and cancel
keep_beating a
api POST /api/v1/desktops/anna/resume '{}'
like "$(field .error)" "no memory" "the newest snapshot has no memory: resume says so"
api POST /api/v1/desktops/anna/start '{"endpoint":"a"}'
job=$(field .id)
work_of a eeee
report a "$job" run failed '{}' "no space for the overlay"
check "a run that failed" job_is "$job" failed
is "$(field .error)" "no space for the overlay" "... keeps the agent's reason"
check "the lease is free again" desktop_is anna stopped
api POST /api/v1/desktops/anna/start '{"endpoint":"a"}'
job=$(field .id)
api POST "/api/v1/jobs/$job/cancel"
is "$http $(field .state)" "202 cancelled" "work that nobody has yet is cancelled at once"
check "... and the lease is free" desktop_is anna stopped
api POST /api/v1/desktops/anna/start '{"endpoint":"a"}'
job=$(field .id)
work_of a eeee
api POST "/api/v1/jobs/$job/cancel"
is "$(field .state)" queued "work that an agent has is asked to end"
report a "$job" run running
is "$(field .cancel)" true "... in the answer to its report"
report a "$job" run failed '{}' cancelled
check "it ends as cancelled" job_is "$job" cancelled

# ---- A crash: the endpoint lives, its QEMU is gone
api POST /api/v1/desktops/anna/start '{"endpoint":"a"}'
job=$(field .id)
epoch=$(api GET /api/v1/desktops/anna && field .epoch)
work_of a eeee
report a "$job" run "done" '{"running_ms":1,"local_ms":2}'
stop_beating a
keep_beating b
wait_for 60 eval 'api GET /api/v1/endpoints/b; [ "$(field .state)" = online ]'
crashed="[{\"desktop\":\"anna\",\"epoch\":$epoch,\"state\":\"crashed\",\"memory\":\"local\",\"complete\":true}]"
beat a "$crashed"
is "$(field '.leases | length')" 0 "a crashed desktop gives its lease back"
api GET "/api/v1/jobs?desktop=anna&limit=1"
is "$(field '.items[0] | "\(.kind) \(.result.reason) \(.state)"')" "failover crashed queued" "... and is failed over at once"
job=$(field '.items[0].id')
where=$(field '.items[0].endpoint')
beat a "$crashed"
is "$(field '.stale[0].epoch')" "$epoch" "the endpoint is told to keep the old disks as an orphan"
beat a
work_of "$where" ffff
is "$(field '"\(.kind) \(.epoch)"')" "run $((epoch + 1))" "... and the run comes after that"
report "$where" "$job" run "done" '{"running_ms":1,"local_ms":2}'
beat "$where" "[{\"desktop\":\"anna\",\"epoch\":$((epoch + 1)),\"state\":\"crashed\"}]"
check "a second crash within two minutes is left to a person" desktop_is anna error
like "$(field .note)" "QEMU on endpoint" "... with the reason"
stop_beating b

# ---- A catalogue that is older than the store
stop_server
# Edited by hand: VACUUM without room for checksums leaves a plain file, which gets new ones.
sqlite3 "$TAP_DIR/server/catalogue.db" "DELETE FROM snapshots WHERE id = '$snapshot'" ".filectrl reserve_bytes 0" VACUUM >/dev/null
start_server "${lease[@]}"
api GET "/api/v1/snapshots/$snapshot"
is "$http $(field .desktop)" "200 anna" "a snapshot that only the store knew is adopted at start"
api GET "/api/v1/audit?limit=1000"
is "$(field '[.items[].seq] | (.[0] - .[-1] + 1) == length')" true "the audit trail has no gaps"
done_testing
