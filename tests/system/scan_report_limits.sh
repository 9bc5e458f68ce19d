#!/usr/bin/env bash
# Reports have a limit in bytes, whatever names a guest gives its files: what does not fit is counted, and no verdict is lost.
# shellcheck source=tests/lib/tap.sh
. "$(dirname "$0")/../lib/tap.sh"
build=$(realpath "$1")
scan=$build/bin/godwit-scan store=$build/bin/godwit-store
need mkfs.ext4 jq
cd "$TAP_DIR" || exit
export LC_ALL=C

eicar="X5O!P%@AP[4\\PZX54(P^)7CC)7}\$EICAR-STANDARD""-ANTIVIRUS-TEST-FILE!\$H+H*"
for name in One Two; do
	mkdir "$name" && printf 'Test.%s:0:0:%s\n' "$name" "$(printf %s "$eicar" | od -An -v -tx1 | tr -d ' \n')" >"$name/test.ndb"
done

# 1,000 infected files, each with 3,770 bytes of name that are no text: five times as many in JSON.
folder=$(printf '\xff%.0s' {1..250})
mkdir tree && (cd tree && for _ in {1..15}; do mkdir "$folder" && cd "$folder"; done && for i in {1001..2000}; do printf %s "$eicar" >"$i"; done)
truncate -s 32M disk.img && mkfs.ext4 -q -d tree disk.img && rm -r tree
between() { [ "$1" -gt "$2" ] && [ "$1" -lt "$3" ]; }
MiB=$((1 << 20))

check "a store" "$store" init st
for _ in {1..4}; do
	"$store" put st --desktop d1 --volume disk0=disk.img >put.log 2>&1 || diag "$(cat put.log)"
	snapshot=$(awk '/^snapshot/ { sub(":", "", $2); print $2 }' put.log)
	"$scan" snapshot st "$snapshot" --signatures One --state state --output json >report
	ended=$?
done
is "$ended $(jq -c '[.verdict, .files, (.findings | length) + .more_findings, .more_findings > 0]' report)" '1 ["infected",1000,1000,true]' \
	"a scan that finds too much to tell: findings, and the number of the others"
check "... in bounds ($(stat -c %s report) bytes)" between "$(stat -c %s report)" $((15 * MiB)) $((17 * MiB))

run "$scan" rescan st --signatures Two --state state --output json
is "$status" 0 "a rescan of four such snapshots${errors:+: $errors}"
printf '%s\n' "$output" >report
check "... in bounds ($(stat -c %s report) bytes)" between "$(stat -c %s report)" $((39 * MiB)) $((41 * MiB))
jq -c '.snapshots[] | [.verdict, (.findings | length) + .more_findings, (.findings | length), (.findings[0].path | length)]' report >judged
is "$(cut -d, -f1,2 judged | sort -u)" '["infected",1000' "... judges each, and counts what it does not tell"
is "$(head -n 1 judged)" '["infected",1000,1000,15019]' "... the first with all findings"
is "$(tail -n 1 judged)" '["infected",1000,1,501]' "... the last with the begin of one"

done_testing
