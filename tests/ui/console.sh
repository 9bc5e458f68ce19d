#!/usr/bin/env bash
# shellcheck disable=SC1091,SC2154 # appliance.sh sets $appliance_…
# The console in a real browser: signs in, starts, snapshots and moves a desktop, and watches it survive a dead endpoint.
. "$(dirname "$0")/../lib/tap.sh"
. "$(dirname "$0")/../lib/appliance.sh"
top=$(cd "$(dirname "$0")/../.." && pwd)
build=$(realpath "$1")

need node npm chromium jq mkfs.ext4

# The browser's driver, as package-lock.json pins it, outside the source tree. installed.json tells what is there.
install_driver() {
	local ui=$top/build/ui
	mkdir -p "$ui/pictures"
	exec 8>"$ui/.lock"
	flock 8
	if ! cmp -s "$top/tests/ui/package-lock.json" "$ui/installed.json"; then
		rm -f "$ui/installed.json"
		cp "$top"/tests/ui/{package.json,package-lock.json,.npmrc} "$ui/" || return 1
		(cd "$ui" && npm ci --ignore-scripts --no-audit --no-fund) || return 1
		cp "$ui/package-lock.json" "$ui/installed.json"
	fi
	cp "$top"/tests/ui/*.mjs "$ui/"
	flock -u 8
}

install_driver >"$TAP_DIR/npm.log" 2>&1 || bail "npm ci failed: $(tail -n 5 "$TAP_DIR/npm.log")"
"$top/tests/guest/small.sh" "$TAP_DIR/anna.raw" --load 'mem_mib=24 hot_mib=8' >"$TAP_DIR/guest.log" 2>&1 ||
	bail "no guest: $(tail -n 5 "$TAP_DIR/guest.log")"

appliance_init "$build" "$TAP_DIR/appliance"
appliance_server_start || bail "the server does not run"
appliance_login || bail "nobody can sign in"
appliance_endpoint_start a || bail "endpoint a does not run"
appliance_endpoint_start b || bail "endpoint b does not run"
appliance_cli desktop import anna "$TAP_DIR/anna.raw" --vcpus 1 --memory 128M --network none --quiet >/dev/null ||
	bail "the import failed"

# A desktop with a virus in it, and signatures that know it.
mkdir "$TAP_DIR/tree"
printf '%s%s' 'X5O!P%@AP[4\PZX54(P^)7CC)7}$EICAR-STANDARD' '-ANTIVIRUS-TEST-FILE!$H+H*' >"$TAP_DIR/tree/eicar.com"
printf 'Test.Eicar:0:0:%s\n' "$(od -An -v -tx1 "$TAP_DIR/tree/eicar.com" | tr -d ' \n')" >"$TAP_DIR/eicar.ndb"
truncate -s 32M "$TAP_DIR/ill.raw" && mkfs.ext4 -q -d "$TAP_DIR/tree" "$TAP_DIR/ill.raw" || bail "no infected disk"
appliance_cli signatures upload "$TAP_DIR/eicar.ndb" --quiet >/dev/null || bail "the signatures were refused"
appliance_cli desktop import ill "$TAP_DIR/ill.raw" --vcpus 1 --memory 128M --network none --quiet >/dev/null ||
	bail "the import of the infected disk failed"

umask 077
printf '%s\n' "$appliance_password" >"$TAP_DIR/password"
HOME=$TAP_DIR timeout 700 node "$top/build/ui/console.mjs" "$appliance_url" "$TAP_DIR/password" "$top/build/ui/pictures" \
	"$top/tests/lib/appliance.sh" "$build" "$TAP_DIR/appliance"
status=$?
# The script prints its own plan.
exit "$status"
