#!/usr/bin/env bash
# A strict desktop stands still at the end of its lease though its hypervisor is dead: its guard sees to that. The server fails over
# only after that.
# shellcheck source=tests/lib/tap.sh
. "$(dirname "$0")/../lib/tap.sh"
# shellcheck source=tests/lib/appliance.sh
. "$(dirname "$0")/../lib/appliance.sh"

appliance_init "$1" "$TAP_DIR/g"
GUEST_LOAD='mem=24 hot=8 report_ms=200'
LEASE_TTL=12s
begin appliance_up a b
check "a strict desktop is imported" appliance_import anna 128M --lease-policy strict
begin appliance_boots a anna
begin appliance_local anna
a=$(appliance_console a anna)
qemu=$(appliance_qemu a anna)
folder=$appliance_dir/a/hypervisor/desktops/anna
says() { grep -qF "$1" "$folder/qemu.log"; }
guards() { [ "$(appliance_find a godwit-guard | wc -l)" = "$1" ]; }
check "it has a guard" guards 1

check "hypervisor and agent are killed" appliance_endpoint_stop a KILL
check "the desktop still runs" appliance_alive "$qemu"
failing() { [[ $(appliance_field .state desktop show anna) =~ failing-over|starting ]] || [ "$(appliance_field .endpoint desktop show anna)" = b ]; }
check "the server gives it to b" appliance_wait 120 failing
n=$(appliance_load n "$a")
check "QEMU is still there" appliance_alive "$qemu"
check "its guard says why it stands" says 'stopped by its guard'
check "b runs it" appliance_wait 120 appliance_is b .endpoint desktop show anna
check "... and it counts there" appliance_counts b anna
is "$(appliance_load n "$a")" "$n" "a's did nothing any more since the server gave it away"

check "its QEMU ends" appliance_end KILL "$qemu"
check "its guard ends with it" appliance_wait 180 guards 0
done_testing
