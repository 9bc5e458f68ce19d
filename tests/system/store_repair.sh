#!/usr/bin/env bash
# Damage is repaired chunk by chunk: from a store that holds the same content in other packs, from an image, from records whose footer is
# lost. What cannot be repaired is named by desktop, snapshot, volume and bytes, and the next backup heals it.
. "$(dirname "$0")/../lib/tap.sh"
build=$(realpath "$1")
need jq
store() { "$build/bin/godwit-store" "$@"; }
put() { store put "$1" --desktop "$2" --volume disk0="$3" --output json | jq -r .snapshot; }
cd "$TAP_DIR" || bail "no folder"

# hurt PACK OFFSET...: overwrite some bytes there.
hurt() {
	local pack=$1 at
	shift
	for at in "$@"; do printf 'ouch' | dd of="$pack" bs=1 seek="$at" conv=notrunc status=none; done
}
biggest() { ls -S "$1"/packs/*.pack | head -n 1; }

head -c 5000000 /dev/urandom >one.img
cp one.img two.img
printf 'changed' | dd of=two.img bs=1 seek=3000000 conv=notrunc status=none
store init s >/dev/null
a=$(put s alice one.img) b=$(put s bob two.img)
# Another store: other packs (both disks in another order), another key.
store init other >/dev/null
put other carol two.img >/dev/null
put other dave one.img >/dev/null
cp -r s clean

hurt "$(biggest s)" 500000 1500000 1500200 2500000
run store verify s
is "$status" 1 "damage is found"
like "$output" "hurts snapshots .*$a of alice \(disk0, bytes [0-9]+-[0-9]+\).*$b of bob" "... with snapshots, desktops and bytes"
run store repair s --from other --output json
is "$status" 0 "it is repaired from a store with other packs"
is "$(jq .bad_records <<<"$output")" 3 "... all three records"
is "$(jq .repaired_chunks <<<"$output")" 3 "... each of them"
check "... the store is sound" store verify s
store get s "$a" disk0 back.img
check "... alice's disk is as it was" cmp back.img one.img
store get s "$b" disk0 back.img
check "... and bob's" cmp back.img two.img
is "$(ls s/damaged | wc -l)" 1 "... the damaged pack was put away"
run store gc s --output json
is "$(jq .packs_deleted <<<"$output")" 0 "gc finds nothing to delete"
check "... the store is still sound" store verify s

# From an image: what it has in the same place, also a tree node of it.
rm -rf s && cp -r clean s
hurt "$(biggest s)" 500000 1500000
run store repair s --from-image one.img --output json
is "$status" 0 "a raw image repairs it, too"
check "... the store is sound" store verify s

# The footer is lost, but the records are there: nothing else is needed.
rm -rf s && cp -r clean s
truncate -s -3000 "$(biggest s)"
check_not "a pack without its footer is damage" store verify s --quick
run store repair s --output json
is "$status" 0 "... that is repaired from its own records"
is "$(jq .repaired_chunks <<<"$output")" 0 "... and from nothing else"
check "... the store is sound" store verify s
store get s "$b" disk0 back.img
check "... bit for bit" cmp back.img two.img

# The header's clear half is known from elsewhere; what is encrypted in it is the domain, without which nothing may be given to anybody.
rm -rf s && cp -r clean s
hurt "$(biggest s)" 4 40 58
run store list s
like "$errors" "damaged or missing, and with them maybe snapshots" "a list says that it leaves snapshots out"
run store stat s --output json
is "$status $(jq '"\(.packs) \(.packs_damaged)"' <<<"$output")" '0 "1 1"' "stat counts the rest"
run store repair s --output json
is "$status $(jq .lost_chunks <<<"$output")" "0 0" "a pack whose header is damaged is repaired from itself"
check "... the store is sound" store verify s
store get s "$a" disk0 back.img
check "... bit for bit" cmp back.img one.img
rm -rf s && cp -r clean s
hurt "$(biggest s)" 100
run store repair s
is "$status" 1 "without its domain it is lost"
like "$output" "nothing can be read of pack s/packs/[0-9a-f]{32}.pack: the header is damaged" "... and named"
run store gc s
like "$errors" "repair" "... gc says what there is to do"

# The manifest, too: then that snapshot is lost, and can be let go.
rm -rf s && cp -r clean s
truncate -s -5000 "$(biggest s)"
run store repair s --from other
is "$status" 1 "a manifest that nobody has is lost"
like "$output" "snapshot $a is lost" "... and named"
check_not "... gc deletes nothing as long as that is so" store gc s
check "... it can be forgotten" store forget s "$a"
check "... then gc works" store gc s
check "... and all is sound" store verify s
store get s "$b" disk0 back.img
check "... bit for bit" cmp back.img two.img

# A pack is gone altogether, the manifests with it.
rm -rf s && cp -r clean s
store mirror s m >/dev/null
rm s/packs/*
run store repair s --from m --output json
is "$status" 0 "a store without packs is repaired from its mirror"
check "... it is sound" store verify s
is "$(store list s --output json | jq length)" 2 "... with all snapshots"

# Repairs give packs other names on one side only. The next mirror run leaves the mirror with the store's packs, and none else.
same_packs() { diff <(ls s/packs) <(ls m/packs); }
rm -rf s m && cp -r clean s
store mirror s m >/dev/null
hurt "$(biggest m)" 500000
check "a mirror is repaired from another store" store repair m --key s.key --from other
check_not "... which gives it a pack of its own" same_packs
check "the next mirror run" store mirror s m
check "... brings back the store's and lets go of that one" same_packs
check "... the mirror is sound" store verify m --key s.key
hurt "$(biggest s)" 500000
check "the store is repaired so" store repair s --from other
check "the next mirror run" store mirror s m
check "... brings the new pack and lets go of the one that it replaced" same_packs
check "... the mirror is sound" store verify m --key s.key
store forget s "$a" >/dev/null
store gc s --repack 99 >/dev/null
store mirror s m >/dev/null
is "$(store list m --key s.key --output json | jq -r '.[].snapshot')" "$b" "... and what is forgotten later does not come back there"
# But what the store has nowhere is never taken from the mirror.
rm -rf s/index "$(biggest s)"
before=$(ls m/packs)
store mirror s m >/dev/null
is "$(ls m/packs)" "$before" "a store that lost its packs takes none from the mirror"
store get m "$b" disk0 back.img --key s.key
check "... which can still be restored from" cmp back.img two.img

# Nobody else has it.
rm -rf s && cp -r clean s
hurt "$(biggest s)" 500000
run store repair s
is "$status" 1 "what nobody has is lost"
like "$output" "desktop alice, snapshot $a, volume disk0, bytes [0-9]+-[0-9]+: chunk [0-9a-f]{64} is lost" "... alice's bytes are named"
like "$output" "desktop bob, snapshot $b, volume disk0, bytes" "... and bob's"
check_not "... verify says that it is missing" store verify s
put s alice one.img >/dev/null
check "the next backup heals it, also for those before" store verify s
store get s "$a" disk0 back.img
check "... bit for bit" cmp back.img one.img
run store repair s --from nosuch
is "$status" 2 "a source that is not there is refused"
like "$errors" "nosuch" "... and named"
done_testing
