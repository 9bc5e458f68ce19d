#!/usr/bin/env bash
# Infected files wherever they can hide: clamscan on the plain files is the reference for archives, the kernel's own view
# for contents; fragmented, sparse, beyond 2 GiB, deleted, with two names, on a second disk, compressed by NTFS.
# shellcheck disable=SC2154 # what tap.sh sets
# shellcheck source=tests/lib/tap.sh
. "$(dirname "$0")/../lib/tap.sh"
build=$(realpath "$1")
scan=$build/bin/godwit-scan
need mkfs.ext4 mkntfs clamscan jq python3 e2fsck setfattr
[ "$(id -u)" = 0 ] || skip_all "needs root to fill the file systems"
cd "$TAP_DIR" || exit
mkdir sig mnt
truncate -s 16M probe.img && mkfs.ext4 -q probe.img && mount -o loop probe.img mnt 2>/dev/null || skip_all "needs loop devices"
unmount mnt
at_end 'mountpoint -q mnt && umount mnt'

# The EICAR test file, put together here so that this script is not one.
# shellcheck disable=SC2016
printf '%s%s' 'X5O!P%@AP[4\PZX54(P^)7CC)7}$EICAR-STANDARD' '-ANTIVIRUS-TEST-FILE!$H+H*' >eicar.com
marker=GodwitTestMarkerThatLiesAcrossABorder-0123456789
samples=/usr/share/clamav-testfiles
{
	printf 'Test.Eicar:0:0:%s\n' "$(od -An -v -tx1 eicar.com | tr -d ' \n')"
	printf 'Test.Marker:0:*:%s\n' "$(printf %s "$marker" | od -An -v -tx1 | tr -d ' \n')"
} >sig/test.ndb
echo "$(md5sum <$samples/clam.exe | cut -c1-32):$(stat -c %s $samples/clam.exe):Test.Clam" >sig/test.hdb
scan_json() { run "$scan" image "$@" --signatures sig --output json; }
found() { jq -r '[.findings[].path] | sort | join(" ")' <<<"$output"; }

# ---- ext4 ------------------------------------------------------------------------------------------------------
truncate -s 4G e.img && mkfs.ext4 -q e.img && mount -o loop e.img mnt
cp -r $samples mnt/samples
fragmented() { # FILE: the marker across the border of two pieces that lie apart
	python3 - "$1" "$marker" <<'PY'
import os, sys
name, marker = sys.argv[1], sys.argv[2].encode()
data = bytearray(os.urandom(300000))
data[16384 * 3 - 20:16384 * 3 - 20 + len(marker)] = marker
a, b = open(name, "wb"), open(name + ".between", "wb")
for i in range(0, len(data), 16384):
    for f, piece in (a, data[i:i + 16384]), (b, b"x" * 16384):
        f.write(piece)
        f.flush()
        os.fsync(f.fileno())
os.unlink(name + ".between")
PY
}
fragmented mnt/fragmented
truncate -s 3G mnt/large && printf %s "$marker" | dd of=mnt/large bs=1 seek=2900000000 conv=notrunc status=none
truncate -s 900M mnt/sparse && printf %s "$marker" | dd of=mnt/sparse bs=1 seek=800000000 conv=notrunc status=none
cp eicar.com mnt/one-name && ln mnt/one-name mnt/other-name
sync -f mnt
fragments=$(filefrag mnt/fragmented | grep -o '[0-9]* extent' | cut -d' ' -f1)
check "the fragmented file has $fragments pieces" [ "$fragments" -gt 1 ]
unmount mnt
scan_json e.img
is "$status" 1 "ext4: infected"
same_as_clamscan() { diff <(clamscan -d sig --no-summary $samples | grep FOUND | cut -d: -f1 | sed 's|.*/||' | sort) \
	<(jq -r '.findings[].path | select(startswith("samples/")) | sub("samples/"; "")' <<<"$output" | sort); }
check "... in every archive and document in which clamscan finds it" same_as_clamscan
is "$(jq -r '[.findings[].path | select(startswith("samples/") | not) | sub("other-name"; "one-name")] | sort | join(" ")' <<<"$output")" \
	"fragmented large one-name sparse" "... across fragments, in a hole, beyond 2 GiB, and under one of two names"

# Deleted files keep their blocks only without a journal that forgets them: ext2.
truncate -s 20M x.img && mkfs.ext2 -q x.img && printf 'write eicar.com gone.com\nrm gone.com\n' | debugfs -w -f - x.img >/dev/null 2>&1
truncate -s 20M f.img && mkfs.vfat f.img >/dev/null && mcopy -i f.img eicar.com ::/gone.com && mdel -i f.img ::/gone.com
for image in x.img f.img; do
	scan_json "$image"
	is "$status $(found)" "0 " "${image/.img/}: a deleted file is not reported"
done
scan_json f.img --deleted
like "$status $(found)" "^1 .*[gG_].*ONE.COM|^1 .*one.com" "... unless it is asked for"

# A fast commit: what only that holds is either read or makes the scan incomplete.
truncate -s 60M fc.img && mkfs.ext4 -q -O fast_commit fc.img
if mount -o loop fc.img mnt 2>/dev/null; then
	for i in {1..5}; do echo "$i" >"mnt/f$i" && sync "mnt/f$i"; done
	cp eicar.com mnt/fresh.com && sync mnt/fresh.com
	cp --sparse=always fc.img instant.img
	unmount mnt
	scan_json instant.img
	check "a journal with fast commits is never clean while something is in them ($(jq -r .verdict <<<"$output"))" [ "$status" != 0 ]
else
	skip "fast commits" "this kernel has none"
fi

# ---- NTFS --------------------------------------------------------------------------------------------------------
truncate -s 100M n.img && mkntfs -q -F -s 512 -p 0 n.img >/dev/null 2>&1
if ntfs-3g -o streams_interface=windows,compression n.img mnt 2>/dev/null; then
	mkdir mnt/packed && setfattr -h -v 0x00000800 -n system.ntfs_attrib_be mnt/packed
	{ head -c 300000 "$build/bin/godwit-scan"; printf %s "$marker"; head -c 100000 /dev/zero; } >mnt/packed/compressed
	fragmented mnt/fragmented
	cp eicar.com mnt/resident
	echo x >mnt/host && cp eicar.com mnt/host:stream && { head -c 1000000 /dev/zero; printf %s "$marker"; } >mnt/host:large-stream
	ln mnt/resident mnt/resident-too
	(cd mnt && find . -type f -print0 | xargs -0 sha256sum | cut -c1-64 | sort -u) >want
	unmount mnt
	scan_json n.img
	is "$(jq -r '[.findings[] | (.path | sub("-too"; "")) + ":" + .stream] | sort | join(" ")' <<<"$output")" \
		"fragmented: host:large-stream host:stream packed/compressed: resident:" "NTFS: compressed, fragmented, resident, in streams"
	check "... and all contents are what the driver reads" diff <("$scan" list n.img --output jsonl | jq -r 'select(.stream == "") | .sha256' | sort -u) want
else
	skip "NTFS" "needs FUSE"
fi

# ---- Disks -------------------------------------------------------------------------------------------------------
"$build/bin/godwit-store" init st >/dev/null
truncate -s 20M good.img && mkfs.ext4 -q good.img && cp good.img bad.img && debugfs -w -R 'write eicar.com second.com' bad.img >/dev/null 2>&1
id=$("$build/bin/godwit-store" put st --desktop d --volume disk0=good.img --volume disk1=bad.img --output json | jq -r .snapshot)
run "$scan" snapshot st "$id" --signatures sig --output json
is "$status $(jq -r '.findings[] | .volume + " " + .path' <<<"$output")" "1 disk1 second.com" "found on the second disk of a snapshot"
truncate -s 20M bitlocker.img && python3 -c '
f = open("bitlocker.img", "r+b")
boot = bytearray(512)
boot[0:11] = b"\xeb\x58\x90-FVE-FS-"
boot[11:13], boot[13] = (512).to_bytes(2, "little"), 8
boot[160:176] = bytes.fromhex("3bd66749292ed84a8399f6a339e3d001")
boot[176:184] = (1 << 20).to_bytes(8, "little")
boot[510:512] = b"\x55\xaa"
f.write(boot)
f.seek(1 << 20)
f.write(b"-FVE-FS-" + bytes([0, 1, 2, 0]))'
scan_json bitlocker.img
like "$status $(jq -r '.reasons[0]' <<<"$output")" "^2 (encrypted|unknown)" "BitLocker is incomplete ($(jq -r '.reasons[0]' <<<"$output" | cut -c1-40))"
# Which of the two a guest uses, nobody can say.
cp good.img both.img && echo 'start=20480' | sfdisk --quiet --wipe never both.img
scan_json both.img
like "$status $(jq -r '.reasons[]' <<<"$output")" "^2 .*has a partition table, too" "a file system that hides partitions is incomplete"

done_testing
