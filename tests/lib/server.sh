# shellcheck shell=bash disable=SC2034,SC2154
# server.sh - a godwit-server for a test, and requests to it by curl. Source it after tap.sh; needs $build.
#
#   start_server [LINE...]     start it (again) in $TAP_DIR/server with these further lines of configuration;
#                              sets $server_pid, $ui, $agents (URLs) and $ca (file); 1 if it does not get ready
#   stop_server [SIGNAL]       TERM, or another one
#   login                      sign in as admin; sets $token
#   api METHOD PATH [BODY] [CURL OPTION...]   as admin: sets $http and $answer (the body)
#   enrol NAME                 make NAME an endpoint: $TAP_DIR/NAME.key and NAME.pem
#   agent NAME METHOD PATH [BODY] [CURL OPTION...]  as that endpoint: sets $http and $answer
#   field EXPRESSION           jq -r over $answer
#   beat NAME [DESKTOPS-JSON]  a heartbeat of an endpoint with 8 GiB of memory

start_server() {
	local line state=$TAP_DIR/server
	{
		printf '[server]\nlisten = 127.0.0.1:0\nagent_listen = 127.0.0.1:0\n'
		for line in "$@"; do printf '%s\n' "$line"; done
	} >"$TAP_DIR/server.ini"
	rm -f "$state/ready.json"
	spawn server "${server_wrapper[@]}" "$build/bin/godwit-server" --state "$state" --config "$TAP_DIR/server.ini" --log-level debug
	server_pid=$spawned
	wait_for 20 server_ready || return 1
	ui=$(jq -r .ui_url "$state/ready.json")
	agents=$(jq -r .agent_url "$state/ready.json")
	ca=$state/ca.pem
}
server_wrapper=()

server_ready() {
	[ -e "$TAP_DIR/server/ready.json" ] || ! alive "$server_pid"
	[ -e "$TAP_DIR/server/ready.json" ]
}

stop_server() {
	stop "$server_pid" "${1:-TERM}"
}

# request CURL-ARGUMENT...: sets $http and $answer; 000 when there was no answer.
request() {
	http=$(curl -sS --max-time "${request_seconds:-60}" -o "$TAP_DIR/.answer" -w '%{http_code}' "$@" 2>"$TAP_DIR/.curl")
	answer=$(tr -d '\0' <"$TAP_DIR/.answer" 2>/dev/null)
}

login() {
	request --cacert "$ca" "$ui/api/v1/login" -d "{\"user\":\"admin\",\"password\":\"$(cat "$TAP_DIR/server/admin-password")\"}"
	token=$(field .token)
	[ "$http" = 200 ]
}

# with_body METHOD BODY: the curl arguments in $body_arguments.
with_body() {
	body_arguments=(-X "$1")
	[ -z "${2-}" ] || body_arguments+=(--data-binary "$2")
}

api() {
	local method=$1 path=$2 body=${3-}
	shift $(($# > 3 ? 3 : $#))
	with_body "$method" "$body"
	request --cacert "$ca" -H "Authorization: Bearer $token" "${body_arguments[@]}" "$@" "$ui$path"
}

agent() {
	local name=$1 method=$2 path=$3 body=${4-}
	shift $(($# > 4 ? 4 : $#))
	with_body "$method" "$body"
	request --cacert "$ca" --cert "$TAP_DIR/$name.pem" --key "$TAP_DIR/$name.key" "${body_arguments[@]}" "$@" "$agents$path"
}

field() {
	jq -r "$1" <<<"$answer"
}

# csr NAME: a fresh key and a request in $TAP_DIR/NAME.key and .csr
csr() {
	openssl req -new -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj "/CN=$1" \
		-keyout "$TAP_DIR/$1.key" -out "$TAP_DIR/$1.csr" 2>/dev/null
}

# enrol_with SECRET NAME
enrol_with() {
	csr "$2"
	request --cacert "$ca" "$ui/api/v1/enrol" -d "$(jq -n --arg s "$1" --arg n "$2" --rawfile r "$TAP_DIR/$2.csr" '{secret:$s,name:$n,request_pem:$r}')"
	[ "$http" = 201 ] && field .certificate_pem >"$TAP_DIR/$2.pem"
}

new_secret() {
	api POST /api/v1/endpoint-tokens "${1:-{\}}"
	field .token | cut -d- -f2
}

enrol() {
	enrol_with "$(new_secret)" "$1"
}

beat() {
	agent "$1" POST /agent/v1/heartbeat "{\"version\":\"0.1\",\"accelerator\":\"tcg\",\"cpus\":4,\"memory_mib\":8192,
		\"disk_free_bytes\":1000000000000,\"live_capture\":true,\"desktops\":${2:-[]}}"
}
