# shellcheck shell=bash disable=SC2034,SC2154,SC2119,SC2120
# server.sh - a godwit-server for a test, and requests to it by curl. Source it after tap.sh; needs $build.
#
#   start_server [LINE...]     start it (again) in $TAP_DIR/server with these further lines of configuration;
#                              sets $server_pid, $ui, $agents (URLs) and $ca (file); 1 if it does not get ready
#   stop_server [SIGNAL]       TERM, or another one
#   login                      sign in as admin; sets $token
#   api METHOD PATH [BODY] [CURL OPTION...]   as admin: sets $http (status) and $answer (the body, also in
#                              $answer_file)
#   enrol NAME                 make NAME an endpoint: $TAP_DIR/NAME.key and NAME.pem
#   agent NAME METHOD PATH [BODY] [CURL OPTION...]  as that endpoint: sets $http and $answer
#   field EXPRESSION           jq -r over $answer
#   beat NAME [DESKTOPS-JSON]  a heartbeat of an endpoint with 8 GiB of memory
#   upload, as, keep_beating, stop_beating, work_of, report, job_is, desktop_is: described where they are

start_server() {
	local line state=$TAP_DIR/server
	# The same ports after a restart, so that whoever talks to it finds it again.
	: "${ui_port:=$(free_port)}" "${agent_port:=$(free_port)}"
	{
		printf '[server]\nlisten = 127.0.0.1:%s\nagent_listen = 127.0.0.1:%s\n' "$ui_port" "$agent_port"
		for line in "$@"; do printf '%s\n' "$line"; done
	} >"$TAP_DIR/server.ini"
	rm -f "$state/ready.json"
	spawn server "${server_wrapper[@]}" "$build/bin/godwit-server" --state "$state" --config "$TAP_DIR/server.ini" --log-level debug
	server_pid=$spawned
	wait_for 180 server_ready || return 1
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
	local file=$TAP_DIR/.answer.$BASHPID # heartbeats in the background have their own
	answer_file=$file
	: >"$file"
	http=$(curl -sS --max-time "${request_seconds:-300}" -o "$file" -w '%{http_code}' "$@" 2>"$file.error")
	answer=$(tr -d '\0' <"$file")
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

# upload WHO DESKTOP EPOCH FOLDER KIND [PARENT [JOB]]: a whole upload of what chunks.py made, as `api` or as an
# endpoint's name; sets $session, $snapshot; the commit's answer is $http and $answer.
upload() {
	local who=$1 desktop=$2 epoch=$3 folder=$4 kind=$5 parent=${6-} job=${7-}
	open_session "$who" "$desktop" "$epoch" "$job" || return
	as "$who" POST "/sessions/$session/chunks" "@$folder/records"
	[ "$http" = 204 ] || return
	commit_session "$who" "$desktop" "$epoch" "$folder" "$kind" "$parent"
}

# as WHO METHOD PATH…: PATH without its prefix
as() {
	local who=$1 method=$2 path=$3
	shift 3
	if [ "$who" = api ]; then api "$method" "/api/v1$path" "$@"; else agent "$who" "$method" "/agent/v1$path" "$@"; fi
}

open_session() {
	as "$1" POST /sessions "$(jq -nc --arg d "$2" --argjson e "$3" --arg j "${4-}" '{desktop:$d,epoch:$e,job:(if $j == "" then null else $j end)}')"
	session=$(field .session)
	[ "$http" = 201 ]
}

commit_session() {
	as "$1" POST "/sessions/$session/commit" "$(jq -nc --arg d "$2" --argjson e "$3" --slurpfile v "$4/volumes.json" --arg k "$5" --arg p "${6-}" \
		'{version:1,desktop:$d,parent:$p,created:"2026-01-01T00:00:00Z",kind:$k,epoch:$e,volumes:$v[0],machine:{vcpus:2,memory_mib:512,type:"pc-q35-10.0",cpu:"qemu64",network:"none"}}')"
	snapshot=$(field .snapshot)
	[ "$http" = 201 ]
}

# keep_beating NAME [DESKTOPS-JSON]: heartbeats every half second in the background, from now on instead of those that
# NAME had before. The first has arrived when this returns; of the earlier ones none arrives any more.
keep_beating() {
	local going=$TAP_DIR/.beats.$1
	stop_beating "$1"
	beat "$@"
	: >"$going"
	(
		trap - EXIT INT TERM HUP
		while [ -e "$going" ]; do
			beat "$@"
			sleep 0.5
		done
	) >/dev/null 2>&1 &
	beating[$1]=$!
	adopt "$!"
}
declare -A beating=()

# stop_beating NAME: returns when none is under way any more (a killed shell would leave its curl behind)
stop_beating() {
	[ -n "${beating[$1]-}" ] || return 0
	rm -f "$TAP_DIR/.beats.$1"
	wait "${beating[$1]}"
	unset "beating[$1]"
}

# work_of NAME [INSTANCE [WAIT_MS]]: sets $answer to the first work item, "null" when there is none in that time
work_of() {
	agent "$1" GET "/agent/v1/work?wait_ms=${3-30000}&instance=${2-aaaa}"
	answer=$(jq -c '.work[0]' <<<"$answer")
}

# report NAME JOB STEP STATE [RESULT-JSON [MESSAGE]]
report() {
	agent "$1" POST "/agent/v1/jobs/$2/report" "{\"step\":\"$3\",\"state\":\"$4\",\"done_bytes\":1,\"total_bytes\":2,\"message\":\"${6-}\",\"result\":${5-{\}}}"
}

# job_is ID STATE; desktop_is NAME STATE
job_is() {
	api GET "/api/v1/jobs/$1"
	[ "$(field .state)" = "$2" ]
}
desktop_is() {
	api GET "/api/v1/desktops/$1"
	[ "$(field .state)" = "$2" ]
}
