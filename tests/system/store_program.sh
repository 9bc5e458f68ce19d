#!/usr/bin/env bash
# godwit-store as a user meets it: snapshots of files, increments, restores, damage, wrong keys, a full disk.
. "$(dirname "$0")/../lib/tap.sh"
build=$(realpath "$1")
need jq qemu-img
store() { "$build/bin/godwit-store" "$@"; }
cd "$TAP_DIR" || bail "no folder"

# A disk with a hole, text, noise, and an odd size.
truncate -s 40000123 disk.img
seq 1 400000 | dd of=disk.img bs=64k seek=40 conv=notrunc status=none
head -c 3000000 /dev/urandom | dd of=disk.img bs=64k seek=300 conv=notrunc status=none

check "init makes a store and its key" store init s
is "$(stat -c %a s.key)" 600 "... which only its owner can read"
run store put s --desktop alice --volume disk0=disk.img --output json
is "$status" 0 "put works"
first=$(jq -r .snapshot <<<"$output")
is "$(jq '.read_bytes < 8000000' <<<"$output")" true "... and does not read holes"
is "$(jq '.stored_bytes < .new_bytes' <<<"$output")" true "... and compresses"
check "get writes the volume back" store get s "$first" disk0 back.img
check "... bit for bit" cmp disk.img back.img
is "$(stat -c %s back.img)" 40000123 "... of exactly its size"
is "$(($(stat -c %b back.img) * 512 < 12000000))" 1 "... sparse"

cp disk.img disk2.img
printf 'changed' | dd of=disk2.img bs=1 seek=20000000 conv=notrunc status=none
echo "20000000 7" >changes
run store put s --desktop alice --volume disk0=disk2.img --parent "$first" --changed disk0=changes --output json
is "$(jq .read_bytes <<<"$output")" 65536 "an increment reads what changed and nothing else"
second=$(jq -r .snapshot <<<"$output")
store get s "$second" disk0 back2.img
check "... and is a whole snapshot" cmp disk2.img back2.img
run store put s --desktop alice --volume disk0=disk2.img --parent "$second"
like "$output" "compared in full: no list" "without a list everything is compared, and it says so"
is "$(store list s --output json | jq -r 'map(.desktop) | unique | join(" ")')" alice "list names the desktop"
is "$(store list s --output json | jq length)" 3 "... and all three snapshots"
is "$(store list s --output json | jq -r '.[0].snapshot')" "$first" "... oldest first"
check "verify finds the store sound" store verify s
check "verify --quick, too" store verify s --quick
is "$(store stat s --output json | jq .snapshots)" 3 "stat counts"

run store put s --desktop alice --volume disk0=disk.img --parent "$first" --changed disk0=/dev/null
is "$status" 0 "an empty list of changes is a list"
echo "12 x" >bad
run store put s --desktop alice --volume disk0=disk.img --parent "$first" --changed disk0=bad
like "$errors" "bad:1:" "a bad list of changes is named with its line"
run store put s --desktop 'Al ice' --volume disk0=disk.img
is "$status" 1 "a bad desktop name is refused"
run store put s --desktop alice
is "$status" 2 "put without a volume is wrong usage"
run store frobnicate s
is "$status" 2 "so is an unknown command"
run store get s "$first" nosuch x.img
like "$errors" "nosuch" "an unknown volume is named"
run store get s 19990101-000000-00000000 disk0 x.img
like "$errors" "no snapshot" "so is an unknown snapshot"
check "--help explains itself" store --help

store init other
run store list s --key other.key
is "$status" 1 "another store's key is refused"
like "$errors" "other.key" "... and named"
run store verify s --key nosuch.key
is "$status" 2 "verify that cannot run exits with 2"

# A flipped bit in the biggest pack: found, named, never given out as data.
cp -r s broken
pack=$(ls -S broken/packs | head -n 1)
printf '\x55' | dd of="broken/packs/$pack" bs=1 seek=1000000 conv=notrunc status=none
run store verify broken --key s.key
is "$status" 1 "verify finds a flipped byte"
like "$output" "pack ${pack%.pack}, offset [0-9]+, chunk [0-9a-f]{64}" "... names pack, offset and chunk"
like "$output" "hurts snapshots .*$first" "... and the snapshots it hurts"
run store get broken "$first" disk0 broken.img --key s.key
is "$status" 1 "the damaged volume is not restored"
like "$errors" "pack ${pack%.pack}" "... with the same name for what is wrong"
check "... and no half file is left" test ! -e broken.img
truncate -s 50000 "broken/packs/$pack"
run store verify broken --key s.key --quick
is "$status" 1 "a cut off pack is found by --quick"
like "$output" "${pack%.pack}" "... and named"

# A full disk: an error, and everything before it stays.
if [ "$(id -u)" = 0 ] && mkdir full && mount -t tmpfs -o size=6m tmpfs full 2>/dev/null; then
	at_end 'umount "$TAP_DIR/full"'
	store init full/s --key full.key
	store put full/s --key full.key --desktop alice --volume disk0=changes
	run store put full/s --key full.key --desktop alice --volume disk0=disk.img
	head -c 20000000 /dev/urandom >noise.img
	run store put full/s --key full.key --desktop alice --volume disk0=noise.img
	is "$status" 1 "a full disk fails the put"
	like "$errors" "No space left" "... and says so"
	check "... the store stays sound" store verify full/s --key full.key
	is "$(store list full/s --key full.key --output json | jq length)" 2 "... with the snapshots from before"
	is "$(ls full/s/tmp | wc -l)" 0 "... and no rubbish"
else
	skip "a full disk" "needs root to mount a small tmpfs"
fi
done_testing
