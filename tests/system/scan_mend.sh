#!/usr/bin/env bash
# godwit-scan-mend: one infected file gets its last clean version back, every other byte that a file has stays, the file
# system stays sound, and whatever is not safe to change is refused.
# shellcheck disable=SC2154 # what tap.sh sets
# shellcheck source=tests/lib/tap.sh
. "$(dirname "$0")/../lib/tap.sh"
build=$(realpath "$1")
mend=$build/bin/godwit-scan-mend
scan=$build/bin/godwit-scan
store=$build/bin/godwit-store
need mkfs.ext4 mkntfs debugfs e2fsck ntfsfix ntfscp ntfscat jq sfdisk
cd "$TAP_DIR" || exit

mkdir sig tree tree/bin
# The EICAR test file, put together here so that this script is not one.
printf '%s%s' 'X5O!P%@AP[4\PZX54(P^)7CC)7}$EICAR-STANDARD' '-ANTIVIRUS-TEST-FILE!$H+H*' >eicar.com
printf 'Test.Eicar:0:*:%s\n' "$(od -An -v -tx1 eicar.com | tr -d ' \n')" >sig/test.ndb
for i in {1..60}; do echo "file $i" >"tree/f$i ünïcödé.txt"; done
head -c 3000000 "$(command -v bash)" >tree/bin/tool # its clean version
{ head -c 500000 tree/bin/tool; cat eicar.com; head -c 900000 /dev/urandom; } >infected
sha() { sha256sum "$1" | cut -c1-64; }

"$store" init st >/dev/null
put() { # IMAGE [OPTION...]: as a snapshot; prints its id
	"$store" put st --desktop d --volume disk0="$1" --output json "${@:2}" | jq -r .snapshot
}
mend_it() { # SNAPSHOT FROM FILE
	rm -rf out
	run "$mend" st "$1" --from "$2" --file "$3" --signatures sig --output out
}
# The mended disk, back from the store: what the incremental put made of overlay and extents.
mended_image() { # PARENT
	local id
	id=$(put out/disk0.img --parent "$1" --changed disk0=out/disk0.extents)
	"$store" get st "$id" disk0 mended.img >/dev/null && echo "$id"
}
files_of() { # IMAGE: partition, path, stream and SHA-256 of each file but the mended one
	"$scan" list "$1" --output jsonl | jq -r 'select(.path != "bin/tool") | [.partition, .path, .stream, .sha256] | @tsv' | sort
}
verdict_of() { "$scan" image "$1" --signatures sig --output json | jq -r .verdict; }

# ---- ext4, on the second partition -----------------------------------------------------------------------------
disk_of() { # IMAGE OUT: behind another partition
	rm -f "$2" && truncate -s 100M "$2"
	printf 'label: gpt\nsize=1M,type=21686148-6449-6E6F-744E-656564454649\nsize=80M\n' | sfdisk -q "$2"
	dd if="$1" of="$2" bs=1M seek=2 conv=notrunc,sparse status=none
}
truncate -s 80M e.img && mkfs.ext4 -q -d tree e.img && disk_of e.img good.img
debugfs -w -f - e.img >/dev/null 2>&1 <<<'rm bin/tool
write infected bin/tool
ln bin/tool bin/second-name'
e2fsck -fy e.img >/dev/null 2>&1
disk_of e.img bad.img
good=$(put good.img) bad=$(put bad.img)
is "$(verdict_of bad.img)" infected "ext4: the newer snapshot is infected"
mend_it "$bad" "$good" disk0:2:bin/tool
is "$status$errors" 0 "the file is mended"
is "$(jq -r '.infected_sha256 + " " + .clean_sha256 + " " + .signature' <<<"$output")" \
	"$(sha infected) $(sha tree/bin/tool) Test.Eicar.UNOFFICIAL" "... and what was exchanged is named by its hashes"
mended_image "$bad" >/dev/null
is "$(verdict_of mended.img)" clean "the new disk is clean"
check "... every other file has the bytes it had" diff <(files_of bad.img) <(files_of mended.img)
dd if=mended.img of=m.img bs=1M skip=2 count=80 conv=sparse status=none
check "... e2fsck finds nothing to repair" e2fsck -fn m.img
debugfs -R 'dump bin/second-name got' m.img 2>/dev/null
is "$(sha got)" "$(sha tree/bin/tool)" "... and the hard link has the clean version too"
is "$("$store" get st "$bad" disk0 same.img >/dev/null; cmp same.img bad.img && echo same)" same "the infected snapshot is as it was"
check "... little was changed ($(jq -r .changed_bytes <<<"$output") bytes)" [ "$(jq -r .changed_bytes <<<"$output")" -lt 12000000 ]

# ---- ext4: refused -----------------------------------------------------------------------------------------------
mend_it "$good" "$bad" disk0:2:bin/tool
is "$status" 1 "a file that is not infected is refused"
like "$errors" "bin/tool is not infected" "... and said so"
mend_it "$bad" "$bad" disk0:2:bin/tool
like "$status $errors" "^1 .*is not clean in snapshot" "a version that is not clean is refused"
mend_it "$bad" "$good" disk0:2:no-such
like "$status $errors" "^1 .*no-such" "a file that is not there is refused"
mend_it "$bad" "$good" disk0:7:bin/tool
like "$status $errors" "^1 .*no partition" "a partition that is not there is refused"
mend_it "$bad" "$good" disk9:2:bin/tool
like "$status $errors" "^1 .*no disk" "a disk that is not there is refused"
harmed() { # DEBUGFS-COMMAND: the infected disk after it, as a snapshot
	cp e.img h.img && debugfs -w -R "$1" h.img >/dev/null 2>&1
	disk_of h.img h-disk.img && put h-disk.img
}
mend_it "$(harmed 'feature needs_recovery')" "$good" disk0:2:bin/tool
like "$status $errors" "^1 .*journal.*roll back" "a journal that needs recovery is refused"
mend_it "$(harmed 'set_super_value state 2')" "$good" disk0:2:bin/tool
like "$status $errors" "^1 .*damaged.*roll back" "a file system with errors is refused"
mend_it "$(harmed 'set_inode_field bin/tool flags 0x80800')" "$good" disk0:2:bin/tool
like "$status $errors" "^1 .*encrypted" "an encrypted file is refused"

# ---- NTFS, a whole disk --------------------------------------------------------------------------------------------
truncate -s 60M n.img && mkntfs -q -F -s 512 -p 0 n.img >/dev/null 2>&1
for i in {1..20}; do ntfscp -q n.img "tree/f$i ünïcödé.txt" "f$i.txt" 2>/dev/null; done
ntfscp -q n.img tree/bin/tool tool 2>/dev/null
ntfscp -q -N clean n.img tree/bin/tool f1.txt 2>/dev/null
cp n.img ngood.img
ntfscp -q n.img infected tool 2>/dev/null
ntfscp -q -N clean n.img infected f1.txt 2>/dev/null
ngood=$(put ngood.img) nbad=$(put n.img)
is "$("$scan" image n.img --signatures sig --output json | jq -r '[.findings[] | .path + ":" + .stream] | sort | join(" ")')" \
	"f1.txt:clean tool:" "NTFS: a file and a stream are infected"
mend_it "$nbad" "$ngood" disk0::tool
is "$status$errors" 0 "the file is mended"
half=$(mended_image "$nbad")
is "$(ntfscat mended.img tool 2>/dev/null | sha256sum | cut -c1-64)" "$(sha tree/bin/tool)" "... and has its clean version"
mend_it "$half" "$ngood" disk0::f1.txt:clean
is "$status$errors" 0 "the stream is mended"
mended_image "$half" >/dev/null
is "$(verdict_of mended.img)" clean "the new disk is clean"
nfiles() { "$scan" list "$1" --output jsonl | jq -r 'select(.path != "tool" and .stream == "") | [.path, .sha256] | @tsv' | sort; }
check "... every other file has the bytes it had" diff <(nfiles n.img) <(nfiles mended.img)
check "... ntfsfix finds nothing to repair" ntfsfix -n mended.img
ntfs_refused() { # NAME REGEX IMAGE
	mend_it "$(put "$3")" "$ngood" disk0::tool
	like "$status $errors" "$2" "$1"
}
cp n.img asleep.img && { printf 'hibr' && head -c 4092 /dev/zero; } >hiberfil.sys && ntfscp -q asleep.img hiberfil.sys hiberfil.sys 2>/dev/null
ntfs_refused "a hibernated Windows is refused" "^1 .*sleeps" asleep.img
rm -f two.img && truncate -s 130M two.img && printf 'label: dos\nsize=60M,type=7\nsize=60M,type=7\n' | sfdisk -q two.img
cp two.img twogood.img && dd if=ngood.img of=twogood.img bs=1M seek=1 conv=notrunc,sparse status=none
dd if=n.img of=two.img bs=1M seek=1 conv=notrunc,sparse status=none
dd if=asleep.img of=two.img bs=1M seek=61 conv=notrunc,sparse status=none
mend_it "$(put two.img)" "$(put twogood.img)" disk0:1:tool
like "$status $errors" "^1 .*sleeps" "... also when it sleeps on another partition"
# The dirty mark: a flag in the resident $VOLUME_INFORMATION of record 3, and in the copy that the mirror has.
cp n.img dirty.img && python3 - dirty.img <<'PY'
import struct, sys
f = open(sys.argv[1], "r+b")
boot = f.read(512)
cluster = struct.unpack_from("<H", boot, 11)[0] * boot[13]
for field in 48, 56:
    place = struct.unpack_from("<Q", boot, field)[0] * cluster + 3 * 1024
    f.seek(place)
    record = bytearray(f.read(1024))
    at = struct.unpack_from("<H", record, 20)[0]
    while struct.unpack_from("<I", record, at)[0] != 0x70:
        at += struct.unpack_from("<I", record, at + 4)[0]
    record[at + struct.unpack_from("<H", record, at + 20)[0] + 10] |= 1
    f.seek(place)
    f.write(record)
PY
ntfs_refused "a dirty NTFS is refused" "^1 .*dirty" dirty.img
# A log that was not written back: its restart areas say that the volume is mounted.
cp n.img used.img && python3 - used.img <<'PY'
import struct, sys
f = open(sys.argv[1], "r+b")
boot = f.read(512)
cluster = struct.unpack_from("<H", boot, 11)[0] * boot[13]
mft = struct.unpack_from("<Q", boot, 48)[0] * cluster
f.seek(mft + 2 * 1024)
record = f.read(1024)
at = struct.unpack_from("<H", record, 20)[0]
while struct.unpack_from("<I", record, at)[0] != 0x80:
    at += struct.unpack_from("<I", record, at + 4)[0]
runs = at + struct.unpack_from("<H", record, at + 32)[0]
size, offset = record[runs] & 15, record[runs] >> 4
log = int.from_bytes(record[runs + 1 + size:runs + 1 + size + offset], "little") * cluster
page = bytearray(4096)
page[0:4] = b"RSTR"
struct.pack_into("<HHQII", page, 4, 30, 9, 0, 4096, 4096)   # update sequence, check disk lsn, page sizes
struct.pack_into("<HHH", page, 24, 48, 1, 1)                # restart area at 48, version 1.1
struct.pack_into("<QHHHH", page, 48, 1, 1, 0xFFFF, 0, 0)    # lsn, clients, none free, one in use, flags: not clean
struct.pack_into("<IHH", page, 48 + 16, 0, 48 + 160, 48)    # sequence bits, restart area length, client array
struct.pack_into("<Q", page, 48 + 24, 2 << 20)
struct.pack_into("<HHQ", page, 30, 1, 0, 0)
for i in range(1, 9):
    struct.pack_into("<H", page, i * 512 - 2, 1)
f.seek(log)
f.write(page * 2)
PY
ntfs_refused "a log that was not written back is refused" "^1 .*(log was not written back|damaged)" used.img

# ---- Neither ---------------------------------------------------------------------------------------------------
truncate -s 8M fat.img && mkfs.vfat fat.img >/dev/null && mcopy -i fat.img eicar.com ::/tool
fat=$(put fat.img)
mend_it "$fat" "$good" disk0::tool
like "$status $errors" "^1 .*only files in NTFS" "FAT is refused"
mend_it "$bad" 20200101-000000-00000000 disk0:2:bin/tool
is "$status" 3 "a snapshot that is not there: could not run"

done_testing
