#!/usr/bin/env bash
# Crashes, power cuts and disk errors here and there in every command that writes to a store: nothing acknowledged is
# lost. The long form, at every operation, is tests/fault/sweep_store.sh.
. "$(dirname "$0")/../lib/tap.sh"
. "$(dirname "$0")/../lib/fault.sh"
. "$(dirname "$0")/../lib/store_sweep.sh"
need jq python3
build=$(realpath "$1")
fault_load "$build"
cd "$TAP_DIR" || exit
store_sweeps "$build" 5 "kill power:all EIO power:some ENOSPC"
done_testing
