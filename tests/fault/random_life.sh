#!/usr/bin/env bash
# Random lives of a store, one after the other: SEED=N LIFE_SECONDS=S LIVES=N. tests/fault/random_life.py says what they do.
. "$(dirname "$0")/../lib/tap.sh"
need python3
build=$(realpath "$1")
[ -e "$build/lib/clock_jump.so" ] || bail "$build/lib/clock_jump.so is not built: make tests"
first=${SEED:-1}
lives=${LIVES:-$([ -n "${SEED-}" ] && echo 1 || echo 4)}
for ((seed = first; seed < first + lives; seed++)); do
	check "seed $seed" "${0%/*}/random_life.py" "$build" "$TAP_DIR/life" "$seed" "${LIFE_SECONDS:-60}"
	diag "$(tail -n 1 "$TAP_DIR/.check")"
done
done_testing
