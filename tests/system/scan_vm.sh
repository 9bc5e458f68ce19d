#!/usr/bin/env bash
# godwit-scan on file systems that only the kernel can read: XFS, btrfs and logical volumes, through the micro-VM.
. "$(dirname "$0")/../lib/tap.sh"
build=$(realpath "$1")
scan=$build/bin/godwit-scan
need mkfs.xfs mkfs.btrfs jq sfdisk losetup qemu-system-x86_64
[ -e "$build/scan-vm/initrd" ] || bail "there is no $build/scan-vm: run 'make scan-vm'"
[ "$(id -u)" = 0 ] || skip_all "needs root to fill the file systems"
cd "$TAP_DIR" || exit
loops=()
at_end '[ ${#loops[@]} = 0 ] || losetup -d "${loops[@]}"'
at_end 'umount mnt'

mkdir sig mnt tree tree/sub
printf '%s%s' 'X5O!P%@AP[4\PZX54(P^)7CC)7}$EICAR-STANDARD' '-ANTIVIRUS-TEST-FILE!$H+H*' >eicar.com
printf 'Test.Eicar:0:0:%s\n' "$(od -An -v -tx1 eicar.com | tr -d ' \n')" >sig/test.ndb
head -c 2000000 "$(command -v bash)" >tree/sub/big
truncate -s 50M tree/sparse && printf 'in the middle' | dd of=tree/sparse bs=1 seek=10000000 conv=notrunc status=none
for i in {1..50}; do echo "file $i" >"tree/sub/f$i ünïcödé.txt"; done
cp eicar.com "tree/$(printf 'odd\xff\nname')"

hashes() { # FOLDER
	(cd "$1" && find . -type f -print0 | xargs -0 sha256sum | sed 's/^\\//' | cut -c1-64 | sort)
}
listed() { # IMAGE
	"$scan" list "$1" --output jsonl | jq -r .sha256 | sort
}
same() { # NAME GOT WANT
	check "$1" diff <(echo "$2") <(echo "$3")
}

# ---- XFS, with a log that was not written back -------------------------------------------------------------------
truncate -s 400M xfs.img && mkfs.xfs -q xfs.img
if mount -o loop xfs.img mnt; then
	cp -r tree/. mnt/
	ln mnt/sub/big mnt/second-name
	sync -f mnt/sub/big
	cp --sparse=always xfs.img dirty.img # as a snapshot would see it: mounted, the log still in use
	hashes mnt >want
	unmount mnt
	big=$(sha256sum tree/sub/big | cut -c1-64)
	same "XFS: every file with the bytes the kernel sees, a hard link once, the log replayed" "$(listed dirty.img)" \
		"$(awk -v h="$big" '$1 == h && seen++ { next } 1' want)"
	run "$scan" image dirty.img --signatures sig --output json
	is "$status $(jq -r '.findings[].path' <<<"$output")" '1 odd\xff\x0aname' "... and the infected one is named"
else
	skip "XFS" "this kernel cannot mount it"
fi

# ---- btrfs: compression, subvolumes, a snapshot; on a second partition ----------------------------------------------
truncate -s 300M btrfs.img && mkfs.btrfs -q btrfs.img >/dev/null
if mount -o loop,compress=zstd btrfs.img mnt; then
	cp -r tree/sub mnt/
	btrfs -q subvolume create mnt/@home && cp eicar.com mnt/@home/in-a-subvolume.com
	btrfs -q subvolume snapshot -r mnt/@home mnt/@old
	hashes mnt >want
	unmount mnt
	truncate -s 320M disk.img && printf 'label: gpt\nsize=1M\nsize=300M\n' | sfdisk -q disk.img
	dd if=btrfs.img of=disk.img bs=1M seek=2 conv=notrunc,sparse status=none
	run "$scan" list disk.img --output jsonl
	same "btrfs: all subvolumes, compressed data" "$(jq -r .sha256 <<<"$output" | sort)" "$(cat want)"
	is "$(jq -r .partition <<<"$output" | sort -u)" 2 "... on the partition where it is"
else
	skip "btrfs" "this kernel cannot mount it"
fi

# ---- LVM: two volumes over two partitions, one of them across both ---------------------------------------------------
# This kernel may have no device mapper, so the volumes are filled through the places that LVM says they have.
export LVM_SYSTEM_DIR=$TAP_DIR/lvm LVM_SUPPRESS_FD_WARNINGS=1
mkdir lvm
lvm_with() {
	local command=$1
	shift
	accepted=$(printf '"a|^%s$|",' "${loops[@]}") # other tests' volume groups have the same name
	"$command" -q --driverloaded n --config "devices{scan=[\"/dev\"] use_devicesfile=0 filter=[$accepted\"r|.*|\"]} global{use_lvmpolld=0}" "$@" 2>"$TAP_DIR/lvm.said"
}
truncate -s 605M lvm.img && printf 'label: gpt\nsize=300M,type=lvm\nsize=300M,type=lvm\n' | sfdisk -q lvm.img
mapfile -t starts < <(sfdisk -J lvm.img | jq '.partitiontable.partitions[].start * 512')
for start in "${starts[@]}"; do
	loops+=("$(losetup -f --show -o "$start" --sizelimit $((300 << 20)) lvm.img)")
done
if lvm_with pvcreate "${loops[@]}" >/dev/null && lvm_with vgcreate godwit "${loops[@]}" >/dev/null &&
	lvm_with lvcreate -y -an -Zn -Wn -L 400M -n data godwit >/dev/null && lvm_with lvcreate -y -an -Zn -Wn -L 100M -n sys godwit >/dev/null; then
	lvm_with lvs --segments --noheadings --units b --nosuffix -o lv_name,seg_start,seg_size,devices godwit >segments
	diag "$(cat segments)"
	truncate -s 400M data.fs && mkfs.xfs -q data.fs
	check "a volume is filled" eval 'wait_for 60 mount -o loop data.fs mnt && cp -r tree/. mnt/ && unmount mnt'
	truncate -s 100M sys.fs && mkfs.ext4 -q -d tree/sub sys.fs
	while read -r name start size device; do
		extent=${device##*\(}
		extent=${extent%\)}
		dd if="$name.fs" of="${device%\(*}" bs=1M iflag=skip_bytes,count_bytes oflag=seek_bytes conv=notrunc status=none \
			skip="$start" count="$size" seek=$(((1 << 20) + extent * (4 << 20)))
	done <segments
	losetup -d "${loops[@]}"
	loops=()
	run "$scan" list lvm.img --output jsonl
	same "LVM: the files of both volumes" "$(jq -r .sha256 <<<"$output" | sort)" \
		"$({ hashes tree; hashes tree/sub; } | sort)"
	is "$(jq -r '.path | split("/")[0]' <<<"$output" | sort -u | tr '\n' ' ')" "godwit-data godwit-sys " \
		"... each under its volume's name"
	run "$scan" image lvm.img --signatures sig --output json
	is "$(jq -r '.findings[].path' <<<"$output")" 'godwit-data/odd\xff\x0aname' "... and the infected one is found"
else
	diag "$(cat lvm.said)"
	skip "LVM" "the volume group could not be made here"
fi

# ---- The native readers against the kernel ------------------------------------------------------------------------
truncate -s 100M ext4.img && mkfs.ext4 -q -d tree ext4.img
run "$scan" list ext4.img --output jsonl
same "ext4: our reader lists what the kernel's driver lists" "$(jq -r .sha256 <<<"$output" | sort)" "$(hashes tree)"

done_testing
