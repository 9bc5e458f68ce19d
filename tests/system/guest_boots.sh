#!/usr/bin/env bash
# The small test guest by itself: it boots from its disk, counts, obeys, checks itself, and powers off when asked to.
# shellcheck source=tests/lib/tap.sh
. "$(dirname "$0")/../lib/tap.sh"
guest=$(realpath "$(dirname "$0")/../guest")

need qemu-system-x86_64 python3
disk=$TAP_DIR/small.raw
check "the image is built" "$guest/small.sh" "$disk" --load 'mem=24 hot=8 report_ms=200'

# boot NAME MIB: start QEMU; serial console and QMP are fifo pairs in $TAP_DIR.
boot() {
	console=$TAP_DIR/$1.console
	mkfifo "$console.in" "$console.out" "$console.qmp.in" "$console.qmp.out"
	spawn "$1" qemu-system-x86_64 -machine q35 -accel tcg,thread=multi -m "$2" -smp 1 -display none -nodefaults \
		-chardev "pipe,id=console,path=$console" -serial chardev:console \
		-chardev "pipe,id=qmp,path=$console.qmp" -mon chardev=qmp,mode=control \
		-drive "file=$disk,format=raw,if=none,id=disk0,cache=none" -device virtio-blk-pci,drive=disk0
	qemu=$spawned
	spawn "$1-text" cat "$console.out"
	spawn "$1-qmp" cat "$console.qmp.out"
	text=$(log_of "$1-text")
	exec 5<>"$console.in" 6<>"$console.qmp.in"
	echo '{"execute":"qmp_capabilities"}' >&6
}

says() { grep -qE "^load $1" "$text"; }
field() { grep -oE "^load n=.*" "$text" | tail -n 1 | grep -oE "(^| )$1=[^ ]+" | cut -d= -f2; }
run_of() { sed -n 's/^load ready run=\([0-9a-f]*\) .*/\1/p' "$text"; }
acked_more_than() { [ "0$(field acked)" -gt "$1" ]; }

boot first 128
check "a guest of 128 MiB boots" wait_for 300 says 'n=3 '
diag "$(grep -m 1 '^load ready' "$text")"
check "its disk writer started with an empty disk" wait_for 300 says 'disk start=0 '
check "there is no marker yet" wait_for 300 says 'error read: No such file'

echo 'mark first light' >&5
check "mark answers" wait_for 300 says 'ok mark first light$'
echo 'read' >&5
check "read gives the text back" wait_for 300 says 'ok read first light$'
echo 'dirty 4' >&5
check "dirty rewrites memory" wait_for 300 says 'ok dirty mib=4$'
echo 'fill 3' >&5
check "fill writes a file" wait_for 300 says 'ok fill mib=3 '
echo 'check' >&5
check "check verifies it" wait_for 300 says 'ok check blocks=768 wrong=0 '
echo 'juggle' >&5
check "an unknown command is refused" wait_for 300 says "error command: there is no 'juggle'$"
check "numbered blocks reach the disk" wait_for 300 acked_more_than 20
is "$(field bad) $(field disk_bad)" "0 0" "memory and disk are as they should be"
first_run=$(run_of)

echo '{"execute":"system_powerdown"}' >&6
check "the power button ends it" wait_for 300 tap_gone "$qemu"
wait "$qemu"
is $? 0 "... without an error of QEMU"
check "... with its file system closed" says 'off clean'
acked=$(field acked)

boot second 256
check "it boots again" wait_for 300 says 'n=3 '
is "$(sed -n 's/^load ok read //p' "$text")" "first light" "the marker is still there"
unlike "$(run_of)" "^$first_run\$" "it is another run"
check "its disk writer starts" wait_for 300 says 'disk start=[0-9]+ ring='
start=$(sed -n 's/^load disk start=\([0-9]*\) .*/\1/p' "$text")
check "no acknowledged block was lost ($start from $acked on)" test "$start" -ge "$acked"
check "the writer goes on behind them" wait_for 300 acked_more_than "$((start + 5))"
is "$(field disk_bad)" 0 "and finds its blocks on the disk"

# A self-check that can't fail proves nothing: damage a block behind the guest's back, and a bit of its memory.
echo '{"execute":"stop"}' >&6
check "it is stopped" wait_for 300 grep -q '"STOP"' "$(log_of second-qmp)"
# All blocks it has written: one alone may be rewritten before it is looked at again.
dd if=/dev/urandom of="$disk" bs=4096 seek=$(((1 + 128) * 256)) count=$(($(field acked) + 2)) conv=notrunc status=none
echo '{"execute":"cont"}' >&6
check "a foreign disk block is noticed" wait_for 300 says 'baddisk what='
echo 'damage' >&5
check "a flipped bit in memory is noticed" wait_for 300 says 'badpage index='
check "... and counted" wait_for 300 says 'n=.* bad=[1-9]'
echo 'poweroff' >&5
check "the command poweroff ends it" wait_for 300 tap_gone "$qemu"
check "... with its file system closed" says 'off clean'
done_testing
