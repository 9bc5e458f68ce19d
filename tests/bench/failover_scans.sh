#!/usr/bin/env bash
# tests/bench/failover_scans.sh BUILD: what scans cost a failover beside them. An endpoint is killed, its desktop goes on at the
# other one; in turns with nothing else to do, and while the server, which hands out the chunks, runs two scans. Server and
# endpoints share this machine, so scans, store and guest compete for its processors: no place where they do is worse.
#
#   ROUNDS     of each kind (default 3)
#   SCAN_MIB   of this machine's /usr on each of the two disks that are scanned (default 150)
set -euo pipefail
: "${ROUNDS:=3}" "${SCAN_MIB:=150}"
# shellcheck source=tests/lib/tap.sh
. "$(dirname "$0")/../lib/tap.sh"
# shellcheck source=tests/lib/appliance.sh
. "$(dirname "$0")/../lib/appliance.sh"
set +eu # tap.sh counts failures
need jq mkfs.ext4

mkdir "$TAP_DIR/sig"
signature() { printf 'Test.Round%d:0:0:%s\n' "$1" "$(printf 'not to be found %d' "$1" | od -An -v -tx1 | tr -d ' \n')" >"$TAP_DIR/sig/test.ndb"; }
signature 0
appliance_init "$1" "$TAP_DIR/g"
begin appliance_server_start "[scan]" "signatures = $TAP_DIR/sig" "at_once = 2" "automatic = no"
begin eval 'appliance_login && appliance_endpoint_start a && appliance_endpoint_start b'
begin eval 'appliance_import anna && appliance_boots a anna && appliance_local anna'
for n in 1 2; do
	mkdir "$TAP_DIR/tree"
	find /usr -xdev -type f -size -20M -printf '%s %p\n' | LC_ALL=C sort -k2 | awk -v limit=$((SCAN_MIB << 20)) -v n="$n" '
		{ seen++ } seen % 7 == n { sum += $1; if (sum > limit) exit; sub(/^[0-9]+ /, ""); print }' | cpio -pdml --quiet "$TAP_DIR/tree" 2>/dev/null
	truncate -s "$((SCAN_MIB * 3 / 2 + 100))M" "$TAP_DIR/disk$n" && mkfs.ext4 -q -d "$TAP_DIR/tree" "$TAP_DIR/disk$n" && rm -r "$TAP_DIR/tree"
	begin appliance_cli desktop import "scanned$n" "$TAP_DIR/disk$n" --quiet
	scanned[n]=$(appliance_field '.[0].id' snapshot list --desktop "scanned$n")
	rm "$TAP_DIR/disk$n"
done

scans_running() { appliance_field '[.[] | select(.kind == "scan" and .state == "running")] | length' job list; }
nices() {
	# shellcheck disable=SC2046 # one word a pid
	ps -o ni=,comm= $(appliance_pids server) | awk '/godwit-scan/ { print $1 }' | sort -u | xargs
}
# Scans, until nobody wants them any more: with other signatures each time, so that everything is scanned again.
scan_on() {
	local round=1
	while [ -e "$TAP_DIR/scan-on" ]; do
		signature $((++round))
		for n in 1 2; do
			appliance_cli snapshot scan "${scanned[n]}" --quiet >/dev/null &
		done
		wait
	done
}

here=a there=b
# failover_of KIND: one line of figures; then the endpoint that died is back.
failover_of() {
	local kind=$1 killed job result line beside_before beside_after
	check "$kind: a snapshot with memory" appliance_cli desktop snapshot anna --quiet
	if [ "$kind" = scans ]; then
		touch "$TAP_DIR/scan-on"
		scan_on &
		both_run() { [ "$(scans_running)" = 2 ]; }
		check "$kind: two scans run" appliance_wait 60 both_run
		sleep 2
	fi
	beside_before=$(scans_running)
	rm -f "$(appliance_console "$there" anna)"
	appliance_endpoint_crash "$here"
	killed=$(appliance_ms)
	check "$kind: it goes on at $there" appliance_counts "$there" anna 1
	line=$(($(appliance_ms) - killed))
	beside_after="$(scans_running) at the first line, niceness $(nices)"
	rm -f "$TAP_DIR/scan-on"
	job=$(appliance_field '[.[] | select(.kind == "failover")] | sort_by(.created) | last | .id' job list --desktop anna)
	check "$kind: everything becomes local" appliance_wait 300 appliance_is "done" .state job show "$job"
	result=$(appliance_field .result job show "$job")
	diag "$kind: kill to first line $line ms, $(jq -r '"silent \(.silent_ms) ms, resume to running \(.running_ms) ms, to first output \(.first_output_ms) ms, until local \(.local_ms) ms"' <<<"$result"); scans beside it: $beside_before at its begin, $beside_after; load $(cut -d' ' -f1-2 /proc/loadavg)"
	quiet() { [ "$(scans_running)" = 0 ]; }
	check "$kind: the scans end" appliance_wait 600 quiet
	check "$kind: $here is back" appliance_endpoint_start "$here"
	nothing_left() { [ -z "$(appliance_qemu "$here" anna)" ]; }
	check "$kind: nothing runs on $here" appliance_wait 120 nothing_left
	check "$kind: no job is left" appliance_local anna
	local old=$here
	here=$there there=$old
}
for ((r = 0; r < ROUNDS; r++)); do
	failover_of alone
	failover_of scans
done
done_testing
