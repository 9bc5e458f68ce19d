#!/usr/bin/env bash
# The server is killed by kill -9 in the middle of an upload and comes back: the upload goes on in its session, the
# snapshot is whole, and a desktop that goes on from it has memory and disk of one instant.
# shellcheck source=tests/lib/tap.sh
. "$(dirname "$0")/../lib/tap.sh"
# shellcheck source=tests/lib/appliance.sh
. "$(dirname "$0")/../lib/appliance.sh"

appliance_init "$1" "$TAP_DIR/g"
LEASE_TTL=60s
UPLOAD_GATE=1
GUEST_LOAD='mem=64 hot=8 report_ms=200'
check "a server and an endpoint come up" appliance_up a
check "an image is imported" appliance_import anna 192M --lease-policy offline-ok
check "the desktop boots" appliance_boots a anna
check "a marker is written" appliance_tell a anna 'mark before'
a=$(appliance_console a anna)
run=$(appliance_load run "$a")

ended() { [[ $(appliance_field .state job show "$job") =~ done|failed|cancelled ]]; }

appliance_hold 8000000
job=$(appliance_field .id desktop snapshot anna --no-wait)
check "an upload has come to its middle" appliance_wait 180 appliance_held
check "the server is killed" appliance_server_stop KILL
appliance_release
check "the desktop counts without it" appliance_counts a anna
check "the server comes back" appliance_server_start
check "the job ends" appliance_wait 120 ended
is "$(appliance_field .state job show "$job")" "done" "... well"
snapshot=$(appliance_field .result.snapshot job show "$job")
is "$(appliance_field .branch snapshot show "$snapshot")" false "its snapshot is on the main line"
is "$(appliance_field .latest_snapshot desktop show anna)" "$snapshot" "... and the newest good one"
is "$(appliance_load run "$a")" "$run" "the desktop ran on"

check "another snapshot is incremental" appliance_cli desktop snapshot anna --quiet
is "$(appliance_field '[.[] | select(.kind == "snapshot")][0].result.full_compare' job list)" "" "... with no reason for a full compare"

check "the desktop is suspended" appliance_cli desktop suspend anna --quiet
check "it goes on from what was uploaded then" appliance_cli desktop resume anna --endpoint a --snapshot "$snapshot" --quiet
check "it counts" appliance_counts a anna
is "$(appliance_load run "$a")" "$run" "it is the same run"
check "its marker is there" appliance_tell a anna read 'ok read before'
is "$(appliance_load bad "$a") $(appliance_load disk_bad "$a")" "0 0" "memory and disk are intact"

for pid in $(appliance_find a 'godwit-agent'); do
	rss=$(awk '/^VmHWM/ { print int($2 / 1024) }' "/proc/$pid/status")
	diag "the agent's largest resident size: $rss MiB"
	check "the agent stayed below 150 MiB" test "$rss" -lt 150
done
appliance_server_stop
check "the store is sound" "$1/bin/godwit-store" verify "$appliance_dir/server/state/store"
done_testing
