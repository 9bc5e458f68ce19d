#!/usr/bin/env bash
# Runs the long fault sweeps: every tests/fault/sweep_*.sh, TAP on stdout. tests/fault/run.sh BUILD
# The short forms of the same sweeps are part of `make test`.
set -uo pipefail
cd "$(dirname "$0")/../.." || exit
build=$1
failed=0
for sweep in tests/fault/sweep_*.sh; do
	[ -x "$sweep" ] && [[ $(basename "$sweep" .sh) == ${ONLY:-*} ]] || continue
	echo "# $sweep"
	"$sweep" "$build" || failed=$((failed + 1))
done
[ "$failed" = 0 ]
