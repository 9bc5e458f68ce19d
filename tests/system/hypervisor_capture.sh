#!/usr/bin/env bash
# Captures: disks and memory of one instant while the guest runs, the changed blocks since the last one, and what a
# capture that fails leaves behind. The guest itself checks that restored memory and disk belong together.
# shellcheck disable=SC2154,SC2034 # what the libraries set and use
. "$(dirname "$0")/../lib/tap.sh"
build=$1
. "$(dirname "$0")/../lib/hypervisor.sh"
need qemu-nbd nbdcopy nbdinfo jq python3

tests/guest/small.sh "$TAP_DIR/small.raw" --load 'disk_rate=100 rate=2000' 2>/dev/null || bail "the small guest cannot be built"
check "the hypervisor is ready" hypervisor_up
ask '{"op":"hello"}'
live=$(field .live_capture)
diag "live capture: $live $(field .live_note)"

export_uri() {
	echo "nbd+unix:///disk0?socket=$state/desktops/$1/nbd.sock"
}

# dirty_bytes NAME BITMAP: how much the export says changed since that snapshot.
dirty_bytes() {
	nbdinfo --map="qemu:dirty-bitmap:$2" --json "$(export_uri "$1")" | jq '[.[] | select(.type == 1) | .length] | add // 0'
}

# only_dirty_differs OLD NEW MAP: every 64 KiB block that differs lies in an extent of MAP (nbdinfo's JSON).
only_dirty_differs() {
	python3 - "$@" <<-'END'
		import json, sys
		B = 65536
		dirty = set()
		for e in json.load(open(sys.argv[3])):
		    if e["type"] == 1:
		        dirty.update(range(e["offset"] // B, (e["offset"] + e["length"] + B - 1) // B))
		differ = 0
		with open(sys.argv[1], "rb") as old, open(sys.argv[2], "rb") as new:
		    i = 0
		    while True:
		        a, b = old.read(B), new.read(B)
		        if not a and not b:
		            break
		        if a != b:
		            differ += 1
		            if i not in dirty:
		                sys.exit("block %d changed, but is not marked" % i)
		        i += 1
		print("%d blocks differ, %d are marked" % (differ, len(dirty)))
		sys.exit(differ == 0)
	END
}

# resume FROM NAME DISK STREAM: a desktop NAME from the captured raw DISK and the memory STREAM. $output: start's answer.
resume() {
	serve "$2" "$3" || return
	ask "$(start_json "$2" "$3" incoming=true snapshot='"s9"')"
	[ "$status" = 0 ] || return
	qemu_pid "$2" >/dev/null
	python3 - "$(field .memory_socket)" "$4" <<-'END'
		import os, socket, sys
		os.chdir(os.path.dirname(sys.argv[1]))
		s = socket.socket(socket.AF_UNIX)
		s.connect(os.path.basename(sys.argv[1]))
		with open(sys.argv[2], "rb") as f:
		    s.sendfile(f)
	END
}

# ---- the first capture
serve anna "$TAP_DIR/small.raw"
ask "$(start_json anna "$TAP_DIR/small.raw")"
is "$status" 0 "a desktop starts"
pid=$(qemu_pid anna)
adopt "$pid"
check "the guest works" wait_for 300 goes_on anna 8
run_id=$(value_in "$(load_line anna)" run)
before=$(value_in "$(load_line anna)" n)

agent_open
agent_say '{"op":"capture","desktop":"anna","memory":true,"hold":false}'
first=$output
is "$(field .parent)" s1 "a capture with memory, tracked since the snapshot it was started from"
diag "pause $(field .pause_ms) ms, memory $(field .memory_bytes) bytes"
is "$(field .live)" "$live" "it says whether the guest ran meanwhile"
check "the pause was measured" test "$(field '.pause_ms > 0')" = true
is "$(state_of anna)" running "the guest runs"
n=$(value_in "$(load_line anna)" n)
check "... really" wait_for 300 goes_on anna "$n"
ask '{"op":"capture","desktop":"anna","memory":false,"hold":false}'
is "$(field .error.code)" EBUSY "a second capture meanwhile is refused"
changed=$(dirty_bytes anna s1)
check "few blocks changed since the start ($changed bytes)" test "$changed" -gt 0 -a "$changed" -lt 60000000
nbdinfo --map=qemu:dirty-bitmap:s1 --json "$(export_uri anna)" >"$TAP_DIR/map1"
check "the disk can be read" nbdcopy "$(export_uri anna)" "$TAP_DIR/disk1.raw"
check "what differs from the start is marked" only_dirty_differs "$TAP_DIR/small.raw" "$TAP_DIR/disk1.raw" "$TAP_DIR/map1"
mv "$memory_file" "$TAP_DIR/stream1"
is "$(stat -c %s "$TAP_DIR/stream1")" "$(jq .memory_bytes <<<"$first")" "the whole memory stream came along"
type_to anna 'mark later'
check "the guest writes meanwhile" wait_for 300 console_has anna 'load ok mark later'
nbdcopy "$(export_uri anna)" "$TAP_DIR/disk1b.raw"
check "the exported disk stays frozen" cmp "$TAP_DIR/disk1.raw" "$TAP_DIR/disk1b.raw"
agent_say '{"op":"capture_end","desktop":"anna","ok":true,"snapshot":"s2"}'
is "$output" '{}' "the capture ends"
check_not "the export is gone" nbdinfo --size "$(export_uri anna)"

# ---- the second one: only what changed since; given up, and nothing is forgotten
sleep 1
agent_say '{"op":"capture","desktop":"anna","memory":false,"hold":false}'
is "$(field .parent)" s2 "the next capture is based on the first"
diag "pause without memory $(field .pause_ms) ms"
second=$(dirty_bytes anna s2)
nbdcopy "$(export_uri anna)" "$TAP_DIR/disk2.raw"
nbdinfo --map=qemu:dirty-bitmap:s2 --json "$(export_uri anna)" >"$TAP_DIR/map2"
check "what changed since the first capture is marked" only_dirty_differs "$TAP_DIR/disk1.raw" "$TAP_DIR/disk2.raw" \
	"$TAP_DIR/map2"
check "... and little else" test "$second" -lt "$(stat -c %s "$TAP_DIR/small.raw")" -a "$second" -gt 0
agent_say '{"op":"capture_end","desktop":"anna","ok":false}'
is "$output" '{}' "it is given up"

agent_say '{"op":"capture","desktop":"anna","memory":true,"hold":false}'
is "$(field .parent)" s2 "the third is still based on the first"
check "and has at least what the second had" test "$(dirty_bytes anna s2)" -ge "$second"
nbdcopy "$(export_uri anna)" "$TAP_DIR/disk3.raw"
nbdinfo --map=qemu:dirty-bitmap:s2 --json "$(export_uri anna)" >"$TAP_DIR/map3"
check "nothing was forgotten" only_dirty_differs "$TAP_DIR/disk1.raw" "$TAP_DIR/disk3.raw" "$TAP_DIR/map3"

# ---- the agent goes away in the middle
agent_close
ended() {
	ask '{"op":"status","desktop":"anna"}'
	[ "$(field .capture)" = false ]
}
check "a capture ends when its agent goes away" wait_for 300 ended
agent_open
agent_say '{"op":"capture","desktop":"anna","memory":false,"hold":true}'
is "$(field .parent)" s2 "the next one is still based on the first"
is "$(state_of anna)" paused "hold keeps the guest paused"
agent_close
check "... until its agent goes away" wait_for 300 state_is anna running

# ---- while the disk is being filled
ask '{"op":"fill","desktop":"anna"}'
agent_open
agent_say '{"op":"capture","desktop":"anna","memory":true,"hold":false}'
is "$(field .parent)" s2 "a capture while the disk is filled"
nbdcopy "$(export_uri anna)" "$TAP_DIR/disk4.raw"
nbdinfo --map=qemu:dirty-bitmap:s2 --json "$(export_uri anna)" >"$TAP_DIR/map4"
check "filling does not count as change" only_dirty_differs "$TAP_DIR/disk1.raw" "$TAP_DIR/disk4.raw" "$TAP_DIR/map4"
check "... at all" test "$(dirty_bytes anna s2)" -lt 100000000
agent_say '{"op":"capture_end","desktop":"anna","ok":true,"snapshot":"s3"}'
filled() {
	ask '{"op":"status","desktop":"anna"}'
	[ "$(field '.disks[0].complete')" = true ]
}
check "the disk becomes complete" wait_for 300 filled
last=$(load_line anna)
is "$(value_in "$last" bad)$(value_in "$last" disk_bad)$(value_in "$last" run)" "00$run_id" "the guest found nothing wrong"
ask '{"op":"discard","desktop":"anna","epoch":1}'

# ---- what was captured comes back
check "a desktop comes back from memory and disk" resume anna bella "$TAP_DIR/disk1.raw" "$TAP_DIR/stream1"
check "it runs" wait_for 300 state_is bella running
check "it goes on where it was" wait_for 300 goes_on bella "$before"
n=$(value_in "$(load_line bella)" n)
check "... and on" wait_for 300 goes_on bella $((n + 12))
last=$(load_line bella)
is "$(value_in "$last" run)" "$run_id" "the program is the same one"
is "$(value_in "$last" bad)" 0 "its memory is intact"
is "$(value_in "$last" disk_bad)" 0 "its disk is of the same instant"
arrived() {
	ask '{"op":"status","desktop":"bella"}'
	[ "$(field .memory)" = local ]
}
check "its memory is local" wait_for 300 arrived
agent_say '{"op":"capture","desktop":"bella","memory":true,"hold":false}'
is "$(field .parent)" s9 "it can be captured again, with what changed since"
check "few blocks" test "$(dirty_bytes bella s9)" -lt 60000000
agent_say '{"op":"capture_end","desktop":"bella","ok":true,"snapshot":"s10"}'
agent_close
done_testing
