#!/usr/bin/env bash
# The catalogue comes back from a copy that names a holder of long ago: a strict desktop never runs on him and on the
# present holder, whoever is heard first, and through restarts.
# shellcheck disable=SC2154,SC2119,SC2016 # what tap.sh and server.sh set
# shellcheck source=tests/lib/tap.sh
. "$(dirname "$0")/../lib/tap.sh"
build=$1
# shellcheck source=tests/lib/server.sh
. "$(dirname "$0")/../lib/server.sh"
need curl openssl jq python3
chunks=$(dirname "$0")/../lib/chunks.py
state=$TAP_DIR/server
# The doubt lasts for ttl and margin. Short where its end is waited for, long where it must not end meanwhile.
rest=("margin = 1s" "heartbeat = 1s" "[store]" "verify_every = 0s" "gc_every = 0s" "catalogue_copy_every = 0s" "catalogue_check_every = 0s")
short=("[lease]" "ttl = 8s" "${rest[@]}")
long=("[lease]" "ttl = 120s" "${rest[@]}")

# says ENDPOINT EPOCH STATE LEASE_MS [PROOF]: its heartbeat, with the doubt's number as last heard; then its leases, stale
# desktops, and whether the server is in doubt
declare -A heard=([a]="" [b]="")
says() {
	local desktops body
	desktops=$(jq -nc --argjson e "$2" --arg s "$3" --argjson l "$4" --arg p "${5-}" --arg d "${heard[$1]}" \
		'[{desktop:"cara",epoch:$e,state:$s,memory:"local",complete:true,proof:$p} + (if $d == "" then {} else {lease_ms:$l} end)]')
	body=$(jq -nc --argjson d "$desktops" --arg n "${heard[$1]}" '{version:"0.1",accelerator:"tcg",cpus:4,memory_mib:8192,
		disk_free_bytes:1000000000000,live_capture:true,desktops:$d} + (if $n == "" then {} else {doubt:$n} end)')
	agent "$1" POST /agent/v1/heartbeat "$body"
	heard[$1]=$(field '.doubt // ""')
	said=$(field '"\(.leases | length) \(.stale | length) \(has("doubt"))"')
}
starts_on() { # ENDPOINT: sets $job, $epoch and $proof
	api POST /api/v1/desktops/cara/start "{\"endpoint\":\"$1\"}"
	[ "$(field .state)" = queued ] || return
	work_of "$1"
	job=$(field .job) epoch=$(field .epoch) proof=$(field .lease.proof)
	report "$1" "$job" run "done" '{"running_ms":1,"local_ms":2}'
	[ "$http" = 200 ]
}
restored() { # LINE...: by a server that has lost its catalogue
	stop_server
	rm -f "$state"/catalogue.db*
	start_server "$@"
	heard=([a]="" [b]="")
}
copied() {
	api GET /api/v1/store
	[ "$(field '.["catalogue-copy"] | (.running | not) and .ended != null')" = true ]
}
known() { [ ! -e "$state/catalogue.doubt" ]; }

# ---- A copy is made while a has it; then b has it, and nothing that b did is in the store
check "the server gets ready" start_server "${short[@]}"
check "signed in" login
for name in a b; do check "endpoint $name enrols" enrol $name; done
api POST /api/v1/desktops '{"name":"cara","lease_policy":"strict"}'
"$chunks" make "$TAP_DIR/one" 20 1
check "cara has a snapshot" upload api cara 0 "$TAP_DIR/one" import
first=$snapshot
beat a
beat b
check "cara starts on a" starts_on a
old=$epoch
keep_beating a "[{\"desktop\":\"cara\",\"epoch\":$old,\"state\":\"running\",\"memory\":\"local\",\"complete\":true}]"
check "cara runs on a" wait_for 60 desktop_is cara running
api POST /api/v1/store/catalogue-copy '{}'
check "the catalogue is copied" wait_for 180 copied
check "a still has it" desktop_is cara running
api POST /api/v1/desktops/cara/stop '{"force":true}'
work_of a
job=$(field .job)
check "a saves it" upload a cara "$old" "$TAP_DIR/one" cold "$first" "$job"
report a "$job" stop "done" "{\"snapshot\":\"$snapshot\"}"
check "cara is stopped" wait_for 60 desktop_is cara stopped
stop_beating a
says a 1 crashed 0
is "$said" "0 0 false" "a server that knows everything is not in doubt"
beat b
check "cara starts on b" starts_on b
new=$epoch
check "under a later epoch" test "$new" -gt "$old"
says b "$new" running 8000 "$proof"
is "$said" "1 0 false" "b is renewed"

# ---- The one of long ago is heard first
check "the catalogue is lost and comes back from the copy" restored "${long[@]}"
check "what is doubted is written down" test -e "$state/catalogue.doubt"
says a "$old" fenced 0
is "$said" "0 0 true" "a, whom the copy names, may not go on, and keeps what it has"
says a "$old" fenced 0
is "$said" "0 0 true" "... nor when it has heard of the doubt"
says a "$old" starting 0
is "$said" "0 0 true" "... nor begin anew"
says b "$new" running 8000 "$proof"
is "$said" "0 0 true" "b is believed, but what it said may be of before the start"
says b "$new" running 8000 "$proof"
is "$said" "1 0 true" "... so it says again that its lease is in force, and goes on"
says a "$old" fenced 0
is "$said" "0 1 true" "a hears that its right is over"
heard[b]=0123456789abcdef
says b "$new" running 8000 "$proof"
is "$said" "0 0 true" "another doubt's number counts for nothing"
says b "$new" fenced 0 "$proof"
is "$said" "0 0 true" "once it has stopped, b waits, too"
check "a restart in the doubt" stop_server KILL
start_server "${long[@]}"
says b "$new" fenced 0 "$proof"
says b "$new" fenced 0 "$proof"
is "$said" "0 0 true" "... ends no doubt"

# ---- b is not heard: a goes on when b has certainly stopped
check "it comes back from the copy again" restored "${short[@]}"
told() {
	says "$@"
	[ "${said%% *}" = 1 ]
}
wait_for 180 told a "$old" fenced 0 || fail "a is told that it may go on"
is "$said" "1 0 false" "... when the doubt is over"
check "that is noted" wait_for 60 known
says a "$old" running 8000
is "$said" "1 0 false" "a runs and is renewed"
stop_server
start_server "${short[@]}"
renewed=$(tap_now_ms)
says a "$old" fenced 0
is "$said" "1 0 false" "a usual restart doubts nothing"
says b "$new" fenced 0 "$proof"
is "$said" "0 0 true" "b is heard late: it has the right, but waits until a has stopped"
api GET /api/v1/desktops/cara
is "$(field '"\(.endpoint) \(.epoch)"')" "b $new" "... as everybody can see"
says a "$old" running 8000
is "$said" "0 1 false" "a is told that it is over"
check "b is told that it may go on" wait_for 180 told b "$new" fenced 0 "$proof"
check "... not before a's lease and the margin are over" test $(($(tap_now_ms) - renewed)) -ge 9000
check "then all is known" wait_for 60 known

# ---- a restart while b waits for a's end
check "it comes back from the copy once more" restored "${short[@]}"
wait_for 180 told a "$old" fenced 0 || fail "a is told that it may go on"
says b "$new" fenced 0 "$proof"
is "$said" "0 0 true" "b waits until a has stopped"
stop_server KILL
start_server "${long[@]}"
says b "$new" fenced 0 "$proof"
is "$said" "0 0 true" "... also when the server was restarted meanwhile"
done_testing
