#!/usr/bin/env bash
# Searches over the fleet through the server: hunts by hash and by rule, and new signatures for old snapshots.
# shellcheck disable=SC2154,SC2016 # what tap.sh and server.sh set; EICAR
# shellcheck source=tests/lib/tap.sh
. "$(dirname "$0")/../lib/tap.sh"
build=$(realpath "$1")
# shellcheck source=tests/lib/server.sh
. "$(dirname "$0")/../lib/server.sh"
need curl jq openssl mkfs.ext4
export GODWIT_CONFIG_HOME=$TAP_DIR/home
godwit=$build/bin/godwit
umask 022
cd "$TAP_DIR" || exit

mkdir sig one two
printf 'Test.Never:0:0:%s\n' "$(printf 'never to be seen' | od -An -v -tx1 | tr -d ' \n')" >sig/test.ndb
for i in {1..40}; do echo "file $i" | tee "one/$i.txt" >"two/$i.txt"; done
echo 'the rare text' >two/rare.txt
for tree in one two; do truncate -s 32M "$tree.img" && mkfs.ext4 -q -d "$tree" "$tree.img"; done
rare=$(sha256sum two/rare.txt | cut -d' ' -f1) shared=$(sha256sum one/7.txt | cut -d' ' -f1)

config=("[scan]" "signatures = $TAP_DIR/sig")
check "the server gets ready" start_server "${config[@]}"
check "signed in" login
run "$godwit" login "$ui" --user admin --password-file "$TAP_DIR/server/admin-password" --ca "$ca"
is "$status" 0 "the command is signed in"
for name in one two; do
	check "import $name" "$godwit" desktop import "$name" "$name.img" --quiet
	api GET "/api/v1/snapshots?desktop=$name"
	declare "$name=$(field '.items[0].id')"
	run "$godwit" snapshot scan "${!name}" --quiet
	like "$output" "clean" "... and its scan is clean"
done
api GET "/api/v1/snapshots/$two"
is "$(field .scan.scanned_contents)" 1 "of the second desktop only what the first has not was scanned"

run "$godwit" hunt --sha256 "$rare"
like "$output" "two: disk0 rare.txt" "a hunt by hash names desktop and path"
like "$output" "$two" "... and the snapshot"
printf '%s  7.txt\n%s\n' "$shared" "$rare" >hashes
run "$godwit" hunt --list hashes --output json
is "$(jq -c '[.result.hits[] | .desktop + " " + .path] | sort' <<<"$output")" '["one 7.txt","two 7.txt","two rare.txt"]' "a list of hashes over all desktops"
echo 'rule Rare { strings: $a = "the rare text" condition: $a }' >rare.yar
run "$godwit" hunt --yara rare.yar --output json
is "$(jq -r '.result | "\(.hits | length) \(.hits[0].path) \(.scanned_contents)"' <<<"$output")" "1 rare.txt 41" "a rule is tried once on each different content"
run "$godwit" hunt --yara rare.yar --output json
is "$(jq -r '.result | "\(.hits | length) \(.scanned_contents)"' <<<"$output")" "1 0" "... and never again"
echo 'rule {' >bad.yar
run "$godwit" hunt --yara bad.yar
is "$status" 1 "a rule that is none fails"
run "$godwit" hunt
is "$status" 2 "a hunt for nothing is a mistake"
api POST /api/v1/hunts '{"sha256":["12"]}'
is "$http" 400 "a hash that is none: 400"
api POST /api/v1/hunts '{}'
is "$http" 400 "neither hashes nor a rule: 400"
api GET /api/v1/hunts/ffffffffffffffff
is "$http" 404 "an unknown hunt: 404"
api GET "/api/v1/hunts?limit=2"
is "$(field '.items | length')" 2 "hunts are listed, in pages"

printf 'Test.Rare:0:0:%s\n' "$(printf 'the rare text' | od -An -v -tx1 | tr -d ' \n')" >sig/new.ndb
run "$godwit" snapshot rescan
is "$status" 0 "new signatures over the fleet"
api GET "/api/v1/snapshots/$two"
is "$(field '.verdict + " " + .scan.findings[0].path')" "infected rare.txt" "a snapshot that was clean is infected now"
api GET "/api/v1/snapshots/$one"
is "$(field .verdict)" clean "... and the other one is not"
api GET "/api/v1/notices?desktop=two"
is "$(field '.items | length > 0')" true "... and there is a notice"

# More hits than a report may have bytes: 4,500 of 4 KB each.
name=$(printf 'd%.0s' {1..250})
mkdir deep && (cd deep && for _ in {1..15}; do mkdir "$name" && cd "$name"; done && for i in {1..4500}; do echo many >"$i"; done) 2>errors.log
truncate -s 48M deep.img && mkfs.ext4 -q -N 6000 -d deep deep.img && rm -r deep
check "import a disk of long paths" "$godwit" desktop import deep deep.img --quiet
api GET "/api/v1/snapshots?desktop=deep"
run "$godwit" snapshot scan "$(field '.items[0].id')" --quiet
like "$output" "clean" "... which is clean"
run "$godwit" hunt --sha256 "$(echo many | sha256sum | cut -d' ' -f1)" --output json
is "$(jq -r '"\(.state) \((.result.hits | length) + .result.more_hits) \(.result.more_hits > 0)"' <<<"$output")" "done 4500 true" "a hunt that finds too much to tell: hits, and the number of the others"
between() { [ "$1" -gt "$2" ] && [ "$1" -lt "$3" ]; }
check "... in bounds (${#output} bytes)" between "${#output}" $((14 << 20)) $((24 << 20))

stop_server KILL
rm -rf server/scan
check "without its state the server starts, after kill -9" start_server "${config[@]}"
run "$godwit" hunt --sha256 "$rare"
like "$output" "nothing found" "... knows nothing"
run "$godwit" snapshot scan "$two" --quiet
run "$godwit" hunt --sha256 "$rare"
like "$output" "two: disk0 rare.txt" "... until it scans again"
done_testing
