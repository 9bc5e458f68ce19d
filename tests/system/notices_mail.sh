#!/usr/bin/env bash
# Notices by mail: to the administrators and the desktop's owner, through a real SMTP server that at first refuses.
# shellcheck disable=SC2154 # what tap.sh and server.sh set
# shellcheck source=tests/lib/tap.sh
. "$(dirname "$0")/../lib/tap.sh"
build=$(realpath "$1")
sink=$(realpath "$(dirname "$0")/../lib/smtp_sink.py")
# shellcheck source=tests/lib/server.sh
. "$(dirname "$0")/../lib/server.sh"
need curl jq openssl mkfs.ext4 python3
export GODWIT_CONFIG_HOME=$TAP_DIR/home
godwit=$build/bin/godwit
umask 022
cd "$TAP_DIR" || exit

mkdir tree sig mails
name=$'tree/a\nb bösartig.com' # a name that must not become a header
printf '%s%s' 'X5O!P%@AP[4\PZX54(P^)7CC)7}$EICAR-STANDARD' '-ANTIVIRUS-TEST-FILE!$H+H*' >"$name"
printf 'Test.Eicar:0:0:%s\n' "$(od -An -v -tx1 "$name" | tr -d ' \n')" >sig/eicar.ndb
truncate -s 32M disk.img && mkfs.ext4 -q -d tree disk.img
smtp_port=$(free_port)
# Debian's own Python: its modules are Debian's packages.
spawn smtp /usr/bin/python3 "$sink" "$smtp_port" "$TAP_DIR/mails"
wait_for 60 grep -q ready "$(log_of smtp)"

config=("[scan]" "signatures = $TAP_DIR/sig" "[notices]" "smtp = smtp://127.0.0.1:$smtp_port" "to = it@example.org night@example.org" "retry = 1s")
printf '[server]\n' >bad.ini && printf '%s\n' "${config[@]}" "from = nobody" >>bad.ini
run "$build/bin/godwit-server" --state "$TAP_DIR/never" --config bad.ini
like "$status $errors" "^1 .*from must be an address" "a sender that is no address is refused at the start"
check "a server that mails gets ready" start_server "${config[@]}" "from = godwit@example.org"
check "signed in" login
run "$godwit" login "$ui" --user admin --password-file "$TAP_DIR/server/admin-password" --ca "$ca"
run "$godwit" desktop import anna disk.img --owner $'anna@example.org\r\nBcc: x@example.org' --quiet
isnt0() { [ "$status" -ne 0 ]; }
check "an owner that is no address is refused" isnt0
check "a desktop with an owner" "$godwit" desktop import anna disk.img --owner anna@example.org --quiet
api GET "/api/v1/snapshots?desktop=anna"
snapshot=$(field '.items[0].id')
touch mails/refuse
run "$godwit" snapshot scan "$snapshot" --quiet
mail_is() { api GET "/api/v1/notices?desktop=anna"; [ "$(field '.items[0] | .mail + " " + (.mail_error != null | tostring)')" = "$1" ]; }
check "a mail that is not taken stays queued, with the reason" wait_for 60 mail_is "queued true"
like "$(field '.items[0].mail_error')" "451" "... which is the SMTP server's"
rm mails/refuse
check "it is tried again" wait_for 60 mail_is "sent false"
got() { [ -e "mails/$1.eml" ]; }
check "... and arrives" wait_for 60 got 1
is "$(head -n 1 mails/1.eml | tr -d '\r')" "Rcpt: it@example.org night@example.org anna@example.org" "at the administrators and the owner"
header=$(sed '/^\r*$/q' mails/1.eml)
like "$header" "Subject: \[godwit\] alarm: infected on desktop anna" "its subject says what and where"
unlike "$header" "artig" "what a guest named is not in the header"
like "$(sed '1,/^\r*$/d' mails/1.eml)" "snapshot $snapshot is infected" "its text names the snapshot"
run "$godwit" desktop owner anna
like "$status $output" "^0 .*Owner +-" "an owner can be taken away"
api POST /api/v1/desktops/anna/owner '{"owner":"ben@example.org"}'
is "$(field .owner)" ben@example.org "... or replaced"
sleep 1
is "$(ls mails)" 1.eml "one notice is one mail"

done_testing
