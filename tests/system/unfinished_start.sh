#!/usr/bin/env bash
# An agent dies between the start of a QEMU that waits for its memory and the first page: the next agent must not wait
# with it for ever, and the desktop goes on from its snapshot all the same.
# shellcheck source=tests/lib/tap.sh
. "$(dirname "$0")/../lib/tap.sh"
# shellcheck source=tests/lib/appliance.sh
. "$(dirname "$0")/../lib/appliance.sh"
need qemu-nbd

appliance_init "$1" "$TAP_DIR/g"
# Longer than the agent is away below: it stays the place where the desktop goes.
LEASE_TTL=60s
begin appliance_desktop anna a
run=$(appliance_load run "$(appliance_console a anna)")
machine=$(appliance_json desktop show anna | jq -c .machine)
check "it is suspended" appliance_cli desktop suspend anna --quiet
epoch=$(($(appliance_field .epoch desktop show anna) + 1))

# What the agent had done when it died, done by hand: only the start.
check "the agent is killed" appliance_end KILL "$(appliance_agent a)"
spawn nbd qemu-nbd --read-only --persistent --shared=8 --format=raw --export-name=disk0 --socket="$TAP_DIR/anna.sock" \
	"$TAP_DIR/g/small.raw"
check "its disks are served" appliance_wait 180 test -S "$TAP_DIR/anna.sock"
request=$(jq -nc --argjson machine "$machine" --argjson epoch "$epoch" --arg socket "$TAP_DIR/anna.sock" \
	--argjson size "$(stat -c %s "$TAP_DIR/g/small.raw")" \
	'{op:"start",desktop:"anna",epoch:$epoch,snapshot:"s1",incoming:true,machine:$machine,
	  lease:{policy:"strict",ttl_ms:600000},disks:[{name:"disk0",size:$size,socket:$socket,export:"disk0"}]}')
run "$1/tests/hvctl" "$TAP_DIR/g/a/hypervisor/hypervisor.sock" "$request"
like "$output" memory_socket "a QEMU waits for its memory"
waiting=$(appliance_qemu a anna)

job=$(appliance_field .id desktop resume anna --endpoint a --no-wait)
appliance_agent_start a
check "the desktop counts" appliance_counts a anna
is "$(appliance_load run "$(appliance_console a anna)")" "$run" "it is the run that was suspended"
unlike "$(appliance_qemu a anna)" "^$waiting\$" "in another QEMU"
is "$(appliance_field .epoch desktop show anna)" "$epoch" "under the epoch of that start"
ended() { [[ $(appliance_field .state job show "$job") =~ done|failed ]]; }
check "the job ends" appliance_wait 180 ended
is "$(appliance_field .state job show "$job")" "done" "... well"
done_testing
