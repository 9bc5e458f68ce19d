#!/usr/bin/env bash
# Signatures and scans by policy: a server without signatures, uploaded and fetched ones, bundles that are refused, old
# ones; each new snapshot is scanned by itself, and what could not finish is tried again.
# shellcheck disable=SC2154 # what tap.sh and server.sh set
# shellcheck source=tests/lib/tap.sh
. "$(dirname "$0")/../lib/tap.sh"
build=$(realpath "$1")
# shellcheck source=tests/lib/server.sh
. "$(dirname "$0")/../lib/server.sh"
need curl jq openssl mkfs.ext4 freshclam python3 tar
export GODWIT_CONFIG_HOME=$TAP_DIR/home
godwit=$build/bin/godwit
umask 022
cd "$TAP_DIR" || exit

mkdir tree sig www bundle none
# The EICAR test file, put together here so that this script is not one; and a file of Debian's clamav-testfiles.
printf '%s%s' 'X5O!P%@AP[4\PZX54(P^)7CC)7}$EICAR-STANDARD' '-ANTIVIRUS-TEST-FILE!$H+H*' >tree/eicar.com
printf 'Test.Eicar:0:0:%s\n' "$(od -An -v -tx1 tree/eicar.com | tr -d ' \n')" >www/eicar.ndb
clam=/usr/share/clamav-testfiles/clam.exe
cp "$clam" tree/clam.exe
printf '%s:%s:Test.Clam\n' "$(md5sum <"$clam" | cut -d' ' -f1)" "$(stat -c %s "$clam")" >www/clam.hdb
for i in {1..20}; do echo "file $i" >"tree/$i.txt"; done
truncate -s 32M disk.img && mkfs.ext4 -q -d tree disk.img
printf 'this is no signature\n' >broken.ndb
tar -C www -czf good.tar.gz eicar.ndb
echo nothing >bundle/README && tar -C bundle -cf empty.tar README
ln -s /etc/passwd bundle/x.ndb && tar -C bundle -cf link.tar x.ndb
head -c 900 <(gzip -dc good.tar.gz) >cut.tar

web_port=$(free_port)
spawn web python3 -m http.server "$web_port" --bind 127.0.0.1 --directory "$TAP_DIR/www"
is_up() { curl -s -o /dev/null "http://127.0.0.1:$web_port/"; }
wait_for 180 is_up
scan_of() { api GET "/api/v1/snapshots/$1"; }
verdict_is() { scan_of "$1"; [ "$(field .verdict)" = "$2" ]; }

# ---- Without signatures ----------------------------------------------------------------------------------------
config=("[scan]" "automatic = yes" "retry = 1s")
if [ -n "$(ls /var/lib/clamav 2>/dev/null)" ]; then
	config+=("signatures = $TAP_DIR/none") # this machine has its own
fi
check "a server without signatures gets ready" start_server "${config[@]}"
check "signed in" login
run "$godwit" login "$ui" --user admin --password-file "$TAP_DIR/server/admin-password" --ca "$ca"
check "import" "$godwit" desktop import anna disk.img --quiet
api GET "/api/v1/snapshots?desktop=anna"
anna=$(field '.items[0].id')
check "a new snapshot is scanned by itself" wait_for 180 verdict_is "$anna" incomplete
like "$(field '.scan.reasons[0]')" "no engine: .*signatures" "... without signatures it is incomplete, and says so"
tried_thrice() { scan_of "$anna"; [ "$(field .scan_tries)" -ge 3 ]; }
check "it is tried again, and again" wait_for 180 tried_thrice
api GET "/api/v1/notices?unread=true"
is "$(field '[.items[] | select(.kind == "scan-failing") | .snapshot] | join(" ")')" "$anna" "... and after three times people hear of it"
stop_server

# ---- Bundles ---------------------------------------------------------------------------------------------------
check "the server keeps signatures of its own" start_server "[scan]" "automatic = yes" "retry = 1s"
for bad in broken.ndb:Malformed empty.tar:"no file of signatures" link.tar:"no plain file" cut.tar:"cut off"; do
	run "$godwit" signatures upload "${bad%%:*}"
	is "$status" 1 "${bad%%:*} is refused"
	like "$errors" "old ones stay: .*${bad#*:}" "... with the reason"
done
api GET /api/v1/signatures
like "$(field .folder)" "^/var/lib/clamav" "none of them was taken"
api GET "/api/v1/notices?unread=true"
is "$(field '[.items[] | select(.kind == "signatures-refused")] | length')" 1 "people are told once until they have read it"
run "$godwit" signatures upload "$TAP_DIR/disk.img:none"
like "$status $errors" "^[1-9].*open .*none" "a file that is not there"
run "$godwit" signatures upload good.tar.gz
is "$status" 0 "a good bundle is taken"
api GET /api/v1/signatures
is "$(field '[.files[].name] | join(" ")') $(field .signatures) $(field .outdated)" "eicar.ndb 1 false" "... and shown"
check "what waited for signatures is scanned now" wait_for 180 verdict_is "$anna" infected
is "$(field '[.scan.findings[].path] | join(" ")')" eicar.com "... with them"
run "$godwit" signatures upload www/clam.hdb
is "$status" 0 "one more file joins the set"
newest_scan() { scan_of "$anna"; [ "$(field '[.scan.findings[].path] | sort | join(" ")')" = "clam.exe eicar.com" ]; }
check "new signatures: the newest snapshots are scanned again, by themselves" wait_for 180 newest_scan
like "$(field '.scan.findings[] | select(.path == "clam.exe") | .signature')" "Test.Clam" "... the hash finds Debian's test file"
stop_server KILL
check "after kill -9 the set is there" start_server "[scan]" "automatic = yes" "retry = 1s" "max_age = 1d" "outdated = incomplete"
files() { api GET /api/v1/signatures; [ "$(field '[.files[].name] | join(" ")')" = "clam.hdb eicar.ndb" ]; }
check "... whole" wait_for 180 files

# ---- Old ones --------------------------------------------------------------------------------------------------
touch -d '40 days ago' old.ndb && printf 'Test.Old:0:0:%s\n' "00112233445566778899" >old.ndb && touch -d '40 days ago' old.ndb
tar -cf old.tar old.ndb
run "$godwit" signatures upload old.tar
is "$status" 0 "a bundle that is 40 days old is taken"
api GET /api/v1/signatures
is "$(field '"\(.outdated) \(.age_s > 3400000)"')" "true true" "... and shown as outdated, with its age"
rm tree/eicar.com tree/clam.exe && truncate -s 0 clean.img && truncate -s 32M clean.img && mkfs.ext4 -q -d tree clean.img
check "import a clean disk" "$godwit" desktop import ben clean.img --quiet
api GET "/api/v1/snapshots?desktop=ben"
ben=$(field '.items[0].id')
check "with outdated signatures it is incomplete" wait_for 180 verdict_is "$ben" incomplete
like "$(field '.scan.reasons[0]')" "outdated: the signatures are 40 days old" "... and says why"
is "$(api GET "/api/v1/notices?unread=true"; field '[.items[] | select(.kind == "signatures-outdated")] | length')" 1 "... and a notice does"
run "$godwit" signatures upload good.tar.gz
check "with new ones it is clean, by itself" wait_for 180 verdict_is "$ben" clean
stop_server

# ---- A mirror --------------------------------------------------------------------------------------------------
check "a server with a mirror" start_server "[scan]" "custom = http://127.0.0.1:$web_port/eicar.ndb http://127.0.0.1:$web_port/clam.hdb"
check "freshclam brings what is there" wait_for 180 files
is "$(field '"\(.source) \(.update.error)"')" "mirror null" "... and it is taken"
mv www/eicar.ndb www/eicar.gone
run "$godwit" signatures update
is "$status" 1 "a file that is gone from the mirror: the update fails"
api GET /api/v1/signatures
is "$(field '[.files[].name] | join(" ")')" "clam.hdb eicar.ndb" "... and the old set stays"
printf 'this is no signature\n' >www/eicar.ndb && touch -d '+1 day' www/eicar.ndb
run "$godwit" signatures update
is "$status" 1 "a broken one is refused"
api GET /api/v1/signatures
like "$(field .update.error)" ".*alformed|.*" "... with a reason"
is "$(field '[.files[].name] | join(" ")')" "clam.hdb eicar.ndb" "... and the old set stays"
stop_server
check "a server whose mirror is not there" start_server "[scan]" "mirror = http://127.0.0.1:1"
run "$godwit" signatures update
is "$status" 1 "the update fails"
api GET /api/v1/signatures
check "... and the old set stays" wait_for 180 files
stop_server
check "a folder that somebody else keeps" start_server "[scan]" "signatures = $TAP_DIR/sig"
run "$godwit" signatures upload good.tar.gz
like "$status $errors" "^[1-9].*put them there" "... takes no upload"

done_testing
