#!/usr/bin/env bash
# A quarantined desktop has no network, in the guest's own eyes: after a word from a person, through a death of the
# hypervisor, on the endpoint it moves to, and on the one that takes over from a memory in which the cable was in.
# A scan that finds the newest snapshot infected begins one.
# shellcheck source=tests/lib/tap.sh
. "$(dirname "$0")/../lib/tap.sh"
# shellcheck source=tests/lib/appliance.sh
. "$(dirname "$0")/../lib/appliance.sh"

appliance_init "$1" "$TAP_DIR/g"
LEASE_TTL=15s # longer than a hypervisor takes to come back
mkdir "$TAP_DIR/sig"
printf 'Test.Marker:0:*:%s\n' "$(printf 'a-virus-that-is-none' | od -An -v -tx1 | tr -d ' \n')" >"$TAP_DIR/sig/test.ndb"

# link_is WANTED ENDPOINT: what the guest's last counter line says of its cable.
link_is() { [ "$(appliance_load link "$(appliance_console "$2" anna)")" = "$1" ]; }
becomes() { appliance_wait 120 link_is "$@"; }
stays() { appliance_counts "$2" anna 4 && link_is "$@"; }
quarantined() { appliance_field .quarantined desktop show anna; }
notices() { appliance_field '[.[] | select(.kind == "quarantine") | .severity] | sort | join(" ")' notice list; }
up() {
	appliance_server_start '[scan]' "signatures = $TAP_DIR/sig" 'quarantine = yes' && appliance_login || return 1
	appliance_endpoint_start a && appliance_endpoint_start b &&
		appliance_import anna 192M --network user && appliance_boots a anna
}
begin up

# ---- By a person -----------------------------------------------------------------------------------------------
is "$(quarantined)" false "a desktop begins with its network"
check "... as its guest sees it" becomes up a
check "it is quarantined" appliance_cli desktop quarantine anna --why 'a test' --quiet
is "$(quarantined)" true "the server says so"
check "the guest's cable is out" becomes down a
check "it runs on" appliance_counts a anna
check "once more is no change" appliance_cli desktop quarantine anna --quiet
is "$(notices)" warning "there is one notice"

check "the hypervisor is killed" appliance_end KILL "$(appliance_hypervisor a)"
check "... and starts again" appliance_hypervisor_start a
check "the cable is still out" stays down a
check "the desktop moves to b" appliance_cli desktop move anna --endpoint b --quiet
check "and is out there" stays down b
check_not "it never was in" grep -qa 'link=up' "$(appliance_console b anna)"

check "it is released" appliance_cli desktop release anna --quiet
is "$(quarantined)" false "the server says so"
check "the cable is in" becomes up b

# ---- By a scan -------------------------------------------------------------------------------------------------
check "a snapshot with its memory" appliance_cli desktop snapshot anna --quiet
check "a virus comes" appliance_tell b anna 'mark a-virus-that-is-none'
check "the next snapshot has it" appliance_cli desktop snapshot anna --no-memory --quiet
newest=$(appliance_field .latest_snapshot desktop show anna)
check_not "it is scanned" appliance_cli snapshot scan "$newest" --quiet
is "$(appliance_field .verdict snapshot show "$newest")" infected "it is infected"
is "$(quarantined)" true "its desktop is quarantined"
is "$(notices)" "alarm info warning" "... with a notice"
check "the cable is out" becomes down b

# ---- Failover --------------------------------------------------------------------------------------------------
check "its endpoint dies" appliance_endpoint_crash b
check "it goes on elsewhere, from a memory that had the cable in" appliance_wait 120 appliance_counts a anna
check "there it is out" becomes down a
check "and stays out" stays down a
done_testing
