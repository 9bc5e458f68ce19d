#!/usr/bin/env bash
# Who gets in, and who does not: passwords, sessions, the cookie's header, enrolment tokens, client certificates.
# shellcheck disable=SC2154,SC2119,SC2016 # what tap.sh and server.sh set
# shellcheck source=tests/lib/tap.sh
. "$(dirname "$0")/../lib/tap.sh"
build=$1
# shellcheck source=tests/lib/server.sh
. "$(dirname "$0")/../lib/server.sh"
need curl openssl jq sqlite3

check "the server gets ready" start_server
is "$(stat -c %a "$TAP_DIR/server/admin-password")" 600 "only its owner may read the password file"
is "$(stat -c %a "$TAP_DIR/server")" 700 "... and the state folder"
is "$(grep -c "$(cat "$TAP_DIR/server/admin-password")" "$(log_of server)")" 0 "the password is not in the log"
run "$build/bin/godwit-server" --state "$TAP_DIR/server"
is "$status" 1 "a second server on the same folder is refused"
like "$errors" "another godwit-server works in" "... with the reason"

# ---- People
request --cacert "$ca" "$ui/api/v1/session"
is "$http" 401 "without a sign-in: 401"
like "$(field .title)" "Sign in" "... as a problem document"
request --cacert "$ca" "$ui/api/v1/login" -d '{"user":"admin","password":"wrong"}'
is "$http" 401 "a wrong password: 401"
request --cacert "$ca" "$ui/api/v1/login" -d '{"user":"nobody","password":"wrong"}'
is "$http" 401 "an unknown user: the same answer"
check "the right password" login
api GET /api/v1/session
is "$http $(field .user) $(field .role)" "200 admin admin" "the token works as bearer"
request --cacert "$ca" "$ui/api/v1/session" -H "Cookie: godwit_session=$token"
is "$http" 200 "... and as cookie"
request --cacert "$ca" "$ui/api/v1/desktops" -H "Cookie: godwit_session=$token" -d '{"name":"csrf"}'
is "$http" 403 "a POST with the cookie alone: 403"
like "$answer" "X-Godwit-Request" "... naming the header that is missing"
request --cacert "$ca" "$ui/api/v1/desktops" -H "Cookie: godwit_session=$token" -H "X-Godwit-Request: 1" -d '{"name":"cookie"}'
is "$http" 201 "with the header: 201"
request --cacert "$ca" "$ui/api/v1/session" -H "Authorization: Bearer 0123456789"
is "$http" 401 "a made-up token: 401"
is "$(sqlite3 "$TAP_DIR/server/catalogue.db" "SELECT COUNT(*) FROM sign_ins WHERE token_hash = '$token'")" 0 \
	"the catalogue keeps no token, only its hash"
old=$token
api POST /api/v1/logout
is "$http" 204 "signing out"
token=$old
api GET /api/v1/session
is "$http" 401 "... ends the token"

for _ in 1 2 3 4; do request --cacert "$ca" "$ui/api/v1/login" -d '{"user":"admin","password":"wrong"}'; done
# The pause doubles: a slow machine is too late for the first ones.
for _ in {1..6}; do
	request --cacert "$ca" -D "$TAP_DIR/headers" "$ui/api/v1/login" -d '{"user":"admin","password":"wrong"}'
	[ "$http" = 401 ] || break
done
is "$http" 429 "many wrong passwords: the address has to wait"
like "$(tr -d '\r' <"$TAP_DIR/headers")" "Retry-After: [0-9]" "... and is told how long"
check "afterwards the right one works" wait_for 180 login

# ---- Endpoints
secret=$(new_secret '{"ttl_s":1}')
sleep 1.2
check_not "an expired token is refused" enrol_with "$secret" a
like "$http $answer" "^403 .*expired" "... and says so"
check_not "a wrong token is refused" enrol_with 00112233445566778899aabbccddeeff a
like "$http $answer" "^403 .*wrong" "... and says so"
secret=$(new_secret)
check_not "a malformed name is refused" enrol_with "$secret" "A_b"
check "the token was not used up by that" enrol_with "$secret" a
is "$(field .agent_url)" "$agents" "the answer says where the agents' listener is"
check_not "a used token is refused" enrol_with "$secret" b
like "$http $answer" "^403 .*used already" "... and says so"
check "another endpoint" enrol b
check_not "a name that is taken needs a token of its own" enrol a
is "$http" 409 "... 409"
cp "$TAP_DIR/b.pem" "$TAP_DIR/old_b.pem" && cp "$TAP_DIR/b.key" "$TAP_DIR/old_b.key"

beat b
is "$http" 200 "its certificate opens the agents' listener"
check "b is enrolled anew with a token of its name" enrol_with "$(new_secret '{"endpoint":"b"}')" b
beat old_b
like "$http $answer" "^403 .*replaced" "the old certificate is refused"
beat b
is "$http" 200 "the new one works"

openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj "/OU=endpoint/CN=a" -days 3 \
	-keyout "$TAP_DIR/self.key" -out "$TAP_DIR/self.pem" 2>/dev/null
beat self
like "$http" "^(403|000)$" "a self-signed certificate is refused"
csr late
openssl x509 -req -in "$TAP_DIR/late.csr" -CA "$ca" -CAkey "$TAP_DIR/server/ca.key" -days -1 -out "$TAP_DIR/late.pem" 2>/dev/null
beat late
like "$http" "^(403|000)$" "an expired certificate is refused"
cp "$TAP_DIR/server/server.key" "$TAP_DIR/other.key" && openssl x509 -in "$TAP_DIR/server/server.pem" -out "$TAP_DIR/other.pem"
beat other
like "$http" "^(403|000)$" "a certificate of another role is refused"
printf 'subjectAltName=DNS:x\n' >"$TAP_DIR/ext"
csr ghost
openssl req -new -key "$TAP_DIR/ghost.key" -subj "/CN=ghost/OU=endpoint" -out "$TAP_DIR/ghost.csr" 2>/dev/null
openssl x509 -req -in "$TAP_DIR/ghost.csr" -CA "$ca" -CAkey "$TAP_DIR/server/ca.key" -days 3 -out "$TAP_DIR/ghost.pem" 2>/dev/null
beat ghost
like "$http" "^(403|000)$" "a certificate of our CA that nobody enrolled is refused"
request --cacert "$ca" "$agents/agent/v1/work"
is "$http" 403 "no certificate at all: 403"
like "$answer" "client certificate" "... naming what is missing"

# ---- A secret's answer is kept nowhere
in_catalogue() { grep -rqaF "$1" "$TAP_DIR/server"; }
digest() { printf %s "$1" | sha256sum | cut -d' ' -f1; }
api POST /api/v1/endpoint-tokens '{"endpoint":"once"}' -H "Idempotency-Key: t1"
secret=$(field .token | cut -d- -f2)
is "$http ${#secret}" "201 32" "a token under an Idempotency-Key"
check "its digest is in the catalogue" in_catalogue "$(digest "$secret")"
check_not "... the secret is not" in_catalogue "$secret"
api POST /api/v1/endpoint-tokens '{"endpoint":"once"}' -H "Idempotency-Key: t1"
is "$http" 409 "the same request again: 409"
like "$answer" "given out.*make a new one" "... which says what to do"
check_not "... and gives no secret" grep -qE "gw1-|$secret" <<<"$answer"
api POST /api/v1/endpoint-tokens '{"endpoint":"other"}' -H "Idempotency-Key: t1"
is "$http" 422 "another request with that key: 422"
check "the token that was given out is good" enrol_with "$secret" once

# ---- The trail
api GET "/api/v1/audit?limit=1000"
for action in login "login refused" logout enrol "endpoint token" desktop; do
	like "$(field '.items[].action')" "$action" "the audit trail knows: $action"
done
stop_server
is "$?" 0 "the server stops on TERM"
start_server
api GET /api/v1/session
is "$http" 200 "a sign-in survives a restart of the server"
done_testing
