#!/usr/bin/env bash
# A snapshot is cut at its worst moments: the agent dies in the middle of the upload, QEMU in the middle of the capture.
# The desktop runs on or starts again, no committed snapshot is hurt, and every failure says what happened.
# shellcheck source=tests/lib/tap.sh
. "$(dirname "$0")/../lib/tap.sh"
# shellcheck source=tests/lib/appliance.sh
. "$(dirname "$0")/../lib/appliance.sh"

appliance_init "$1" "$TAP_DIR/g"
LEASE_TTL=60s
UPLOAD_GATE=1
begin appliance_desktop anna a
check "a marker is written" appliance_tell a anna 'mark kept'
a=$(appliance_console a anna)
run=$(appliance_load run "$a")
# Without branches: of what a dead QEMU had written one is made, sooner or later.
snapshots() { appliance_field '[.[] | select(.branch | not)] | length' snapshot list --desktop anna; }

start_snapshot() { job=$(appliance_field .id desktop snapshot anna --no-wait); }
ended() { [[ $(appliance_field .state job show "$job") =~ done|failed ]]; }
is_uploading() { grep -qs '"session": *"[^"]' "$appliance_dir/a/agent/jobs/$job".*; }
is_capturing() { grep -q "job begins kind=capture job=$job" "$appliance_dir/log/a-agent.log"; }
agent=$(appliance_agent a)
qemu=$(appliance_qemu a anna)

before=$(snapshots)
appliance_hold 1000000
check "a snapshot is started" start_snapshot
check "its upload begins" appliance_wait 180 is_uploading
check "... and has come to its middle" appliance_wait 180 appliance_held
check "the agent is killed" appliance_end KILL "$agent"
appliance_release
is "$(appliance_field .state job show "$job")" running "the snapshot is not done"
check "the desktop counts" appliance_counts a anna
appliance_agent_start a
check "the job comes to an end" appliance_wait 180 ended
is "$(appliance_field .state job show "$job")" "done" "... a good one"
is "$(snapshots)" $((before + 1)) "and there is one snapshot more"
is "$(appliance_load run "$a")" "$run" "the desktop ran on"

# A stopped server cannot take what was captured: the job is not over before QEMU is dead, however slow we are.
appliance_hold
check "a snapshot is started" start_snapshot
check "it is being taken" appliance_wait 180 is_capturing
kill -STOP "$appliance_server"
check "QEMU is killed" appliance_end KILL "$qemu"
kill -CONT "$appliance_server"
appliance_release
check "the job comes to an end" appliance_wait 180 ended
is "$(appliance_field .state job show "$job")" failed "... a bad one"
like "$(appliance_field .error job show "$job")" 'anna.*QEMU' "... that says where"
diag "$(appliance_field .error job show "$job")"
is "$(snapshots)" $((before + 1)) "no half snapshot was left"
check "the desktop is brought back from the last one by itself" appliance_counts a anna
is "$(appliance_load run "$a")" "$run" "it is the run that was captured"
check "its marker is there" appliance_tell a anna read 'ok read kept'
is "$(appliance_load bad "$a") $(appliance_load disk_bad "$a")" "0 0" "memory and disk are intact"
done_testing
