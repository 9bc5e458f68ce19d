#!/usr/bin/env bash
# While a desktop comes back the scans stand still, with all their processes, and go on as soon as it is there; when the server
# is killed meanwhile nothing of them stays behind.
# shellcheck source=tests/lib/tap.sh
. "$(dirname "$0")/../lib/tap.sh"
# shellcheck source=tests/lib/appliance.sh
. "$(dirname "$0")/../lib/appliance.sh"
need jq mkfs.ext4

mkdir "$TAP_DIR/sig"
signature() { printf 'Test.Round%d:0:0:%s\n' "$1" "$(printf 'not to be found %d' "$1" | od -An -v -tx1 | tr -d ' \n')" >"$TAP_DIR/sig/test.ndb"; }
signature 0
appliance_init "$1" "$TAP_DIR/g"
LEASE_TTL=10m # nobody is to be given up while its agent is stopped
begin appliance_server_start "[scan]" "signatures = $TAP_DIR/sig" "automatic = no"
begin eval 'appliance_login && appliance_endpoint_start a'
begin eval 'appliance_import anna && appliance_boots a anna && appliance_local anna'
agent=$(appliance_agent a)
run=$(appliance_load run "$(appliance_console a anna)")
mkdir "$TAP_DIR/tree"
for i in {1..8}; do seq "$i" 300000 >"$TAP_DIR/tree/$i.txt"; done
truncate -s 64M "$TAP_DIR/disk" && mkfs.ext4 -q -d "$TAP_DIR/tree" "$TAP_DIR/disk"
begin appliance_cli desktop import scanned "$TAP_DIR/disk" --quiet
snapshot=$(appliance_field '.[0].id' snapshot list --desktop scanned)

log() { grep -c "$1" "$appliance_dir/log/server.log"; }
# A line "PID STAT COMMAND" for each process of the scans: of the groups that a godwit-scan of this server leads.
processes() {
	local groups
	groups=$(pgrep -P "$appliance_server" -x godwit-scan -d '|')
	[ -z "$groups" ] || ps -eo pgid=,pid=,stat=,comm= | awk -v groups="$groups" '$1 ~ "^(" groups ")$" { print $2, $3, $4 }'
}
stand() { [[ "$(processes)" == *T* ]] && ! processes | grep -qv '^[0-9]* [TZ]'; }
over() { [[ $(appliance_field .state job show "$job") =~ done|failed|cancelled ]]; }
scan() { job=$(appliance_field .id snapshot scan "$snapshot" --no-wait); }

# The scan is over in a second or two. It cannot end when we have stopped the engine before it was done; if we were too late there
# is another scan, with other signatures so that everything is scanned again.
round=0
job=
stop_engine() {
	local engine
	if [ -z "$job" ] || over; then
		signature $((++round))
		scan
	fi
	engine=$(processes | awk '/godwit-scan-eng/ { print $1 }')
	# shellcheck disable=SC2086 # one word a pid
	[ -n "$engine" ] && kill -STOP $engine 2>/dev/null && sleep 0.5 &&
		processes | grep -q ' T[^ ]* godwit-scan-eng' && ! over
}
# A scan is under way when the desktop is given to an endpoint whose agent is stopped: it does not come back before we let it.
come_back_beside_a_scan() {
	check "the desktop is suspended" appliance_cli desktop suspend anna --quiet
	check "a scan is under way" appliance_wait 180 stop_engine
	kill -STOP "$agent"
	check_not "not all of it stands still" stand
	check "the desktop is to come back" appliance_cli desktop resume anna --endpoint a --no-wait --quiet
	check "every process of the scan stands still" appliance_wait 50 stand
	diag "$(processes | cut -d' ' -f2- | sort | uniq -c | tr -s ' \n' ' ')"
}

come_back_beside_a_scan
is "$(log 'scans stand still')" 1 "the server says so"
kill -CONT "$agent"
check "the desktop counts" appliance_counts a anna
is "$(appliance_load run "$(appliance_console a anna)")" "$run" "it is the same run of its program"
check "the scan goes on to its end" appliance_wait 300 over
is "$(appliance_field '"\(.state) \(.result.verdict)"' job show "$job")" "done clean" "... and ends well"
like "$(grep 'scans go on' "$appliance_dir/log/server.log")" 'stood_ms=[0-9]+' "the server says for how long it stood"
check "everything is local" appliance_local anna

job=
come_back_beside_a_scan
something_left() { [ -n "$(appliance_find server 'godwit-scan*')" ]; }
nothing_left() { ! something_left; }
check "it is there" something_left
check "the server is killed" appliance_server_stop KILL
check "nothing of the scan stays behind" appliance_wait 60 nothing_left
kill -CONT "$agent"
done_testing
