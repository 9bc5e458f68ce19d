#!/usr/bin/env bash
# Promise 3: an endpoint that was declared dead comes back with work that no snapshot has. The work becomes a branch, with
# every byte, never the newest good snapshot; only then do the disks leave the endpoint.
# shellcheck source=tests/lib/tap.sh
. "$(dirname "$0")/../lib/tap.sh"
# shellcheck source=tests/lib/appliance.sh
. "$(dirname "$0")/../lib/appliance.sh"

appliance_init "$1" "$TAP_DIR/g"
GUEST_LOAD='mem=24 hot=8 report_ms=200'
check "a server and two endpoints come up" appliance_up a b
check "an image is imported" appliance_import anna 128M
check "the desktop boots on a" appliance_boots a anna
check "a marker is written" appliance_tell a anna 'mark in the snapshot'
check "a snapshot is taken" appliance_cli desktop snapshot anna --quiet
latest() { appliance_field .latest_snapshot desktop show anna; }
good=$(latest)
check "the marker is written anew" appliance_tell a anna 'mark only on a'
check "a file is written" appliance_tell a anna 'fill 8' 'ok fill mib=8 '
check "a crashes" appliance_endpoint_crash a
check "b takes over" appliance_wait 120 appliance_is b .endpoint desktop show anna
check "... and runs it" appliance_wait 120 appliance_is running .state desktop show anna
check "with the snapshot's marker" appliance_tell b anna read 'ok read in the snapshot'

check "a comes back" appliance_endpoint_start a
branch() { appliance_field '[.[] | select(.branch)][0].snapshot // [.[] | select(.branch)][0].id // empty' snapshot list --desktop anna; }
has_branch() { [ -n "$(branch)" ]; }
check "what it wrote becomes a branch" appliance_wait 120 has_branch
saved=$(branch)
is "$(appliance_field .parent snapshot show "$saved")" "$good" "... of the snapshot it began from"
is "$(latest)" "$good" "... and not the newest good one"
check "b runs on" appliance_counts b anna
nothing_left() { ! compgen -G "$appliance_dir/a/hypervisor/orphans/*"; }
check "then the disks leave a" appliance_wait 120 nothing_left
stored=$(appliance_field .new_bytes snapshot show "$saved")
diag "the branch's new bytes: $stored"
check "only what differs was uploaded" test "$stored" -lt $((40 << 20))

check "b's desktop is suspended" appliance_cli desktop suspend anna --quiet
check "somebody looks into the branch" appliance_cli desktop start anna --endpoint a --snapshot "$saved" --quiet
check "it boots" appliance_counts a anna
check "the marker is a's" appliance_tell a anna read 'ok read only on a'
is "$(appliance_load disk_bad "$(appliance_console a anna)")" 0 "no acknowledged block is missing"
done_testing
