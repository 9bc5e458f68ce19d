#!/usr/bin/env bash
# tests/bench/scan_fleet.sh BUILD: what a scan costs when others went before. CPU seconds of godwit-scan and all its children
# for a snapshot of which 44 blocks changed, for a fleet of desktops that are nearly alike, and for other signatures.
#
#   SCAN_FILES     small files of the incremental part (default 70000)
#   SCAN_DESKTOPS  of the fleet (default 20)
#   SCAN_MIB       of this machine's /usr on each of them (default 200)
#   SCAN_OWN       per cent of the bytes that only one desktop has, a fleet for each number (default "1 2 3 5")
#
# A fleet's desktops are clones of one disk, as fleets are made, each with files of its own written into it.
# Its limit is 1.2 x the first desktop's scan + SCAN_DESKTOPS x the walk. The walk is the scan of a desktop all of whose contents
# are known, but lie elsewhere on its disk (which was made afresh): every byte out of the store and hashed, nothing to scan,
# everything entered into the state. Beside it: a clone that was never scanned, all of whose contents are known by their chunks.
set -euo pipefail
build=$(realpath "${1:-build/release}")
scan=$build/bin/godwit-scan store=$build/bin/godwit-store
: "${SCAN_FILES:=70000}" "${SCAN_DESKTOPS:=20}" "${SCAN_MIB:=200}" "${SCAN_OWN:=1 2 3 5}"
dir=$(mktemp -d "${TMPDIR:-/tmp}/godwit-bench-fleet.XXXXXX")
trap 'mountpoint -q "$dir/mnt" && umount "$dir/mnt"; rm -rf "$dir"' EXIT
cd "$dir"
mkdir sig small tree mnt
printf 'Test.Eicar:0:0:58354f2150254041505b345c505a58353428505e2937434329377d2445494341522d5354414e444152442d414e544956495255532d544553542d46494c452124482b482a\n' >sig/test.ndb
seq 20000 | awk '{ printf "%064x:%d:Test.Hash.%d\n", $1 * 7919, $1 + 100, $1 }' >sig/test.hsb
"$store" init st >/dev/null

put() { # DESKTOP IMAGE
	"$store" put st --desktop "$1" --volume "disk0=$2" >put.log
	snapshot=$(awk '/^snapshot/ { sub(":", "", $2); print $2 }' put.log)
}
# cpu COMMAND...: user and system seconds of it and its children; sets $cpu and leaves its output in ./said
cpu() {
	local TIMEFORMAT='%U %S' u s
	{ time "$@" >said 2>errors || [ $? -le 2 ]; } 2>cpu-times
	read -r u s <cpu-times
	cpu=$(awk "BEGIN { print $u + $s }")
}
row() { printf '%-58s %9.2f  %s\n' "$1" "$cpu" "$2"; }
scanned() {
	jq -r '"\(.verdict), \(.files) files, \(.reused_files) not read again, \(.known_contents) known by their chunks, "
		+ "\(.read_bytes / 1048576 | floor) MiB read, \(.scanned_contents) contents scanned"' said
}
scan_it() { cpu "$scan" snapshot st "$snapshot" --signatures sig --state "$1" --output json; }

printf '%-58s %9s\n' what CPU-s
for ((i = 0; i < SCAN_FILES; i++)); do
	((i % 500)) || mkdir -p "small/$((i / 500))"
	echo "small file $i" >"small/$((i / 500))/$i"
done

incremental() { # NAME IMAGE CHANGE
	put "$1" "$2"
	scan_it "state-$1"
	row "$1: first scan of $SCAN_FILES small files" "$(scanned)"
	"$3" "$2"
	put "$1" "$2"
	scan_it "state-$1"
	row "$1: after a few changes" "$(awk '/^snapshot/' put.log | sed 's/.*new/new/'); $(scanned)"
	scan_it "state-$1"
	row "$1: the same snapshot again" "$(scanned)"
}
blocks_ext() { # 44 files, 64 KiB apart on the disk, get another byte each: 44 changed blocks
	local i n block
	for ((i = 0; i < 44; i++)); do
		n=$((i * SCAN_FILES / 44))
		block=$(debugfs -R "blocks $((n / 500))/$n" "$1" 2>/dev/null | awk '{ print $1 }')
		printf X | dd of="$1" bs=1 seek=$((block * 4096 + 3)) conv=notrunc status=none
	done
}
truncate -s 700M ext.img && mkfs.ext4 -q -b 4096 -N $((SCAN_FILES + 2000)) -d small ext.img
incremental ext4 ext.img blocks_ext
rm -f ext.img

blocks_ntfs() {
	local i n
	ntfs-3g "$1" mnt
	for ((i = 0; i < 40; i++)); do # and the file system's own
		n=$((i * SCAN_FILES / 40))
		printf X | dd of="mnt/$((n / 500))/$n" bs=1 seek=3 conv=notrunc status=none
	done
	umount mnt
}
truncate -s 700M ntfs.img && mkntfs -q -F -s 512 -p 0 ntfs.img >/dev/null 2>&1
if [ "$(id -u)" = 0 ] && ntfs-3g ntfs.img mnt 2>/dev/null; then
	cp -r small/. mnt/
	umount mnt
	incremental ntfs ntfs.img blocks_ntfs
else
	echo "NTFS: needs root and FUSE"
fi
rm -rf small ntfs.img

# ---- the fleet -----------------------------------------------------------------------------------------------------
find /usr -xdev -type f -size -20M -printf '%s %p\n' | LC_ALL=C sort -k2 | awk -v limit=$((SCAN_MIB << 20)) '
	{ seen++ } seen % 11 == 0 { sum += $1; if (sum > limit) exit; sub(/^[0-9]+ /, ""); print }' | cpio -pdml --quiet tree 2>/dev/null || true
mkdir -p tree/home own
mib=$(du -sm --apparent-size tree | cut -f1)
size=$((mib + mib / 4 + 150)) # MiB
truncate -s "${size}M" base.img && mkfs.ext4 -q -d tree base.img

own_files() { # PERCENT: random bytes that nobody else has
	local i
	rm -f own/*
	for ((i = 0; i < 40 * $1; i++)); do head -c $((mib << 8)) /dev/urandom >"own/$i"; done
}
put_clone() { # NAME: the base with what is in own/
	local file
	cp --sparse=always base.img desktop.img
	{
		echo cd home
		for file in own/*; do echo "write $file ${file##*/}"; done
	} | debugfs -w -f - desktop.img >/dev/null 2>&1
	put "$1" desktop.img
}
put_afresh() { # NAME TWIN: the same files, on a partition that lies otherwise on the chunks' grid, each time in another way
	local start=$((2048 + 8 * $2))
	rm -rf tree/home desktop.img && cp -r own tree/home && truncate -s "$((size + 2))M" desktop.img
	echo "start=$start" | sfdisk -q desktop.img
	mkfs.ext4 -q -E offset=$((start * 512)) -d tree desktop.img "${size}M"
	put "$1" desktop.img
}
twins() { # put_…: the mean cost of three desktops that were never scanned, with what the first one has; adds to the state
	local twin sum=0
	for twin in 1 2 3; do
		"$1" "${1#put_}-$twin" "$twin"
		scan_it state-fleet
		sum=$(awk "BEGIN { print $sum + $cpu / 3 }")
	done
	cpu=$sum
}
fleet() { # PERCENT
	local own=$1 one sum=0 walk contents=0 d
	rm -rf state-fleet st && "$store" init st >/dev/null
	for ((d = 1; d <= SCAN_DESKTOPS; d++)); do
		own_files "$own"
		put_clone "desktop$d"
		scan_it state-fleet
		sum=$(awk "BEGIN { print $sum + $cpu }")
		contents=$((contents + $(jq .scanned_contents said)))
		if [ "$d" = 1 ]; then
			one=$cpu
			row "fleet, $own %: desktop 1 of $SCAN_DESKTOPS, $mib MiB" "$(scanned)"
			twins put_afresh
			walk=$cpu
			row "fleet, $own %: the walk (made afresh; the mean of three)" "$(scanned)"
			twins put_clone
			row "fleet, $own %: a clone (the mean of three)" "$(scanned)"
			awk "BEGIN { printf \"fleet, $own %%: a clone / the walk: %.2f\\n\", $cpu / $walk }"
		elif [ "$d" = 2 ]; then
			row "fleet, $own %: desktop 2" "$(scanned)"
		fi
	done
	cpu=$sum
	row "fleet, $own %: all $SCAN_DESKTOPS" "$contents contents scanned"
	awk "BEGIN { printf \"fleet, $own %%: all / (1.2 x one + $SCAN_DESKTOPS x the walk): %.2f (at most 1)\\n\", $sum / (1.2 * $one + $SCAN_DESKTOPS * $walk) }"
}
for own in $SCAN_OWN; do fleet "$own"; done

printf 'Test.New:0:0:%s\n' "$(printf 'not to be found' | od -An -v -tx1 | tr -d ' \n')" >sig/new.ndb
cpu "$scan" rescan st --state state-fleet --signatures sig
row "fleet: other signatures" "$(jq -r '"\(.contents) different contents, \(.scanned_contents) scanned, \(.snapshots_read) snapshots read, \(.unread_contents) unread, \(.snapshots | length) verdicts"' said)"
cpu "$scan" rescan st --state state-fleet --signatures sig
row "fleet: the same signatures again" "$(jq -r '"\(.scanned_contents) scanned"' said)"
hash=$(sha256sum "$(find tree -type f -size +1k -print -quit)" | cut -d' ' -f1)
cpu "$scan" hunt --state state-fleet --sha256 "$hash" --output json
row "fleet: hunt for a hash" "$(jq -r '"\(.hits | length) places"' said)"
