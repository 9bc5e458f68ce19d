#!/usr/bin/env bash
# Runs the long fault sweeps: every tests/fault/*.sh but this one, TAP on stdout. tests/fault/run.sh BUILD
# ONLY=random_life runs one. The short forms of the same are part of `make test`.
set -uo pipefail
cd "$(dirname "$0")/../.." || exit
build=$1
failed=0
ran=0
for sweep in tests/fault/*.sh; do
	[ -x "$sweep" ] && [ "$sweep" != tests/fault/run.sh ] && [[ $(basename "$sweep" .sh) == ${ONLY:-*} ]] || continue
	echo "# $sweep"
	ran=$((ran + 1))
	"$sweep" "$build" || failed=$((failed + 1))
done
echo "$((ran - failed)) sweeps passed, $failed failed"
[ "$failed" = 0 ] && [ "$ran" -gt 0 ]
