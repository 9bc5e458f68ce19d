#!/usr/bin/env bash
# The golden store of format version 1 is still read, from its packs and key alone.
. "$(dirname "$0")/../lib/tap.sh"
build=$(realpath "$1")
golden=$(realpath "$(dirname "$0")/../golden")
need jq
store() { "$build/bin/godwit-store" "$@"; }
cp -r "$golden/store-1" "$golden/store-1.key" "$TAP_DIR" && cd "$TAP_DIR" || bail "no folder"

check "it is sound" store verify store-1
while read -r snapshot volume sum; do
	store get store-1 "$snapshot" "$volume" out
	is "$(sha256sum <out | cut -c 1-64)" "$sum" "$volume of $snapshot"
done <"$golden/store-1.sums"
check_not "what was forgotten stays forgotten" store get store-1 "$(cat "$golden/store-1.forgotten")" disk0 out
pinned=$(head -n 1 "$golden/store-1.sums" | cut -d ' ' -f 1)
mkdir -p store-1/tmp
check_not "what was pinned is pinned" store forget store-1 "$pinned"
rm store-1.key store-1/store.json
echo "golden passphrase" >passphrase
check "the passphrase brings the key back" store key recover store-1 --passphrase-file passphrase
check "store.json is made again from the packs" store reindex store-1
check "... and all is sound" store verify store-1
done_testing
