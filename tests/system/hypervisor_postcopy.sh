#!/usr/bin/env bash
# A captured desktop runs before its memory has arrived; the source of its memory is killed and another one goes on; a
# hypervisor is killed meanwhile. Nothing is lost, and afterwards it can be captured like any other.
# shellcheck disable=SC2154,SC2034 # what the libraries set and use
. "$(dirname "$0")/../lib/tap.sh"
build=$1
. "$(dirname "$0")/../lib/hypervisor.sh"
need qemu-nbd nbdcopy jq python3

tests/guest/small.sh "$TAP_DIR/small.raw" --load 'mem=96 hot=16 rate=1000' 2>/dev/null || bail "the small guest cannot be built"
check "the hypervisor is ready" hypervisor_up
serve anna "$TAP_DIR/small.raw"
ask "$(start_json anna "$TAP_DIR/small.raw")"
qemu_pid anna >/dev/null
check "the guest works" wait_for 300 goes_on anna 6
run_id=$(value_in "$(load_line anna)" run)
agent_open
agent_say '{"op":"capture","desktop":"anna","memory":true,"hold":true}'
is "$(field .parent)" s1 "it is captured, and held there"
n=$(value_in "$(load_line anna)" n)
nbdcopy "nbd+unix:///disk0?socket=$state/desktops/anna/nbd.sock" "$TAP_DIR/disk.raw"
mv "$memory_file" "$TAP_DIR/stream"
agent_say '{"op":"capture_end","desktop":"anna","ok":true,"snapshot":"s2"}'
is "$(state_of anna)" paused "after a success it stays where it is"
ask '{"op":"discard","desktop":"anna","epoch":1}'

# pages_from NAME BYTES_PER_S [recover]: serve the memory over a line of that speed; the pid in $pages.
pages_from() {
	spawn pages "$build/tests/page_server" "$TAP_DIR/stream" "$TAP_DIR/store" "$state/desktops/$1/memory.sock" "$2" \
		${3+"$3"}
	pages=$spawned
}

serve bella "$TAP_DIR/disk.raw"
ask "$(start_json bella "$TAP_DIR/disk.raw" incoming=true snapshot='"s2"')"
is "$(state_of bella)" incoming "a desktop waits for its memory"
qemu=$(qemu_pid bella)
adopt "$qemu"
ask '{"op":"memory_recover","desktop":"bella"}'
is "$(field .error.code)" EINVAL "there is nothing to recover yet"
pages_from bella 2000000 # a minute for all of it
check "it runs" wait_for 300 state_is bella running
check "it says something" wait_for 300 goes_on bella "$n"
ask '{"op":"status","desktop":"bella"}'
is "$(field .memory)" arriving "while its memory is arriving"
diag "first output $(field .first_output_ms) ms after its first instruction here"
ask '{"op":"capture","desktop":"bella","memory":true,"hold":false}'
is "$(field .error.code)" EINVAL "its memory cannot be captured meanwhile"
agent_say '{"op":"capture","desktop":"bella","memory":false,"hold":false}'
is "$(field .parent)" s2 "its disks can"
agent_say '{"op":"capture_end","desktop":"bella","ok":false}'

stop "$pages" KILL
check "without a source it is postcopy-paused" wait_for 300 state_is bella postcopy-paused
stop "$hypervisor" KILL
agent_close
hypervisor_up
check "also for the next hypervisor" wait_for 300 state_is bella postcopy-paused
ask '{"op":"memory_recover","desktop":"bella"}'
is "$(field .memory_socket)" "$state/desktops/bella/memory.sock" "memory_recover says where"
pages_from bella 16000000 recover
check "it runs again" wait_for 300 state_is bella running
n=$(value_in "$(load_line bella)" n)
check "... really" wait_for 300 goes_on bella "$n"
arrived() {
	ask '{"op":"status","desktop":"bella"}'
	[ "$(field .memory)" = local ]
}
check "all of its memory arrives" wait_for 300 arrived
n=$(value_in "$(load_line bella)" n)
check "it goes on" wait_for 300 goes_on bella $((n + 8))
last=$(load_line bella)
is "$(value_in "$last" run)" "$run_id" "the program is the one that was captured"
is "$(value_in "$last" bad)/$(value_in "$last" disk_bad)" 0/0 "it found nothing wrong"
agent_open
agent_say '{"op":"capture","desktop":"bella","memory":true,"hold":false}'
is "$(field .parent)" s2 "now its memory can be captured"
diag "pause $(field .pause_ms) ms"
agent_say '{"op":"capture_end","desktop":"bella","ok":true,"snapshot":"s3"}'
is "$output" '{}' "and that ends well"
agent_close
done_testing
