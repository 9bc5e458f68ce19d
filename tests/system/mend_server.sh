#!/usr/bin/env bash
# Mending through the server: a new snapshot with the clean file, the infected one and the desktop as they were; and on a
# branch when the desktop went on since.
# shellcheck disable=SC2154 # what tap.sh and server.sh set
# shellcheck source=tests/lib/tap.sh
. "$(dirname "$0")/../lib/tap.sh"
build=$(realpath "$1")
# shellcheck source=tests/lib/server.sh
. "$(dirname "$0")/../lib/server.sh"
need curl jq openssl mkfs.ext4 debugfs e2fsck
export GODWIT_CONFIG_HOME=$TAP_DIR/home
godwit=$build/bin/godwit
umask 022
cd "$TAP_DIR" || exit

mkdir sig good
# The EICAR test file, put together here so that this script is not one.
# shellcheck disable=SC2016
printf '%s%s' 'X5O!P%@AP[4\PZX54(P^)7CC)7}$EICAR-STANDARD' '-ANTIVIRUS-TEST-FILE!$H+H*' >eicar.com
printf 'Test.Eicar:0:0:%s\n' "$(od -An -v -tx1 eicar.com | tr -d ' \n')" >sig/test.ndb
for i in {1..50}; do echo "file $i" >"good/$i.txt"; done
truncate -s 64M good.img && mkfs.ext4 -q -d good good.img
cp good.img bad.img && printf 'rm 7.txt\nwrite eicar.com 7.txt\n' | debugfs -w -f - bad.img >/dev/null 2>&1
e2fsck -fy bad.img >/dev/null 2>&1
cp bad.img later.img && printf 'write eicar.com later.txt\n' | debugfs -w -f - later.img >/dev/null 2>&1

config=("[scan]" "signatures = $TAP_DIR/sig" "[lease]" "ttl = 2s" "margin = 1s" "heartbeat = 500ms")
check "the server gets ready" start_server "${config[@]}"
check "signed in" login
run "$godwit" login "$ui" --user admin --password-file "$TAP_DIR/server/admin-password" --ca "$ca"
check "import" "$godwit" desktop import pc good.img --quiet
stop_server
put() { "$build/bin/godwit-store" put server/store --key server/store.key --desktop pc --volume "disk0=$1" --output json | jq -r .snapshot; }
bad=$(put bad.img)
check "an infected snapshot is newer" start_server "${config[@]}"
clean=$("$godwit" snapshot list --output json | jq -r --arg bad "$bad" '.[] | select(.id != $bad) | .id')

run "$godwit" snapshot mend "$bad" --file disk0::7.txt
check "without a clean one it is not tried" [ "$status" != 0 ]
like "$errors" "no clean snapshot before" "... and said why"
"$godwit" snapshot scan "$clean" --quiet
"$godwit" snapshot scan "$bad" --quiet
run "$godwit" snapshot mend "$bad" --file disk0::7.txt
is "$status" 0 "the file is mended"
diag "$errors"
api GET "/api/v1/jobs?limit=20"
result=$(field '[.items[] | select(.kind == "mend" and .state == "done")][0].result')
mended=$(jq -r .mended <<<"$result")
is "$(jq -r '"\(.from) \(.branch) \(.clean_sha256) \(.infected_sha256)"' <<<"$result")" \
	"$clean false $(sha256sum <good/7.txt | cut -c1-64) $(sha256sum <eicar.com | cut -c1-64)" "the last clean snapshot gave it; the hashes are shown"
api GET "/api/v1/snapshots/$mended"
is "$(field '"\(.kind) \(.parent) \(.memory) \(.branch)"')" "mended $bad false false" "the new snapshot says what it is"
run "$godwit" snapshot scan "$mended"
is "$status" 0 "... and is clean"
"$build/bin/godwit-store" get server/store --key server/store.key "$mended" disk0 mended.img >/dev/null
check "... and sound" e2fsck -fn mended.img
debugfs -R "dump 7.txt got" mended.img 2>/dev/null
check "... with the clean file" cmp got good/7.txt
"$build/bin/godwit-store" get server/store --key server/store.key "$bad" disk0 same.img >/dev/null
check "the infected snapshot is as it was" cmp same.img bad.img
check "nothing is left in the server's folder" [ ! -e server/mend ]
api GET "/api/v1/audit?limit=50"
is "$(field "[.items[] | select(.action == \"mend\") | .object] | unique | sort | join(\" \")")" "$(printf '%s\n' "$bad" "$mended" | sort | paste -sd' ')" "the audit trail has it"

run "$godwit" snapshot mend "$bad" --file disk0::8.txt
check "a file that is not infected is not touched" [ "$status" != 0 ]
like "$errors$output" "8.txt is not infected" "... and it is said why"
api POST "/api/v1/snapshots/$bad/mend" '{"file":"disk0"}'
job=$(field .id)
check "a file that is no file fails" wait_for 60 job_is "$job" failed
api POST "/api/v1/snapshots/$bad/mend" '{}'
is "$http" 400 "no file: 400"
api POST "/api/v1/snapshots/20200101-000000-00000000/mend" '{"file":"disk0::x"}'
is "$http" 404 "no such snapshot: 404"

stop_server
later=$(put later.img)
check "the desktop went on" start_server "${config[@]}"
run "$godwit" snapshot mend "$bad" --file disk0::7.txt --from "$clean"
is "$status" 0 "the older one can still be mended"
api GET "/api/v1/snapshots"
is "$(field '[.items[] | select(.kind == "mended") | .branch] | sort | join(" ")')" "false true" "... but off the main line"
like "$(field '.items[].id' | tr '\n' ' ')" "$later" "... beside what came later"

done_testing
