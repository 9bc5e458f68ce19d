#!/usr/bin/env bash
# The server is away: a strict desktop is fenced when its lease ends and goes on when the server is back; one with the
# policy offline-ok runs all the time.
# shellcheck source=tests/lib/tap.sh
. "$(dirname "$0")/../lib/tap.sh"
# shellcheck source=tests/lib/appliance.sh
. "$(dirname "$0")/../lib/appliance.sh"

appliance_init "$1" "$TAP_DIR/g"
LEASE_TTL=8s
begin appliance_up a
check "a strict desktop is imported" appliance_import strict 160M --lease-policy strict
check "one that may be offline is imported" appliance_import laptop 160M --lease-policy offline-ok
begin appliance_boots a strict
begin appliance_boots a laptop
# A guest whose disk still comes from the server waits for it, whatever its policy is.
begin appliance_local strict
begin appliance_local laptop
strict=$(appliance_console a strict)
run=$(appliance_load run "$strict")

check "the server is stopped" appliance_server_stop
fenced() { grep -q 'desktop is fenced.* desktop=strict ' "$appliance_dir/log/a-hypervisor.log"; }
check "the strict desktop is fenced soon" appliance_wait 180 fenced
n=$(appliance_load n "$strict")
check "the other one counts" appliance_counts a laptop 8
is "$(appliance_load n "$strict")" "$n" "the strict one stands still meanwhile"
check "the server comes back" appliance_server_start
check "the strict desktop goes on" appliance_counts a strict
check "the other one, too" appliance_counts a laptop
is "$(appliance_load run "$strict")" "$run" "it is the same run of its program"
is "$(appliance_load bad "$strict") $(appliance_load disk_bad "$strict")" "0 0" "and its memory and disk are intact"
check "the server says that it runs" appliance_wait 180 appliance_is running .state desktop show strict
is "$(appliance_field '[.[] | select(.kind == "failover")] | length' job list)" 0 "nobody was failed over"
done_testing
