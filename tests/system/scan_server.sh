#!/usr/bin/env bash
# Offline scans through the server: a snapshot of an imported disk is scanned, its verdict is kept and shown, and an
# infected one is never chosen unless it is named.
# shellcheck disable=SC2154 # what tap.sh and server.sh set
# shellcheck source=tests/lib/tap.sh
. "$(dirname "$0")/../lib/tap.sh"
build=$(realpath "$1")
# shellcheck source=tests/lib/server.sh
. "$(dirname "$0")/../lib/server.sh"
need curl jq openssl mkfs.ext4
export GODWIT_CONFIG_HOME=$TAP_DIR/home
godwit=$build/bin/godwit
umask 022
cd "$TAP_DIR" || exit

mkdir sig good bad slow
# The EICAR test file, put together here so that this script is not one.
printf '%s%s' 'X5O!P%@AP[4\PZX54(P^)7CC)7}$EICAR-STANDARD' '-ANTIVIRUS-TEST-FILE!$H+H*' >bad/eicar.com
printf 'Test.Eicar:0:0:%s\n' "$(od -An -v -tx1 bad/eicar.com | tr -d ' \n')" >sig/test.ndb
for i in {1..50}; do echo "file $i" | tee "good/$i.txt" >"bad/$i.txt"; done
for tree in good bad; do truncate -s 64M "$tree.img" && mkfs.ext4 -q -d "$tree" "$tree.img"; done
head -c 8M /dev/urandom >unknown.img
# A scan of this one lasts until it is cancelled.
for i in {1..40}; do seq "$i" 600000 >"slow/$i.txt"; done
truncate -s 256M slow.img && mkfs.ext4 -q -d slow slow.img && rm -r slow

config=("[scan]" "signatures = $TAP_DIR/sig" "[lease]" "ttl = 30s" "margin = 1s" "heartbeat = 500ms")
check "the server gets ready" start_server "${config[@]}"
check "signed in" login
run "$godwit" login "$ui" --user admin --password-file "$TAP_DIR/server/admin-password" --ca "$ca"
is "$status" 0 "the command is signed in"
snapshot_of() {
	api GET "/api/v1/snapshots?desktop=$1"
	field '.items[0].id'
}
for name in good bad unknown slow; do
	check "import $name" "$godwit" desktop import "$name" "$name.img" --quiet
done
good=$(snapshot_of good) bad=$(snapshot_of bad) unknown=$(snapshot_of unknown) slow=$(snapshot_of slow)

# ---- Verdicts --------------------------------------------------------------------------------------------------
api GET "/api/v1/snapshots/$good"
is "$(field '"\(.verdict) \(.scan)"')" "none null" "a snapshot that was never scanned has no verdict"
run "$godwit" snapshot scan "$good"
is "$status" 0 "a clean snapshot: status 0"
like "$output" "snapshot $good is clean" "... and it says so"
api GET "/api/v1/snapshots/$good"
is "$(field '"\(.verdict) \(.scan.verdict) \(.scan.files) \(.scan.findings | length)"')" "clean clean 50 0" "the server keeps it"

run "$godwit" snapshot scan "$bad"
is "$status" 1 "an infected one: status 1"
like "$output" "eicar.com: Test.Eicar" "... with file and signature"
api GET "/api/v1/snapshots/$bad"
is "$(field '.verdict + " " + (.scan.findings[] | .volume + " " + .path)')" "infected disk0 eicar.com" "... and the API has them"
run "$godwit" snapshot show "$bad"
like "$output" "infected: disk0 .*eicar.com" "snapshot show names the file"
run "$godwit" snapshot list --output json
is "$(jq -r --arg id "$bad" '.[] | select(.id == $id) | .verdict' <<<"$output")" infected "the list has the verdict"

run "$godwit" snapshot scan "$unknown" --output json
is "$status $(jq -r '.verdict + " " + .scan.reasons[0]' <<<"$output" | cut -d: -f1)" "1 incomplete unknown" \
	"what nobody can read is incomplete, with the reason"
api POST /api/v1/snapshots/20200101-000000-00000000/scan '{}'
is "$http" 404 "an unknown snapshot: 404"
api GET "/api/v1/audit?limit=50"
is "$(field "[.items[] | select(.object == \"$bad\") | .action] | sort | join(\" \")")" "hold scan verdict" "all of it is in the audit trail"

# ---- Consequences ----------------------------------------------------------------------------------------------
check "endpoint a enrols" enrol a
keep_beating a
wait_for 180 eval 'api GET /api/v1/endpoints/a; [ "$(field .state)" = online ]'
api POST /api/v1/desktops/bad/start '{"endpoint":"a"}'
is "$(field .state)" failed "a desktop with nothing but infected snapshots does not start"
like "$(field .error)" "infected" "... and says why"
api POST /api/v1/desktops/bad/start "{\"endpoint\":\"a\",\"snapshot\":\"$bad\"}"
is "$(field '"\(.state) \(.step)"')" "queued run" "... unless the snapshot is named"
api POST "/api/v1/jobs/$(field .id)/cancel" '{}'

# A newer snapshot of `good` that turns out to be infected: the older one is chosen.
stop_server
check "the infected disk becomes a newer snapshot" "$build/bin/godwit-store" put server/store --key server/store.key --desktop good --volume disk0=bad.img
check "the server takes it over at its start" start_server "${config[@]}"
newer=$(snapshot_of good)
run "$godwit" snapshot scan "$newer" --quiet
is "$(api GET "/api/v1/snapshots/$newer"; field .verdict)" infected "it is infected"
wait_for 180 eval 'api GET /api/v1/endpoints/a; [ "$(field .state)" = online ]'
api POST /api/v1/desktops/good/start '{"endpoint":"a"}'
job=$(field .id)
is "$(field '.result.snapshot + " " + .result.passed_over')" "$good $newer" "the newest that is not infected is chosen, and the job says so"
api POST "/api/v1/jobs/$job/cancel" '{}'

# ---- Quarantine ------------------------------------------------------------------------------------------------
is "$(api GET /api/v1/desktops/unknown; field .quarantined)" false "a scan quarantines nobody unless it is told to"
api POST /api/v1/desktops/unknown/quarantine '{"why":"a test"}'
is "$http $(field .quarantined)" "200 true" "a person does"
api POST /api/v1/desktops/unknown/quarantine '{}'
is "$http $(field .quarantined)" "200 true" "... and may say it again"
api GET /api/v1/desktops
is "$(field '[.items[] | select(.quarantined) | .name] | join(" ")')" unknown "the list shows it"
stop_server
check "the server starts again" start_server "${config[@]}"
is "$(api GET /api/v1/desktops/unknown; field .quarantined)" true "it is still quarantined"
api POST /api/v1/desktops/unknown/release '{}'
is "$http $(field .quarantined)" "200 false" "it is released"
api POST /api/v1/desktops/nobody/quarantine '{}'
is "$http" 404 "an unknown desktop: 404"
api POST /api/v1/desktops/unknown/quarantine '{"who":"me"}'
is "$http" 400 "an unknown word: 400"
api GET "/api/v1/audit?limit=50"
is "$(field '[.items[] | select(.object == "unknown" and (.action == "quarantine" or .action == "release")) | .action + .detail] | join(" ")')" \
	"release quarantinea test" "the audit trail has both"

# ---- Holds, pins, notices --------------------------------------------------------------------------------------
api GET "/api/v1/snapshots/$newer"
is "$(field '"\(.held) \(.holds[0].source) \(.pinned)"')" "true scan false" "an infected snapshot is held"
api GET "/api/v1/snapshots/$good"
is "$(field '"\(.held) \(.pinned) \(.pins[0].source)"')" "false true scan" "... and the desktop's last clean one is pinned"
api GET "/api/v1/notices?unread=true&desktop=good"
is "$(field '.items | length')" 1 "there is one notice of it"
notice=$(field '.items[0].id')
is "$(field '.items[0] | .severity + " " + .kind + " " + .snapshot + " " + .details.findings[0].path + " " + .details.last_clean')" \
	"alarm infected $newer eicar.com $good" "... an alarm with the file and the last clean snapshot"
run "$godwit" snapshot scan "$newer" --quiet
api GET "/api/v1/notices?desktop=good"
is "$(field '.items | length')" 1 "a second scan of the same snapshot raises no second alarm"
run "$godwit" notice read "$notice"
run "$godwit" notice list --unread --desktop good --output json
is "$(jq length <<<"$output")" 0 "a notice that was read is read"
api GET "/api/v1/notices/$notice"
is "$(field .reader)" admin "... by whom"
api POST /api/v1/notices/999/read '{}'
is "$http" 404 "an unknown notice: 404"
run "$godwit" snapshot pin "$good" --why "before the audit"
like "$output" "person: before the audit \(by admin\)" "a person pins it, too"
run "$godwit" snapshot unpin "$good" --source scan
api GET "/api/v1/snapshots/$good"
is "$(field '[.pins[].source] | join(" ")')" person "each takes back its own pin"
run "$godwit" snapshot unpin "$unknown"
like "$status $errors" "^[1-9].*has no pin of 'person'" "... and nothing else"
stop_server
run "$build/bin/godwit-store" forget server/store "$good" --key server/store.key
like "$status $errors" "^[1-9].*pinned" "the store refuses to forget a pinned snapshot"
check "pinned by godwit-store, without the server" "$build/bin/godwit-store" pin server/store "$unknown" --key server/store.key
check "the server starts again" start_server "${config[@]}"
api GET "/api/v1/snapshots/$unknown"
is "$(field '.pins[0].source')" store "a pin that only the store knew is taken over"
run "$godwit" snapshot unpin "$good"
run "$godwit" snapshot unpin "$unknown" --source store
stop_server

run "$build/bin/godwit-store" forget server/store "$unknown" --key server/store.key
is "$status" 0 "... by the store, too"
check "the server starts without it" start_server "${config[@]}"

# ---- Ends that are not verdicts --------------------------------------------------------------------------------
api POST "/api/v1/snapshots/$slow/scan" '{}'
job=$(field .id)
is "$http $(field .kind)" "202 scan" "a scan is a job"
api POST "/api/v1/snapshots/$slow/scan" '{}'
is "$http" 409 "... and there is one of a snapshot at a time"
api POST "/api/v1/jobs/$job/cancel" '{}'
check "it can be cancelled" job_is "$job" cancelled
scanner_gone() { ! pgrep -P "$server_pid" -f "godwit-scan snapshot" >/dev/null; }
check "... and its process ends" wait_for 180 scanner_gone

api POST "/api/v1/snapshots/$good/scan" '{}'
job=$(field .id)
stop_server KILL
check "the server starts again after kill -9" start_server "${config[@]}"
check "... and the scan begins anew by itself" wait_for 180 job_is "$job" "done"
stop_server
check "with an empty signature folder" start_server "[scan]" "signatures = $TAP_DIR/home" "[lease]" "ttl = 30s" "margin = 1s" "heartbeat = 500ms"
run "$godwit" snapshot scan "$good"
is "$status" 1 "no signatures: not clean"
like "$output" "is incomplete" "... but incomplete"

done_testing
