#!/usr/bin/env bash
# What breaks around a running desktop: QEMU, the hypervisor, the disk for old blocks, time limits. It runs on in every
# case but its own QEMU's death, and change tracking never forgets anything.
# shellcheck disable=SC2154,SC2034 # what the libraries set and use
# In a mount namespace of its own where that is allowed: the small disks below go with the test, however it ends.
if [ -z "${OWN_MOUNTS-}" ] && unshare --mount true 2>/dev/null; then
	OWN_MOUNTS=1 exec unshare --mount -- "$0" "$@"
fi
. "$(dirname "$0")/../lib/tap.sh"
build=$1
. "$(dirname "$0")/../lib/hypervisor.sh"
need qemu-nbd nbdcopy nbdinfo jq

tests/guest/small.sh "$TAP_DIR/small.raw" --load 'disk_rate=200 rate=4000' 2>/dev/null || bail "the small guest cannot be built"
check "the hypervisor is ready" hypervisor_up
serve anna "$TAP_DIR/small.raw"
ask "$(start_json anna "$TAP_DIR/small.raw")"
pid=$(qemu_pid anna)
adopt "$pid"
check "the guest works" wait_for 300 goes_on anna 4

# still_well NAME: it runs, its guest makes progress and found nothing wrong.
still_well() {
	local n last
	check "$1 runs on" state_is "$1" running
	n=$(value_in "$(load_line "$1")" n)
	check "... really" wait_for 300 goes_on "$1" "$n"
	last=$(load_line "$1")
	is "$(value_in "$last" bad)/$(value_in "$last" disk_bad)" 0/0 "... and found nothing wrong"
}

# no_capture NAME: nothing of a capture is left in its QEMU (asked with the hypervisor stopped: QMP has one client).
no_capture_left() {
	stop "$hypervisor" KILL
	run python3 - "$state/desktops/$1" <<-'END'
		import json, os, socket, sys
		os.chdir(sys.argv[1])
		s = socket.socket(socket.AF_UNIX)
		s.connect("qmp.sock")
		f = s.makefile("rw")
		f.readline()
		def ask(command, **arguments):
		    f.write(json.dumps({"execute": command, "arguments": arguments}) + "\n")
		    f.flush()
		    while True:
		        m = json.loads(f.readline())
		        if "return" in m:
		            return m["return"]
		ask("qmp_capabilities")
		nodes = ask("query-named-block-nodes", flat=True)
		left = [n["node-name"] for n in nodes if n["node-name"].endswith(("-cbw", "-fleece", "-snapshot"))]
		left += [e["id"] for e in ask("query-block-exports")]
		disk = [n for n in nodes if n["node-name"] == "disk0"][0]
		print(left, [(b["name"], b["recording"]) for b in disk["dirty-bitmaps"]])
	END
}

# ---- the hypervisor is killed, with and without an open capture
stop "$hypervisor" KILL
check "QEMU survives the hypervisor" alive "$pid"
n=$(value_in "$(load_line anna)" n)
check "a new hypervisor starts" hypervisor_up
still_well anna
check "it ran all the time" goes_on anna "$n"
stop "$hypervisor" KILL
echo "strict" >"$state/desktops/anna/lease"
check "a new hypervisor starts, the lease file is damaged" hypervisor_up
check "the desktop is known and fenced: its lease counts as over" wait_for 300 state_is anna fenced
ask '{"op":"lease","desktop":"anna","epoch":1,"ttl_ms":600000}'
check "a renewal lets it go on" wait_for 300 state_is anna running
agent_open
agent_say '{"op":"capture","desktop":"anna","memory":false,"hold":true}'
is "$(state_of anna)" paused "a capture is open, the guest is held"
stop "$hypervisor" KILL
agent_close
check "a new hypervisor starts" hypervisor_up
check "the held guest goes on" wait_for 300 state_is anna running
still_well anna
no_capture_left anna
is "$output" "[] [('s1', True)]" "nothing is left of the capture, tracking records"
hypervisor_up
agent_open
echo '{"op":"capture","desktop":"anna","memory":true,"hold":false}' >&"$agent_in"
sleep 0.2
stop "$hypervisor" KILL
agent_close
check "killed while memory streams, a new one starts" hypervisor_up
still_well anna
agent_open
agent_say '{"op":"capture","desktop":"anna","memory":true,"hold":false}'
is "$(field .parent)" s1 "and captures again, with all changes since"
agent_say '{"op":"capture_end","desktop":"anna","ok":true,"snapshot":"s2"}'
agent_close

# ---- the time limits of a capture
stop "$hypervisor"
write_config capture.memory_limit=30ms
hypervisor_up
ask '{"op":"capture","desktop":"anna","memory":true,"hold":false}'
like "$(field .error.text)" 'take the memory.*did not end within 30 ms' "a memory stream over its limit is given up"
still_well anna
no_capture_left anna
is "$output" "[] [('s2', True)]" "nothing is left of it"
hypervisor_up
ask '{"op":"capture","desktop":"anna","memory":true,"hold":true}'
like "$(field .error.text)" 'did not end within 30 ms' "also one that was to hold the guest"
check "... which goes on" wait_for 300 state_is anna running
still_well anna
agent_open
agent_say '{"op":"capture","desktop":"anna","memory":false,"hold":true}'
agent_say '{"op":"capture_end","desktop":"anna","ok":true,"snapshot":"s2h"}'
is "$(state_of anna)" paused "a guest that was held to the end stays where it was captured"
agent_say '{"op":"capture_end","desktop":"anna","ok":false}'
is "$output" '{}' "an agent that does not go through with it lets the guest go on"
check "... it does" wait_for 300 state_is anna running
agent_say '{"op":"capture_end","desktop":"anna","ok":false}'
is "$(field .error.code)" EINVAL "then there is nothing more to end"
agent_say '{"op":"capture","desktop":"anna","memory":false,"hold":false}'
is "$(field .parent)" s2h "what was committed stays the base"
agent_say '{"op":"capture_end","desktop":"anna","ok":true,"snapshot":"s2"}'
agent_close

# ---- the agent is lost while a capture is open, and its end comes too late
no_capture_open() { ask '{"op":"status","desktop":"anna"}' && [ "$(field .capture)" = false ]; }
agent_open
agent_say '{"op":"capture","desktop":"anna","memory":false,"hold":true}'
is "$(field .parent)$(state_of anna)" s2paused "a capture that holds the guest"
agent_close
check "it ends when its agent goes away" wait_for 120 no_capture_open
check "... and the guest goes on" wait_for 120 state_is anna running
agent_open
agent_say '{"op":"capture_end","desktop":"anna","ok":true,"snapshot":"s2late"}'
like "$(field .error.code) $(field .error.text)" 'EINVAL no capture of desktop anna is open' "a good end that comes now commits nothing"
agent_say '{"op":"capture_end","desktop":"anna","ok":false}'
is "$(field .error.code)" EINVAL "... a bad one has nothing to end"
agent_say '{"op":"capture","desktop":"anna","memory":false,"hold":false}'
is "$(field .parent)" s2 "... and the next capture has all changes since the last good one"
agent_say '{"op":"capture_end","desktop":"anna","ok":false}'
agent_close
stop "$hypervisor"
write_config capture.instant_limit=0ms
hypervisor_up
ask '{"op":"capture","desktop":"anna","memory":true,"hold":false}'
like "$(field .error.text)" 'freeze.*instant_limit' "an instant over its limit is given up"
still_well anna
stop "$hypervisor"

# ---- memory without userfaultfd: the guest stands still, and the result is as good
write_config capture.live=no
hypervisor_up
ask '{"op":"hello"}'
is "$(field .live_capture)" false "live capture can be switched off"
agent_open
agent_say '{"op":"capture","desktop":"anna","memory":true,"hold":false}'
is "$(field .live)$(field .parent)" falses2 "memory is captured while the guest stands"
diag "pause $(field .pause_ms) ms"
check "its disk can be read" nbdcopy "nbd+unix:///disk0?socket=$state/desktops/anna/nbd.sock" "$TAP_DIR/disk.raw"
agent_say '{"op":"capture_end","desktop":"anna","ok":true,"snapshot":"s3"}'
still_well anna
agent_say '{"op":"capture","desktop":"anna","memory":true,"hold":true}'
is "$(field .parent)" s3 "and with hold"
is "$(state_of anna)" paused "... it stays paused"
agent_say '{"op":"capture_end","desktop":"anna","ok":false}'
check "... until it ends without success" wait_for 300 state_is anna running
agent_close
still_well anna
stop "$hypervisor"

# ---- the disk for old blocks is full
if mkdir "$TAP_DIR/full" && mount -t tmpfs -o size=2m godwit-test "$TAP_DIR/full" 2>/dev/null; then
	write_config capture.fleece_folder="$TAP_DIR/full"
	hypervisor_up
	agent_open
	agent_say '{"op":"capture","desktop":"anna","memory":false,"hold":false}'
	is "$(field .parent)" s3 "a capture with a small disk for old blocks"
	type_to anna 'mark full'
	for _ in {1..240}; do
		nbdcopy "nbd+unix:///disk0?socket=$state/desktops/anna/nbd.sock" null: 2>"$TAP_DIR/reader" || break
		sleep 0.5
	done
	like "$(cat "$TAP_DIR/reader")" 'failed' "its reader gets an error when that is full"
	still_well anna
	agent_say '{"op":"capture_end","desktop":"anna","ok":false}'
	is "$output" '{}' "it ends"
	agent_say '{"op":"capture","desktop":"anna","memory":false,"hold":false}'
	is "$(field .parent)" s3 "the next one still knows all changes"
	agent_say '{"op":"capture_end","desktop":"anna","ok":false}'
	agent_close
	stop "$hypervisor"
	umount "$TAP_DIR/full"
else
	skip "the disk for old blocks is full" "needs to mount a small tmpfs (root)"
fi

# ---- the lease ends while no hypervisor runs
write_config capture.live=yes
hypervisor_up
ask '{"op":"discard","desktop":"anna","epoch":1}'
ask "$(start_json anna "$TAP_DIR/small.raw" 'lease={"policy":"strict","ttl_ms":600000}')"
pid=$(qemu_pid anna)
adopt "$pid"
check "a strict desktop works" wait_for 300 goes_on anna 4
ask '{"op":"lease","desktop":"anna","epoch":1,"ttl_ms":1500}'
stop "$hypervisor" KILL
sleep 2
check "a hypervisor comes back after its end" hypervisor_up
check "the desktop is fenced" wait_for 300 state_is anna fenced
ask '{"op":"lease","desktop":"anna","epoch":1,"ttl_ms":600000}'
check "a renewal lets it go on" wait_for 300 state_is anna running
still_well anna

# ---- QEMU dies in the middle of a capture
agent_open
agent_say '{"op":"capture","desktop":"anna","memory":false,"hold":false}'
is "$(field .parent)" s1 "a capture is open"
# Its first answer tells that it is connected.
(echo '{"op":"list"}' && exec sleep 600) | "$hvctl" "$state/hypervisor.sock" --events >"$TAP_DIR/events" 2>/dev/null &
check "somebody listens" wait_for 300 test -s "$TAP_DIR/events"
kill -KILL "$pid"
check "a desktop without QEMU is crashed" wait_for 300 state_is anna crashed
check "the agent is told that the capture broke" wait_for 300 grep -q '"event":"capture_broken"' "$TAP_DIR/events"
agent_say '{"op":"capture_end","desktop":"anna","ok":true,"snapshot":"s7"}'
like "$(field .error.code)" '^(EINVAL|EPIPE|ESRCH)$' "it cannot be ended with success"
agent_say '{"op":"capture","desktop":"anna","memory":true,"hold":false}'
is "$(field .error.code)" ESRCH "a new capture says that there is no QEMU"
agent_close
check "its disk is still there" test -s "$state/desktops/anna/disk0.qcow2"
stop "$hypervisor" KILL
hypervisor_up
is "$(state_of anna)" crashed "also for the next hypervisor"
ask '{"op":"discard","desktop":"anna","epoch":1}'
is "$output" '{}' "it can be discarded"

# ---- killed in the middle of a start
ask_later=$(start_json anna "$TAP_DIR/small.raw" epoch=2)
"$hvctl" "$state/hypervisor.sock" "$ask_later" >/dev/null 2>&1 &
sleep 0.05
stop "$hypervisor" KILL
hypervisor_up
ask '{"op":"list"}'
like "$(field '.desktops | length')" '^[01]$' "a start that was cut short is there as a whole or not at all"
if [ "$(field '.desktops | length')" = 1 ]; then
	check "it is there" wait_for 300 state_is anna running
	qemu_pid anna >/dev/null
else
	check_not "it is not there" test -e "$state/desktops/anna"
fi
stop "$hypervisor"

# ---- the disk that holds the desktop is full
state=$TAP_DIR/small-state
if mkdir "$state" && mount -t tmpfs -o size=64m godwit-test "$state" 2>/dev/null; then
	hypervisor_up
	serve carla "$TAP_DIR/small.raw"
	ask "$(start_json carla "$TAP_DIR/small.raw")"
	pid=$(qemu_pid carla)
	adopt "$pid"
	check "a desktop works" wait_for 300 goes_on carla 4
	cat /dev/zero >"$state/ballast" 2>/dev/null
	check "it stops when its disk is full" wait_for 300 state_is carla io-error
	# Now and then it tries again, and stands for a moment for no reason.
	check "... and says so" wait_for 300 status_says carla 'write of disk0 failed: No space left'
	rm "$state/ballast"
	check "it goes on when there is space again" wait_for 300 state_is carla running
	still_well carla
	ask '{"op":"discard","desktop":"carla","epoch":1}'
	is "$output" '{}' "it can be discarded"
	stop "$hypervisor"
	umount "$state"
else
	skip "the disk that holds the desktop is full" "needs to mount a small tmpfs (root)"
fi
done_testing
