#!/usr/bin/env bash
# A mirror: complete, resumable, restorable with the first store gone, and good for repairs. And retention on the way.
. "$(dirname "$0")/../lib/tap.sh"
build=$(realpath "$1")
need jq
store() { "$build/bin/godwit-store" "$@"; }
put() { store put s --desktop alice --volume disk0="$1" --output json | jq -r .snapshot; }
cd "$TAP_DIR" || bail "no folder"

for i in 1 2 3; do head -c 3000000 /dev/urandom >disk$i.img; done
store init s >/dev/null
a=$(put disk1.img) b=$(put disk2.img)
run store mirror s m --output json
is "$(jq .packs_copied <<<"$output")" 2 "the first run copies every pack"
run store mirror s m --output json
is "$(jq .packs_copied <<<"$output")" 0 "the second has nothing to do"
c=$(put disk3.img)
run store mirror s m --output json
is "$(jq .packs_copied <<<"$output")" 1 "the third copies what is new"
check "the mirror is a sound store" store verify m --key s.key
store init o >/dev/null
run store mirror s o
like "$errors" "another store" "a foreign store is no mirror"

# Damage in the first store: named, repaired from the mirror, and not carried over.
pack=$(ls -S s/packs | head -n 1)
printf 'xyz' | dd of="s/packs/$pack" bs=1 seek=500000 conv=notrunc status=none
run store verify s
is "$status" 1 "damage is found"
run store mirror s fresh --output json
is "$(jq .packs_damaged <<<"$output")" 1 "a damaged pack is not mirrored"
run store verify s --repair-from m
is "$status" 0 "... it is repaired from the mirror"
like "$output" "${pack%.pack}: repaired" "... and named"
check "... and all is well again" store verify s
truncate -s 1000 "s/packs/$pack"
other=$(find s/packs -type f ! -name "*$pack*" -printf '%f\n' | head -n 1)
rm "s/packs/$other"
run store verify s --quick
is "$status" 1 "a cut off and a lost pack are found"
check "... and repaired as well" store verify s --repair-from m
for s in "$a:1" "$b:2" "$c:3"; do
	store get s "${s%:*}" disk0 back.img
	check "snapshot ${s%:*} reads back" cmp back.img "disk${s#*:}.img"
done

# Deletion follows, but a lost store takes nothing along.
run store prune s --desktop alice --keep-last 2 --dry-run
like "$output" "$a +goes" "prune says what would go"
is "$(store list s --output json | jq length)" 3 "... and a dry run does nothing"
store prune s --desktop alice --keep-last 2 >/dev/null
store gc s >/dev/null
check_not "what was pruned is gone" store get s "$a" disk0 back.img
run store mirror s m --output json
is "$(jq .packs_deleted <<<"$output")" 1 "the mirror follows"
check "... and stays sound" store verify m --key s.key
rm -rf s/packs/*
run store mirror s m --output json
is "$(jq .packs_deleted <<<"$output")" 0 "a store that lost its packs deletes nothing in the mirror"
rm -rf s
is "$(store list m --key s.key --output json | jq length)" 2 "with the store gone the mirror lists the snapshots"
store get m "$c" disk0 back.img --key s.key
check "... and restores them" cmp back.img disk3.img

# A window in which nothing can be deleted.
store init w >/dev/null
run store mirror w v --no-delete-hours 24
store put w --desktop alice --volume disk0=disk1.img >/dev/null
store mirror w v >/dev/null
run store forget v latest --key w.key
id=$(store list v --key w.key --output json | jq -r '.[0].snapshot')
run store forget v "$id" --key w.key
is "$status" 1 "inside the window nothing is forgotten"
like "$errors" "no-delete window of 24 hours" "... with the reason"
store forget w "$id" >/dev/null
store gc w >/dev/null
store mirror w v >/dev/null
store get v "$id" disk0 back.img --key w.key
check "... nor deleted because the source did" cmp back.img disk1.img
done_testing
