#!/usr/bin/env bash
# A desktop's system disk with an infected program: mended, the new snapshot is clean, and boots.
# shellcheck disable=SC2154 # what tap.sh and appliance.sh set
# shellcheck source=tests/lib/tap.sh
. "$(dirname "$0")/../lib/tap.sh"
# shellcheck source=tests/lib/appliance.sh
. "$(dirname "$0")/../lib/appliance.sh"
need debugfs jq

appliance_init "$1" "$TAP_DIR/m"
LEASE_TTL=60s
GUEST_LOAD='mem=24 hot=8 report_ms=200'
mkdir "$TAP_DIR/sig"
# The EICAR test file, put together here so that this script is not one.
# shellcheck disable=SC2016
printf '%s%s' 'X5O!P%@AP[4\PZX54(P^)7CC)7}$EICAR-STANDARD' '-ANTIVIRUS-TEST-FILE!$H+H*' >"$TAP_DIR/eicar.com"
printf 'Test.Eicar:0:0:%s\n' "$(od -An -v -tx1 "$TAP_DIR/eicar.com" | tr -d ' \n')" >"$TAP_DIR/sig/test.ndb"
cp "$appliance_build/bin/godwit" "$TAP_DIR/tool"

# The guest's ext4 is its first partition, at 1 MiB.
on_disk() { debugfs -w -R "$1" "$2?offset=1048576" >/dev/null 2>&1; }
check "the server starts" appliance_server_start '[scan]' "signatures = $TAP_DIR/sig"
check "signed in" appliance_login
"$appliance_lib/../guest/small.sh" "$appliance_dir/small.raw" --load "$GUEST_LOAD"
on_disk "write $TAP_DIR/tool tool" "$appliance_dir/small.raw"
check "a desktop is imported" appliance_import anna 128M
clean=$(appliance_field '.[0].id' snapshot list --desktop anna)
cp "$appliance_dir/small.raw" "$TAP_DIR/bad.raw"
on_disk "rm tool" "$TAP_DIR/bad.raw"
on_disk "write $TAP_DIR/eicar.com tool" "$TAP_DIR/bad.raw"
check "the server stops" appliance_server_stop
store=$appliance_dir/server/state/store
bad=$("$appliance_build/bin/godwit-store" put "$store" --desktop anna --volume "disk0=$TAP_DIR/bad.raw" --parent "$clean" --output json | jq -r .snapshot)
check "... and starts again, with an infected snapshot" appliance_server_start

check "the first snapshot is clean" appliance_cli snapshot scan "$clean" --quiet
appliance_cli snapshot scan "$bad" --quiet
is "$(appliance_field .verdict snapshot show "$bad")" infected "the second one is not"
check "its program is mended" appliance_cli snapshot mend "$bad" --file disk0:1:tool --quiet
mended=$(appliance_field '[.[] | select(.kind == "mended")][0].id' snapshot list --desktop anna)
check "the new snapshot is clean" appliance_cli snapshot scan "$mended" --quiet

check "an endpoint comes up" appliance_endpoint_start a
check "the desktop boots" appliance_boots a anna
check "... from the mended snapshot" grep -q "lease granted desktop=anna .*snapshot=$mended" "$appliance_dir/log/server.log"
check "a file is written" appliance_tell a anna 'fill 2' 'ok fill mib=2 '
check "... and read again" appliance_tell a anna check 'ok check blocks=[0-9]* wrong=0'
a=$(appliance_console a anna)
is "$(appliance_load bad "$a") $(appliance_load disk_bad "$a")" "0 0" "memory and disk are intact"
done_testing
