#!/usr/bin/env bash
# make demo: the main job, unattended, on this machine: tests/demo.sh [--keep]
#
# A management server, two endpoints, a real Debian 12. The desktop runs on endpoint A, is snapshotted with its memory
# while it runs, then A dies by kill -9 and the server brings the desktop back on B. Every step prints what was
# measured; what must hold is checked, and the exit status is 0 only if all of it held. State is in build/demo/.
# --keep (make demo KEEP=1) leaves everything running at the end and prints how to sign in; --stop (make demo-stop) ends
# what was left running.
set -uo pipefail
cd "$(dirname "$0")/.." || exit
. tests/lib/appliance.sh

keep=
[ "${1-}" != --keep ] || keep=1
dir=build/demo
desktop=anna
load='mem=192 hot=32'
# A death is to be noticed soon, and a machine that is busy for some seconds is not dead.
LEASE_TTL=6s
image=$dir/debian12.raw
started=$(appliance_ms)
failed=0

# ---- What it prints --------------------------------------------------------------------------------------------

step() { printf '\n[%3d s] %s\n' "$((($(appliance_ms) - started) / 1000))" "$*"; }
figure() { printf '    %-46s %s\n' "$1" "$2"; }
mib() { awk -v n="$1" 'BEGIN { printf "%.1f MiB", n / 1048576 }'; }
seconds() { awk -v ms="$1" 'BEGIN { printf "%.2f s", ms / 1000 }'; }

# holds TEXT COMMAND...: one of the things the demo promises.
holds() {
	local text=$1
	shift
	if "$@"; then printf '    holds: %s\n' "$text"; else printf '    DOES NOT HOLD: %s\n' "$text"; failed=$((failed + 1)); fi
}

# need TEXT COMMAND...: without this there is nothing to go on with.
need() {
	local text=$1 log
	shift
	"$@" && return
	printf '\nFAILED: %s\n' "$text"
	for log in "$appliance_dir"/log/*.log; do
		printf -- '---- the end of %s\n' "$log"
		tail -n 8 "$log"
	done
	exit 1
}

quietly() { "$@" >/dev/null; }

finish() {
	local status=$?
	if [ -n "$keep" ] && [ "$status" = 0 ]; then return; fi
	appliance_stop
}

# ---- The guest, as somebody at its console sees it -----------------------------------------------------------------

console_of() { appliance_console "$1" "$desktop"; }
load_of() { appliance_load "$1" "$(console_of "$2")"; }
has_said() { appliance_said "$2" "$(console_of "$1")"; }
shows() { tail -c 2000 "$(console_of "$1")" | grep -qa "$2"; }

# A person logs in once; the shell is still there after the failover, because it is in the memory.
log_in() {
	appliance_wait 120 shows "$1" 'login:' && appliance_type "$1" "$desktop" root &&
		appliance_wait 60 shows "$1" Password && appliance_type "$1" "$desktop" godwit &&
		appliance_wait 60 shows "$1" 'root@godwit-guest'
}

# command_guest ENDPOINT REGEX TEXT: tell guest_load something through that shell and wait for its answer.
command_guest() {
	appliance_type "$1" "$desktop" "echo $3 >/run/guest_load" && appliance_wait 120 has_said "$1" "$2"
}

# ---- The job ---------------------------------------------------------------------------------------------------

prepare() {
	step "building what the demo boots: Debian 12 from packages (kept in build/guest/)"
	need "the Debian image is built" tests/guest/debian.sh "$image" --load "$load"
	figure "image" "$(mib "$(stat -c %s "$image")"), $(mib $(($(stat -c %b "$image") * 512))) of it data"
}

bring_up() {
	step "starting the management server and two endpoints"
	need "the server starts" appliance_server_start
	need "the administrator signs in" quietly appliance_login
	figure "server" "$appliance_url"
	local name
	for name in a b; do
		need "endpoint $name enrols with a one-time token" quietly appliance_endpoint_start "$name"
	done
	figure "accelerator" "$(appliance_field '.[0].accelerator' endpoint list)"
}

import() {
	step "importing the image as the desktop '$desktop'"
	local before snapshot
	before=$(appliance_ms)
	need "the import ends well" quietly appliance_cli desktop import "$desktop" "$image" --vcpus 1 --memory 1G --quiet
	snapshot=$(appliance_field .latest_snapshot desktop show "$desktop")
	figure "time" "$(seconds $(($(appliance_ms) - before)))"
	figure "stored" "$(mib "$(appliance_field .stored_bytes snapshot show "$snapshot")")"
}

boot_on_a() {
	step "starting it on A"
	local before
	before=$(appliance_ms)
	need "the desktop starts on A" quietly appliance_cli desktop start "$desktop" --endpoint a --no-wait --quiet
	need "its program counts" appliance_wait 240 has_said a 'n=[0-9]'
	figure "time to its first counter line" "$(seconds $(($(appliance_ms) - before)))"
	need "somebody logs in on its console" log_in a
	need "a file is written in it" command_guest a 'ok mark written before' "mark written before the snapshots"
}

job_done() { [ "$(appliance_field .state job show "$1")" = "done" ]; }

# snapshot: take one; $result is what the job found out.
snapshot() {
	local line_before
	line_before=$(load_of n a)
	result=$(appliance_json desktop snapshot "$desktop" --quiet | jq -c .result)
	need "the snapshot is taken" test -n "$result"
	taken=$(of_result snapshot)
	figure "snapshot" "$taken"
	figure "pause of the guest, as QEMU saw it" "$(of_result pause_ms | xargs printf '%.1f ms')"
	figure "longest gap inside the guest meanwhile" "$(longest_gap "$line_before") ms"
	figure "read of the disk" "$(mib "$(of_result disk_read_bytes)")"
	figure "read of memory and devices" "$(mib $(($(of_result read_bytes) - $(of_result disk_read_bytes))))"
	figure "new to the store" "$(mib "$(of_result new_bytes)")"
	figure "new, as stored" "$(mib "$(of_result stored_bytes)")"
	figure "time" "$(of_result seconds | xargs printf '%.1f s')"
}

of_result() { jq -r ".$1" <<<"$result"; }

longest_gap() {
	grep -ao 'load n=[0-9]* .*' "$(console_of a)" | tr -d '\r' | awk -v from="$1" '
		{ split($2, n, "="); if (n[2] > from) for (i = 3; i <= NF; i++) if (split($i, f, "=") == 2 && f[1] == "gap_ms" && f[2] > max) max = f[2] }
		END { print max + 0 }'
}

snapshots() {
	step "snapshot with memory while it runs"
	snapshot
	holds "the snapshot has the memory" [ "$(appliance_field .memory snapshot show "$taken")" = true ]
	first_new=$(of_result new_bytes)
	step "changing something, then an incremental snapshot"
	need "the marker file is written anew" command_guest a 'ok mark the last words on A' "mark the last words on A"
	need "a file of 8 MiB is written" command_guest a 'ok fill mib=8 ' "fill 8"
	need "16 MiB of memory are rewritten" command_guest a 'ok dirty mib=16' "dirty 16"
	at_least=$(load_of n a)
	snapshot
	at_most=$(load_of n a)
	run=$(load_of run a)
	holds "change tracking was not lost" [ -z "$(of_result full_compare)" ]
	holds "of the disk, the 8 MiB and little more were read" between $((8 << 20)) "$(of_result disk_read_bytes)" $((64 << 20))
	holds "less is new than in the first snapshot" [ "$(of_result new_bytes)" -lt "$first_new" ]
}

between() { [ "$1" -le "$2" ] && [ "$2" -le "$3" ]; }

crash() {
	step "kill -9 of A's QEMU, agent and hypervisor"
	killed=$(appliance_ms)
	need "everything of A is dead" appliance_endpoint_crash a
}

counts_on_b() { [ -e "$(console_of b)" ] && has_said b 'n=[0-9]'; }

failover() {
	step "the server notices by the lease and B resumes the desktop"
	need "its program counts again, on B" appliance_wait 180 counts_on_b
	local alive job
	alive=$(appliance_ms)
	job=$(appliance_field '[.[] | select(.kind == "failover")][0].id' job list --desktop "$desktop")
	figure "from the kill to the first counter line on B" "$(seconds $((alive - killed)))"
	need "everything is local" appliance_wait 600 job_done "$job"
	result=$(appliance_json job show "$job" | jq -c .result)
	figure "last sign of life to detection" "$(seconds "$(of_result silent_ms)")"
	figure "resume to the first output of the guest" "$(seconds "$(of_result first_output_ms)")"
	figure "resume until everything is local" "$(seconds "$(of_result local_ms)")"
	figure "bytes moved before the guest ran" "$(mib "$(of_result bytes_before_run)")"
	holds "it is the newest snapshot that was resumed" [ "$(of_result snapshot)" = "$taken" ]
	holds "the guest ran before a tenth of its memory had arrived" \
		[ "$(of_result bytes_before_run)" -lt $(((1024 << 20) / 10)) ]
}

# All of the working set was read and compared at least once since it came to B.
verified_again() { [ "0$(load_of passes b)" -ge $((passes + 2)) ]; }

verify() {
	step "looking at what came back"
	local n
	n=$(appliance_first_n "$(console_of b)")
	figure "counter at the snapshot, first on B" "between $at_least and $at_most, $n"
	holds "the program on B is the one that ran on A" [ "$(load_of run b)" = "$run" ]
	holds "its counter goes on where the snapshot was" [ "$n" -gt "$at_least" -a "$n" -le $((at_most + 1)) ]
	passes=$(load_of passes b)
	holds "the whole working set was verified again" appliance_wait 300 verified_again
	figure "pages verified, damaged" "$(load_of checked b), $(load_of bad b)"
	holds "no page is damaged" [ "$(load_of bad b)" = 0 ]
	figure "disk blocks acknowledged, not as expected" "$(load_of acked b), $(load_of disk_bad b)"
	holds "the disk is of the same instant as the memory" [ "$(load_of disk_bad b)" = 0 ]
	holds "the shell is still logged in and the marker is there" \
		command_guest b 'ok read the last words on A' read
	holds "the file of 8 MiB is intact" command_guest b 'ok check blocks=2048 wrong=0' check
	holds "the server knows where the desktop runs" \
		[ "$(appliance_field '.endpoint + " " + .state' desktop show "$desktop")" = "b running" ]
}

summary() {
	step "done"
	if [ "$failed" != 0 ]; then
		echo "$failed of the promises did not hold; the logs are in $dir/log/"
		exit 1
	fi
	echo "Everything held."
	if [ -n "$keep" ]; then
		echo
		echo "It is left running:   $appliance_url   user admin, password $appliance_password"
		echo "the command line:     GODWIT_CONFIG_HOME=$appliance_dir/cli build/bin/godwit desktop list"
		echo "to end it:            make demo-stop"
	fi
}

# What an earlier run left behind, running or on disk.
sweep() {
	[ ! -d "$dir" ] || { appliance_init build/release "$dir" && appliance_stop && rm -rf "$dir"; }
}

if [ "${1-}" = --stop ]; then
	sweep
	exit
fi
sweep || exit
appliance_init build/release "$dir"
trap finish EXIT
trap 'exit 130' INT TERM
prepare
bring_up
import
boot_on_a
snapshots
crash
failover
verify
summary
