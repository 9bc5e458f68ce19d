#!/usr/bin/env bash
# A desktop is moved with its memory, suspended and resumed, then shut down and booted elsewhere from its last disks.
# shellcheck source=tests/lib/tap.sh
. "$(dirname "$0")/../lib/tap.sh"
# shellcheck source=tests/lib/appliance.sh
. "$(dirname "$0")/../lib/appliance.sh"

appliance_init "$1" "$TAP_DIR/g"
LEASE_TTL=60s
begin appliance_desktop anna a b
check "a marker is written" appliance_tell a anna 'mark on a'
run=$(appliance_load run "$(appliance_console a anna)")
n=$(appliance_load n "$(appliance_console a anna)")

check "it moves to b" appliance_cli desktop move anna --endpoint b --quiet
check "it counts there" appliance_counts b anna
b=$(appliance_console b anna)
is "$(appliance_load run "$b")" "$run" "it is the same run of its program"
check "... with a higher counter" test "$(appliance_first_n "$b")" -gt "$n"
is "$(appliance_qemu a anna)" "" "none runs on a"
check "its marker is there" appliance_tell b anna read 'ok read on a'
check "it is written anew" appliance_tell b anna 'mark on b'
n=$(appliance_load n "$b")

check "it is suspended" appliance_cli desktop suspend anna --quiet
is "$(appliance_field .state desktop show anna)" suspended "the server says so"
is "$(appliance_qemu b anna)" "" "no QEMU runs it"
check "it is resumed on a" appliance_cli desktop resume anna --endpoint a --quiet
check "it counts" appliance_counts a anna
a=$(appliance_console a anna)
is "$(appliance_load run "$a")" "$run" "it is still the same run"
check "... with a higher counter" test "$(appliance_first_n "$a")" -gt "$n"
is "$(appliance_load bad "$a") $(appliance_load disk_bad "$a")" "0 0" "memory and disk are intact"

check "it is shut down" appliance_cli desktop stop anna --quiet
is "$(appliance_field .state desktop show anna)" stopped "the server says so"
check "it boots on b" appliance_boots b anna
b=$(appliance_console b anna)
unlike "$(appliance_load run "$b")" "^$run\$" "this is another run"
check "with what it wrote last" appliance_tell b anna read 'ok read on b'
is "$(appliance_load disk_bad "$b")" 0 "and no acknowledged block missing"
done_testing
