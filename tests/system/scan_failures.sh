#!/usr/bin/env bash
# What goes wrong while a scan runs: killed workers, a full temp folder, damage in the store. Never clean, always with the
# reason, and tried again by itself until it is.
# shellcheck disable=SC2154 # what tap.sh and server.sh set
# shellcheck source=tests/lib/tap.sh
. "$(dirname "$0")/../lib/tap.sh"
build=$(realpath "$1")
# shellcheck source=tests/lib/server.sh
. "$(dirname "$0")/../lib/server.sh"
need curl jq openssl mkfs.ext4 unshare
export GODWIT_CONFIG_HOME=$TAP_DIR/home
godwit=$build/bin/godwit
umask 022
cd "$TAP_DIR" || exit

mkdir sig
printf 'Test.None:0:0:%s\n' "00112233445566778899aabbccddeeff" >sig/none.ndb
# Each desktop has contents of its own: what was scanned once is not scanned again.
for name in anna ben carl; do
	mkdir "$name"
	for i in {1..30}; do head -c 60000 /dev/urandom >"$name/$i.bin"; done
	truncate -s 24M "$name.img" && mkfs.ext4 -q -d "$name" "$name.img"
done
# One that takes the engine seconds, so that its worker is surely killed while it works.
head -c 300M /dev/zero | gzip -1 >anna/zeros.gz
rm anna.img && truncate -s 24M anna.img && mkfs.ext4 -q -d anna anna.img
config=("[scan]" "signatures = $TAP_DIR/sig" "retry = 2s")
check "the server gets ready" start_server "${config[@]}"
check "signed in" login
run "$godwit" login "$ui" --user admin --password-file "$TAP_DIR/server/admin-password" --ca "$ca"
snapshot_of() {
	api GET "/api/v1/snapshots?desktop=$1"
	field '.items[0].id'
}
# order NAME: import it and scan it; sets $snapshot and $job
order() {
	"$godwit" desktop import "$1" "$1.img" --quiet || return
	snapshot=$(snapshot_of "$1")
	api POST "/api/v1/snapshots/$snapshot/scan" '{}'
	job=$(field .id)
}
job_over() { api GET "/api/v1/jobs/$1"; [ "$(field .ended)" != null ]; }
verdict_is() { api GET "/api/v1/snapshots/$1"; [ "$(field .verdict)" = "$2" ]; }

# ---- Killed workers --------------------------------------------------------------------------------------------
# Until the scan is over, whatever child an engine of this server has is killed.
kill_workers() {
	local scan engine
	while ! [ -e stop ]; do
		for scan in $(pgrep -P "$server_pid"); do
			for engine in $(pgrep -P "$scan" -f godwit-scan-engine); do
				for worker in $(pgrep -P "$engine"); do kill -9 "$worker" 2>/dev/null; done
			done
		done
	done
}
(trap - EXIT INT TERM HUP; kill_workers) >/dev/null 2>&1 &
killer=$!
adopt "$killer"
check "a scan whose workers are killed begins" order anna
check "... and ends" wait_for 120 job_over "$job"
api GET "/api/v1/snapshots/$snapshot"
is "$(field .verdict)" incomplete "it is incomplete"
like "$(field '.scan.reasons | join("; ")')" "the engine (died|gave|did not)|no engine" "... and the reason is the engine"
touch stop
wait "$killer" 2>/dev/null
check "once they live it is clean, by itself" wait_for 120 verdict_is "$snapshot" clean

# ---- Damage in the store ---------------------------------------------------------------------------------------
check "import another" "$godwit" desktop import ben ben.img --quiet
snapshot=$(snapshot_of ben)
pack=$(find server/store/packs -type f -printf '%T@ %p\n' | sort -n | tail -n 1 | cut -d' ' -f2)
cp "$pack" whole
half=$(($(stat -c %s "$pack") / 2))
head -c 4096 /dev/urandom | dd of="$pack" bs=1 seek="$half" conv=notrunc status=none
api POST "/api/v1/snapshots/$snapshot/scan" '{}'
job=$(field .id)
check "a scan of a snapshot with damaged chunks ends" wait_for 120 job_over "$job"
api GET "/api/v1/snapshots/$snapshot"
is "$(field '"\(.verdict) \(.scan_tries)"')" "incomplete 1" "it is incomplete, and waits to be tried again"
reasons=$(field '.scan.reasons | join("; ")')
like "$reasons" "unreadable: " "... and says what could not be read"
dd if=whole of="$pack" bs=4096 conv=notrunc status=none
check "once the damage is mended it is clean, by itself" wait_for 120 verdict_is "$snapshot" clean
stop_server

# ---- A full temp folder ----------------------------------------------------------------------------------------
# The server in a mount namespace of its own, in which /tmp is a full tmpfs but for this test's folder, and for what was
# built if that is below it.
cat >in_full_tmp <<'END'
#!/bin/sh
here=$1 top=$2
shift 2
mkdir -p "$here/build" && mount --make-rprivate / && mount --bind "$top" "$here/build" && mount --rbind "$here" /mnt &&
	mount -t tmpfs -o size=64k none /tmp && mkdir -p "$here" && mount --rbind /mnt "$here" && cd "$here" || exit 1
[ -e "$top/bin" ] || { mkdir -p "$top" && mount --bind "$here/build" "$top"; } || exit 1
head -c 100000 /dev/zero >/tmp/full 2>/dev/null
exec "$@"
END
chmod +x in_full_tmp
if unshare -rm true 2>/dev/null && [[ $TAP_DIR == /tmp/* ]]; then
	server_wrapper=(unshare -m "$TAP_DIR/in_full_tmp" "$TAP_DIR" "$build")
	check "a server whose temp folder is full gets ready" start_server "${config[@]}"
	check "a scan begins" order carl
	check "... and ends" wait_for 120 job_over "$job"
	api GET "/api/v1/snapshots/$snapshot"
	is "$(field '"\(.verdict) \(.scan_tries)"')" "incomplete 1" "it is incomplete, and waits to be tried again"
	like "$(field '.scan.reasons[0]')" "no engine: .*(No space left|temp folder)" "... with the reason"
	stop_server
	server_wrapper=()
	check "with room in it" start_server "${config[@]}"
	check "... it is clean, by itself" wait_for 120 verdict_is "$snapshot" clean
else
	skip "a full temp folder" "this test's folder is not below /tmp, or there are no mount namespaces"
fi
stop_server

done_testing
