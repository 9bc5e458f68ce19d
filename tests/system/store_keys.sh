#!/usr/bin/env bash
# Keys: rotation without rewriting, rewriting when asked, a passphrase that brings a lost key file back.
. "$(dirname "$0")/../lib/tap.sh"
build=$(realpath "$1")
need jq
store() { "$build/bin/godwit-store" "$@"; }
cd "$TAP_DIR" || bail "no folder"
head -c 2000000 /dev/urandom >a.img
head -c 2000000 /dev/urandom >b.img
echo "correct horse battery" >good
echo "wrong horse battery" >bad
store init s >/dev/null
a=$(store put s --desktop d --volume disk0=a.img --output json | jq -r .snapshot)
cp s.key first.key
check "protect" store key protect s --passphrase-file good
run store key rotate s --passphrase-file bad
is "$status" 1 "rotation needs the right passphrase, to renew the recovery form"
check "rotate" store key rotate s --passphrase-file good
is "$(jq '.keys | length' s.key)" 2 "... there are two keys now"
b=$(store put s --desktop d --volume disk0=b.img --output json | jq -r .snapshot)
store get s "$a" disk0 back.img
check "what the old key encrypted reads back" cmp back.img a.img
store get s "$b" disk0 back.img
check "... and so does what the new one did" cmp back.img b.img
is "$(store put s --desktop d --volume disk0=a.img --output json | jq .new_bytes)" 0 "... and dedup still finds it"
run store list s --key first.key
is "$status" 1 "the old key alone is not enough"
like "$errors" "first.key" "... and is named"

check "gc --rekey rewrites" store gc s --rekey
jq '.keys |= [.[1]]' s.key >second.key
run store verify s --key second.key
is "$status" 0 "... so that the new key alone is enough"

rm s.key
run store list s
like "$errors" "s.key is not there" "a lost key file is named"
check_not "a wrong passphrase brings nothing back" store key recover s --passphrase-file bad
check "the right one does" store key recover s --passphrase-file good
check "... and everything is there" store verify s
run store key recover s --passphrase-file good
like "$errors" "there already" "a key file is never overwritten"
rm -rf s/index s/store.json
check "reindex makes the rest again from packs and key" store reindex s
store get s "$b" disk0 back.img
check "... all of it" cmp back.img b.img
done_testing
