#!/usr/bin/env bash
# godwit-scan on real file systems: every file is seen with the bytes the kernel sees, infected ones are found wherever
# they hide, and what cannot be looked at is never called clean.
. "$(dirname "$0")/../lib/tap.sh"
build=$(realpath "$1")
scan=$build/bin/godwit-scan
need mkfs.ext4 mkfs.vfat mkntfs mcopy python3 zip jq sha256sum qemu-img sfdisk

cd "$TAP_DIR" || exit
mkdir sig empty tree mnt
# The EICAR test file, put together here so that this script is not one.
printf '%s%s' 'X5O!P%@AP[4\PZX54(P^)7CC)7}$EICAR-STANDARD' '-ANTIVIRUS-TEST-FILE!$H+H*' >eicar.com
printf 'Test.Eicar:0:0:%s\n' "$(od -An -v -tx1 eicar.com | tr -d ' \n')" >sig/test.ndb

mkdir -p "tree/dir one/ünïcödé-目录" tree/bin
printf 'tiny' >tree/tiny.txt
: >tree/empty
head -c 3000000 "$(command -v git || command -v bash)" >tree/bin/big
truncate -s 20M tree/sparse && printf 'in the middle' | dd of=tree/sparse bs=1 seek=10000000 conv=notrunc status=none
printf 'the end' >>tree/sparse # mkfs.ext4 -d forgets a hole at the end when the inline_data feature is on
for i in {1..200}; do echo "file $i" >"tree/dir one/f$i.txt"; done

clean_tree_hashes() { # FOLDER: as `list` prints them
	(cd "$1" && find . -type f ! -name '$*' -print0 | xargs -0 sha256sum | sed 's/^\\//' | cut -c1-64 | sort)
}
listed_hashes() { # IMAGE
	"$scan" list "$1" --output jsonl | jq -r 'select(.stream == "") | .sha256' | sort
}
same() { # NAME GOT WANT: two lists, of which only the differences are shown
	check "$1" diff <(echo "$2") <(echo "$3")
}
scan_json() { # IMAGE [OPTION...]
	run "$scan" image "$@" --signatures sig --output json
}

clean_tree_hashes tree >want

# ---- ext4 ------------------------------------------------------------------------------------------------------
truncate -s 100M ext4.img && mkfs.ext4 -q -d tree ext4.img
same "ext4: every file is listed with the bytes that were put in" "$(listed_hashes ext4.img)" "$(cat want)"
scan_json ext4.img
is "$status $(jq -r .verdict <<<"$output")" "0 clean" "ext4: a clean tree is clean"
is "$(jq -r .files <<<"$output")" "$(wc -l <want)" "... and all its files were counted"

mkdir infected && cp -r tree/. infected/ && cp eicar.com "infected/dir one/ünïcödé-目录/вирус.com"
cp eicar.com "infected/$(printf 'odd\xff\nname')"
(cd infected && zip -q nested.zip tiny.txt "dir one/ünïcödé-目录/вирус.com" && zip -q twice.zip nested.zip && rm nested.zip)
{ cat tree/bin/big; cat eicar.com; } >infected/appended-only.bin
for options in "" "-O ^extent,^64bit" "-O ^64bit,^metadata_csum,^has_journal" "-b 1024" "-O inline_data -I 256"; do
	rm -f e.img && truncate -s 100M e.img && mkfs.ext4 -q $options -d infected e.img
	scan_json e.img
	is "$status" 1 "ext4 ${options:-(as usual)}: infected"
	is "$(jq -r '[.findings[].path] | sort | join(" ")' <<<"$output")" \
		'dir one/ünïcödé-目录/вирус.com odd\xff\x0aname twice.zip' "... and each infected file is named"
	same "... and every file has the right bytes" "$(listed_hashes e.img)" "$(clean_tree_hashes infected)"
done

if [ "$(id -u)" = 0 ] && mkdir -p mnt && cp ext4.img journal.img && mount -o loop journal.img mnt 2>/dev/null; then
	cp eicar.com mnt/just-written.com
	mkdir mnt/new && cp -r tree/bin mnt/new/
	rm -r "mnt/dir one"
	sync -f mnt/just-written.com
	# What a snapshot at this instant would hold: the files are in the journal only.
	cp --sparse=always journal.img instant.img
	clean_tree_hashes mnt >want.journal
	unmount mnt
	is "$(dumpe2fs -h instant.img 2>/dev/null | grep -c needs_recovery)" 1 "ext4: the image has a journal to replay"
	same "... and is read as the kernel would after replaying it" "$(listed_hashes instant.img)" "$(cat want.journal)"
	scan_json instant.img
	is "$(jq -r '.verdict + " " + .findings[].path' <<<"$output")" "infected just-written.com" \
		"... so that a file that was just written is found"
else
	skip "ext4: a journal is replayed" "needs root and loop devices"
fi

# ---- FAT -------------------------------------------------------------------------------------------------------
for bits in 12 16 32; do
	rm -f fat.img
	truncate -s "$((bits == 12 ? 8 : bits == 16 ? 40 : 100))M" fat.img && mkfs.vfat -F "$bits" fat.img >/dev/null
	mmd -i fat.img ::/a ::/a/b
	mcopy -i fat.img tree/bin/big ::/a/big
	mcopy -i fat.img eicar.com "::/a/b/a long name with ünïcödé.com"
	mcopy -i fat.img eicar.com ::/gone.com && mdel -i fat.img ::/gone.com
	same "fat$bits: bytes as written" "$(listed_hashes fat.img)" "$(sha256sum tree/bin/big eicar.com | cut -c1-64 | sort)"
	scan_json fat.img
	is "$status $(jq -r '[.findings[].path] | join(" ")' <<<"$output")" "1 a/b/a long name with ünïcödé.com" \
		"... infected file found, deleted one not reported"
done

# Short names that FAT forbids, but that drivers show.
for name in 'A.VICTIMCOM' $'\x01ICTIM  COM' ' ICTIM  COM' 'V"+,;= ]COM'; do
	rm -f fat.img && truncate -s 8M fat.img && mkfs.vfat fat.img >/dev/null
	mcopy -i fat.img tree/tiny.txt ::/other.txt && mcopy -i fat.img eicar.com ::/VICTIM.COM
	python3 - "$name" <<'PY'
import sys
f = open("fat.img", "r+b")
data = f.read()
f.seek(data.index(b"VICTIM  COM"))
f.write(sys.argv[1].encode())
PY
	scan_json fat.img
	is "$status $(jq -r '"\(.findings | length) \(.reasons | length)"' <<<"$output")" "1 1 0" "fat: a file with the bad short name $(printf '%q' "$name") is found"
done

# ---- NTFS ------------------------------------------------------------------------------------------------------
truncate -s 100M ntfs.img && mkntfs -q -F -s 512 -p 0 ntfs.img 2>/dev/null >&2
if [ "$(id -u)" = 0 ] && ntfs-3g -o streams_interface=windows ntfs.img mnt 2>/dev/null; then
	cp -r tree/. mnt/
	deep=mnt/$(seq -s/ 1 200)
	mkdir -p "$deep" && cp eicar.com "$deep/deep.com"
	cp eicar.com "mnt/tiny.txt:hidden.com"
	ln mnt/bin/big mnt/bin/hard-link
	clean_tree_hashes mnt >want.ntfs
	unmount mnt
	sha256sum tree/bin/big | cut -c1-64 >hard
	same "ntfs: every file with the bytes the driver sees, hard links once" "$(listed_hashes ntfs.img)" \
		"$(awk -v h="$(cat hard)" '$1 == h && seen++ { next } 1' want.ntfs)"
	scan_json ntfs.img
	is "$(jq -r '[.findings[] | (.path | sub(".*/"; "")) + ":" + .stream] | sort | join(" ")' <<<"$output")" \
		"deep.com: tiny.txt:hidden.com" "... a file 200 folders deep and an alternate stream are found"
else
	skip "ntfs: files and streams" "needs root and FUSE"
fi

# ---- Partitions, qcow2 -----------------------------------------------------------------------------------------
rm -f disk.img && truncate -s 240M disk.img
printf 'label: gpt\nsize=1M,type=21686148-6449-6E6F-744E-656564454649\nsize=100M\nsize=100M\n' | sfdisk -q disk.img
dd if=ext4.img of=disk.img bs=1M seek=2 conv=notrunc,sparse status=none
truncate -s 100M e2.img && cp eicar.com tree/second.com && mkfs.ext4 -q -d tree e2.img && rm tree/second.com
dd if=e2.img of=disk.img bs=1M seek=102 conv=notrunc,sparse status=none
scan_json disk.img
is "$status $(jq -r '.findings[] | .partition + " " + .path' <<<"$output")" "1 3 second.com" \
	"GPT: the infected file is on the third partition, the boot partition does no harm"
qemu-img convert -O qcow2 disk.img disk.qcow2
scan_json disk.qcow2
is "$status $(jq -r '.findings[] | .partition + " " + .path' <<<"$output")" "1 3 second.com" "qcow2: the same"
qemu-img create -q -f qcow2 -b disk.qcow2 -F qcow2 overlay.qcow2
run "$scan" image overlay.qcow2 --signatures sig
is "$status" 3 "qcow2 with a backing file is refused"
like "$errors" "backing file" "... and says why"

rm -f mbr.img && truncate -s 120M mbr.img
printf 'label: dos\nstart=2048,size=20480,type=c\nstart=22528,size=215040,type=5\nstart=24576,size=204800,type=83\n' |
	sfdisk -q mbr.img
start=24576
dd if=e2.img of=mbr.img bs=512 seek="$start" conv=notrunc,sparse status=none
scan_json mbr.img
is "$(jq -r '.findings[] | .partition + " " + .path' <<<"$output")" "5 second.com" "MBR: found on a logical partition"

# ---- Never clean -----------------------------------------------------------------------------------------------
run "$scan" image ext4.img --signatures empty --output json
is "$status $(jq -r .verdict <<<"$output")" "2 incomplete" "an empty signature folder is incomplete"
run "$scan" image ext4.img --signatures nowhere --output json
is "$status $(jq -r .verdict <<<"$output")" "2 incomplete" "a missing signature folder is incomplete"
head -c 1000 /dev/urandom >sig-broken.ndb && mkdir broken && mv sig-broken.ndb broken/x.ndb
run "$scan" image ext4.img --signatures broken --output json
is "$status" 2 "damaged signatures are incomplete"
# A full /tmp in a mount namespace of its own; this folder, which may be below it, is /mnt there.
full_tmp() {
	unshare -m bash -c 'mount --bind . /mnt && cd /mnt && mount -t tmpfs -o size=4k none /tmp && { head -c 1M /dev/zero >/tmp/fill; exec "$@"; }' - "$@" 2>/dev/null
}
if [ "$(id -u)" = 0 ] && full_tmp true && [ "${build#/tmp/}" = "$build" ]; then
	run full_tmp "$scan" image ext4.img --signatures sig --output json
	is "$status $(jq -r '.verdict + " " + .reasons[0]' <<<"$output" | cut -d: -f1)" "2 incomplete no engine" "no space for temp files is incomplete"
else
	skip "no space for temp files is incomplete" "needs root and mount namespaces"
fi
truncate -s 40M zeros.img
scan_json zeros.img
is "$status" 0 "a disk of nothing but zeros is clean"
printf x | dd of=zeros.img bs=1 seek=20000000 conv=notrunc status=none
scan_json zeros.img
is "$status $(jq -r '.reasons[0]' <<<"$output" | cut -d: -f1)" "2 unknown" "one byte in the middle of it is not"
head -c 20M /dev/urandom >random.img
scan_json random.img
is "$status $(jq -r '.reasons[0]' <<<"$output" | cut -d: -f1)" "2 unknown" "random bytes are incomplete: unknown"
truncate -s 50M truncated.img && dd if=ext4.img of=truncated.img bs=1M count=50 conv=notrunc status=none
scan_json truncated.img
is "$status" 2 "a truncated image is incomplete"
head -c 120M disk.img >cut.img
scan_json cut.img
is "$status" 2 "a truncated disk is incomplete"
: >nothing.img
scan_json nothing.img
is "$status" 2 "an empty image is incomplete"
if command -v cryptsetup >/dev/null; then
	truncate -s 40M luks.img
	printf key | cryptsetup luksFormat -q --pbkdf pbkdf2 --pbkdf-force-iterations 1000 luks.img -
	scan_json luks.img
	is "$status $(jq -r '.reasons[0]' <<<"$output" | cut -d: -f1)" "2 encrypted" "LUKS is incomplete: encrypted"
else
	skip "LUKS is incomplete: encrypted" "cryptsetup is not installed"
fi
(cd infected && zip -q -P secret ../tree/locked.zip tiny.txt)
rm -f locked.img && truncate -s 100M locked.img && mkfs.ext4 -q -d tree locked.img && rm tree/locked.zip
scan_json locked.img
is "$status" 2 "an encrypted archive is incomplete"
run "$scan" image no-such.img --signatures sig
is "$status" 3 "a missing image could not run"
like "$errors" "no-such.img" "... and names it"

# ---- Hostile ---------------------------------------------------------------------------------------------------
rm -f huge.img && truncate -s 50M huge.img && mkfs.ext4 -q huge.img
printf 'write eicar.com eicar.com\n' | debugfs -w huge.img >/dev/null 2>&1
debugfs -w -R "write tree/tiny.txt huge" huge.img >/dev/null 2>&1
debugfs -w -R "set_inode_field huge size 10995116277760" huge.img >/dev/null 2>&1
started=$SECONDS
scan_json huge.img
is "$(jq -r '.findings[].path' <<<"$output")" "eicar.com" "a file of 10 TB does not hide the others"
check "... nor take for ever ($((SECONDS - started)) s)" [ $((SECONDS - started)) -lt 300 ]
for seed in {1..12}; do
	cp ext4.img fuzzed.img
	for _ in {1..60}; do
		RANDOM=$((seed * 977 + RANDOM))
		printf "\\x$(printf %02x $((RANDOM % 256)))" |
			dd of=fuzzed.img bs=1 seek=$(((RANDOM * 32768 + RANDOM) % 3000000)) conv=notrunc status=none
	done
	run timeout 300 "$scan" image fuzzed.img --signatures sig --output json
	[ "$status" -le 2 ] || break
done
check "damaged file systems end with a verdict, never with a crash or a hang" [ "$status" -le 2 ]

done_testing
