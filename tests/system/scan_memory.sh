#!/usr/bin/env bash
# The memory of a snapshot is scanned: a text that a program holds in pages which do not follow each other physically, and
# that no disk holds, is found in the order in which the program sees it.
# shellcheck disable=SC2154 # what the libraries set
# shellcheck source=tests/lib/tap.sh
. "$(dirname "$0")/../lib/tap.sh"
# shellcheck source=tests/lib/appliance.sh
. "$(dirname "$0")/../lib/appliance.sh"
need jq
scan=$(realpath "$1")/bin/godwit-scan store=$(realpath "$1")/bin/godwit-store

# Pages 3 to 10 of what `hold` holds, each of 4096 bytes: nothing but their order and distance can match.
mkdir "$TAP_DIR/sig" "$TAP_DIR/other" "$TAP_DIR/state"
page_hex() { printf 'godwit holds page %05d' "$1" | od -An -v -tx1 | tr -d ' \n'; }
printf 'Test.Held:0:*:%s' "$(page_hex 3)" >"$TAP_DIR/sig/test.ndb"
for n in {4..10}; do printf '{4073}%s' "$(page_hex "$n")"; done >>"$TAP_DIR/sig/test.ndb"
echo >>"$TAP_DIR/sig/test.ndb"
echo 'Test.Never:0:*:00112233445566778899aabbccddeeff0011' >"$TAP_DIR/other/test.ndb"

appliance_init "$1" "$TAP_DIR/g"
check "a server that scans" appliance_server_start "[scan]" "signatures = $TAP_DIR/sig"
begin eval 'appliance_login && appliance_endpoint_start a && appliance_import anna && appliance_boots a anna'
is "$(appliance_load bad "$(appliance_console a anna)")" 0 "the guest works"
check "a program holds the pages" appliance_tell a anna 'hold 64' 'ok hold pages=64'
check "a snapshot with memory" appliance_cli desktop snapshot anna --quiet
snapshot=$(appliance_field 'sort_by(.created) | last | .id' snapshot list)

run appliance_cli snapshot scan "$snapshot"
is "$status" 1 "it is infected"
like "$output" "memory:0x.*: Test.Held" "... by what lies in its memory"
path=$(appliance_field '.scan.findings[] | select(.volume == "memory") | .path + " " + .stream' snapshot show "$snapshot" | head -n 1)
like "$path" '^memory:0x[0-9a-f]* cr3=0x[0-9a-f]*$' "the API says at which address of which process ($path)"
is "$(appliance_field '[.scan.findings[] | select(.volume != "memory")] | length' snapshot show "$snapshot")" 0 "the disk does not have it"

# Other signatures: memory is one more place of contents.
mv "$TAP_DIR/sig/test.ndb" "$TAP_DIR/held.ndb" && cp "$TAP_DIR/other/test.ndb" "$TAP_DIR/sig/never.ndb"
check "other signatures over what was scanned" appliance_cli snapshot rescan
is "$(appliance_field '[.scan.findings, .scan.reasons | length] | join(" ")' snapshot show "$snapshot")" "0 1" "... find nothing, and miss nothing but a partition that nobody knows"
mv "$TAP_DIR/held.ndb" "$TAP_DIR/sig/test.ndb"
run appliance_cli snapshot rescan --output json
like "$(jq -r '.result.scanned_contents' <<<"$output")" '^[1-9][0-9]*$' "with both its memory's contents are scanned again"
is "$(appliance_field '[.verdict] + [.scan.findings[] | select(.volume == "memory") | .path + " " + .stream] | .[0:2] | join(" ")' snapshot show "$snapshot")" "infected $path" "... and it is infected, at the same address"
echo 'rule Held { strings: $a = "godwit holds page 00003" condition: $a }' >"$TAP_DIR/held.yar"
run appliance_cli hunt --yara "$TAP_DIR/held.yar" --output json
like "$(jq -r '[.result.hits[] | select(.volume == "memory") | .desktop + " " + .path + " " + .stream] | join(",")' <<<"$output")" "anna $path" "a hunt by a rule finds it in memory, too"

# Without a server: memory as a file. Physically the text is in pieces, so only a process has it whole.
server=$appliance_dir/server/state
check "its memory as a file" "$store" get "$server/store" "$snapshot" ram/pc.ram "$TAP_DIR/ram" --key "$server/store.key"
run "$scan" image --memory "$TAP_DIR/ram" --signatures "$TAP_DIR/sig" --output json
is "$status $(jq -r '[.findings[].stream | startswith("cr3=")] | all' <<<"$output")" "1 true" "godwit-scan finds it by page tables alone"
check "all of what is there was looked at" test "$(jq .memory_bytes <<<"$output")" -gt $((48 << 20))
is "$(jq .files <<<"$output")" 0 "... which are no files"
run "$scan" image --memory "$TAP_DIR/ram" --signatures "$TAP_DIR/other" --state "$TAP_DIR/state" --output json
is "$status $(jq -r '.verdict + " " + (.reasons | length | tostring)' <<<"$output")" "0 clean 0" "with other signatures it is clean"
run "$scan" image --memory "$TAP_DIR/ram" --signatures "$TAP_DIR/other" --state "$TAP_DIR/state" --output json
is "$status $(jq -r '"\(.verdict) \(.scanned_contents)"' <<<"$output")" "0 clean 0" "... and memory that did not change is not scanned again"
: >"$TAP_DIR/nothing"
run "$scan" image --memory "$TAP_DIR/nothing" --signatures "$TAP_DIR/sig"
is "$status" 2 "memory without bytes is not clean"
done_testing
