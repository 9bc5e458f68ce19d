# shellcheck shell=bash disable=SC2034,SC2154 # what tests use, and what tap.sh sets
# hypervisor.sh - a godwit-hypervisor, small guests and their console for system tests. Source it after tap.sh.
#
#   hypervisor_up [OPTIONS...]          start the daemon on $state ($TAP_DIR/state) and wait until it is READY
#   ask JSON                            one request on a connection of its own; the answer in $output, $status 0 or 1
#   field JQ                            that of $output
#   agent_open / agent_say JSON / agent_close
#                                       a connection that stays: answers in $output; memory streams go to $memory_file
#   serve NAME IMAGE                    an NBD server for the raw IMAGE at $TAP_DIR/NAME.sock; its pid in $spawned
#   start_json NAME IMAGE [KEY=JSON...] a start request; keys: epoch, snapshot, incoming, lease, memory_mib
#   state_of NAME                       prints the desktop's state
#   console NAME                        the path of its serial log
#   type_to NAME TEXT                   a line on its serial console
#   load_line NAME                      the last complete line of numbers that guest_load printed
#   value_in LINE KEY                   KEY=VALUE of such a line
#   qemu_pid NAME                       of its QEMU; adopted, so that it never outlives the test
#   write_config KEY=VALUE...           $config: SECTION.KEY=VALUE

state=$TAP_DIR/state
config=$TAP_DIR/hypervisor.conf
memory_file=$TAP_DIR/memory.stream
hvctl=$build/tests/hvctl
hypervisor=
# A busy disk may take longer for the flush in a capture's pause than a user should wait.
printf '[capture]\ninstant_limit = 60s\n' >"$config"
tap_explain=hypervisor_explain

hypervisor_explain() {
	local log
	for log in "$state"/desktops/*/{qemu,serial}.log; do
		[ -s "$log" ] || continue
		echo "the end of ${log#"$state/"}:"
		tail -n 15 "$log" | cut -c1-400 | tr -d '\r' | sed 's/^/  /'
	done
}

write_config() {
	local entry name section
	: >"$config"
	for entry in "$@"; do
		name=${entry%%=*}
		section=${name%%.*}
		printf '[%s]\n%s = %s\n' "$section" "${name#*.}" "${entry#*=}" >>"$config"
	done
}

hypervisor_ready() {
	tail -c +"$((hypervisor_log_from + 1))" "$(log_of hypervisor)" 2>/dev/null | grep -q 'READY '
}

hypervisor_up() {
	hypervisor_log_from=$(stat -c %s "$(log_of hypervisor)" 2>/dev/null || echo 0)
	spawn hypervisor "$build/bin/godwit-hypervisor" --state "$state" --config "$config" --log-level debug "$@"
	hypervisor=$spawned
	wait_for 120 hypervisor_ready
}

ask() {
	run "$hvctl" "$state/hypervisor.sock" --memory "$memory_file" "$1"
}

field() {
	jq -r "$1" <<<"$output"
}

agent_open() {
	coproc AGENT { "$hvctl" "$state/hypervisor.sock" --memory "$memory_file" 2>&1; }
	agent=$AGENT_PID
	exec {agent_in}>&"${AGENT[1]}" {agent_out}<&"${AGENT[0]}"
}

agent_say() {
	output=
	echo "$1" >&"$agent_in"
	read -r -t 120 output <&"$agent_out" || output='{"error":{"code":"NOANSWER"}}'
}

agent_close() {
	exec {agent_in}>&- {agent_out}<&-
	kill "$agent" 2>/dev/null
	wait "$agent" 2>/dev/null
}

serve() {
	rm -f "$TAP_DIR/$1.sock"
	spawn "nbd-$1" qemu-nbd --read-only --format=raw --socket="$TAP_DIR/$1.sock" --export-name=disk0 --persistent \
		--shared=8 "$2"
	wait_for 60 test -S "$TAP_DIR/$1.sock"
}

start_json() {
	local desktop=$1 image=$2 epoch=1 snapshot='"s1"' incoming=false memory_mib=256 entry
	local lease='{"policy":"offline-ok","ttl_ms":600000}'
	shift 2
	for entry in "$@"; do
		declare "${entry%%=*}=${entry#*=}"
	done
	printf '{"op":"start","desktop":"%s","epoch":%s,"snapshot":%s,"incoming":%s,"lease":%s,' "$desktop" "$epoch" "$snapshot" \
		"$incoming" "$lease"
	printf '"machine":{"vcpus":1,"memory_mib":%s,"network":"none"},' "$memory_mib"
	printf '"disks":[{"name":"disk0","size":%s,"socket":"%s","export":"disk0"}]}' "$(stat -c %s "$image")" \
		"$TAP_DIR/$desktop.sock"
}

state_of() {
	"$hvctl" "$state/hypervisor.sock" "{\"op\":\"status\",\"desktop\":\"$1\"}" | jq -r .state
}

state_is() {
	[ "$(state_of "$1")" = "$2" ]
}

# status_says DESKTOP TEXT: does the reason of its state contain that?
status_says() {
	ask "{\"op\":\"status\",\"desktop\":\"$1\"}"
	[[ $(field .reason) == *"$2"* ]]
}

console() {
	echo "$state/desktops/$1/serial.log"
}

console_has() {
	grep -aqE "$2" "$(console "$1")"
}

type_to() {
	"$(dirname "${BASH_SOURCE[0]}")/serial_type.py" "$state/desktops/$1/serial.sock" "$2"
}

load_line() {
	tr -d '\r' <"$(console "$1")" | grep -aE '^load n=[0-9]+ .* disk_bad=[0-9]+$' | tail -n 1
}

value_in() {
	sed -n "s/.* $2=\([^ ]*\).*/\1/p" <<<"$1"
}

# goes_on NAME N: guest_load has printed more lines than N.
goes_on() {
	local n
	n=$(value_in "$(load_line "$1")" n)
	[ -n "$n" ] && [ "$n" -gt "$2" ]
}

qemu_pid() {
	local pid
	pid=$(jq .pid "$state/desktops/$1/desktop.json")
	adopt "$pid"
	echo "$pid"
}
