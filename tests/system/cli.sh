#!/usr/bin/env bash
# shellcheck disable=SC1091,SC2154
# The godwit command against a real server: signing in, trust, imports, what it prints, how it ends.
. "$(dirname "$0")/../lib/tap.sh"
build=$(realpath "$1")
. "$(dirname "$0")/../lib/server.sh"

need qemu-img jq openssl sqlite3
export GODWIT_CONFIG_HOME=$TAP_DIR/home
unset XDG_CONFIG_HOME SSL_CERT_FILE
godwit=$build/bin/godwit
umask 022

start_server "[lease]" "ttl = 10m" "heartbeat = 1s" || bail "the server does not get ready"
password=$TAP_DIR/server/admin-password
fingerprint=$(openssl x509 -in "$ca" -noout -fingerprint -sha256 | cut -d= -f2)
wrong_fingerprint=${fingerprint%?}$([[ $fingerprint == *0 ]] && echo 1 || echo 0)

sign_in() {
	run "$godwit" login "$ui" --user admin --password-file "$password" "$@"
}

# ---- Usage: nothing is sent, status 2 ----

run "$godwit"
is "$status" 2 "no command: status 2"
run "$godwit" --help
is "$status" 0 "--help: status 0"
run "$godwit" desktop strat anna
is "$status" 2 "an unknown verb: status 2"
like "$errors" "did you mean 'start'" "... and a suggestion"
run "$godwit" login "http://127.0.0.1" --user admin --password-file "$password"
is "$status" 2 "an address without TLS: status 2"
run "$godwit" login "$ui" --user admin --password-file "$password" --fingerprint 12
is "$status" 2 "half a fingerprint: status 2"

# ---- Signing in: who is trusted, status 3 ----

run "$godwit" desktop list
is "$status" 3 "not signed in: status 3"
like "$errors" 'godwit login' "... and how to sign in"

sign_in
is "$status" 3 "an unknown server is not trusted because it answered"
like "$errors" '--fingerprint' "... and what to give"
sign_in --fingerprint "$wrong_fingerprint"
is "$status" 3 "another fingerprint: status 3"
like "$errors" 'not the server with that fingerprint' "... and says so"
openssl req -x509 -newkey rsa:2048 -nodes -keyout "$TAP_DIR/other.key" -out "$TAP_DIR/other.pem" -days 2 -subj /CN=other 2>/dev/null
sign_in --ca "$TAP_DIR/other.pem"
is "$status" 3 "another CA: status 3"
run "$godwit" login "$ui" --user admin --ca "$ca" --password-file - <<<"wrong"
is "$status" 3 "a wrong password: status 3"
unlike "$errors" 'certificate' "... and no word about certificates"
check_not "none of them left a login behind" test -e "$GODWIT_CONFIG_HOME/login.json"
run "$godwit" login "https://127.0.0.1:$(free_port)" --user admin --ca "$ca" --password-file "$password"
is "$status" 4 "nobody listens: status 4"

sign_in --fingerprint "$fingerprint"
is "$status" 0 "the right fingerprint and password"
is "$(stat -c %a "$GODWIT_CONFIG_HOME/login.json")" 600 "the login is for its owner only"
unlike "$(cat "$GODWIT_CONFIG_HOME/login.json")" "$(cat "$password")" "the password is not in it"
run "$godwit" server show
is "$status" 0 "and requests work"
like "$output" 'CA fingerprint +[0-9a-f]{64}' "server show names the CA"
SSL_CERT_FILE=$ca sign_in
is "$status" 0 "a server that this machine trusts needs neither"
sign_in --ca "$ca"
is "$status" 0 "the right CA"
chmod 644 "$GODWIT_CONFIG_HOME/login.json"
run "$godwit" desktop list
is "$status" 3 "a login that others may read is refused"
chmod 600 "$GODWIT_CONFIG_HOME/login.json"

# ---- Empty lists ----

for noun in endpoint desktop snapshot job; do
	run "$godwit" "$noun" list --output json
	is "$status $output" "0 []" "$noun list: an empty array"
done
run "$godwit" desktop list
is "$output" "" "an empty table prints nothing on stdout"
like "$errors" 'godwit desktop import' "... and says how to begin on stderr"

# ---- A token ----

run "$godwit" endpoint token --ttl 10m
is "$status" 0 "a token is made"
like "$output" "^gw1-[^ ]+-$(tr -d : <<<"${fingerprint,,}")$" "... alone on stdout, with the CA's fingerprint"
run "$godwit" endpoint show nobody
is "$status" 1 "an endpoint that is not there: status 1"
like "$errors" 'nobody' "... and is named"

# ---- Imports ----

# 48 MiB with holes, incompressible and compressible parts.
raw=$TAP_DIR/disk.raw
truncate -s 48M "$raw"
dd if=/dev/urandom of="$raw" bs=1M seek=3 count=9 conv=notrunc status=none
yes "a line of text" | dd of="$raw" bs=1M seek=20 count=8 iflag=fullblock conv=notrunc status=none

run "$godwit" desktop import anna "$raw" --vcpus 2 --memory 1G --network none --output json
is "$status" 0 "a raw image is imported"
anna=$(jq -r .snapshot <<<"$output")
is "$(jq -c '[.format, .size, .desktop]' <<<"$output")" '["raw",50331648,"anna"]' "... as what it is"
check "... its holes unread" test "$(jq .read_bytes <<<"$output")" -le $((18 * 1048576))
check "... and compressed" test "$(jq .stored_bytes <<<"$output")" -le $((10 * 1048576))

for format in qcow2 vmdk vdi vhdx vpc; do
	qemu-img convert -O "$format" "$raw" "$TAP_DIR/disk.$format" || bail "qemu-img can't make $format"
	run "$godwit" desktop import "from-$format" "$TAP_DIR/disk.$format" --output json
	is "$status" 0 "a $format image is imported"
	is "$(jq -r .format <<<"$output")" "${format/vpc/vhd}" "... and recognised"
	eval "snapshot_$format=$(jq -r .snapshot <<<"$output")"
	[ "$status" = 0 ] || diag "$errors"
done
check "no qemu-nbd is left" test -z "$(pgrep -f "$TAP_DIR/disk" || true)"

run "$godwit" desktop import anna "$raw"
is "$status" 1 "a name that is taken: status 1"
like "$errors" 'anna is there already' "... and says so"
run "$godwit" desktop import nothing "$TAP_DIR/absent.raw"
is "$status" 1 "an image that is not there: status 1"
run "$godwit" desktop show nothing
is "$status" 1 "... and no empty desktop is left behind"
gzip -1 <"$raw" >"$TAP_DIR/disk.gz"
run "$godwit" desktop import packed "$TAP_DIR/disk.gz"
like "$status $errors" '^1 .*unpack it first' "a compressed file is not taken for a disk"
qemu-img create -q -f qcow2 -b "$raw" -F raw "$TAP_DIR/overlay.qcow2"
run "$godwit" desktop import overlay "$TAP_DIR/overlay.qcow2"
like "$status $errors" '^1 .*refers to .*disk\.raw' "an image that refers to another file is refused"
run "$godwit" desktop import overlay "$TAP_DIR/overlay.qcow2" --follow-backing --output json
is "$status" 0 "... unless --follow-backing says so"
truncate -s 1M "$TAP_DIR/broken.qcow2"
printf 'QFI\xfb\0\0\0\1' | dd of="$TAP_DIR/broken.qcow2" conv=notrunc status=none
run "$godwit" desktop import broken "$TAP_DIR/broken.qcow2"
like "$status $errors" '^1 .*broken\.qcow2 can.t be read' "a broken image: status 1 and its name"

# ---- Interrupted and resumed ----

big=$TAP_DIR/big.raw
dd if=/dev/urandom of="$big" bs=1M count=320 status=none
"$godwit" desktop import big "$big" >"$TAP_DIR/big.out" 2>&1 &
importer=$!
adopt "$importer"
# Some of it has arrived, and it has not ended.
import_began() {
	local stored
	stored=$(find "$TAP_DIR/server/store" -type f -printf '%s\n' | awk '{ sum += $1 } END { print sum }')
	[ -e "$GODWIT_CONFIG_HOME/imports/big.json" ] && [ "$stored" -gt 60000000 ]
}
check "an import is under way" wait_for 180 import_began
kill -INT "$importer"
wait "$importer"
is "$?" 130 "Ctrl-C: status 130"
like "$(cat "$TAP_DIR/big.out")" 'goes on from there' "... and says how to go on"
run "$godwit" desktop import big "$big" --output json
is "$status" 0 "the same command goes on"
like "$errors" 'begun before' "... with the session it had"
check "... and sends only the rest" test "$(jq .new_bytes <<<"$output")" -lt $((290 * 1048576))
diag "after the interruption $(jq -c '{read_bytes, new_bytes}' <<<"$output")"
big_snapshot=$(jq -r .snapshot <<<"$output")
check_not "nothing is remembered of an import that has ended" test -e "$GODWIT_CONFIG_HOME/imports/big.json"

# ---- Looking at it ----

run "$godwit" desktop list --output json
is "$(jq -r '[.[].name] | sort | join(" ")' <<<"$output")" "anna big from-qcow2 from-vdi from-vhdx from-vmdk from-vpc overlay" "desktop list has them all"
run "$godwit" desktop list --limit 2 --output json
is "$(jq length <<<"$output")" 2 "--limit is kept"
run "$godwit" desktop list
is "$status" 0 "desktop list as a table"
like "$output" '^NAME +STATE +ENDPOINT .*LATEST SNAPSHOT' "... has titles"
like "$output" "anna +stopped +- +2 +1\.0 GiB +48\.0 MiB +strict +$anna" "... and a row for anna"
run "$godwit" desktop show anna --output json
is "$(jq -c '[.machine.vcpus, .machine.memory_mib, .machine.network, .state]' <<<"$output")" '[2,1024,"none","stopped"]' "desktop show anna"
run "$godwit" snapshot list --desktop anna --output json
is "$(jq -r '.[].id' <<<"$output")" "$anna" "snapshot list --desktop"
run "$godwit" snapshot show "$anna"
like "$output" 'disk0 +disk +48\.0 MiB' "snapshot show lists its volumes"
run "$godwit" snapshot list
like "$output" "$anna +anna +[a-z0-9 ]+ +import" "snapshot list as a table"

# ---- A job ----

run "$godwit" desktop start anna --quiet
check "a start without any endpoint fails" test "$status" = 1
check "... and says why" test -n "$errors"
diag "$errors"
run "$godwit" desktop start absent
like "$status $errors" '^1 .*absent' "a start of a desktop that is not there"
# An endpoint that takes the work but never begins it: the job waits.
login
enrol slow
beat slow
"$godwit" desktop start anna --endpoint slow >"$TAP_DIR/start.out" 2>&1 &
starter=$!
adopt "$starter"
job_waits() { [ "$("$godwit" job list --state queued --output json | jq -r '.[0].desktop')" = anna ]; }
check "a start waits for its endpoint" wait_for 180 job_waits
job=$("$godwit" job list --state queued --output json | jq -r '.[0].id')
kill -INT "$starter"
wait "$starter"
is "$?" 130 "Ctrl-C while waiting: status 130"
like "$(cat "$TAP_DIR/start.out")" "godwit job watch $job" "... and how to follow it again"
run "$godwit" job show "$job"
like "$status $output" '^0 .*State +queued' "the job goes on"
run "$godwit" desktop start anna --no-wait
is "$status" 1 "a second start meanwhile: status 1"
run "$godwit" job cancel "$job"
like "$status $output" '^0 .*was cancelled' "job cancel follows it to its end"
run "$godwit" job watch "$job"
is "$status" 1 "watching a job that was cancelled: status 1"
run "$godwit" desktop start anna --no-wait --output json
is "$status $(jq -r .desktop <<<"$output")" "0 anna" "--no-wait prints the job and leaves"
run "$godwit" job show no-such-job
is "$status" 1 "a job that is not there: status 1"

# ---- An answer is lost: the request is sent again, and done once ----

port=$(free_port)
other=(env "GODWIT_CONFIG_HOME=$TAP_DIR/relayed" "$godwit")
# The command goes on trying for half a minute only, so this must not take long on a slow machine.
was_asked() { grep -q "job begins .*desktop=from-qcow2" "$(log_of server)"; }
spawn relay python3 "$(dirname "$0")/../lib/lose_answer.py" "$port" "$ui_port" "$TAP_DIR/hold"
wait_for 180 eval "exec 3<>/dev/tcp/127.0.0.1/$port"
run "${other[@]}" login "https://127.0.0.1:$port" --user admin --ca "$ca" --password-file "$password"
is "$status" 0 "signed in through a relay"
touch "$TAP_DIR/hold"
"${other[@]}" desktop start from-qcow2 --no-wait >"$TAP_DIR/lost.out" 2>"$TAP_DIR/lost.err" &
caller=$!
adopt "$caller"
check "the server does what it was asked" wait_for 180 was_asked
rm "$TAP_DIR/hold" # and the relay cuts the connection, before it passed an answer on
wait "$caller"
is "$?" 0 "a start whose answer was lost succeeds nevertheless"
is "$(cat "$TAP_DIR/lost.out")" "$("$godwit" job list --desktop from-qcow2 --output json | jq -r '.[].id')" "... with the one job that there is"

tokens() { sqlite3 "$TAP_DIR/server/catalogue.db" "SELECT COUNT(*) FROM endpoint_tokens"; }
one_more() { [ "$(tokens)" = $((before + 1)) ]; }
before=$(tokens)
touch "$TAP_DIR/hold"
"${other[@]}" endpoint token --quiet >"$TAP_DIR/lost.out" 2>"$TAP_DIR/lost.err" &
caller=$!
adopt "$caller"
check "the server makes a token" wait_for 180 one_more
rm "$TAP_DIR/hold"
wait "$caller"
is "$? $(tokens)" "0 $((before + 2))" "a token whose answer was lost is kept nowhere: another one is made"
like "$(cat "$TAP_DIR/lost.out")" '^gw1-[0-9a-f]{32}-[0-9a-f]{64}$' "... and alone is printed"
check "... and is good" enrol_with "$(cut -d- -f2 "$TAP_DIR/lost.out")" late

# ---- Out ----

cp "$GODWIT_CONFIG_HOME/login.json" "$TAP_DIR/kept.json"
run "$godwit" logout
is "$status" 0 "logout"
check_not "the login is gone" test -e "$GODWIT_CONFIG_HOME/login.json"
cp "$TAP_DIR/kept.json" "$GODWIT_CONFIG_HOME/login.json"
run "$godwit" desktop list
is "$status" 3 "a copy of it is worthless afterwards: status 3"
like "$errors" 'sign-in has ended' "... and says what to do"

# ---- What was imported is what was given: read back without any server ----

stop_server
for name in anna qcow2 vmdk vdi vhdx vpc; do
	snapshot=snapshot_$name
	[ "$name" = anna ] && id=$anna || id=${!snapshot}
	check "$name: got back from the store" "$build/bin/godwit-store" get "$TAP_DIR/server/store" "$id" disk0 "$TAP_DIR/back.raw"
	# VHD rounds the size up to whole cylinders.
	check "$name: byte for byte" cmp -n 50331648 "$raw" "$TAP_DIR/back.raw"
	rm -f "$TAP_DIR/back.raw"
done
check "big: got back" "$build/bin/godwit-store" get "$TAP_DIR/server/store" "$big_snapshot" disk0 "$TAP_DIR/back.raw"
check "big: byte for byte" cmp "$big" "$TAP_DIR/back.raw"
done_testing
