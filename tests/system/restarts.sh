#!/usr/bin/env bash
# Every daemon is killed by kill -9 and started again while a desktop runs: the desktop never stops, the next snapshot
# is still incremental. A hypervisor that is killed in the middle of a capture costs nothing but that instant: the
# agent takes a later one by itself.
# shellcheck source=tests/lib/tap.sh
. "$(dirname "$0")/../lib/tap.sh"
# shellcheck source=tests/lib/appliance.sh
. "$(dirname "$0")/../lib/appliance.sh"

appliance_init "$1" "$TAP_DIR/g"
# Long enough for the slowest restart below.
LEASE_TTL=30s
UPLOAD_GATE=1
begin appliance_desktop anna a
check "a first snapshot is taken" appliance_cli desktop snapshot anna --quiet
console=$(appliance_console a anna)
qemu=$(appliance_qemu a anna)
run=$(appliance_load run "$console")

check "the hypervisor is killed" appliance_end KILL "$(appliance_hypervisor a)"
check "... and started again" appliance_hypervisor_start a
check "the desktop counts" appliance_counts a anna
check "the agent is killed" appliance_end KILL "$(appliance_agent a)"
appliance_agent_start a
check "the desktop counts" appliance_counts a anna
check "the server is killed" appliance_server_stop KILL
check "the desktop counts without it" appliance_counts a anna
check "... and it is started again" appliance_server_start
check "the endpoint finds it" appliance_wait 60 appliance_is online .state endpoint show a
check "hypervisor and agent are killed together" appliance_endpoint_stop a KILL
check "... and started again" appliance_endpoint_start a
check "the desktop counts" appliance_counts a anna

is "$(appliance_qemu a anna)" "$qemu" "it is the same QEMU"
is "$(appliance_load run "$console")" "$run" "and the same run of its program"
check_not "it never stood still" grep -qE 'desktop is (paused|fenced|io-error|crashed)' "$appliance_dir/log/a-hypervisor.log"
is "$(appliance_field .state desktop show anna)" running "the server says that it runs"

check "a second snapshot is taken" appliance_cli desktop snapshot anna --quiet
job=$(appliance_field '[.[] | select(.kind == "snapshot" or .kind == "capture")][0].id' job list --desktop anna)
is "$(appliance_field '.result.full_compare // ""' job show "$job")" "" "it is incremental: change tracking was not lost"
is "$(appliance_load bad "$console") $(appliance_load disk_bad "$console")" "0 0" "memory and disk are intact"

# ---- in the middle of a capture
snapshots() { appliance_field length snapshot list --desktop anna; }
start_snapshot() { job=$(appliance_field .id desktop snapshot anna --no-wait); }
ended() { [[ $(appliance_field .state job show "$job") =~ done|failed ]]; }
is_uploading() { grep -qs '"session": *"[^"]' "$appliance_dir/a/agent/jobs/$job".*; }
is_capturing() { grep -q "job begins kind=capture job=$job" "$appliance_dir/log/a-agent.log"; }
for moment in is_capturing is_uploading; do
	before=$(snapshots)
	appliance_hold # the upload can't end before the next hypervisor has undone the capture
	check "a snapshot is started" start_snapshot
	check "it has come to $moment" appliance_wait 180 "$moment"
	check "the hypervisor is killed" appliance_end KILL "$(appliance_hypervisor a)"
	check "... and started again" appliance_hypervisor_start a
	appliance_release
	check "the job comes to an end" appliance_wait 90 ended
	is "$(appliance_field '.state + " " + (.error // "")' job show "$job")" "done " "... a good one"
	is "$(snapshots)" $((before + 1)) "and there is one snapshot more"
	check "the desktop counts" appliance_counts a anna
	is "$(appliance_load run "$console")" "$run" "it ran on"
done
diag "captures taken again: $(grep -c 'the capture is taken again' "$appliance_dir/log/a-agent.log")"
check "the very next snapshot is taken" start_snapshot
check "it comes to its end" appliance_wait 90 ended
is "$(appliance_field '.state + " " + (.result.full_compare // "")' job show "$job")" "done " "... incremental: no change was forgotten"
check "QEMU is killed" appliance_end KILL "$qemu"
check "the desktop is brought back from that snapshot" appliance_counts a anna
is "$(appliance_load run "$console")" "$run" "it is the run that was captured"
is "$(appliance_load bad "$console") $(appliance_load disk_bad "$console")" "0 0" "memory and disk are intact"
done_testing
