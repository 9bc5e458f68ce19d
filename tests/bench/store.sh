#!/usr/bin/env bash
# store.sh BUILD: godwit-store beside restic and borg on the same images in the same run.
#
# Three images (tests/bench/make_image.sh, or IMAGES=DIR with base.img, second.img, other.img): a disk, the same after an
# installation, and another machine's. borg: zstd,1, fixed 64 KiB chunks, no encryption. restic and Godwit encrypt.
# Also the limits: SHA-256 and zstd -1 over the same data on all processors, and nothing else; and the same the other way round.
set -euo pipefail
build=$(realpath "$1")
here=$(cd "$(dirname "$0")" && pwd)
godwit=$build/bin/godwit-store
keep=${IMAGES:-}
work=$(mktemp -d "${TMPDIR:-/tmp}/godwit-bench.XXXXXX")
images=${keep:-$work}
trap 'rm -rf "$work"' EXIT
cd "$work"
export BORG_REPO=$work/borg BORG_UNKNOWN_UNENCRYPTED_REPO_ACCESS_IS_OK=yes BORG_BASE_DIR=$work
export RESTIC_REPOSITORY=$work/restic RESTIC_PASSWORD=bench RESTIC_CACHE_DIR=$work/cache

[ -e "$images/base.img" ] || "$here/make_image.sh" "$images/base.img" base
[ -e "$images/second.img" ] || "$here/make_image.sh" "$images/second.img" second
[ -e "$images/other.img" ] || "$here/make_image.sh" "$images/other.img" other

# measure NAME COMMAND...: seconds of wall and CPU, and MiB of memory, into $wall $cpu $rss; a line is printed.
measure() {
	local name=$1
	shift
	/usr/bin/time -o time.txt -f '%e %U %S %M' "$@" >out.txt 2>err.txt || { echo "$name failed:"; tail -5 err.txt; exit 1; }
	read -r wall user sys rss <time.txt
	cpu=$(awk "BEGIN { printf \"%.1f\", $user + $sys }")
	printf '  %-34s %7.2f s wall  %6.1f s CPU  %5d MiB RSS\n' "$name" "$wall" "$cpu" $((rss / 1024))
}
# settle FOLDER: what the one before wrote is on the disk, and this one's repository in the page cache.
settle() { sync && find "$1" -type f -exec cat {} + >/dev/null; }
size() { du -sm --apparent-size "$1" | cut -f 1; }
ratio() { awk "BEGIN { printf \"%.2f\", $1 / $2 }"; }

printf 'image of %s MiB with %s MiB of data, %s processors\n' "$(size "$images/base.img")" \
	"$(du -sm "$images/base.img" | cut -f 1)" "$(nproc)"
cat "$images"/*.img >/dev/null # all start from the page cache

echo "full:"
borg init -e none
measure "borg create" borg create --compression zstd,1 --chunker-params fixed,65536 ::a "$images/base.img"
borg_full=$wall borg_size=$(size borg)
restic init -q
measure "restic backup" restic backup -q "$images/base.img"
restic_size=$(size restic)
"$godwit" init s >/dev/null
measure "godwit-store put" "$godwit" put s --desktop a --volume disk0="$images/base.img" --output json
full=$wall godwit_size=$(size s) first=$(jq -r .snapshot out.txt)
measure "limit: sha256 + zstd -1" "$build/tests/bench_limit" "$images/base.img"

echo "second version:"
measure "borg create" borg create --compression zstd,1 --chunker-params fixed,65536 ::b "$images/second.img"
borg_second=$wall borg_size2=$(size borg)
measure "restic backup" restic backup -q "$images/second.img"
restic_size2=$(size restic)
# The list of changes is what a dirty bitmap would give: blocks of 64 KiB that differ.
"$build/tests/bench_changes" "$images/base.img" "$images/second.img" >changes.txt
cp -r s list && cp s.key list.key
measure "godwit-store put, list of changes" "$godwit" put list --desktop a --volume disk0="$images/second.img" \
	--parent "$first" --changed disk0=changes.txt --output json
by_list=$wall
measure "godwit-store put, full compare" "$godwit" put s --desktop a --volume disk0="$images/second.img" \
	--parent "$first" --output json
by_compare=$wall godwit_size2=$(size s) second=$(jq -r .snapshot out.txt)

echo "another machine:"
measure "borg create" borg create --compression zstd,1 --chunker-params fixed,65536 ::c "$images/other.img"
borg_size3=$(size borg)
measure "restic backup" restic backup -q "$images/other.img"
restic_size3=$(size restic)
measure "godwit-store put" "$godwit" put s --desktop b --volume disk0="$images/other.img" --output json
godwit_size3=$(size s)

echo "restore of the second version:"
mkdir restored
settle borg
measure "borg extract" bash -c 'cd restored && borg extract --sparse ::b'
borg_restore=$wall
rm -rf restored
settle restic
measure "restic restore" restic restore -q latest --path "$images/second.img" --target restored
restic_restore=$wall
rm -rf restored
settle s
measure "godwit-store get" "$godwit" get s "$second" disk0 restored.img
restore=$wall
cmp restored.img "$images/second.img" && echo "  (bit for bit the same)"
rm -f restored.img
"$build/tests/bench_limit_get" "$images/second.img" restored.img |
	awk '{ printf "  %-34s %7.2f s wall  %6.1f s CPU\n", "limit: AES, zstd, sha256, writes", $1, $2 }'

fastest=$(awk "BEGIN { print $borg_restore < $restic_restore ? $borg_restore : $restic_restore }")
echo "stored, MiB (first / with the second / with the other machine):"
printf '  borg %s / %s / %s\n  restic %s / %s / %s\n  godwit %s / %s / %s\n' "$borg_size" "$borg_size2" "$borg_size3" \
	"$restic_size" "$restic_size2" "$restic_size3" "$godwit_size" "$godwit_size2" "$godwit_size3"
echo "ratios (target):"
echo "  full / borg's                      $(ratio "$full" "$borg_full")  (0.45)"
echo "  second by list / borg's            $(ratio "$by_list" "$borg_second")  (0.10)"
echo "  second by full compare / borg's    $(ratio "$by_compare" "$borg_second")  (0.50)"
echo "  restore / the faster of both       $(ratio "$restore" "$fastest")  (0.40)"
