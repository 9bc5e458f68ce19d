#!/usr/bin/env bash
# The server's catalogue comes back from a copy that names a host of long ago: what is fenced there does not go on, what runs
# elsewhere does.
# shellcheck source=tests/lib/tap.sh
. "$(dirname "$0")/../lib/tap.sh"
# shellcheck source=tests/lib/appliance.sh
. "$(dirname "$0")/../lib/appliance.sh"

appliance_init "$1" "$TAP_DIR/g"
LEASE_TTL=8s
state=$appliance_dir/server/state
log=$appliance_dir/log

fenced() { grep -q 'desktop is fenced.* desktop=anna ' "$log/a-hypervisor.log"; }
runs_on_a() { grep -c 'desktop is running.* desktop=anna ' "$log/a-hypervisor.log"; }
orphaned() { grep -q 'orphaned desktop=anna ' "$log/a-hypervisor.log"; }
heard() { [ "$(grep -c "endpoint is here endpoint=$1\$" "$log/server.log")" -gt "$2" ]; } # more often than N times
times() { grep -c "endpoint is here endpoint=$1\$" "$log/server.log"; }

begin appliance_server_start "[store]" "catalogue_copy_every = 0s"
begin appliance_login
begin appliance_endpoint_start a
begin appliance_endpoint_start b
begin appliance_import anna 160M --lease-policy strict
begin appliance_boots a anna
begin appliance_local anna
check "the catalogue is copied while anna runs on a" appliance_cli store run catalogue-copy
a_agent=$(appliance_agent a)
b_agent=$(appliance_agent b)
kill -STOP "$a_agent"
check "a's agent hangs: anna is fenced there" appliance_wait 180 fenced
check "... and goes on on b" appliance_counts b anna
begin appliance_local anna
stood=$(appliance_load n "$(appliance_console a anna)")
ran=$(runs_on_a)
run=$(appliance_load run "$(appliance_console b anna)")
before=$(times a)

# b is not heard before a.
kill -STOP "$b_agent"
appliance_server_stop KILL
rm "$state"/catalogue.db*
# So long a doubt that a is heard in it, however busy this machine is.
sed -i 's/^ttl = .*/ttl = 45s/' "$appliance_dir/server/godwit-server.conf"
kill -CONT "$a_agent"
check "the server loses its catalogue and starts" appliance_server_start
check "the copy says that anna is on a" appliance_is a .endpoint desktop show anna
check "a is heard" appliance_wait 180 heard a "$before"
sleep 1 # a renewal that came would be followed
is "$(appliance_load n "$(appliance_console a anna)")" "$stood" "anna stands still on a"
kill -CONT "$b_agent"
check "b is heard" appliance_wait 180 appliance_is b .endpoint desktop show anna
check "anna goes on on b" appliance_counts b anna
is "$(appliance_load run "$(appliance_console b anna)")" "$run" "it is the same run of its program"
check "a puts its own aside" appliance_wait 180 orphaned
is "$(runs_on_a)" "$ran" "which has never run again"
is "$(appliance_field '[.[] | select(.kind == "failover" and (.state == "queued" or .state == "running"))] | length' job list)" 0 "nobody is failed over"
done_testing
