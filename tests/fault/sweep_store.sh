#!/usr/bin/env bash
# Crashes and disk errors at every single operation of put, forget, gc, reindex and mirror: nothing acknowledged is lost.
. "$(dirname "$0")/../lib/tap.sh"
. "$(dirname "$0")/../lib/fault.sh"
. "$(dirname "$0")/../lib/store_sweep.sh"
need jq
build=$(realpath "$1")
fault_load "$build"
cd "$TAP_DIR" || exit
store_sweeps "$build" 1 kill torn ENOSPC EIO
done_testing
