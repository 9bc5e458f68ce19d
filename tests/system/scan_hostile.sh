#!/usr/bin/env bash
# Hostile volumes: whatever the bytes are, godwit-scan ends in time, within its memory, and with a verdict that is not
# clean when files were lost. SCAN_LONG=1 (make check-scan) tries more seeds.
# shellcheck disable=SC2154 # what tap.sh sets
# shellcheck source=tests/lib/tap.sh
. "$(dirname "$0")/../lib/tap.sh"
build=$(realpath "$1")
scan=$build/bin/godwit-scan
flip=$(realpath "$(dirname "$0")/../lib/flip.py")
need mkfs.ext4 mkfs.vfat mkfs.exfat mkntfs ntfscp mcopy sfdisk jq python3 zip debugfs
seeds=${SCAN_LONG:+150}
seeds=${seeds:-2}
cd "$TAP_DIR" || exit

mkdir sig tree
# The EICAR test file, put together here so that this script is not one.
# shellcheck disable=SC2016
printf '%s%s' 'X5O!P%@AP[4\PZX54(P^)7CC)7}$EICAR-STANDARD' '-ANTIVIRUS-TEST-FILE!$H+H*' >eicar.com
printf 'Test.Eicar:0:0:%s\n' "$(od -An -v -tx1 eicar.com | tr -d ' \n')" >sig/test.ndb
for i in {1..40}; do
	mkdir -p "tree/d$((i % 5))"
	cp eicar.com "tree/d$((i % 5))/v$i.com"
	echo "file $i" >"tree/d$((i % 5))/f$i"
done

# ---- Bits turned over in the metadata --------------------------------------------------------------------------
truncate -s 20M ext4.img && mkfs.ext4 -q -d tree ext4.img
truncate -s 20M ext2.img && mkfs.ext2 -q -b 1024 -d tree ext2.img
truncate -s 40M fat16.img && mkfs.vfat -F 16 fat16.img >/dev/null && mcopy -s -i fat16.img tree/* ::/
truncate -s 40M fat32.img && mkfs.vfat -F 32 -s 1 fat32.img >/dev/null 2>&1 && mcopy -s -i fat32.img tree/* ::/
truncate -s 20M ntfs.img && mkntfs -q -F -s 512 -p 0 ntfs.img >/dev/null 2>&1
for i in {1..40}; do ntfscp -q ntfs.img eicar.com "v$i.com" 2>/dev/null; done

listed() { "$scan" list "$1" --output jsonl 2>/dev/null | jq -r 'select(.path | endswith(".com")) | .path' | wc -l; }
# Status 1 or 2; and what is no longer found has a reason, or is still listed, with the content that the bits made.
honest() { # IMAGE
	run timeout 300 "$scan" image "$1" --signatures sig --output json --workers 1
	[ "$status" = 1 ] || [ "$status" = 2 ] || return 1
	[ "$(jq '(.reasons | length) > 0 or (.findings | length) == 40' <<<"$output")" = true ] || [ "$(listed "$1")" -ge 40 ]
}
while read -r fs last; do
	wrong=
	for seed in $(seq "$seeds"); do
		cp --sparse=always "$fs.img" flipped.img
		python3 "$flip" flipped.img "$seed" $((seed % 40 + 1)) 0 "$last"
		honest flipped.img || wrong="$wrong $seed($status)"
	done
	is "$wrong" "" "$fs: $seeds images with up to 40 bits turned over, nothing lost in silence"
done <<'TABLE'
ext4 400000
ext2 300000
fat16 60000
fat32 200000
ntfs 3000000
TABLE

# ---- Cut off -----------------------------------------------------------------------------------------------------
for fs in ext4 fat16 ntfs; do
	wrong=
	for kib in 0 4 1000 7000 18000; do
		head -c $((kib * 1024)) "$fs.img" >cut.img
		run timeout 300 "$scan" image cut.img --signatures sig --output json
		[ "$(jq -r '.reasons | length > 0' <<<"$output")" = true ] || wrong="$wrong $kib"
	done
	is "$wrong" "" "$fs: cut off anywhere, it is not complete"
done

# ---- Sizes and shapes ------------------------------------------------------------------------------------------
bounded() { # NAME WANT IMAGE: verdict in 300 s, which takes seconds on an idle machine, and none of the processes beyond 1.5 GiB
	local kib
	run timeout 300 python3 -c '
import resource, subprocess, sys
status = subprocess.run(sys.argv[1:]).returncode
open("most", "w").write(str(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss))
sys.exit(status)' "$scan" image "$3" --signatures sig --output json --workers 1
	like "$status $(jq -r '.verdict + " " + (.findings | length | tostring)' <<<"$output" 2>/dev/null)" "$2" "$1"
	kib=$(cat most)
	[ "$kib" -lt 1500000 ] || fail "$1: bounded memory" "$kib KiB"
}
fresh() { rm -f x.img && truncate -s 40M x.img && mkfs.ext4 -q "$@" x.img && debugfs -w -R 'write eicar.com v.com' x.img >/dev/null 2>&1; }
dbg() { debugfs -w -f - x.img >/dev/null 2>&1; }

fresh -O ^metadata_csum && printf 'mkdir a\nmkdir a/b\nln a a/b/loop\nln a/b a/again\n' | dbg
bounded "folders in a loop" "^1 infected 1" x.img
rm -f x.img && truncate -s 80M x.img
if [ "$(id -u)" = 0 ] && mkfs.ext4 -q x.img && mkdir -p mnt && mount -o loop x.img mnt 2>/dev/null; then
	(cd mnt && python3 -c '
import os
data = open(os.environ["TAP_DIR"] + "/eicar.com", "rb").read()
for byte in range(1, 256):
    if byte != 47:
        open(b"n" + bytes([byte]) + b"e", "wb").write(data)
for n in range(300):
    try:
        os.setxattr("n\x01e", "user.%d" % n, b"x" * 200)
    except OSError:
        break
for _ in range(5000):
    os.mkdir("d"); os.chdir("d")
open("v.com", "wb").write(data)
')
	unmount mnt
	bounded "names with every byte, full xattrs, 5,000 folders deep" "^1 infected 255" x.img
else
	skip "names with every byte, 5,000 folders deep" "needs root and loop devices"
fi
fresh && printf 'write eicar.com huge\nset_inode_field huge size 10995116277760\n' | dbg
bounded "10 TB in one file" "^[12] (infected|incomplete)" x.img
fresh && rm -f bomb && truncate -s 150M bomb && zip -q -9 bomb.zip bomb && rm bomb && for i in 1 2 3; do cp bomb.zip "b$i.zip"; done &&
	zip -q -0 bombs.zip b?.zip && printf 'write bombs.zip bombs.zip\n' | dbg
bounded "a bomb of zips" "^[12] (infected|incomplete) 1" x.img
cp eicar.com inner.com && zip -q n0.zip inner.com && for i in {1..15}; do zip -q "n$i.zip" "n$((i - 1)).zip"; done
fresh && debugfs -w -R 'write n15.zip n15.zip' x.img >/dev/null 2>&1
run "$scan" image x.img --signatures sig --output json
is "$status $(jq '(.findings | length) == 2 or (.reasons | length) > 0' <<<"$output")" "1 true" "15 archives inside of each other: found, or said that it was too deep"
truncate -s 40M x.img && mkntfs -q -F -s 512 -p 0 x.img >/dev/null 2>&1
ntfscp -q x.img tree/d1/f1 many 2>/dev/null
for i in {1..60}; do ntfscp -q -N "stream-number-$i" x.img eicar.com many 2>/dev/null; done
bounded "60 streams on one file" "^1 infected 60" x.img
# One bit each, in records of the master file table: a file that says it goes on with another, and what is no record any more.
for damage in "37 16 another's number as its base" "2 4 no signature"; do
	read -r byte bit what <<<"$damage"
	cp ntfs.img x.img && python3 -c '
import sys
data = bytearray(open("x.img", "rb").read())
table = int.from_bytes(data[48:56], "little") * int.from_bytes(data[11:13], "little") * data[13]
record = table + (data.index("v32.com".encode("utf-16le"), table) - table) // 1024 * 1024
data[record + int(sys.argv[1])] ^= int(sys.argv[2])
open("x.img", "wb").write(data)' "$byte" "$bit"
	bounded "NTFS, a record with $what" "^1 infected 39" x.img
	like "$(jq -r '.reasons[]' <<<"$output")" "damaged records of files: 1," "... which is said"
done
head -c 40M /dev/urandom >x.img
bounded "random bytes" "^2 incomplete" x.img

# ---- Partition tables --------------------------------------------------------------------------------------------
disk() { rm -f x.img && truncate -s 100M x.img; }
disk && printf 'label: dos\nstart=2048,size=60000,type=83\nstart=70000,size=60000,type=83\n' | sfdisk -q x.img
dd if=ext4.img of=x.img bs=512 seek=2048 conv=notrunc,sparse status=none
python3 -c 'f = open("x.img", "r+b"); f.seek(446 + 16 + 8); f.write((2048).to_bytes(4, "little"))'
bounded "partitions over each other" "^[12] (infected|incomplete)" x.img
disk && printf 'label: gpt\nsize=40M\n' | sfdisk -q x.img && dd if=ext4.img of=x.img bs=1M seek=1 conv=notrunc,sparse status=none
python3 -c 'f = open("x.img", "r+b"); f.seek(512 + 16); f.write(b"bad!")'
bounded "a GPT with a bad checksum has a second copy" "^[12] (infected|incomplete)" x.img
python3 -c 'f = open("x.img", "r+b"); f.seek(-512 + 16, 2); f.write(b"bad!")'
bounded "... and without it nothing is clean" "^2 incomplete" x.img
disk && python3 - <<'PY'
f = open("x.img", "r+b")
for at in range(0, 200):  # a chain of extended partitions that comes back to its begin
    f.seek(at * 512 + 446)
    f.write(bytes([0, 0, 0, 0, 5, 0, 0, 0]) + ((at % 3) * 64 + 64).to_bytes(4, "little") + (100).to_bytes(4, "little"))
    f.seek(at * 512 + 510)
    f.write(b"\x55\xaa")
PY
bounded "extended partitions in a loop" "^2 incomplete" x.img
# Each has more bytes at its ends than a sixtieth of what their reader may keep.
rm -f x.img && head -c $((((60 * 5) + 30) << 20)) /dev/zero | tr '\0' '\252' >x.img
{ echo 'label: gpt' && yes size=5M | head -n 59 && echo size=20M; } | sfdisk -q --wipe never x.img
start=$(sfdisk -J x.img | jq '.partitiontable.partitions[59].start')
dd if=/dev/zero of=x.img bs=512 seek="$start" count=40960 conv=notrunc status=none
dd if=ext4.img of=x.img bs=1M count=20 oflag=seek_bytes seek=$((start * 512)) conv=notrunc,sparse status=none
bounded "sixty partitions without a zero" "^1 infected" x.img

done_testing
