#!/usr/bin/env bash
# tests/bench/scan.sh BUILD: what an offline scan costs. CPU seconds of godwit-scan beside clamscan on the same files with
# the same signatures and limits, how many processors it keeps busy, and of listing 70,000 small files (walk, read,
# SHA-256) on ext4 and NTFS.
#
#   SCAN_MIB   how much of this machine's /usr is scanned (default 300)
#   SCAN_FILES small files (default 70000)
set -euo pipefail
build=$(realpath "${1:-build/release}")
scan=$build/bin/godwit-scan
: "${SCAN_MIB:=300}" "${SCAN_FILES:=70000}"
dir=$(mktemp -d "${TMPDIR:-/tmp}/godwit-bench-scan.XXXXXX")
trap 'mountpoint -q "$dir/mnt" && umount "$dir/mnt"; rm -rf "$dir"' EXIT
cd "$dir"
mkdir sig tree small mnt

# Signatures of our own, the same for both: EICAR, and 20,000 hashes that match nothing.
printf 'Test.Eicar:0:0:58354f2150254041505b345c505a58353428505e2937434329377d2445494341522d5354414e444152442d414e544956495255532d544553542d46494c452124482b482a\n' >sig/test.ndb
seq 20000 | awk '{ printf "%064x:%d:Test.Hash.%d\n", $1 * 7919, $1 + 100, $1 }' >sig/test.hsb

find /usr -xdev -type f -size -100M -printf '%s %p\n' | LC_ALL=C sort -k2 | awk -v limit=$((SCAN_MIB << 20)) '
	{ seen++ } seen % 7 == 0 { sum += $1; if (sum > limit) exit; sub(/^[0-9]+ /, ""); print }' | cpio -pdml --quiet tree 2>/dev/null || true
mib=$(du -sm --apparent-size tree | cut -f1)
files=$(find tree -type f | wc -l)
truncate -s "$((mib + mib / 4 + 200))M" usr.img
mkfs.ext4 -q -d tree usr.img

# cpu COMMAND...: user and system seconds of it and its children, and the wall clock; 1 (infected) and 2 (incomplete) are
# results too. Sets $cpu, $wall and $said, and $others: what everybody else used of the processors meanwhile.
cpu() {
	local TIMEFORMAT='%U %S %R' u s before
	before=$(machine_seconds)
	{ time "$@" >said.txt 2>errors.txt || [ $? -le 2 ]; } 2>times.txt
	read -r u s wall <times.txt
	cpu=$(awk "BEGIN { print $u + $s }")
	others=$(awk "BEGIN { print $(machine_seconds) - $before - $cpu }")
	said=$(cat said.txt)
}
# What all processors did since the start that is not idling, in seconds; stolen time counts.
machine_seconds() {
	awk -v hz="$(getconf CLK_TCK)" '/^cpu / { printf "%.2f", ($2 + $3 + $4 + $7 + $8 + $9) / hz }' /proc/stat
}
busy() { # NAME: of the last cpu
	awk -v n="$1" -v c="$cpu" -v w="$wall" -v o="$others" -v p="$(nproc)" 'BEGIN {
		printf "%s: %.2f of %d processors kept busy (%.1f CPU-s in %.1f s; everything else on the machine: %.2f)\n", n, c / w, p, c, w, o / w }'
}
row() { # NAME MIB FILES
	awk -v n="$1" -v m="$2" -v f="$3" -v c="$cpu" -v w="$wall" 'BEGIN {
		printf "%-34s %7d %8d %9.1f %8.1f %12.1f\n", n, m, f, c, w, m / (c > 0 ? c : 1) }'
}
printf '%-34s %7s %8s %9s %8s %12s\n' what MiB files CPU-s wall-s MiB/CPU-s

# The same limits; without them clamscan leaves out what is large and calls it clean.
theirs=(clamscan -r -i -d sig --max-filesize=2000M --max-scansize=4000M --max-files=0 --max-recursion=40 --alert-exceeds-max=yes
	--alert-encrypted=yes tree)
ours=("$scan" image usr.img --signatures sig --output json)
cpu "${theirs[@]}"
row "clamscan (extracted tree)" "$mib" "$files"
cpu "${ours[@]}"
row "godwit-scan image (ext4)" "$mib" "$files"
busy "godwit-scan image"
echo "  $(jq -c '{verdict, files, scanned_contents, first_reason: .reasons[0]}' <<<"$said")"

# Core for core: both on one processor, in turns, because two that work at the same time slow each other down.
for _ in {1..5}; do
	cpu taskset -c 0 "${theirs[@]}"
	of_theirs=$cpu
	cpu taskset -c 0 "${ours[@]}"
	awk "BEGIN { printf \"%.2f\\n\", $of_theirs / $cpu }"
done | sort -n >ratios.txt
echo "on one processor, per CPU second: $(sed -n 3p ratios.txt) x clamscan (median of 5: $(tr '\n' ' ' <ratios.txt | sed 's/ $//'))"
cpu "$scan" list usr.img --output jsonl
row "godwit-scan list (the same)" "$mib" "$files"

for ((i = 0; i < SCAN_FILES; i++)); do
	((i % 500)) || mkdir -p "small/$((i / 500))"
	echo "small file $i" >"small/$((i / 500))/$i"
done
truncate -s 700M small.img
mkfs.ext4 -q -N $((SCAN_FILES + 2000)) -d small small.img
cpu "$scan" list small.img --output jsonl
row "list, small files, ext4" "$(du -sm --apparent-size small | cut -f1)" "$(grep -c . said.txt)"
rm -f small.img && truncate -s 700M small.img
mkntfs -q -F -s 512 -p 0 small.img >/dev/null 2>&1
if [ "$(id -u)" = 0 ] && ntfs-3g small.img mnt 2>/dev/null; then
	cp -r small/. mnt/
	umount mnt
	cpu "$scan" list small.img --output jsonl
	row "list, small files, NTFS" "$(du -sm --apparent-size small | cut -f1)" "$(grep -c . said.txt)"
else
	echo "list, small files, NTFS: needs root and FUSE"
fi
