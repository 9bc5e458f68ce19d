#!/usr/bin/env bash
# tests/bench/scan_changes.sh BUILD: what the watch for ransomware costs for each incremental: CPU seconds of `godwit-scan
# changes` over many small files on ext4 and on NTFS, when texts were edited, when random bytes came, and after an attack.
# Needs root, loop devices and FUSE.
#
#   SCAN_FILES   small files (default 70000)
set -euo pipefail
cd "$(dirname "$0")/../.."
build=$(realpath "${1:-build/release}")
: "${SCAN_FILES:=70000}"
dir=$(mktemp -d "${TMPDIR:-/tmp}/godwit-bench-changes.XXXXXX")
trap 'mountpoint -q "$dir/mnt" && umount "$dir/mnt"; rm -rf "$dir"' EXIT
cd "$dir"
mkdir mnt tree
python3 - "$SCAN_FILES" <<'END'
import os, sys
for i in range(int(sys.argv[1])):
    if i % 1000 == 0:
        os.makedirs("tree/%03d" % (i // 1000), exist_ok=True)
    with open("tree/%03d/%d.txt" % (i // 1000, i), "w") as f:
        f.write("line %d of a file that somebody wrote\n" % i * (10 + i % 200))
END
"$build/bin/godwit-store" init st >/dev/null
put() { "$build/bin/godwit-store" put st --desktop "$fs" --volume disk0=disk ${1:+--parent "$1"} --output json | jq -r .snapshot; }
measure() {
	local TIMEFORMAT='%U %S' snapshot cpu
	snapshot=$(put "$base")
	cpu=$({ time "$build/bin/godwit-scan" changes st "$snapshot" >out; } 2>&1 | awk '{ print $1 + $2 }')
	echo "$fs: $1: $cpu CPU-s; $(jq -r '"\(.changed_bytes / 1048576 | floor) MiB changed, \(.files) files walked, \(.changed_files) looked at, \(.encrypted_wholly + .encrypted_partly) encrypted"' out)"
}
make_disk() {
	rm -f disk keep && truncate -s $((SCAN_FILES * 12 / 1000 + 200))M disk
	if [ "$fs" = ext4 ]; then
		mkfs.ext4 -q -F -N $((SCAN_FILES + 10000)) -d tree disk
	else
		mkntfs -q -F -s 512 -p 0 disk >/dev/null 2>&1
		open_disk && cp -r tree/. mnt/ && close_disk
	fi
}
# What is written is in the disk at once, even if somebody else's mount namespace holds the file system.
close_disk() { sync -f mnt && umount mnt; }
open_disk() { if [ "$fs" = ext4 ]; then mount -o loop disk mnt; else ntfs-3g disk mnt; fi; }

for fs in ext4 ntfs; do
	make_disk
	base=$(put "")
	cp --sparse=always disk keep
	open_disk
	for i in {1..44}; do echo "an edit" >>"mnt/000/$((i * 20)).txt"; done
	close_disk
	measure "44 texts edited"
	open_disk
	head -c 20M /dev/urandom >mnt/new.bin
	close_disk
	measure "and 20 MiB of random bytes"
	mv keep disk
	open_disk
	python3 - <<'END'
import glob, os
for name in glob.glob("mnt/00*/*.txt"):
    with open(name + ".locked", "wb") as f:
        f.write(os.urandom(os.path.getsize(name)))
    os.remove(name)
END
	close_disk
	measure "up to 10,000 files encrypted"
done
