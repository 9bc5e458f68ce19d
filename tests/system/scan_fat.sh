#!/usr/bin/env bash
# FAT and exFAT that no driver writes: damaged, hostile, or just odd. Every file that can be read is listed with its bytes, and
# whatever cannot be has its reason. SCAN_LONG=1 (make check-scan) turns more bits over.
# shellcheck disable=SC2154 # what tap.sh sets
# shellcheck source=tests/lib/tap.sh
. "$(dirname "$0")/../lib/tap.sh"
build=$(realpath "$1")
scan=$build/bin/godwit-scan
odd=$(realpath "$(dirname "$0")/../lib/fat_odd.py")
flip=$(realpath "$(dirname "$0")/../lib/flip.py")
need mkfs.vfat mkfs.exfat mcopy mshowfat jq python3
seeds=${SCAN_LONG:+100}
seeds=${seeds:-3}
cd "$TAP_DIR" || exit
export LC_ALL=C.UTF-8
paths() { jq -r .path <<<"$output" | sort | tr '\n' ' '; }
sum_of() { jq -r "select(.path == \"$1\") | .sha256" <<<"$output"; }

# ---- FAT16, and what can be wrong with it ------------------------------------------------------------------------------
truncate -s 5M base.img && mkfs.vfat -F 16 -s 1 base.img >/dev/null
head -c 10000 /dev/urandom >big && head -c 5000 /dev/urandom >other
mmd -i base.img ::/DIR ::/DIR/SUB
echo file | mcopy -i base.img - ::/DIR/FILE.TXT && echo deep | mcopy -i base.img - ::/DIR/SUB/DEEP.TXT
mcopy -i base.img big ::/BIG && mcopy -i base.img other ::/OTHER
first_cluster() { mshowfat -i base.img "::/$1" | grep -o '<[0-9]*' | tr -d '<'; }
big=$(first_cluster BIG)
dir=$(first_cluster DIR)
sub=$(first_cluster DIR/SUB)
word() { printf '%02x%02x' $(($1 % 256)) $(($1 / 256)); }
run "$scan" list base.img --output jsonl
is "$status $(paths)" "0 BIG DIR/FILE.TXT DIR/SUB/DEEP.TXT OTHER " "as it was made"

# NAME  WHAT IS LISTED  STATUS AND REASON  COMMANDS OF fat_odd.py, with spaces for tabs and semicolons between them
all='BIG DIR/FILE.TXT DIR/SUB/DEEP.TXT OTHER '
while IFS='|' read -r name want reason commands; do
	cp base.img odd.img
	tr ' ;' '\t\n' <<<"$commands" | sed 's/_/ /g' | python3 "$odd" odd.img || fail "$name: it is made"
	run timeout 120 "$scan" list odd.img --output jsonl
	like "$(paths)$status $errors" "^$want$reason" "$name"
done <<TABLE
a folder that is its own grandchild|BIG DIR/FILE.TXT OTHER |2 .*\"DIR/SUB\": its clusters are another folder's|field SUB________ 26 $(word "$dir")
a folder that begins nowhere|BIG OTHER |2 .*\"DIR\": its clusters are another folder's|field DIR________ 26 0000
a folder behind the end|BIG OTHER |2 .*\"DIR\": its first cluster is not on the volume|field DIR________ 26 ffef
a folder on a file's clusters|.*BIG.* OTHER |2 .*\"DIR\": it does not begin with itself|field DIR________ 26 $(word "$big")
a folder in a circle of clusters|$all|2 .*\"DIR\": its chain of clusters is a circle|link $dir $dir
a folder that goes on with another one's clusters|.*DIR/DEEP.TXT .*|2 .*\"DIR/SUB\": its clusters are another folder's, or its own again|link $dir $sub
a folder that goes on nowhere|$all|2 .*\"DIR\": its chain of clusters leads to one that is free|link $dir 0
a folder that goes on behind the end|$all|2 .*\"DIR\": its chain of clusters leads out of the volume|link $dir 0xfff0
a file in a circle of clusters|$all|2 .*BIG: only [0-9]* of its 10000 bytes .* circle|link $big $big
a file whose chain is cut off|$all|2 .*BIG: only 512 of its 10000 bytes .* ends too early|link $big 0xffff
a file on a bad cluster|$all|2 .*BIG: only 512 of its 10000 bytes .* is bad|link $big 0xfff7
a file that begins nowhere|$all|2 .*BIG: only 0 of its 10000 bytes .* first cluster|field BIG________ 26 0000
a file that says it has 4 GiB|$all|2 .*BIG: only 10240 of its 4294967295 bytes|field BIG________ 28 ffffffff
two files on the same clusters|$all|0|field OTHER______ 26 $(word "$big")
a file that is marked as a label|$all|0|field BIG________ 11 08
a name of nothing but blanks|<entry [0-9]*> DIR/FILE.TXT DIR/SUB/DEEP.TXT OTHER |0|short BIG________ ___________
a folder of the root that is named as the root itself|.*FILE.TXT .*SUB/DEEP.TXT .*|0|short DIR________ .__________
a slash in a name|DIR/FILE.TXT DIR/SUB/DEEP.TXT OTHER a.xc0.xafb |0|short BIG________ a/b________
a name that looks like the folder above|.. DIR/FILE.TXT DIR/SUB/DEEP.TXT OTHER |0|short BIG________ .._________
a table of no such place|.*|2 .*a file allocation table does not begin where the boot sector says|boot 16 03
TABLE

# Files on the same clusters are read, but not for ever.
cp base.img odd.img
head -c 2000000 /dev/urandom >large && mcopy -i odd.img large ::/LARGE
at=$(mshowfat -i odd.img ::/LARGE | grep -o '<[0-9]*' | tr -d '<')
for i in {10..60}; do echo x | mcopy -i odd.img - "::/DIR/FILE$i"; done
for i in {10..60}; do printf 'field\tFILE%s     \t26\t%s\nfield\tFILE%s     \t28\t80841e00\n' "$i" "$(word "$at")" "$i"; done | python3 "$odd" odd.img
run timeout 120 "$scan" list odd.img --output jsonl
like "$status $errors" "^2 .*too many files share their clusters" "50 files on the clusters of one: it ends"
is "$(jq -r .sha256 <<<"$output" | grep -c "$(sha256sum <large | cut -c1-64)")" 21 "... but not before the volume was read eight times"

# ---- Deleted files -----------------------------------------------------------------------------------------------------
cp base.img odd.img
mcopy -i odd.img other "::/the long name of a file that is gone" && mdel -i odd.img "::/the long name of a file that is gone"
run "$scan" list odd.img --output jsonl
is "$status $(paths)" "0 $all" "FAT: a deleted file is not listed"
run "$scan" list odd.img --output jsonl --deleted
is "$status $(sum_of "the long name of a file that is gone")" "0 $(sha256sum <other | cut -c1-64)" \
	"... unless it is asked for: by its long name, with its bytes"
head -c 100 other | mcopy -i odd.img - ::/NEW
run "$scan" list odd.img --output jsonl --deleted
is "$status $(jq -r .path <<<"$output" | grep -c gone)" "0 0" "... and not any more when its place is taken"

# ---- exFAT -------------------------------------------------------------------------------------------------------------
exfat=
truncate -s 8M exfat.img && mkfs.exfat exfat.img >/dev/null
mkdir mnt
if [ "$(id -u)" = 0 ] && command -v mount.exfat-fuse >/dev/null && loop=$(losetup -f --show exfat.img 2>/dev/null); then
	at_end '[ -z "$loop" ] || losetup -d "$loop"'
	at_end 'mountpoint -q mnt && umount mnt'
	if mount.exfat-fuse "$loop" mnt >/dev/null 2>&1; then
		exfat=1
		cp big mnt/big && mkdir mnt/folder && cp other mnt/folder/
		for i in {1..40}; do echo "$i" >"mnt/folder/v$i.com"; done
		cp other mnt/gone && rm mnt/gone
		unmount mnt
	fi
	losetup -d "$loop"
	loop=
fi
odd_exfat() { cp exfat.img odd.img && python3 "$odd" odd.img <<<"$1"; }
if [ "$exfat" ]; then
	run "$scan" list exfat.img --output jsonl --deleted
	is "$status $(sum_of big) $(sum_of gone)" "0 $(cat big other | { head -c 10000 | sha256sum; sha256sum; } | cut -c1-64 | tr '\n' ' ' | sed 's/ $//')" \
		"exFAT: a file, and on request a deleted one"
	odd_exfat $'valid\tbig\t1000'
	run "$scan" list odd.img --output jsonl
	is "$status $(sum_of big)" "0 $({ head -c 1000 big; head -c 9000 /dev/zero; } | sha256sum | cut -c1-64)" \
		"exFAT: what was never written is zeros"
	odd_exfat $'sum\tbig'
	run "$scan" list odd.img --output jsonl
	like "$status $(sum_of big) $errors" "^2 $(sha256sum <big | cut -c1-64) .*1 of its entries are damaged" \
		"exFAT: a wrong checksum has a reason, and the file is read"
else
	skip "exFAT" "needs root, loop devices and FUSE"
fi

# ---- Bits turned over --------------------------------------------------------------------------------------------------
while read -r bits mib; do
	truncate -s "${mib}M" "fat$bits.img" && mkfs.vfat -F $bits -s 1 "fat$bits.img" >/dev/null 2>&1
	mmd -i "fat$bits.img" ::/folder
	for i in {1..40}; do echo "$i" | mcopy -i "fat$bits.img" - "::/folder/v$i.com"; done
done <<<$'12 2\n16 6\n32 40'
# A file is still listed, by whatever name, or there is a reason.
honest() { # IMAGE FILES
	run timeout 120 "$scan" list "$1" --output jsonl
	[ "$status" = 2 ] || { [ "$status" = 0 ] && [ "$(jq -r .path <<<"$output" | wc -l)" -ge "$2" ]; }
}
while read -r fs files first last; do
	[ -n "$exfat" ] || [ "$fs" != exfat ] || continue
	wrong=
	for seed in $(seq "$seeds"); do
		cp "$fs.img" flipped.img
		python3 "$flip" flipped.img "$seed" $((seed % 30 + 1)) "$first" "$last"
		honest flipped.img "$files" || wrong="$wrong $seed($status)"
	done
	is "$wrong" "" "$fs: $seeds images with up to 30 bits turned over, nothing lost in silence"
done <<'TABLE'
fat12 40 0 60000
fat16 40 0 110000
fat32 40 0 720000
exfat 42 0 2200000
TABLE

done_testing
