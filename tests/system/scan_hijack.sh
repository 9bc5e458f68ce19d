#!/usr/bin/env bash
# A reader that its volume took over, in the real sandbox: it reaches neither files nor network nor other processes, and
# whatever it says or does, godwit-scan ends with a verdict that is not clean.
# shellcheck disable=SC2154 # what tap.sh sets
# shellcheck source=tests/lib/tap.sh
. "$(dirname "$0")/../lib/tap.sh"
build=$(realpath "$1")
need mkfs.ext4 jq
cd "$TAP_DIR" || exit

# godwit-scan looks for its readers beside itself, where it really is.
mkdir bin sig
for program in "$build"/bin/godwit-scan-*; do ln -s "$program" bin/; done
cp -L "$build/bin/godwit-scan" bin/
ln -sf "$build/tests/hijacked_reader" bin/godwit-scan-ext
echo 'Test.Nothing:0:0:00112233445566778899aabbccddeeff' >sig/test.ndb
truncate -s 8M clean.img && mkfs.ext4 -q clean.img

while read -r label how; do
	cp --sparse=always clean.img attack.img
	tune2fs -L "$label" attack.img >/dev/null 2>&1
	before=$(sha256sum attack.img)
	# To files, as the server has it: what a reader inherits it may try to write to.
	run eval 'timeout 120 bin/godwit-scan image attack.img --signatures sig --output json >report 2>said'
	output=$(<report)
	is "$status $(jq -r .verdict <<<"$output")" "2 incomplete" "$label: the verdict is incomplete"
	like "$(jq -r '.reasons | join("; ")' <<<"$output")" "$how" "... because it was stopped"
	! grep -s forged report said || fail "$label: a reader wrote to what it inherited"
	[ "$(sha256sum attack.img)" = "$before" ] || fail "$label: the image was changed"
done <<'TABLE'
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
fork signal 31
exec signal 31
code signal 31
memory refused
descriptors refused
limits refused|signal 31
others-limits signal 31
owner signal 31
terminal signal 31
garbage lengths do not add up|a message of
requests refused
writes refused
forge refused
end ended with status 0 before it was done
crash signal 6
TABLE
check "nothing was left outside" [ ! -e /tmp/godwit-hijacked ]

done_testing
