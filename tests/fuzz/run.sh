#!/usr/bin/env bash
# Runs each fuzz target for a while: tests/fuzz/run.sh BUILD [SECONDS-EACH]
#
# The committed corpus is read, new inputs go to BUILD/corpus/. A crashing input is left in BUILD/crash-…; copy it into
# tests/fuzz/corpus/STEM/ with the fix, so that every `make check` replays it. ONLY=fuzz_STEM runs one target.
set -uo pipefail
cd "$(dirname "$0")/../.." || exit
build=$1
seconds=${2:-60}
passed=0
failed=0

for target in "$build"/tests/fuzz_*; do
	[ -x "$target" ] || continue
	name=$(basename "$target")
	[[ $name == ${ONLY:-*} ]] || continue
	stem=${name#fuzz_}
	mkdir -p "$build/corpus/$stem" "tests/fuzz/corpus/$stem"
	echo "$name: $seconds s"
	if "$target" -max_total_time="$seconds" -rss_limit_mb=2048 -timeout=10 -artifact_prefix="$build/crash-$stem-" \
		-print_final_stats=1 "$build/corpus/$stem" "tests/fuzz/corpus/$stem" >"$build/$name.log" 2>&1; then
		passed=$((passed + 1))
		grep -E 'number_of_executed_units|peak_rss' "$build/$name.log"
	else
		failed=$((failed + 1))
		tail -n 40 "$build/$name.log"
	fi
done
echo "$passed passed, $failed failed"
[ "$failed" = 0 ]
