#!/usr/bin/env bash
# Images in and out, and volumes served over NBD, with QEMU's own tools at the other end.
. "$(dirname "$0")/../lib/tap.sh"
build=$(realpath "$1")
need qemu-img qemu-io qemu-nbd nbdcopy nbdkit jq
store() { "$build/bin/godwit-store" "$@"; }
cd "$TAP_DIR" || bail "no folder"

truncate -s 24M disk.raw
seq 1 300000 | dd of=disk.raw bs=64k seek=20 conv=notrunc status=none
head -c 1000000 /dev/urandom | dd of=disk.raw bs=64k seek=200 conv=notrunc status=none
store init s >/dev/null

for format in raw qcow2 vmdk vhdx vdi; do
	qemu-img convert -q -f raw -O "$format" disk.raw "disk.$format.img"
	run store import s --desktop "in-$format" "disk.$format.img" --output json
	is "$status" 0 "import of $format"
	id=$(jq -r .snapshot <<<"$output")
	store get s "$id" disk0 back.raw
	check "... gives the same disk" qemu-img compare -q -f raw -F raw disk.raw back.raw
done
is "$(jq '.new_bytes' <<<"$output")" 0 "... and the fifth time nothing new is stored"

# An OVA is a tar of a description and stream-optimised VMDKs.
echo '<Envelope/>' >machine.ovf
qemu-img convert -q -f raw -O vmdk -o subformat=streamOptimized disk.raw machine-disk1.vmdk
tar --format=ustar -cf machine.ova machine.ovf machine-disk1.vmdk
run store import s --desktop appliance machine.ova --output json
is "$status" 0 "import of an OVA"
store get s "$(jq -r .snapshot <<<"$output")" disk0 back.raw
check "... gives the same disk" qemu-img compare -q -f raw -F raw disk.raw back.raw
head -c 100000 machine.ova >cut.ova
run store import s --desktop appliance cut.ova
like "$errors" "beyond the end" "a cut off OVA is refused"

qemu-img create -q -f qcow2 -b "$TAP_DIR/disk.raw" -F raw child.qcow2
run store import s --desktop bad child.qcow2
is "$status" 1 "an image that refers to another file is refused"
like "$errors" "refers to another file" "... with the reason"
run store import s --desktop bad nosuch.img
is "$status" 1 "so is a file that is not there"

latest=$(store list s --output json | jq -r '.[0].snapshot')
for format in raw qcow2 vmdk vhdx; do
	check "export as $format" store export s "$latest" disk0 "out.$format" --format "$format"
	check "... is that disk" qemu-img compare -q -f raw -F "$format" disk.raw "out.$format"
done
is "$(qemu-img info --output json out.vhdx | jq -r .format)" vhdx "... in that format"

spawn serve "$build/bin/godwit-store" serve s "$latest" disk0 --socket "$TAP_DIR/nbd.sock"
check "serve listens" wait_for 180 test -S nbd.sock
uri="nbd+unix:///?socket=$TAP_DIR/nbd.sock"
check "qemu-img reads it" qemu-img compare -q -f raw -F raw disk.raw "$uri"
check "nbdcopy reads it" nbdcopy "$uri" copy.raw
check "... bit for bit" cmp disk.raw copy.raw
check_not "it is read-only" qemu-io -f raw -c 'write 0 512' "$uri"
stop "$spawned"

spawn overlay "$build/bin/godwit-store" serve s "$latest" disk0 --socket "$TAP_DIR/rw.sock" --overlay "$TAP_DIR/over"
wait_for 180 test -S rw.sock
uri="nbd+unix:///?socket=$TAP_DIR/rw.sock"
check "with an overlay it can be written" qemu-io -f raw -c 'write -P 7 1000000 500000' -c flush "$uri"
stop "$spawned" KILL
rm -f rw.sock
spawn again "$build/bin/godwit-store" serve s "$latest" disk0 --socket "$TAP_DIR/rw.sock" --overlay "$TAP_DIR/over"
wait_for 180 test -S rw.sock
check "... what was flushed outlives kill -9" qemu-io -r -f raw -c 'read -P 7 1000000 500000' "$uri"
stop "$spawned"
store get s "$latest" disk0 back.raw
check "... and the snapshot is as it was" cmp disk.raw back.raw
done_testing
