#!/usr/bin/env bash
# tests/bench/hypervisor_pause.sh BUILD: how long a desktop of 512 MiB stands still for a capture, through the real
# hypervisor: its guest rewrites memory and writes to its disk all the time. The median of five captures with memory,
# and of five of the disks alone; and what the guest itself saw.
# shellcheck disable=SC2154,SC2034,SC1091 # what the libraries set and use
cd "$(dirname "$0")/../.." || exit
. tests/lib/tap.sh
build=$(realpath "${1:-build/release}")
. tests/lib/hypervisor.sh
need qemu-nbd jq python3

# of_five MEMORY: pauses in ms, sorted, of five captures, one a line.
of_five() {

	for _ in {1..5}; do
		agent_say "{\"op\":\"capture\",\"desktop\":\"bench\",\"memory\":$1,\"hold\":false}"
		field .pause_ms
		agent_say '{"op":"capture_end","desktop":"bench","ok":false}'
		sleep 2
	done | sort -n
}

say() {
	printf '%-44s median %6.1f ms   max %6.1f ms   (%s)\n' "$1" "$(sed -n 3p <<<"$2")" "$(sed -n 5p <<<"$2")" \
		"$(tr '\n' ' ' <<<"$2" | sed 's/ $//')"
}

tests/guest/small.sh "$TAP_DIR/small.raw" --load 'mem=256 hot=64 rate=2000 disk_rate=50' 2>/dev/null
hypervisor_up || { cat "$(log_of hypervisor)"; exit 1; }
serve bench "$TAP_DIR/small.raw"
ask "$(start_json bench "$TAP_DIR/small.raw" memory_mib=512)"
[ "$status" = 0 ] || { echo "the guest does not start: $output"; exit 1; }
qemu_pid bench >/dev/null
wait_for 90 goes_on bench 12 || { echo "the guest does not work: $output"; exit 1; }
seen=$(wc -c <"$(console bench)")
agent_open
agent_say '{"op":"capture","desktop":"bench","memory":true,"hold":false}'
first=$(field .pause_ms)
bytes=$(field .memory_bytes)
agent_say '{"op":"capture_end","desktop":"bench","ok":false}'
sleep 2
say "512 MiB, disks and memory" "$(of_five true)"
say "512 MiB, disks alone" "$(of_five false)"
agent_close
printf 'the first capture after the start: %.1f ms; memory stream %d MiB; accelerator %s\n' "$first" $((bytes >> 20)) \
	"$("$hvctl" "$state/hypervisor.sock" '{"op":"hello"}' | jq -r .accelerator)"
last=$(load_line bench)
printf 'guest: longest gap %s ms, damaged pages %s, damaged blocks %s\n' \
	"$(tail -c +"$seen" "$(console bench)" | tr -d '\r' | grep -ao 'gap_ms=[0-9]*' | cut -d= -f2 | sort -n | tail -n 1)" \
	"$(value_in "$last" bad)" "$(value_in "$last" disk_bad)"
