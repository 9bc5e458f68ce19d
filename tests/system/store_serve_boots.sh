#!/usr/bin/env bash
# A guest boots from a snapshot that is served out of a store: with an overlay that keeps what it writes, and read-only with QEMU keeping it.
# shellcheck source=tests/lib/tap.sh
. "$(dirname "$0")/../lib/tap.sh"
build=$(realpath "$1")
guest=$(realpath "$(dirname "$0")/../guest")
need qemu-system-x86_64 nbdkit jq
store() { "$build/bin/godwit-store" "$@"; }
cd "$TAP_DIR" || bail "no folder"

check "the image is built" "$guest/small.sh" "$TAP_DIR/small.raw" --load 'mem=24 hot=8 report_ms=200'
store init s >/dev/null
id=$(store put s --desktop alice --volume disk0=small.raw --output json | jq -r .snapshot)

# serve NAME OPTION...: nbdkit listens on NAME.sock.
serve() {
	local name=$1
	shift
	spawn "serve-$name" "$build/bin/godwit-store" serve s "$id" disk0 --socket "$TAP_DIR/$name.sock" "$@"
	served=$spawned
	check "$name is served" wait_for 180 test -S "$name.sock"
}

# boot NAME DRIVE: start QEMU on NAME.sock; its serial console is a pair of fifos.
boot() {
	console=$TAP_DIR/$1.console
	mkfifo "$console.in" "$console.out"
	spawn "$1" qemu-system-x86_64 -machine q35 -accel tcg,thread=multi -m 128 -smp 1 -display none -nodefaults \
		-no-reboot -chardev "pipe,id=console,path=$console" -serial chardev:console \
		-drive "file=nbd+unix:///?socket=$TAP_DIR/$1.sock,format=raw,if=none,id=disk0,$2" \
		-device virtio-blk-pci,drive=disk0
	qemu=$spawned
	spawn "$1-text" cat "$console.out"
	text=$(log_of "$1-text")
	exec 5<>"$console.in"
}
says() { grep -qE "^load $1" "$text"; }

serve overlay --overlay "$TAP_DIR/over"
boot overlay discard=unmap
check "a guest boots from the overlay" wait_for 300 says 'n=3 '
check "... its disk is that of the snapshot" says 'disk start=0 '
echo 'mark was here' >&5
check "... it can write" wait_for 180 says 'ok mark was here$'
echo poweroff >&5
check "... and powers off" wait_for 120 eval "! alive $qemu"
stop "$served"
check "what it wrote is in the overlay" grep -qa "was here" over

serve readonly
boot readonly snapshot=on
check "a guest boots from the snapshot itself, with QEMU keeping its writes" wait_for 300 says 'n=3 '
check "... where nobody was before" says 'disk start=0 '
echo read >&5
check "... nor left a mark" wait_for 180 says 'error read: No such file'
stop "$qemu"

# While one serves, another finds the socket taken.
run timeout 60 "$build/bin/godwit-store" serve s "$id" disk0 --socket "$TAP_DIR/readonly.sock"
is "$status" 1 "a socket that is in use is refused"
like "$errors" "readonly.sock" "... and named"
stop "$served"
run store serve s "$id" nosuch --socket x.sock
like "$errors" "no volume 'nosuch'" "a volume that is not there is named"
run store serve s "$id" disk0
is "$status" 2 "a socket must be given"
store get s "$id" disk0 back.raw
check "the snapshot is as it was" cmp back.raw small.raw
done_testing
