#!/usr/bin/env bash
# Long commands of godwit-store keep to a rate, and an interrupt ends them: nothing half is left, and they say what is.
. "$(dirname "$0")/../lib/tap.sh"
build=$(realpath "$1")
need jq qemu-img nbdkit
store() { "$build/bin/godwit-store" "$@"; }
cd "$TAP_DIR" || bail "no folder"

head -c 24000000 /dev/urandom >disk.img
truncate -s 30M disk.img
store init s >/dev/null
store put s --desktop alice --volume disk0=disk.img >/dev/null
snapshots() { store list s --output json | jq length; }

# interrupt NAME STATUS WAIT COMMAND...: start, wait until the command WAIT succeeds, send SIGINT until it has ended.
interrupt() {
	local name=$1 want=$2 ready=$3
	shift 3
	spawn "$name" "$@"
	local pid=$spawned
	check "$name runs" wait_for 180 eval "$ready"
	# More than one: the first may come before the command listens to it.
	check "... and an interrupt ends it" wait_for 180 eval "! kill -INT $pid 2>/dev/null || ! alive $pid"
	wait "$pid"
	is $? "$want" "... with exit status $want"
	like "$(cat "$(log_of "$name")")" "$name: cancelled: " "... it says what that leaves"
}

cp disk.img other.img
head -c 20000000 /dev/urandom | dd of=other.img conv=notrunc status=none
interrupt put 1 'ls s/tmp/*' "$build/bin/godwit-store" put s --desktop bob --volume disk0=other.img --rate 500K
is "$(snapshots)" 1 "... no snapshot came of it"
check "... the store is sound" store verify s

interrupt get 1 'test -s back.img.part' "$build/bin/godwit-store" get s latest disk0 back.img --rate 500K
check_not "... and there is no file" ls back.img back.img.part

interrupt import 1 'ls s/tmp/*' "$build/bin/godwit-store" import s --desktop carol other.img --rate 500K
is "$(snapshots)" 1 "... no snapshot came of it"

interrupt export 1 'test -s out.qcow2.part' "$build/bin/godwit-store" export s latest disk0 out.qcow2 --format qcow2 --rate 500K
check_not "... and there is no file" ls out.qcow2 out.qcow2.part

interrupt mirror 1 'ls m/incoming/*.part' "$build/bin/godwit-store" mirror s m --rate 500K
check "... the next run completes it" store mirror s m
check "... and the mirror is sound" store verify m --key s.key

interrupt repair 2 true "$build/bin/godwit-store" repair s --from m --rate 500K
interrupt verify 2 true "$build/bin/godwit-store" verify s --rate 500K

# Kept by the whole command, not by each of its threads; only a lower bound, as the machine may be busy.
began=$(date +%s%N)
check "get with a rate works" store get s latest disk0 back.img --rate 12M
is $(($(date +%s%N) - began > 1500000000)) 1 "... and keeps it"
check "... bit for bit" cmp back.img disk.img
run store get s latest disk0 back.img --rate 12Q
is "$status" 2 "a rate that is none is refused"
like "$errors" "K, M, G or T" "... with what would be one"
done_testing
