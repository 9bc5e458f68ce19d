#!/usr/bin/env bash
# A clone of a scanned desktop costs next to nothing, although nobody ever scanned it: its contents are known by the chunks that
# hold them. And nothing that differs by a byte is: what is said of the clone is what a scan says that knows nothing.
# shellcheck disable=SC2016,SC2154 # EICAR; what tap.sh sets
# shellcheck source=tests/lib/tap.sh
. "$(dirname "$0")/../lib/tap.sh"
build=$(realpath "$1")
need jq mkfs.ext4 mkfs.ext3 mkntfs ntfscp mkfs.vfat mcopy debugfs sfdisk
scan=$build/bin/godwit-scan store=$build/bin/godwit-store
cd "$TAP_DIR" || exit

mkdir sig tree
printf '%s%s' 'X5O!P%@AP[4\PZX54(P^)7CC)7}$EICAR-STANDARD' '-ANTIVIRUS-TEST-FILE!$H+H*' >eicar.com
printf 'Test.Eicar:0:0:%s\n' "$(od -An -v -tx1 eicar.com | tr -d ' \n')" >sig/test.ndb
for i in {1..40}; do head -c $((i * i * 150 + 1)) /dev/urandom >"tree/f$i"; done
cp eicar.com tree/bad
: >tree/empty
truncate -s 700K tree/hole && printf end >>tree/hole && printf middle | dd of=tree/hole bs=1 seek=300001 conv=notrunc status=none
"$store" init st >/dev/null

put() { # DESKTOP IMAGE: the snapshot's id in $snapshot
	snapshot=$("$store" put st --desktop "$1" --volume "disk0=$2" | awk '/^snapshot/ { sub(":", "", $2); print $2 }')
}
with_state() { "$scan" snapshot st "$snapshot" --signatures sig --state state --output json >last.json; }
without() { "$scan" snapshot st "$snapshot" --signatures sig --output json; }
judged() { jq -c '{verdict, files, bytes, findings: (.findings | sort), reasons: (.reasons | sort)}'; }
figures() { jq -r '"\(.known_contents) known, \(.scanned_contents) scanned, \(.read_bytes) read"' last.json; }
same_files() { # IMAGE
	diff <("$scan" list "$1" --output jsonl | sort) <("$scan" files "$snapshot" --state state | sort)
}
contents=$(find tree -type f -size +0 | wc -l)

clone() { # NAME IMAGE [BYTES FILES]: so much of it lies in no cluster of its own, and is read (default 0 0)
	local inside=${3:-0} inside_files=${4:-0}
	put "$1" "$2" && with_state
	is "$(jq -r '"\(.known_contents) \(.scanned_contents)"' last.json)" "0 $contents" "$1: the first one is read and scanned"
	cp "$2" twin.img
	put "$1-twin" twin.img && with_state
	is "$(figures)" "$((contents - inside_files)) known, 0 scanned, $inside read" "$1: of a clone that was never scanned $inside bytes are read"
	is "$(judged <last.json)" "$(without | judged)" "... and what is said of it is what a scan says that knows nothing"
	is "$(jq -r '"\(.verdict) \(.findings[0].path)"' last.json)" "infected bad" "... infected, where both are"
	check "... and its files are those that are on it" same_files twin.img
	with_state
	is "$(jq -r '"\(.verdict) \(.reused_files)"' last.json)" "infected $(find tree -type f | wc -l)" "... and the next scan of it is incremental"
}
truncate -s 40M ext4.img && mkfs.ext4 -q -b 4096 -d tree ext4.img
clone ext4 ext4.img

# Other bytes in the same places, in the middle of a file that stays as long as it was: no name, size or time says so.
block=$(debugfs -R 'blocks f40' ext4.img 2>/dev/null | awk '{ print $30 }')
dd if=eicar.com of=ext4.img bs=4096 seek="$block" conv=notrunc status=none
debugfs -w -f - ext4.img >/dev/null 2>&1 <<<$'write eicar.com bad2\nrm bad\nwrite tree/f30 copy'
put differs ext4.img && with_state
is "$(judged <last.json)" "$(without | judged)" "a clone that differs: what is said of it is what a scan says that knows nothing"
is "$(jq -r '[.findings[].path] | sort | join(" ")' last.json)" "bad2" "... the infected file has its new name"
check "... its files are those that are on it, changed bytes and all" same_files ext4.img
check "... most of it was not read" jq -e '.known_contents > 25 and .read_bytes < 2000000' last.json

# Small files lie in NTFS's records, and are read.
if truncate -s 40M ntfs.img && mkntfs -q -F -s 512 -p 0 ntfs.img >/dev/null 2>&1; then
	for file in tree/*; do ntfscp -q ntfs.img "$file" "${file#tree/}" >/dev/null 2>&1; done
	rm -rf state
	clone ntfs ntfs.img $((68 + 151 + 601)) 3
else
	fail "no NTFS image was made"
fi

truncate -s 40M fat.img && mkfs.vfat fat.img >/dev/null && mcopy -i fat.img -s tree/* ::
rm -rf state
clone fat fat.img

# Without extents, and on a partition; the next desktop has the same partition a mebibyte further.
truncate -s 40M ext3.img && mkfs.ext3 -q -b 1024 -O ^extents -d tree ext3.img
rm -rf state
disk() { # IMAGE MIB
	truncate -s "$((42 + $2))M" "$1" && echo "start=${2}MiB, size=40MiB, type=83" | sfdisk -q "$1" &&
		dd if=ext3.img of="$1" bs=1M seek="$2" conv=notrunc,sparse status=none
}
disk disk1.img 1 && disk disk2.img 2
put disk1 disk1.img && with_state
is "$(jq .scanned_contents last.json)" "$contents" "ext3 on a partition: the first one is scanned"
put disk2 disk2.img && with_state
is "$(figures)" "$contents known, 0 scanned, 0 read" "... and known where the partition begins elsewhere"
is "$(judged <last.json)" "$(without | judged)" "... with the same verdict"
check "... and the same files" same_files disk2.img

# Other signatures: the bytes are looked at again, once.
printf 'Test.F7:0:0:%s\n' "$(head -c 40 tree/f7 | od -An -v -tx1 | tr -d ' \n')" >sig/more.ndb
put disk3 disk1.img && with_state
is "$(jq .scanned_contents last.json)" "$contents" "with other signatures everything is scanned again"
is "$(jq -r '[.findings[].path] | sort | join(" ")' last.json)" "bad f7" "... and they count"
put disk4 disk2.img && with_state
is "$(figures) $(jq -r '.findings | length' last.json)" "$contents known, 0 scanned, 0 read 2" "... once"

# Memory, and images without chunks, have no identities.
"$scan" image ext3.img --signatures sig --state state --output json >last.json
is "$(jq -r '"\(.known_contents) \(.scanned_contents) \(.read_bytes > 0)"' last.json)" "0 0 true" "an image file is read"
done_testing
