#!/usr/bin/env bash
# Settings that would be unsafe or make no sense: the server does not start, and its message names section and key.
# shellcheck disable=SC2154 # what tap.sh sets
# shellcheck source=tests/lib/tap.sh
. "$(dirname "$0")/../lib/tap.sh"
server=$1/bin/godwit-server

while IFS='|' read -r section setting message; do
	printf '[%s]\n%s\n' "$section" "$setting" >"$TAP_DIR/server.conf"
	run timeout 60 "$server" --state "$TAP_DIR/state" --config "$TAP_DIR/server.conf"
	is "$status" 1 "[$section] $setting: refused"
	like "$errors" "$message" "... and says why"
done <<'EOT'
lease|heartbeat = 50ms|\[lease\] heartbeat must be at least 100ms
lease|heartbeat = 4s|at most half of ttl
lease|margin = 500ms|\[lease\] margin must be at least 1s
lease|margin = soon|server.conf:2
lease|margins = 1s|server.conf:2
leases|margin = 1s|server.conf:2
store|domains = none|\[store\] domains must be shared or per-desktop, not 'none'
scan|at_once = 0|\[scan\] at_once must be 1 to 64
scan|outdated = ignore|\[scan\] outdated must be warn or incomplete
scan|update = 5s|\[scan\] update must be at least 1m
scan|retry = 0s|\[scan\] retry must be at least 1s
ransomware|files = 1|\[ransomware\] files must be
limits|body_memory = 1M|\[limits\] body_memory must be at least 9M
limits|workers = 1|\[limits\] workers must be 2 to 256
limits|connections = 2|\[limits\] connections must be 16
EOT
check_not "nothing was made of it" test -e "$TAP_DIR/state/catalogue.db"
done_testing
