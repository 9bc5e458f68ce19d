#!/usr/bin/env bash
# A reader that its volume took over, in the real sandbox: it reaches neither files nor network nor other processes, and
# whatever it says or does, godwit-scan ends with a verdict that is not clean.
# shellcheck disable=SC2016,SC2154 # EICAR; what tap.sh sets
# shellcheck source=tests/lib/tap.sh
. "$(dirname "$0")/../lib/tap.sh"
build=$(realpath "$1")
need mkfs.ext4 debugfs jq
cd "$TAP_DIR" || exit

# godwit-scan looks for its readers beside itself, where it really is.
mkdir bin sig
for program in "$build"/bin/godwit-scan-*; do ln -s "$program" bin/; done
cp -L "$build/bin/godwit-scan" bin/
ln -sf "$build/tests/hijacked_reader" bin/godwit-scan-ext
echo 'Test.Nothing:0:0:00112233445566778899aabbccddeeff' >sig/test.ndb
truncate -s 8M clean.img && mkfs.ext4 -q clean.img

cat >attacks <<'TABLE'
open signal 31
create signal 31
stat signal 31
mount signal 31
inet signal 31
unix signal 31
packet signal 31
trace signal 31
peek signal 31
kill signal 31
kill-all signal 31
tgkill signal 31
others refused
pidfd signal 31
list signal 31
fork signal 31
exec signal 31
code signal 31
memory refused
shared-memory signal 31
stack signal 31
memfd signal 31
system-v signal 31
pipe signal 31
sockets signal 31
locks signal 31
scratch refused
contents not enough memory
run-outside outside of its partition
run-amplify more bytes than its partition has
run-repeat more bytes than its partition has
run-torn runs that make no sense
run-mix refused
descriptors refused
look refused
limits refused|signal 31
others-limits signal 31
owner signal 31
terminal signal 31
garbage lengths do not add up|a message of
requests refused
writes refused
leave leaves it to nobody
forge refused
end ended with status 0 before it was done
crash signal (6|11)
TABLE

# To files, as the server has it: what a reader inherits it may try to write to.
attack() {
	mkdir "$1"
	cp --sparse=always clean.img "$1/img"
	tune2fs -L "$1" "$1/img" >/dev/null 2>&1
	sha256sum "$1/img" >"$1/before"
	timeout 240 bin/godwit-scan image "$1/img" --signatures sig --content-memory 64 --output json >"$1/report" 2>"$1/said"
	echo $? >"$1/status"
}
# Each waits for its namespaces to go most of the time.
while read -r label _; do
	attack "$label" &
	[ "$(jobs -r | wc -l)" -lt 4 ] || wait -n
done <attacks
wait

while read -r label how; do
	is "$(<"$label/status") $(jq -r .verdict "$label/report")" "2 incomplete" "$label: the verdict is incomplete"
	like "$(jq -r '.reasons | join("; ")' "$label/report")" "$how" "... because it was stopped"
	! grep -s forged "$label"/{report,said} || fail "$label: a reader wrote to what it inherited"
	sha256sum --status -c "$label/before" || fail "$label: the image was changed"
done <attacks
# Two desktops of one fleet hold the same infected file in the same chunks. The reader of the first, which its volume took over,
# tries to make those chunks stand for something else in what all scans remember: the second one is infected all the same.
printf '%s%s' 'X5O!P%@AP[4\PZX54(P^)7CC)7}$EICAR-STANDARD' '-ANTIVIRUS-TEST-FILE!$H+H*' >eicar.com
printf 'Test.Eicar:0:0:%s\n' "$(od -An -v -tx1 eicar.com | tr -d ' \n')" >sig/test.ndb
cp --sparse=always clean.img victim.img
debugfs -w -R 'write eicar.com eicar.com' victim.img >/dev/null 2>&1
cp --sparse=always victim.img poison.img && tune2fs -L poison poison.img >/dev/null 2>&1
"$build/bin/godwit-store" init st >/dev/null
put() { "$build/bin/godwit-store" put st --desktop "$1" --volume "disk0=$1.img" | awk '/^snapshot/ { sub(":", "", $2); print $2 }'; }
poison=$(put poison) victim=$(put victim)
scan_with() { timeout 240 "$1/godwit-scan" snapshot st "$2" --signatures sig --state state --output json | jq -r '"\(.verdict) \(.findings | length) \(.known_contents)"'; }
is "$(scan_with bin "$poison")" "incomplete 0 0" "a hijacked reader says what it likes of its own volume"
is "$(scan_with "$build/bin" "$victim")" "infected 1 0" "... and another desktop's file of the same chunks is found infected"
is "$(scan_with "$build/bin" "$poison")" "infected 1 1" "... which an honest reader then knows of the first one, too"
check "nothing was left outside" [ ! -e /tmp/godwit-hijacked ]

done_testing
