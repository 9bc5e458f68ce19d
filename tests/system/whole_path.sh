#!/usr/bin/env bash
# The whole path with the small guest: snapshots of a running desktop, its endpoint dies by kill -9, it goes on
# elsewhere, and what the dead endpoint still had becomes a branch when it returns.
# shellcheck source=tests/lib/tap.sh
. "$(dirname "$0")/../lib/tap.sh"
# shellcheck source=tests/lib/appliance.sh
. "$(dirname "$0")/../lib/appliance.sh"

appliance_init "$1" "$TAP_DIR/g"
begin appliance_desktop anna a b
a=$(appliance_console a anna)
b=$(appliance_console b anna)

field() { appliance_field "$@"; }
latest() { field .latest_snapshot desktop show anna; }
wrote() { appliance_tell a anna "$1"; }

check "a marker is written" wrote 'mark before the first'
check "a file is written" appliance_tell a anna 'fill 8' 'ok fill mib=8 '
check "a snapshot with memory is taken while it runs" appliance_cli desktop snapshot anna --quiet
first=$(latest)
is "$(field '.memory, .branch' snapshot show "$first" | xargs)" "true false" "... and has the memory"
pause=$(field .pause_ms snapshot show "$first")
like "$pause" '^[0-9.]+$' "... and knows its pause"
diag "pause $pause ms"

check "the marker is written anew" wrote 'mark the last words on a'
check "some memory is rewritten" appliance_tell a anna 'dirty 4' 'ok dirty mib=4'
run=$(appliance_load run "$a")
n_before=$(appliance_load n "$a")
check "an incremental snapshot is taken" appliance_cli desktop snapshot anna --quiet
n_after=$(appliance_load n "$a")
second=$(latest)
check_not "it is another one" test "$first" = "$second"
is "$(field .parent snapshot show "$second")" "$first" "... a child of the first"
new_first=$(field .new_bytes snapshot show "$first")
new_second=$(field .new_bytes snapshot show "$second")
diag "new bytes: first $new_first, second $new_second"
check "it stores only what changed" test "$new_second" -lt $((new_first / 2))
check "after it, something is written that no snapshot has" wrote 'mark never snapshotted'

check "a's QEMU, agent and hypervisor are killed" appliance_endpoint_crash a
killed=$(appliance_ms)
check "the desktop goes on at b" appliance_counts b anna
diag "first line at b $(($(appliance_ms) - killed)) ms after the kill"
is "$(appliance_load run "$b")" "$run" "it is the same run of its program"
n=$(appliance_first_n "$b")
check "the counter goes on from the snapshot's instant ($n_before < $n <= $n_after + 1)" \
	test "$n" -gt "$n_before" -a "$n" -le $((n_after + 1))

job=$(field '[.[] | select(.kind == "failover")][0].id' job list --desktop anna)
check "everything becomes local" appliance_wait 120 appliance_is "done" .state job show "$job"
result=$(field .result job show "$job")
diag "$result"
is "$(jq -r .snapshot <<<"$result")" "$second" "the newest snapshot was resumed"
for name in silent_ms running_ms first_output_ms local_ms bytes_before_run; do
	like "$(jq -r ".$name" <<<"$result")" '^[0-9]+$' "the job says $name"
done
is "$(field '.endpoint, .state' desktop show anna | xargs)" "b running" "the server knows where it runs"

passes=$(appliance_load passes "$b")
whole_pass() { [ "0$(appliance_load passes "$b")" -ge $((passes + 2)) ]; }
check "the whole working set is verified after that" appliance_wait 120 whole_pass
is "$(appliance_load bad "$b") $(appliance_load disk_bad "$b")" "0 0" "memory and disk are of one instant, and intact"
check "the marker is the snapshot's" appliance_tell b anna read 'ok read the last words on a'
check "the file is intact" appliance_tell b anna check 'ok check blocks=2048 wrong=0'

check "b's desktop is snapshotted in turn" appliance_cli desktop snapshot anna --quiet
third=$(latest)
is "$(field .parent snapshot show "$third")" "$second" "... as a child of what b resumed"

check "a comes back" appliance_endpoint_start a
has_branch() { [ "$(field '[.[] | select(.branch)] | length' snapshot list --desktop anna)" = 1 ]; }
check "what it wrote after the last snapshot becomes a branch" appliance_wait 120 has_branch
is "$(latest)" "$third" "... and never the newest good snapshot"
check "b's desktop runs on" appliance_counts b anna
is "$(appliance_qemu a anna)" "" "and none runs on a"
is "$(field .endpoint desktop show anna)" b "the server still says b"
done_testing
