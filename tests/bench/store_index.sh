#!/usr/bin/env bash
# store_index.sh BUILD: the chunk index at 1 and 20 million entries; with a small BENCH_SIZE_MIB the latter shrink with it.
set -euo pipefail
build=$(realpath "$1")
share=$((${BENCH_SIZE_MIB:-6144} < 6144 ? ${BENCH_SIZE_MIB:-6144} : 6144))
for entries in 1000000 $((19000000 * share / 6144 + 1000000)); do
	work=$(mktemp -d "${TMPDIR:-/tmp}/godwit-bench.XXXXXX")
	"$build/tests/bench_store_index" "$work" "$entries"
	rm -rf "$work"
done
