#!/usr/bin/env bash
# many_snapshots.sh BUILD: a store with SNAPSHOTS (100000) small snapshots: what listing, pruning, rebuilding and collecting it cost.
set -euo pipefail
build=$(realpath "$1")
work=$(mktemp -d "${TMPDIR:-/tmp}/godwit-bench.XXXXXX")
trap 'rm -rf "$work"' EXIT
store=$build/bin/godwit-store
"$store" init "$work/s" >/dev/null
"$build/tests/bench_many_snapshots" "$work/s" "${SNAPSHOTS:-100000}"
measure() {
	/usr/bin/time -f "%e s wall, %U s user, %S s system, %M KiB: $1" "${@:2}" >/dev/null
}
for when in "a pack each" "after gc"; do
	echo "$when: $(find "$work/s/packs" -type f | wc -l) packs"
	measure "list" "$store" list "$work/s"
	measure "prune --dry-run of one desktop" "$store" prune "$work/s" --desktop desktop-5 --keep-daily 3 --dry-run
	measure "stat" "$store" stat "$work/s"
	measure "put of one small file" "$store" put "$work/s" --desktop x --volume disk0=/etc/passwd
	measure "reindex" "$store" reindex "$work/s"
	[ "$when" = "after gc" ] || measure "gc" "$store" gc "$work/s"
done
