#!/usr/bin/env bash
# Our readers against other people's drivers: for ext2, ext3, ext4, FAT12, FAT16, FAT32 and exFAT the same bytes lie on one
# disk twice, on a partition (our reader) and in a logical volume (Linux's driver, in the micro-VM): every path, size and
# hash must be the same. The VM's kernel (Debian's cloud kernel) has no NTFS: there the reference is ntfs-3g.
# shellcheck disable=SC2154,SC2317 # what tap.sh sets; the fill_… are called by the table
# shellcheck source=tests/lib/tap.sh
. "$(dirname "$0")/../lib/tap.sh"
build=$(realpath "$1")
scan=$build/bin/godwit-scan
odd=$(realpath "$(dirname "$0")/../lib/fat_odd.py")
need mkfs.ext4 debugfs mkfs.vfat mkfs.exfat mount.exfat-fuse mkntfs mcopy jq sfdisk losetup pvcreate python3 qemu-system-x86_64
[ -e "$build/scan-vm/initrd" ] || bail "there is no $build/scan-vm: run 'make scan-vm'"
[ "$(id -u)" = 0 ] || skip_all "needs root to fill the file systems"
cd "$TAP_DIR" || exit
export LC_ALL=C.UTF-8
mkdir mnt tree
loop=
losetup -f >/dev/null 2>&1 || skip_all "needs loop devices"
at_end '[ -z "$loop" ] || losetup -d "$loop"'
at_end 'mountpoint -q mnt && umount mnt'

# ---- What all of them can hold -------------------------------------------------------------------------------------
mkdir -p "tree/dir one/ünïcödé-目录" "tree/$(seq -s/ 1 12)" tree/EMPTY.DIR tree/many
head -c 1500000 "$(command -v bash)" >tree/big
printf tiny >tree/README.TXT
printf Tiny >tree/lower.txt
printf TINY >tree/MiXed.Txt
printf 'no end' >"tree/.hidden"
: >tree/empty
for size in 511 512 513 4095 4096 4097 65536; do head -c "$size" /dev/urandom >"tree/dir one/$size bytes"; done
for i in {1..120}; do echo "file $i" >"tree/many/A rather long name, number $i"; done
echo wide >"tree/dir one/ünïcödé-目录/файл.txt"
echo long >"tree/$(printf 'n%.0s' {1..200})"
head -c 100000 /dev/urandom >"tree/$(seq -s/ 1 12)/deep"

# Every free block holds what was there before: bytes that no reader may take for a file's.
used_disk() { head -c "$2" /dev/zero | tr '\0' '\252' >"$1"; }

# A hole between two files is filled by a third, which then lies in pieces.
fragment() { # FOLDER
	local i
	for i in {1..8}; do head -c 30000 /dev/urandom >"$1/piece$i" && sync -f "$1"; done
	rm "$1"/piece{2,4,6,8} && sync -f "$1"
	head -c 200000 /dev/urandom >"$1/in pieces"
}
fill_mounted() { # mnt: with what only a mounted file system can be asked for
	cp -r tree/. mnt/
	fragment mnt
	head -c 50000 /dev/urandom >mnt/grown && truncate -s 300000 mnt/grown
	echo gone >mnt/deleted && sync -f mnt && rm mnt/deleted
}
fill_ext() { # IMAGE
	mount -o loop "$1" mnt || return
	fill_mounted
	fallocate -l 400000 mnt/allocated-but-never-written 2>/dev/null || : # only ext4 can
	truncate -s 5M mnt/sparse && printf middle | dd of=mnt/sparse bs=1 seek=2500000 conv=notrunc status=none
	ln mnt/big mnt/many/big # a hard link: named once, by whichever name
	ln -s big mnt/symbolic && ln -s /etc/passwd mnt/outside && mkfifo mnt/pipe && mknod mnt/device b 7 0
	echo odd >"mnt/$(printf 'odd\xff\nname')"
	unmount mnt
}
fill_exfat() { # IMAGE
	loop=$(losetup -f --show "$1") || return
	mount.exfat-fuse "$loop" mnt && {
		fill_mounted
		mkdir mnt/long
		for letter in n é 目; do echo "$letter" >"mnt/long/$(printf "$letter%.0s" {1..255})"; done
		echo pairs >"mnt/long/$(printf '😀%.0s' {1..127})x"
		unmount mnt
	}
	local ended=$?
	losetup -d "$loop"
	loop=
	return "$ended"
}
fill_fat() { # IMAGE
	local i
	mcopy -Q -i "$1" -s tree/* tree/.hidden :: || return
	for i in {1..8}; do head -c 30000 /dev/urandom | mcopy -i "$1" - "::/piece$i"; done
	mdel -i "$1" ::/piece2 ::/piece4 ::/piece6
	head -c 200000 /dev/urandom | mcopy -i "$1" - "::/in pieces"
	echo gone | mcopy -i "$1" - "::/a deleted one" && mdel -i "$1" "::/a deleted one"
	fill_odd "$1"
}
# Names that mtools cannot make: bytes that FAT forbids, every character of the code page, the bits for lower case, Unicode
# beyond 16 bits. Not a slash, which Linux takes for a fault of the whole folder.
fill_odd() { # IMAGE
	local i name
	mmd -i "$1" ::/ODD
	for i in {10..69}; do echo "file $i" | mcopy -i "$1" - "::/ODD/VICTIM$i.TXT" || return; done
	for i in {1..4}; do
		name=::/ODD/$(printf "$i%.0s" {1..255})
		# mtools makes a folder one cluster longer, which is not enough where that has sixteen entries.
		echo "long $i" | mcopy -i "$1" - "$name" 2>/dev/null || echo "long $i" | mcopy -i "$1" - "$name" || return
	done
	echo "long 5" | mcopy -i "$1" - "::/ODD/five 5555555"
	python3 - <<'PY' | python3 "$odd" "$1"
def raw(data):
    return "".join("\\x%02x" % b for b in data)

def pieces(data, size):
    return [data[i:i + size].ljust(size) for i in range(0, len(data), size)]

high = pieces(bytes(range(0x80, 0x100)), 9)
odd = [(b"H%c%b" % (65 + i, p), 0) for i, p in enumerate(high)]
odd += [(b"L%c%b" % (65 + i, p), 0x18) for i, p in enumerate(high)]
plain = bytes(b for b in range(1, 0x80) if not chr(b).isupper() and not chr(b).isdigit() and b not in b" ./")
odd += [(b"P%c%b" % (65 + i, p), 0) for i, p in enumerate(pieces(plain, 9))]
odd += [(b"BASE    TXT", 8), (b"EXT     TXT", 16), (b"BOTH    TXT", 24), (b"        EXT", 0), (b" LANK      ", 0), (b"A B     C D", 0),
        (b"A.B     ..C", 0), (b"\x05UN\x05       ", 0), (b"NUL\0XXXXN\0X", 0)]
for i, (name, case) in enumerate(odd):
    print("short\tVICTIM%dTXT\t%s\t%d" % (10 + i, raw(name), case))
for i, c in enumerate("\xe9\u76ee\U0001f600a"):
    n = 255 if ord(c) < 0x10000 else 127
    print("long\t%s\t%s" % (str(i + 1) * 255, (c * n + ("x" if n < 255 else "")).encode("unicode_escape").decode()))
print("long\tfive 5555555\tpair \\U0001f4a9 1234")
PY
}

# NAME  MiB  HOW TO MAKE IT
cases='ext2	20	mkfs.ext2 -q -b 1024	fill_ext
ext3	24	mkfs.ext3 -q	fill_ext
ext4	40	mkfs.ext4 -q	fill_ext
ext4-inline	40	mkfs.ext4 -q -b 1024 -I 256 -O inline_data,^64bit	fill_ext
ext4-bigalloc	40	mkfs.ext4 -q -O bigalloc,^has_journal,^resize_inode	fill_ext
fat12	8	mkfs.vfat -F 12	fill_fat
fat16	40	mkfs.vfat -F 16	fill_fat
fat32	40	mkfs.vfat -F 32 -s 1	fill_fat
exfat	20	mkfs.exfat	fill_exfat'
names=() sizes=()
while IFS=$'\t' read -r name mib make fill; do
	used_disk "$name.img" $((mib << 20))
	# shellcheck disable=SC2086 # the command and its options
	if ! $make "$name.img" >mkfs.said 2>&1 </dev/null; then
		fail "$name is made" "$(cat mkfs.said)"
	elif $fill "$name.img" </dev/null >fill.said 2>&1; then
		names+=("$name") sizes+=("$mib")
	elif [ "$fill" = fill_fat ]; then
		fail "$name is filled" "$(cat fill.said)"
	else
		skip "$name" "it cannot be mounted here: $(tail -n 1 fill.said)"
	fi
done <<<"$cases"

# ---- One disk: each on a partition, and all of them in a volume group ------------------------------------------------
group_mib=8
for mib in "${sizes[@]}"; do group_mib=$((group_mib + mib)); done
{
	echo 'label: gpt'
	for mib in "${sizes[@]}"; do echo "size=${mib}M"; done
	echo "size=${group_mib}M,type=lvm"
} >table
truncate -s $((2 * group_mib))M disk.img && sfdisk -q disk.img <table
mapfile -t starts < <(sfdisk -J disk.img | jq '.partitiontable.partitions[].start * 512')
put() { # IMAGE DEVICE OFFSET
	dd if="$1" of="$2" bs=1M oflag=seek_bytes seek="$3" conv=notrunc status=none
}
for i in "${!names[@]}"; do put "${names[i]}.img" disk.img "${starts[i]}"; done

# This kernel may have no device mapper, so the volumes are filled through the place that LVM says they have.
export LVM_SYSTEM_DIR=$TAP_DIR/lvm LVM_SUPPRESS_FD_WARNINGS=1
mkdir lvm
lvm_with() { # sees its own device only: other tests' volume groups have the same name
	local command=$1
	shift
	"$command" -q --driverloaded n --config "devices{scan=[\"/dev\"] use_devicesfile=0 filter=[\"a|^$loop\$|\",\"r|.*|\"]} global{use_lvmpolld=0}" "$@" 2>>lvm.said
}
loop=$(losetup -f --show -o "${starts[-1]}" --sizelimit $((group_mib << 20)) disk.img)
{ lvm_with pvcreate "$loop" && lvm_with vgcreate godwit "$loop"; } >lvm.out || bail "no volume group: $(cat lvm.said)"
for i in "${!names[@]}"; do
	lvm_with lvcreate -y -an -Zn -Wn -L "${sizes[i]}M" -n "fs$i" godwit >/dev/null || bail "no logical volume: $(cat lvm.said)"
	device=$(lvm_with lvs --segments --noheadings -o devices "godwit/fs$i")
	extent=${device##*\(}
	put "${names[i]}.img" "$loop" $(((1 << 20) + ${extent%\)*} * (4 << 20)))
done
losetup -d "$loop"
loop=

# ---- Both lists ------------------------------------------------------------------------------------------------------
run "$scan" list disk.img --output jsonl
is "$status" 0 "everything on the disk is listed${errors:+: $errors}"
printf '%s\n' "$output" >all.jsonl
group=$((${#names[@]} + 1))
# The difference that is meant: of a hard link's two names either may be told.
same_path='sub("^many/big$"; "big")'
for i in "${!names[@]}"; do
	jq -c "select(.partition == \"$((i + 1))\") | [(.path | $same_path), .stream, .size, .sha256]" all.jsonl | sort >ours
	jq -c "select(.partition == \"$group\") | select(.path | startswith(\"godwit-fs$i/\")) |
		[(.path | sub(\"^godwit-fs$i/\"; \"\") | $same_path), .stream, .size, .sha256]" all.jsonl | sort >kernels
	check "${names[i]}: our reader and Linux's driver see the same $(wc -l <kernels) files" diff ours kernels
	check "... which are all that were put there" [ "$(wc -l <kernels)" -ge "$(find tree -type f | wc -l)" ]
done

# ---- NTFS against ntfs-3g, and a tree that is deeper than any path may be long -----------------------------------------
used_disk ntfs.img $((60 << 20))
loop=$(losetup -f --show ntfs.img)
if ! mkntfs -q -F "$loop" >mkfs.said 2>&1; then
	fail "NTFS is made" "$(cat mkfs.said)"
elif ! ntfs-3g "$loop" mnt 2>fill.said; then
	skip "NTFS" "it cannot be mounted here: $(tail -n 1 fill.said)"
else
	fill_mounted
	ln mnt/big mnt/many/big
	truncate -s 5M mnt/sparse && printf middle | dd of=mnt/sparse bs=1 seek=2500000 conv=notrunc status=none
	python3 - mnt >theirs.all <<'PY'
import hashlib, json, os, sys
os.chdir(sys.argv[1])
top = os.getcwd()
for i in range(1000):
    os.mkdir("folder")
    os.chdir("folder")
open("deepest", "w").write("a thousand folders down\n")
os.chdir(top)
seen = set()

def walk(path):  # by chdir: the paths are longer than what a system call takes
    down = []
    for e in os.scandir("."):
        if e.is_dir(follow_symlinks=False):
            down.append(e.name)
        elif e.is_file(follow_symlinks=False) and e.inode() not in seen:
            seen.add(e.inode())
            data = open(e.name, "rb").read()
            print(json.dumps([path + e.name, "", len(data), hashlib.sha256(data).hexdigest()]))
    for name in down:
        os.chdir(name)
        walk(path + name + "/")
        os.chdir("..")

sys.setrecursionlimit(5000)
walk("")
PY
	unmount mnt
	jq -c "[(.[0] | $same_path), .[1], .[2], .[3]]" theirs.all | sort >theirs
	run "$scan" list ntfs.img --output jsonl
	is "$status" 0 "everything on NTFS is listed${errors:+: $errors}"
	jq -c "[(.path | $same_path), .stream, .size, .sha256]" <<<"$output" | sort >ours
	check "NTFS: our reader and ntfs-3g see the same $(wc -l <theirs) files" diff ours theirs
	is "$(jq -r 'select(.path | endswith("/deepest")) | .path | split("/") | length' <<<"$output")" 1001 \
		"... one of them 1,000 folders down, by its whole path"
fi
losetup -d "$loop"
loop=

# ---- Deleted files on ext --------------------------------------------------------------------------------------------
# Linux wipes the block map of what it deletes; a file whose map is still there (a crash, debugfs) can be read.
truncate -s 20M gone.img && mkfs.ext2 -q gone.img
printf 'write tree/big gone\nwrite tree/README.TXT here\nrm gone\n' | debugfs -w -f - gone.img >/dev/null 2>&1
run "$scan" list gone.img --output jsonl
is "$status $(jq -r .path <<<"$output")" "0 here" "ext2: a deleted file is not listed"
run "$scan" list gone.img --output jsonl --deleted
is "$status $(jq -r .sha256 <<<"$output" | sort | tr '\n' ' ')" "0 $(sha256sum tree/big tree/README.TXT | cut -c1-64 | sort | tr '\n' ' ')" \
	"... unless it is asked for: then with every byte"
diag "$(jq -c 'del(.sha256)' <<<"$output")"

done_testing
