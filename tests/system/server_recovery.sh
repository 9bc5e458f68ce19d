#!/usr/bin/env bash
# The server's catalogue rots, its store rots, and its building burns down: what is found, and what comes back from where.
# shellcheck disable=SC2154,SC2119,SC2016 # what tap.sh and server.sh set
# shellcheck source=tests/lib/tap.sh
. "$(dirname "$0")/../lib/tap.sh"
build=$1
# shellcheck source=tests/lib/server.sh
. "$(dirname "$0")/../lib/server.sh"
need curl openssl jq python3
chunks=$(dirname "$0")/../lib/chunks.py
state=$TAP_DIR/server
# Nothing by itself, but when the test says so.
settings=("[lease]" "ttl = 12s" "margin = 1s" "heartbeat = 1s" "[store]" "verify_every = 0s" "gc_every = 0s" "catalogue_copy_every = 0s" "catalogue_check_every = 0s"
	"mirror_every = 0s" "mirror = $TAP_DIR/mirror")

# upkeep TASK: run it and wait for its end; $answer is what the API then says of it
upkeep() {
	api POST "/api/v1/store/$1" '{}'
	[ "$http" = 202 ] || return
	wait_for 180 upkeep_ended "$1"
}
upkeep_ended() {
	api GET /api/v1/store
	[ "$(field ".[\"$1\"] | (.running | not) and .ended != null and .ended >= .begun")" = true ] && answer=$(field ".[\"$1\"]")
}
flip() { "$chunks" flip "$@"; }
alarms() { # KIND: texts of its notices
	api GET /api/v1/notices
	field "[.items[] | select(.kind == \"$1\") | .text] | join(\"\n\")"
}

check "the server gets ready" start_server "${settings[@]}"
password=$(cat "$state/admin-password")
check "signed in" login
for name in a b; do check "endpoint $name enrols" enrol $name; done
api POST /api/v1/desktops '{"name":"anna","vcpus":3,"memory_mib":777,"domain":"pair","lease_policy":"offline-ok"}'
api POST /api/v1/desktops '{"name":"bert","lease_policy":"offline-ok"}'
"$chunks" make "$TAP_DIR/one" 20 1
"$chunks" make "$TAP_DIR/two" 20 2
"$chunks" make "$TAP_DIR/three" 20 3
check "anna has a snapshot" upload api anna 0 "$TAP_DIR/one" import
first=$snapshot
api POST /api/v1/desktops '{"name":"godwit-server"}'
is "$http" 400 "the name of the server's own records is kept"
check "the catalogue is copied into the store" upkeep catalogue-copy
is "$(field .error)" null "... without an error"
api POST /api/v1/desktops '{"name":"later"}'
check "bert's snapshot comes after the copy" upload api bert 0 "$TAP_DIR/two" import
second=$snapshot
api GET /api/v1/desktops/anna
before=$(field 'del(.lease.until)')
api GET "/api/v1/snapshots/$first"
before_snapshot=$answer

whole() { # does everything that was there come back?
	api GET /api/v1/desktops/anna
	is "$(field 'del(.lease.until)')" "$before" "$1: anna is as she was"
	api GET "/api/v1/snapshots/$first"
	is "$answer" "$before_snapshot" "... her snapshot too"
	api GET "/api/v1/snapshots/$second"
	is "$http $(field .desktop)" "200 bert" "... and what is newer than the copy, from its manifest"
	beat b
	is "$http" 200 "... and endpoint b is known"
}

# ---- A bit flips in the catalogue, at rest
stop_server
size=$(stat -c %s "$state/catalogue.db")
flip "$state/catalogue.db" $((size / 4096 / 2 * 4096 + 1234))
check "a flipped bit in the catalogue: the server starts all the same" start_server "${settings[@]}"
like "$(alarms catalogue)" "catalogue.db.*damaged.*page [0-9]+ \(bytes [0-9]+ to [0-9]+\).*copy of" "... and says what was found and done"
check "the damaged file is kept" compgen -G "$state/catalogue.db.damaged-*"
whole "from the copy"
api GET /api/v1/desktops/later
is "$http" 404 "a desktop without a snapshot that is newer than the copy is not"
check "copied again" upkeep catalogue-copy

# ---- A desktop runs under a right that the copy knows nothing of
beat a
api POST /api/v1/desktops/bert/start '{"endpoint":"a"}'
is "$(field .state)" failed "no right is given out before endpoints had the time to say what they run"
like "$(field .error)" "older copy" "... and the job says so"
can_start() {
	beat a
	api POST /api/v1/desktops/bert/start '{"endpoint":"a"}'
	[ "$(field .state)" = queued ]
}
check "then it is" wait_for 180 can_start
job=$(field .id)
work_of a
epoch=$(field .epoch)
proof=$(field .lease.proof)
check "... above all that may have been given out and forgotten" test "$epoch" -gt 1000
report a "$job" run "done" '{"running_ms":1,"local_ms":2}'
claim() { # ENDPOINT EPOCH PROOF: leases and stale desktops in the answer
	beat "$1" "[{\"desktop\":\"bert\",\"epoch\":$2,\"state\":\"running\",\"memory\":\"local\",\"complete\":true,\"proof\":\"$3\"}]"
	field '"\(.leases | length) \(.stale | length)"'
}
is "$(claim a "$epoch" "$proof")" "1 0" "bert runs on a"
stop_server
size=$(stat -c %s "$state/catalogue.db")
flip "$state/catalogue.db" $((size / 4096 / 2 * 4096 + 1234))
check "the catalogue comes back from before that" start_server "${settings[@]}"
api GET /api/v1/desktops/bert
is "$(field '"\(.state) \(.endpoint)"')" "stopped null" "... and has forgotten it"
is "$(claim b "$epoch" "$proof")" "0 1" "another endpoint with a's proof is told that it has no right"
is "$(claim a $((epoch + 1)) "$proof")" "0 1" "a with another epoch too"
is "$(claim a "$epoch" "${proof//[0-4]/9}")" "0 1" "or with another proof"
is "$(claim a "$epoch" "$proof")" "1 0" "a, with its proof, keeps its right"
api GET /api/v1/desktops/bert
is "$(field '"\(.state) \(.endpoint) \(.epoch)"')" "running a $epoch" "bert runs on a again"
check "a can save what it did" upload a bert "$epoch" "$TAP_DIR/one" cold "$second"
is "$(field .branch)" false "... on the main line"
third=$snapshot
check "copied again" upkeep catalogue-copy

# ---- A bit flips in the log, after a kill
for i in 1 2 3 4; do api POST /api/v1/desktops "{\"name\":\"log$i\"}"; done
stop_server KILL
check "the log is there" test -s "$state/catalogue.db-wal"
flip "$state/catalogue.db-wal" 3000
check "a flipped bit in the log: the server starts" start_server "${settings[@]}"
like "$(alarms catalogue)" "catalogue.db-wal: frame 0 .* is damaged" "... and names it"
whole "from the copy"

# ---- A bit flips under the running server
check "copied again" upkeep catalogue-copy
stop_server
start_server "${settings[@]}"
size=$(stat -c %s "$state/catalogue.db")
flip "$state/catalogue.db" $((size / 4096 / 2 * 4096 + 99))
noticed() { [ "$(grep -c "ready ui=" "$TAP_DIR/server.log")" -gt "$starts" ]; }
starts=$(grep -c "ready ui=" "$TAP_DIR/server.log")
api POST /api/v1/store/catalogue-check '{}'
check "a flipped bit under a running server: it begins anew" wait_for 180 noticed
check "... in the same process" alive "$server_pid"
whole "from the copy"

# ---- A pack rots
check "verify" upkeep verify
is "$(field .result.damaged)" 0 "a sound store has no damage"
check "mirrored" upkeep mirror
is "$(field '"\(.error) \(.lag_snapshots)"')" "null 0" "... all of it"
pack=$(find "$state/store/packs" -type f -size +1000k | sort | head -n 1)
flip "$pack" 500000
check "verify" upkeep verify
is "$(field '"\(.result.found > 0) \(.result.damaged) \(.result.repaired_packs)"')" "true 0 1" "a flipped bit in a pack is found, and repaired from the mirror"
mv "$TAP_DIR/mirror" "$TAP_DIR/away"
flip "$pack" 500000
check "verify without the mirror" upkeep verify
api GET /api/v1/store
hurt=$(field '"\(.hurt_desktops[0]) \(.hurt_snapshots[0])"')
check "the damage names the desktop and its snapshot" test "$hurt" = "anna $first" -o "$hurt" = "bert $second"
like "$(alarms store-damage)" "chunk [0-9a-f]{64}" "... and so does a notice"
mv "$TAP_DIR/away" "$TAP_DIR/mirror"
check "with the mirror back" upkeep verify
is "$(field .result.damaged)" 0 "... it is repaired"

# ---- The building is gone: a new machine, the mirror and the key
check "anna's newest snapshot" upload api anna 0 "$TAP_DIR/three" import "$first"
third=$snapshot
api GET /api/v1/store
is "$(field .mirror.lag_snapshots)" 1 "the mirror lags by one snapshot"
check "copied" upkeep catalogue-copy
check "mirrored" upkeep mirror
api GET /api/v1/desktops/anna
before=$(field 'del(.lease.until)')
cp "$state/store.key" "$TAP_DIR/key"
stop_server KILL
rm -rf "$state"
check "a new server on the mirror" start_server "[store]" "path = $TAP_DIR/mirror" "key = $TAP_DIR/key"
mkdir -p "$state" && printf %s "$password" >"$state/admin-password"
check "the administrator signs in with the old password" login
whole "from the mirror"
api GET /api/v1/desktops
is "$(field '[.items[].name] | join(" ")')" "anna bert" "every desktop that the log did not take along is there"
api GET /api/v1/snapshots
is "$(field '.items | length')" 4 "every snapshot too"
for which in "anna one" "bert two" "anna three"; do
	as api POST "/desktops/${which% *}/chunks" "@$TAP_DIR/${which#* }/ids"
	is "$http $("$chunks" read "$answer_file")" "200 21 1311360" "${which% *}'s data reads back (${which#* })"
done
api GET "/api/v1/snapshots/$third"
is "$http $(field .desktop)" "200 anna" "the newest snapshot of anna can be started from"
stop_server
run "$build/bin/godwit-store" verify "$TAP_DIR/mirror" --key "$TAP_DIR/key"
is "$status" 0 "the mirror verifies"
done_testing
