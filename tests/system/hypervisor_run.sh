#!/usr/bin/env bash
# A desktop's life on the hypervisor: start from an NBD server, console, pause, lease, fill, power off, discard.
# shellcheck disable=SC2154,SC2034 # what the libraries set and use
. "$(dirname "$0")/../lib/tap.sh"
build=$1
. "$(dirname "$0")/../lib/hypervisor.sh"
need qemu-nbd jq python3

tests/guest/small.sh "$TAP_DIR/small.raw" 2>/dev/null || bail "the small guest cannot be built"
check "the hypervisor is ready" hypervisor_up
# It waits for the first one to end for a while, and the test goes on.
spawn second timeout 120 "$build/bin/godwit-hypervisor" --state "$state"
second=$spawned
ask '{"op":"hello"}'
like "$(field .accelerator)" '^(kvm|tcg)$' "hello says how desktops are run"
is "$(field .cpus)" "$(nproc)" "... and what this host has"

# ---- bad input
while read -r name request want; do
	ask "$request"
	is "$(field .error.code)" "$want" "refused: $name"
done <<-'END'
	unknown-operation {"op":"fly"} EOPNOTSUPP
	unknown-key {"op":"list","colour":1} EINVAL
	unknown-desktop {"op":"status","desktop":"anna"} ENOENT
	bad-name {"op":"status","desktop":"../anna"} EINVAL
	wrong-type {"op":"status","desktop":7} EINVAL
	no-disks {"op":"start","desktop":"a","epoch":1,"snapshot":"","incoming":false,"disks":[],"machine":{"vcpus":1,"memory_mib":64,"network":"none"},"lease":{"policy":"strict","ttl_ms":1}} EINVAL
	bad-machine {"op":"start","desktop":"a","epoch":1,"snapshot":"","incoming":false,"disks":[],"machine":{"vcpus":0,"memory_mib":64,"network":"none"},"lease":{"policy":"strict","ttl_ms":1}} EINVAL
	option-in-cpu {"op":"start","desktop":"a","epoch":1,"snapshot":"","incoming":false,"disks":[],"machine":{"vcpus":1,"memory_mib":64,"cpu":"max,x=y","network":"none"},"lease":{"policy":"strict","ttl_ms":1}} EINVAL
END
run bash -c 'printf "not json\n" | python3 -c "
import socket,sys
s=socket.socket(socket.AF_UNIX); s.connect(sys.argv[1]); s.sendall(sys.stdin.buffer.read()); print(s.recv(4096).decode())" "$1"' - "$state/hypervisor.sock"
like "$output" '"id":null.*EINVAL' "a line that is no JSON gets an answer"
printf '[qemu]\nbinray = x\n' >"$TAP_DIR/bad.conf"
run "$build/bin/godwit-hypervisor" --state "$TAP_DIR/other" --config "$TAP_DIR/bad.conf"
like "$errors" 'bad.conf:2' "a bad configuration line is named"

# ---- a start that cannot work leaves nothing; it waits for its NBD server for half a minute, while the test goes on
spawn nobody "$hvctl" "$state/hypervisor.sock" "$(start_json nobody "$TAP_DIR/small.raw")"
nobody=$spawned

# ---- start
serve anna "$TAP_DIR/small.raw"
nbd=$spawned
ask "$(start_json anna "$TAP_DIR/small.raw" 'lease={"policy":"strict","ttl_ms":600000}')"
is "$status" 0 "a desktop starts"
like "$(field .machine.type)" '^pc-q35-' "... and its machine type is told"
pid=$(qemu_pid anna)
adopt "$pid"
ask "$(start_json anna "$TAP_DIR/small.raw")"
is "$(field .error.code)" EEXIST "the same start again is EEXIST"
ask "$(start_json anna "$TAP_DIR/small.raw" epoch=2)"
is "$(field .error.code)" ESTALE "another epoch is ESTALE"
check "the guest boots" wait_for 300 console_has anna '^load n='
ask '{"op":"status","desktop":"anna"}'
is "$(field .state)" running "it is running"
like "$(field .first_output_ms)" '^[0-9]+$' "the first output was seen"
diag "first output after $(field .first_output_ms) ms"

check_not "a second hypervisor on the same state is refused" wait "$second"
check "a start without its NBD server ends" wait_for 300 tap_gone "$nobody"
like "$(jq -r .error.text "$(log_of nobody)")" 'start desktop nobody.*(disk0.nbd|connect)' "... and says why"
check_not "... and leaves no folder" test -e "$state/desktops/nobody"

# ---- pause
ask '{"op":"pause","desktop":"anna"}'
is "$(state_of anna)" paused "pause"
n=$(value_in "$(load_line anna)" n)
sleep 1
check_not "a paused guest says nothing" goes_on anna "$n"
ask '{"op":"pause","desktop":"anna"}'
is "$status" 0 "pausing a paused desktop is fine"
ask '{"op":"unpause","desktop":"anna"}'
check "it goes on" wait_for 300 goes_on anna "$n"

# ---- lease
ask '{"op":"lease","desktop":"anna","epoch":7,"ttl_ms":1000}'
is "$(field .error.code)" ESTALE "a lease of another epoch is refused"
ask '{"op":"lease","desktop":"anna","epoch":1,"ttl_ms":500}'
check "at the end of its lease it is fenced" wait_for 300 state_is anna fenced
n=$(value_in "$(load_line anna)" n)
sleep 1
check_not "a fenced guest does not run" goes_on anna "$n"
ask '{"op":"unpause","desktop":"anna"}'
is "$(state_of anna)" fenced "unpause does not help"
ask '{"op":"lease","desktop":"anna","epoch":1,"ttl_ms":600000}'
check "a renewal lets it go on" wait_for 300 goes_on anna "$n"
is "$(state_of anna)" running "... by itself"
# Nobody can tell QEMU anything: its guard's control socket is taken, the hypervisor stands still.
exec {taken}< <(cd "$state/desktops/anna" && exec python3 -c 'import socket, time
s = socket.socket(socket.AF_UNIX); s.connect("guard.sock"); print(s.recv(4096), flush=True); time.sleep(600)')
holder=$!
adopt "$holder"
check "the guard's socket is taken" read -r -t 60 _ <&"$taken"
ask '{"op":"lease","desktop":"anna","epoch":1,"ttl_ms":5000}' # long enough for the next line
kill -STOP "$hypervisor"
signal_state() { [[ $(ps -o stat= -p "$pid") == $1* ]]; }
check "a QEMU that does not answer at its lease's end is stopped by a signal" wait_for 300 signal_state T
kill -CONT "$hypervisor"
ask '{"op":"lease","desktop":"anna","epoch":1,"ttl_ms":600000}'
check "... until the lease is renewed" wait_for 300 signal_state S
kill "$holder"
check "it works on" wait_for 300 goes_on anna "$(value_in "$(load_line anna)" n)"

ask '{"op":"lease","desktop":"anna","epoch":1,"ttl_ms":600000,"until_ms":1}'
check "a renewal that waited until its time was over gives none" wait_for 300 state_is anna fenced
ask '{"op":"lease","desktop":"anna","epoch":1,"ttl_ms":600000}'
check "the next one does" wait_for 300 state_is anna running

# ---- fill, with the NBD server away for a while
kill -STOP "$nbd"
ask '{"op":"fill","desktop":"anna"}'
is "$status" 0 "fill"
kill -KILL "$nbd"
n=$(value_in "$(load_line anna)" n)
sleep 2
serve anna "$TAP_DIR/small.raw"
nbd=$spawned
filled() {
	ask '{"op":"status","desktop":"anna"}'
	[ "$(field '.disks[0].complete')" = true ]
}
check "the disk is complete although its server was killed" wait_for 300 filled
check "the guest goes on" wait_for 300 goes_on anna "$n"
stop "$nbd" KILL
type_to anna 'mark local'
check "it reads and writes without any server" wait_for 300 console_has anna 'load ok mark local'

# ---- power off, capture of the disks, discard
ask '{"op":"shutdown","desktop":"anna","timeout_ms":60000}'
is "$status" 0 "the guest powers off"
is "$(state_of anna)" off "its state is off"
check "it closed its file system" console_has anna 'load off clean'
check "its QEMU is still there" alive "$pid"
agent_open
agent_say '{"op":"capture","desktop":"anna","memory":true,"hold":false}'
is "$(field .error.code)" EINVAL "its memory cannot be captured"
agent_say '{"op":"capture","desktop":"anna","memory":false,"hold":false}'
is "$(field .parent)" s1 "its disks can"
check "... and read" nbdcopy "nbd+unix:///disk0?socket=$state/desktops/anna/nbd.sock" "$TAP_DIR/off.raw"
check "they hold what was written" grep -aq 'local' "$TAP_DIR/off.raw"
agent_say '{"op":"capture_end","desktop":"anna","ok":true,"snapshot":"s2"}'
is "$output" '{}' "the capture ends"
ask '{"op":"status","desktop":"anna"}'
is "$(field .snapshot)" s2 "change tracking is based on the new snapshot"
ask '{"op":"discard","desktop":"anna","epoch":1}'
check_not "discard leaves no QEMU" alive "$pid"
check_not "... and no folder" test -e "$state/desktops/anna"

# ---- orphan
serve anna "$TAP_DIR/small.raw"
ask "$(start_json anna "$TAP_DIR/small.raw" epoch=5)"
pid=$(qemu_pid anna)
adopt "$pid"
ask '{"op":"orphan","desktop":"anna","epoch":4}'
is "$(field .error.code)" ESTALE "orphan of another epoch is refused"
ask '{"op":"orphan","desktop":"anna","epoch":5}'
check "orphan keeps the disk" test -s "$(field .folder)/disk0.qcow2"
check_not "... and ends QEMU" alive "$pid"
check "the hypervisor ends when asked to" stop "$hypervisor"
done_testing
