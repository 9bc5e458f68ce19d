#!/usr/bin/env bash
# store_index.sh BUILD: the chunk index at 1 and 20 million entries.
set -euo pipefail
build=$(realpath "$1")
for entries in 1000000 20000000; do
	work=$(mktemp -d "${TMPDIR:-/tmp}/godwit-bench.XXXXXX")
	"$build/tests/bench_store_index" "$work" "$entries"
	rm -rf "$work"
done
