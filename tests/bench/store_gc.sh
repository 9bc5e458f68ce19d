#!/usr/bin/env bash
# store_gc.sh BUILD: garbage collection of a store with a million chunks and 200 snapshots, and of one with ten times the chunks.
# GC_CHUNKS, GC_SNAPSHOTS: other sizes; with a small BENCH_SIZE_MIB they shrink with it.
set -euo pipefail
build=$(realpath "$1")
share=$((${BENCH_SIZE_MIB:-6144} < 6144 ? ${BENCH_SIZE_MIB:-6144} : 6144))
chunks=${GC_CHUNKS:-$((1000000 * share / 6144 + 1000))}
snapshots=${GC_SNAPSHOTS:-$((190 * share / 6144 + 10))}
for size in "$chunks $snapshots" "$((10 * chunks)) $snapshots"; do
	work=$(mktemp -d "${TMPDIR:-/tmp}/godwit-bench.XXXXXX")
	# shellcheck disable=SC2086 # two words
	"$build/tests/bench_store_gc" "$work/s" $size || { rm -rf "$work"; exit 1; }
	rm -rf "$work"
done
