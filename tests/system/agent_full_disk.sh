#!/usr/bin/env bash
# The endpoint's disk is full during a capture (a small tmpfs for the fleece): the snapshot fails and says why, the guest
# gets no I/O error and runs on, and the next snapshot is good once there is room.
if [ -z "${FULL_DISK_NAMESPACE-}" ]; then # the tmpfs goes with this mount namespace
	export FULL_DISK_NAMESPACE=1
	if [ "$(id -u)" = 0 ]; then exec unshare --mount "$0" "$@"; fi
	exec unshare --mount --user --map-root-user "$0" "$@"
fi
# shellcheck source=tests/lib/tap.sh
. "$(dirname "$0")/../lib/tap.sh"
# shellcheck source=tests/lib/appliance.sh
. "$(dirname "$0")/../lib/appliance.sh"

appliance_init "$1" "$TAP_DIR/g"
LEASE_TTL=60s
UPLOAD_GATE=1
GUEST_LOAD='mem=24 hot=8 report_ms=200'
mkdir -p "$appliance_dir/a" "$TAP_DIR/fleece"
check "a small file system is mounted" mount -t tmpfs -o size=1M tmpfs "$TAP_DIR/fleece"
printf '[capture]\nfleece_folder = %s\nwrite_limit = 3s\ninstant_limit = 60s\n' "$TAP_DIR/fleece" >"$appliance_dir/a/hypervisor.conf"
printf '[upload]\nretry = 10m\n' >"$appliance_dir/a/agent.conf"
check "a server and an endpoint come up" appliance_up a
check "an image is imported" appliance_import anna 128M --lease-policy offline-ok
check "the desktop boots" appliance_boots a anna
check "its disk is all here" appliance_local anna # what is not would have to come from the server that stands still
a=$(appliance_console a anna)
run=$(appliance_load run "$a")
count() { appliance_field length snapshot list --desktop anna; }
before=$(count)

captures() { grep -qs "kind=capture job=$job" "$appliance_dir/log/a-agent.log"; }
ended() { [[ $(appliance_field .state job show "$job") =~ done|failed|cancelled ]]; }
appliance_hold
job=$(appliance_field .id desktop snapshot anna --no-wait)
check "it begins" appliance_wait 180 captures
# While the server stands still the capture stays open: nothing of the disk has been read yet. The guest has to write after the
# captured instant, not before it: that is when its export appears.
kill -STOP "$appliance_server"
export_is_there() { nbdinfo --size "nbd+unix:///disk0?socket=$appliance_dir/a/hypervisor/desktops/anna/nbd.sock" >/dev/null 2>&1; }
check "the instant is taken" appliance_wait 120 export_is_there
check "the guest writes more than the fleece can keep" appliance_tell a anna 'fill 16' 'ok fill mib=16 '
kill -CONT "$appliance_server"
appliance_release
check "the job ends" appliance_wait 120 ended
is "$(appliance_field .state job show "$job")" failed "... badly"
like "$(appliance_field .error job show "$job")" 'disk0.*(broke|full)|(broke|full).*disk0' "... and says why"
diag "$(appliance_field .error job show "$job")"
is "$(count)" "$before" "no half snapshot was left"

# The upload is cut because the server is gone, and while it is tried again the instant breaks, of which QEMU tells nobody:
# the endpoint finds out by itself, and doesn't take it for the network's failure.
is_cut() { grep -q "upload cut, it is tried again: .*job=$job" "$appliance_dir/log/a-agent.log"; }
told() { grep -q "job failed: .*the captured instant broke .*job=$job" "$appliance_dir/log/a-agent.log"; }
appliance_hold # so it can't be over before that
job=$(appliance_field .id desktop snapshot anna --no-wait)
check "another one begins" appliance_wait 180 captures
check "its instant is taken" appliance_wait 120 export_is_there
check "the server is killed" appliance_server_stop KILL
check "the upload is cut, and to be tried again" appliance_wait 180 is_cut
check_not "... since its instant is good" told
check "the guest writes more than the fleece can keep" appliance_tell a anna 'fill 17' 'ok fill mib=17 '
check "the endpoint finds that it broke, without any server" appliance_wait 180 told
appliance_release
check "the server comes back" appliance_server_start
check "the job ends" appliance_wait 120 ended
is "$(appliance_field .state job show "$job")" failed "... badly"
like "$(appliance_field .error job show "$job")" 'captured instant broke.*disk0' "... and says why, not that the server was gone"
diag "$(appliance_field .error job show "$job")"
is "$(count)" "$before" "no half snapshot was left"

check "the guest counts" appliance_counts a anna
is "$(appliance_load run "$a")" "$run" "it is the same run"
check "its file is intact" appliance_tell a anna check 'ok check blocks=4352 wrong=0'
is "$(appliance_load bad "$a") $(appliance_load disk_bad "$a")" "0 0" "memory and disk are intact"

check "there is room again" mount -o remount,size=256M "$TAP_DIR/fleece"
check "the next snapshot is good" appliance_cli desktop snapshot anna --quiet
is "$(count)" $((before + 1)) "... and there"
done_testing
