#!/usr/bin/env bash
# The watch for ransomware: documents that are encrypted between two snapshots raise an alarm, pin the last good snapshot and
# keep everything until an administrator acknowledges; work, upgrades and an encrypted disk do not. Real ciphers on real
# file systems; what changed is measured by godwit-scan, judged by the server.
# shellcheck disable=SC2154 # what tap.sh and server.sh set
# shellcheck source=tests/lib/tap.sh
. "$(dirname "$0")/../lib/tap.sh"
build=$(realpath "$1")
# shellcheck source=tests/lib/server.sh
. "$(dirname "$0")/../lib/server.sh"
# shellcheck source=tests/lib/documents.sh
. "$(dirname "$0")/../lib/documents.sh"
need curl jq openssl mkfs.ext4 mkntfs zip python3 qemu-img
godwit=$build/bin/godwit store=$build/bin/godwit-store scan=$build/bin/godwit-scan
export GODWIT_CONFIG_HOME=$TAP_DIR/home
umask 022
cd "$TAP_DIR" || exit
mkdir mnt docs
copies=0

mounted() { # mounted IMAGE COMMAND...
	local image=$1 status
	shift
	case $image in
	*.ntfs) wait_for 60 ntfs-3g "$PWD/$image" mnt 2>/dev/null || return ;;
	*) wait_for 60 mount -o loop "$image" mnt 2>/dev/null || return ;; # others may take the free loop device first
	esac
	"$@"
	status=$?
	unmount mnt || return
	return $status
}
documents_make docs
truncate -s 40M base.ext4 base.ntfs
mkfs.ext4 -q -F base.ext4 && mkntfs -q -F -s 512 -p 0 base.ntfs >/dev/null 2>&1
for fs in ext4 ntfs; do
	mounted base.$fs cp -r docs mnt/home || skip_all "mounting needs root, loop devices and FUSE"
done

# ---- Measuring -------------------------------------------------------------------------------------------------
"$store" init st >/dev/null
put() { # put DESKTOP IMAGE [PARENT]
	"$store" put st --desktop "$1" --volume "disk0=$2" ${3:+--parent "$3"} --output json | jq -r .snapshot
}
measured() { # measured FS COMMAND...: what changed between the base and a copy of it on which COMMAND was run
	local fs=$1
	shift
	rm -f ./*."x.$fs"
	cp "base.$fs" "$((++copies)).x.$fs"
	mounted "$copies.x.$fs" "$@" || diag "it could not be done: $*"
	run "$scan" changes st "$(put "$fs" "$copies.x.$fs" "${base[$fs]}")"
}
figures() { jq -r "[$1] | map(tostring) | join(\" \")" <<<"$output"; }
declare -A base
for fs in ext4 ntfs; do
	base[$fs]=$(put $fs base.$fs)
	measured $fs documents_in_place mnt/home 500
	is "$status $(figures '.encrypted_wholly > 80, .suffix')" "0 true .locked" "$fs: documents encrypted in place, renamed"
	measured $fs documents_pieces mnt/home
	is "$(figures '.encrypted_wholly + .encrypted_partly > 80, .suffix')" "true " "$fs: a piece of every 64 KiB encrypted"
	measured $fs documents_busy mnt/home
	is "$(figures '.changed_files > 80, .encrypted_wholly, .encrypted_partly, .encrypted_unnamed')" "true 0 0 0" "$fs: a day's work"
	measured $fs documents_upgraded mnt/home
	is "$(figures '.changed_files > 30, .encrypted_wholly, .encrypted_partly, .encrypted_unnamed')" "true 0 0 0" "$fs: an upgrade"
done
measured ext4 documents_copied mnt/home
is "$(figures '.encrypted_wholly > 80, .suffix')" "true .locked" "encrypted copies, the documents removed"
measured ntfs documents_no_names mnt/home
is "$(figures '.encrypted_wholly + ([.vanished, .created_random] | min) > 30, .suffix')" "true .enc" "encrypted copies under names that say nothing"
run "$scan" changes st "${base[ext4]}"
is "$status" 3 "a snapshot without a parent cannot be compared"

# ---- Judging ---------------------------------------------------------------------------------------------------
# put_server DESKTOP IMAGE: the next snapshot of a desktop of the server, which is down meanwhile; in $last.
declare -A parent
put_server() {
	last=$("$store" put server/store --key server/store.key --desktop "$1" --volume "disk0=$2" \
		${parent[$1]:+--parent "${parent[$1]}"} --output json | jq -r .snapshot)
	parent[$1]=$last
}
judged() { # judged SNAPSHOT: true once it was measured
	api GET "/api/v1/snapshots/$1"
	[ "$(field .changes.state)" = measured ]
}
level() {
	wait_for 300 judged "$1"
	field .changes.level
}
alarm_of() { api GET "/api/v1/desktops/$1" && field '.alarm.why // "none"'; }
check "the server gets ready" start_server
stop_server

slowly() { documents_in_place mnt/home "$1" && documents_rename mnt/home .locked; }
for name in fast slow calm whole; do put_server $name base.ext4; done
good=${parent[fast]} slow_good=${parent[slow]}
cp base.ext4 fast.ext4 && mounted fast.ext4 documents_in_place mnt/home 40 && put_server fast fast.ext4
attacked=$last
cp base.ext4 slow.ext4
for n in 8 8 8 8; do # each of four snapshots eight more, under names of their own
	mounted slow.ext4 slowly "$n"
	put_server slow slow.ext4
done
slow_last=$last
cp base.ext4 calm.ext4 && mounted calm.ext4 documents_busy mnt/home && put_server calm calm.ext4
worked=$last
mounted calm.ext4 documents_upgraded mnt/home && put_server calm calm.ext4
upgraded=$last
qemu-img create -q -f luks --object secret,id=k,data=k -o key-secret=k,iter-time=10 x.luks 36M && truncate -s 40M x.luks && put_server whole x.luks
encrypted=$last

check "the server takes them over" start_server
check "signed in" login
run "$godwit" login "$ui" --user admin --password-file "$TAP_DIR/server/admin-password" --ca "$ca"
is "$(level "$attacked")" alarm "an attack is an alarm"
like "$(alarm_of fast)" "files were encrypted, extension .locked" "... of the desktop, with the reason"
is "$(level "$worked")" calm "work is none"
is "$(level "$upgraded")" calm "an upgrade is none"
is "$(level "$encrypted")" unusual "a disk that is encrypted as a whole is unusual"
is "$(alarm_of whole)" none "... and no alarm"
is "$(level "$slow_last")" alarm "a slow attack is one in the end"
like "$(alarm_of slow)" "over the last snapshots" "... because of what adds up"
api GET /api/v1/desktops/slow
is "$(field .alarm.last_good)" "$slow_good" "the last good one is the one before all of it"
api GET "/api/v1/notices?limit=50"
is "$(field '[.items[] | select(.kind == "ransomware") | .desktop] | sort | join(" ")')" "fast slow" "each alarm is told once"

# ---- Consequences ----------------------------------------------------------------------------------------------
api GET "/api/v1/snapshots/$good"
is "$(field '[.pins[].source] | sort | join(" ")')" "alarm ransomware" "the last good snapshot is pinned"
api GET "/api/v1/snapshots/$attacked"
is "$(field '[.pins[].source] | join(" ")')" alarm "the others are kept, too"
api POST "/api/v1/snapshots/$attacked/unpin" '{"source":"alarm"}'
is "$http" 409 "nobody takes that back by hand"
stop_server
run "$store" forget server/store "$good" --key server/store.key
check_not "the store forgets none of them" test "$status" = 0
check "the server starts again" start_server
check "signed in again" login
run "$godwit" desktop show fast
like "$output" "Last good  *$good" "desktop show says what to go back to"
run "$godwit" desktop acknowledge fast
is "$status $(alarm_of fast)" "0 none" "an administrator acknowledges"
api GET "/api/v1/snapshots/$attacked"
is "$(field '.pins | length')" 0 "what was kept may go"
api GET "/api/v1/snapshots/$good"
is "$(field '[.pins[].source] | join(" ")')" person "the last good one stays pinned"
run "$godwit" desktop acknowledge slow --false-alarm
api GET "/api/v1/snapshots/$slow_last"
is "$status $(field '"\(.changes.level) \(.pins | length)"')" "0 false-alarm 0" "a false alarm leaves nothing behind"
run "$godwit" desktop acknowledge fast
check_not "there is nothing more to acknowledge" test "$status" = 0
done_testing
