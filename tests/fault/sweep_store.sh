#!/usr/bin/env bash
# Crashes, power cuts and disk errors at every single operation of every command that writes to a store: nothing
# acknowledged is lost. COMMANDS='put gc' picks some of tests/lib/store_sweep.sh, HOWS='kill,EIO power:all' what happens.
. "$(dirname "$0")/../lib/tap.sh"
. "$(dirname "$0")/../lib/fault.sh"
. "$(dirname "$0")/../lib/store_sweep.sh"
need jq python3
build=$(realpath "$1")
fault_load "$build"
cd "$TAP_DIR" || exit
IFS=, read -ra hows <<<"${HOWS:-kill,EIO,ENOSPC,power:all,power:data power:names power:some torn}"
store_sweeps "$build" 1 "${hows[@]}"
done_testing
