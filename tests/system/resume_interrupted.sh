#!/usr/bin/env bash
# A desktop runs on its new endpoint while its memory and disk still arrive over a slow link. In that time its agent is
# killed, its hypervisor, and the server: it comes to a halt at worst, loses nothing, and gets there in the end.
# shellcheck source=tests/lib/tap.sh
. "$(dirname "$0")/../lib/tap.sh"
# shellcheck source=tests/lib/appliance.sh
. "$(dirname "$0")/../lib/appliance.sh"

appliance_init "$1" "$TAP_DIR/g"
LEASE_TTL=60s
GUEST_LOAD='mem=80 hot=8 rate=200'
begin appliance_server_start '[limits]' 'download_bytes_per_s = 6M'
begin appliance_login
begin appliance_endpoint_start a
begin appliance_endpoint_start b
begin appliance_import anna 256M
begin appliance_boots a anna
check "a marker is written" appliance_tell a anna 'mark kept'
check "a file is written" appliance_tell a anna 'fill 4' 'ok fill mib=4 '
run=$(appliance_load run "$(appliance_console a anna)")
check "it is suspended" appliance_cli desktop suspend anna --quiet
job=$(appliance_field .id desktop resume anna --endpoint b --no-wait)
check "it counts on b" appliance_counts b anna
b=$(appliance_console b anna)
qemu=$(appliance_qemu b anna)
arriving() { [ "$(appliance_field .state job show "$job")" = running ]; }
# What a machine that was too slow to look in time cannot say.
still() { if "$2"; then pass "$1"; else skip "$1" "all of it has arrived already"; fi; }
memory_arrives() { ! grep -q "memory is local" "$appliance_dir/log/b-agent.log"; }

still "its memory is still arriving" memory_arrives
check "b's agent is killed" appliance_end KILL "$(appliance_agent b)"
sleep 2
appliance_agent_start b
check "the desktop counts again" appliance_counts b anna 8
still "its memory or disk is still arriving" arriving
check "the server is killed" appliance_server_stop KILL
sleep 1
check "... and started again" appliance_server_start
check "the desktop counts" appliance_counts b anna 4
check "b's hypervisor is killed" appliance_end KILL "$(appliance_hypervisor b)"
check "... and started again" appliance_hypervisor_start b
check "the desktop counts" appliance_counts b anna 4

check "everything becomes local" appliance_wait 180 appliance_is "done" .state job show "$job"
check "the desktop counts" appliance_counts b anna
is "$(appliance_qemu b anna)" "$qemu" "it is the same QEMU"
is "$(appliance_load run "$b")" "$run" "and the same run of its program"
passes=$(appliance_load passes "$b")
whole_pass() { [ "0$(appliance_load passes "$b")" -ge $((passes + 2)) ]; }
check "its working set is verified" appliance_wait 120 whole_pass
is "$(appliance_load bad "$b") $(appliance_load disk_bad "$b")" "0 0" "memory and disk are intact"
check "its marker is there" appliance_tell b anna read 'ok read kept'
check "its file is intact" appliance_tell b anna check 'ok check blocks=1024 wrong=0'
is "$(appliance_field '.endpoint + " " + .state' desktop show anna)" "b running" "the server says where it runs"
check "the next snapshot is taken" appliance_cli desktop snapshot anna --quiet
is "$(appliance_field '[.[] | select(.kind == "snapshot")][0].result.full_compare' job list)" "" "... and is incremental"
done_testing
