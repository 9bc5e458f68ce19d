# shellcheck shell=bash
# appliance.sh - a whole Godwit on this machine: a server, endpoints, the command line; for the demo and system tests.
#
#   . tests/lib/appliance.sh
#   appliance_init BUILD DIR            BUILD/bin/* is what runs, DIR holds all state (made if it is not there)
#   appliance_server_start [LINE...]    LINEs are added to its configuration; waits until it listens. LEASE_TTL: 12s
#                                       UPLOAD_GATE=1: agents reach it through a relay that can hold their uploads
#   appliance_login                     as admin; `appliance_cli` works from here on
#   appliance_endpoint_start NAME       enrols it the first time; hypervisor and agent run when this returns
#   …
#   appliance_stop                      everything that runs out of DIR, by pid
#
# Each function that can fail returns non-zero and says why on stderr. Nothing here uses `set -e` or traps.
#
# Server        appliance_server_stop [SIGNAL]      $appliance_url   $appliance_password
# Uploads       appliance_hold [BYTES]              with UPLOAD_GATE: no upload ends any more, when BYTES got through or at once
#               appliance_held                      does one stand?
#               appliance_release
# CLI           appliance_cli ARGS...               godwit, signed in
#               appliance_json ARGS...              the same with --output json
#               appliance_field FILTER ARGS...      a jq filter's raw result over that JSON
# Endpoints     appliance_endpoint_stop NAME [SIGNAL]   hypervisor and agent only: desktops run on
#               appliance_endpoint_crash NAME       kill -9 of its QEMUs, agent, hypervisor and NBD servers at once
#               appliance_pids NAME                 every process of that endpoint (or `server`)
#               appliance_qemu NAME DESKTOP         pid of that desktop's QEMU
#               appliance_agent NAME, appliance_hypervisor NAME    pids
# Guests        appliance_console NAME DESKTOP      path of the serial console's log
#               appliance_type NAME DESKTOP TEXT    a line typed on the serial console
#               appliance_load FIELD CONSOLE        a field of guest_load's last counter line
#               appliance_said REGEX CONSOLE        has guest_load said `load REGEX`?
# Tools         appliance_wait SECONDS COMMAND...   until it ends with 0; 1 when the time is over
#               appliance_ms                        milliseconds since the epoch
#
# How pids are found: every process inherits APPLIANCE=DIR/NAME from the daemon that started it, or works in a folder
# below DIR/NAME. So nothing is missed that a daemon left behind, and nothing of anybody else is touched.

appliance_lib=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)

appliance_say() { echo "appliance: $*" >&2; }

appliance_ms() {
	local now=${EPOCHREALTIME/[.,]/}
	echo $((now / 1000))
}

appliance_wait() {
	local end=$(($(appliance_ms) + $1 * 1000)) looks=0 nap=0.05
	shift
	until "$@"; do
		[ "$(appliance_ms)" -lt "$end" ] || return 1
		[ $((++looks)) -lt 40 ] || nap=0.2
		sleep "$nap"
	done
}

appliance_listens() {
	(exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null
}

appliance_free_port() {
	local port
	for _ in {1..200}; do
		port=$((20000 + (RANDOM * 32768 + RANDOM) % 12000))
		if ! grep -qi "^ *[0-9]*: [0-9A-F]*:$(printf %04X "$port") " /proc/net/tcp /proc/net/tcp6 2>/dev/null &&
			! grep -qsx "$port" "$appliance_dir/ports"; then
			echo "$port" | tee -a "$appliance_dir/ports"
			return
		fi
	done
	return 1
}

appliance_init() {
	appliance_build=$(realpath "$1")
	mkdir -p "$2"
	appliance_dir=$(realpath "$2")
	mkdir -p "$appliance_dir/log"
	# shellcheck disable=SC2034 # for tap.sh
	tap_explain=appliance_explain
}

# What the daemons, the QEMUs and the guests said last: a failed check shows it once.
appliance_explain() {
	local log
	for log in "$appliance_dir"/log/*.log "$appliance_dir"/*/hypervisor/desktops/*/{qemu,serial}.log; do
		[ -s "$log" ] || continue
		echo "the end of ${log#"$appliance_dir/"}:"
		tail -n 25 "$log" | cut -c1-400 | tr -d '\r' | sed 's/^/  /'
	done
	echo "processes of $appliance_dir:"
	for log in "$appliance_dir"/*/; do
		appliance_pids "$(basename "$log")"
	done | xargs -r ps -o pid=,stat=,etimes=,comm= -p | sed 's/^/  /'
}

# appliance_spawn NAME LOG COMMAND...: in the background with its pid in $appliance_spawned.
appliance_spawn() {
	local name=$1 log=$appliance_dir/log/$2.log
	shift 2
	APPLIANCE=$appliance_dir/$name setsid "$@" >>"$log" 2>&1 </dev/null &
	appliance_spawned=$!
	disown # the shell is not to say that it was killed
}

# ---- Processes -------------------------------------------------------------------------------------------------

# A killed process can be a zombie while its other threads still hold its locks and files.
appliance_alive() {
	local state
	[ -n "${1-}" ] && state=$(ps -o stat= -p "$1" 2>/dev/null) || return 1
	[[ $state != Z* ]] || compgen -G "/proc/$1/task/[0-9]*" | grep -qvE "/$1\$"
}

appliance_gone() {
	! appliance_alive "$1"
}

appliance_pids() {
	local home=$appliance_dir/$1 pid
	# Two processes look at all there are: a process for each of them takes seconds.
	{
		grep -lzxF "APPLIANCE=$home" /proc/[0-9]*/environ
		find /proc/[0-9]*/cwd -maxdepth 0 \( -lname "$home" -o -lname "$home/*" \)
	} 2>/dev/null | cut -d/ -f3 | sort -nu | while read -r pid; do
		[ "$pid" != "$$" ] && [ "$pid" != "$BASHPID" ] && appliance_alive "$pid" && echo "$pid"
	done
}

# The command name as the kernel knows it (15 characters).
appliance_find() {
	local pid
	for pid in $(appliance_pids "$1"); do
		# shellcheck disable=SC2053 # $2 is a pattern
		if [[ $(cat "/proc/$pid/comm" 2>/dev/null) == $2 ]]; then echo "$pid"; fi
	done
}

appliance_agent() { appliance_find "$1" godwit-agent | head -n 1; }
appliance_hypervisor() { appliance_find "$1" 'godwit-hypervi*' | head -n 1; }

appliance_qemu() {
	local pid
	for pid in $(appliance_find "$1" 'qemu-system*'); do
		if tr '\0' '\n' <"/proc/$pid/cmdline" | grep -qxE -- "$2(,.*)?"; then echo "$pid"; fi
	done | head -n 1
}

# appliance_end SIGNAL PID...: signal them and wait until they are gone.
appliance_end() {
	local signal=$1 pid
	shift
	[ $# -gt 0 ] || return 0
	kill -"$signal" "$@" 2>/dev/null
	for pid in "$@"; do
		if ! appliance_wait 60 appliance_gone "$pid"; then
			appliance_say "pid $pid ($(cat "/proc/$pid/comm" 2>/dev/null)) is still there 60 s after SIG$signal"
			return 1
		fi
	done
}

appliance_stop() {
	local home pids
	for _ in {1..20}; do
		pids=
		for home in "$appliance_dir"/*/; do
			pids+=" $(appliance_pids "$(basename "$home")")"
		done
		[ -n "${pids// /}" ] || return 0
		# shellcheck disable=SC2086 # one word a pid
		kill -KILL $pids 2>/dev/null
		sleep 0.1
	done
	appliance_say "these are still there: $pids"
	return 1
}

# ---- The server ------------------------------------------------------------------------------------------------

# With short leases, so that nobody waits long for a death to be noticed; but no test's lease is to end because the machine was
# busy for some seconds. A test in which nobody has to notice a death sets LEASE_TTL=60s.
appliance_server_start() {
	local home=$appliance_dir/server
	mkdir -p "$home"
	if [ ! -e "$home/port" ]; then
		appliance_free_port >"$home/port" && appliance_free_port >"$home/agent-port" || return 1
		if [ -n "${UPLOAD_GATE-}" ]; then appliance_gate_start || return 1; fi
		appliance_server_config "$@" >"$home/godwit-server.conf"
	fi
	appliance_url=https://127.0.0.1:$(cat "$home/port")
	appliance_spawn server server "$appliance_build/bin/godwit-server" --state "$home/state" \
		--config "$home/godwit-server.conf"
	appliance_server=$appliance_spawned
	if ! appliance_wait 180 appliance_listens "$(cat "$home/port")"; then
		appliance_say "the server does not listen; $appliance_dir/log/server.log ends with:"
		tail -n 5 "$appliance_dir/log/server.log" >&2
		return 1
	fi
}

# Of a second or less, in which an upload is under way, a busy machine can miss all. This makes that time as long as it takes.
appliance_gate_start() {
	appliance_gate=$appliance_dir/gate
	mkdir -p "$appliance_gate"
	appliance_free_port >"$appliance_gate/port" || return 1
	appliance_spawn gate gate python3 "$appliance_lib/hold_upload.py" "$(cat "$appliance_gate/port")" \
		"$(cat "$appliance_dir/server/agent-port")" "$appliance_gate/hold"
	appliance_wait 60 appliance_listens "$(cat "$appliance_gate/port")"
}

appliance_hold() { echo "${1:-0}" >"$appliance_gate/hold"; }
appliance_held() { grep -qs held "$appliance_gate/hold"; }
appliance_release() { rm "$appliance_gate/hold"; }

appliance_server_config() {
	printf '%s\n' '[server]' "listen = 127.0.0.1:$(cat "$home/port")" \
		"agent_listen = 127.0.0.1:$(cat "$home/agent-port")" \
		${UPLOAD_GATE:+"agent_url = https://127.0.0.1:$(cat "$appliance_gate/port")"} "web_root = $(realpath "$appliance_lib/../../web-ui-static")" \
		'[lease]' "ttl = ${LEASE_TTL:-12s}" 'margin = 1s' 'heartbeat = 1s' "$@"
}

appliance_server_stop() {
	appliance_end "${1:-TERM}" "$appliance_server"
}

appliance_login() {
	export GODWIT_CONFIG_HOME=$appliance_dir/cli
	appliance_password=$(cat "$appliance_dir/server/state/admin-password")
	appliance_cli login "$appliance_url" --user admin --password-file - \
		--ca "$appliance_dir/server/state/ca.pem" <<<"$appliance_password"
}

# ---- The command line ------------------------------------------------------------------------------------------

appliance_cli() {
	GODWIT_CONFIG_HOME=$appliance_dir/cli "$appliance_build/bin/godwit" "$@"
}

appliance_json() {
	appliance_cli "$@" --output json
}

appliance_field() {
	local filter=$1
	shift
	appliance_json "$@" | jq -r "$filter"
}

# appliance_is VALUE FILTER ARGS...: for appliance_wait.
appliance_is() {
	local value=$1
	shift
	[ "$(appliance_field "$@" 2>/dev/null)" = "$value" ]
}

# ---- Endpoints -------------------------------------------------------------------------------------------------

appliance_endpoint_start() {
	local name=$1 home=$appliance_dir/$1 token
	mkdir -p "$home"
	# A busy disk may take longer for the flush in a capture's pause than a user should wait.
	[ -e "$home/hypervisor.conf" ] || printf '[capture]\ninstant_limit = 60s\n' >"$home/hypervisor.conf"
	if [ ! -e "$home/agent/agent.json" ]; then
		token=$(appliance_cli endpoint token --quiet) || return 1
		"$appliance_build/bin/godwit-agent" enrol --state "$home/agent" --server "$appliance_url" \
			--token "$token" --name "$name" || return 1
	fi
	appliance_hypervisor_start "$name" && appliance_agent_start "$name" &&
		appliance_wait 180 appliance_is online .state endpoint show "$name" && return
	appliance_say "endpoint $name is not online; $appliance_dir/log/$name-agent.log ends with:"
	tail -n 5 "$appliance_dir/log/$name-agent.log" >&2
	return 1
}

appliance_hypervisor_start() {
	local home=$appliance_dir/$1 log=$appliance_dir/log/$1-hypervisor.log config=() ready
	[ ! -e "$home/hypervisor.conf" ] || config=(--config "$home/hypervisor.conf")
	ready=$(grep -sc ' READY ' "$log")
	appliance_spawn "$1" "$1-hypervisor" "$appliance_build/bin/godwit-hypervisor" --state "$home/hypervisor" \
		${config[@]+"${config[@]}"}
	# The first start probes KVM with a virtual machine, so it may take a while.
	appliance_wait 120 appliance_ready_or_gone "$appliance_spawned" "$log" "${ready:-0}"
	[ "$(grep -sc ' READY ' "$log")" -gt "${ready:-0}" ] && return
	appliance_say "no hypervisor; $log ends with:"
	tail -n 5 "$log" >&2
	return 1
}

appliance_ready_or_gone() {
	[ "$(grep -sc ' READY ' "$2")" -gt "$3" ] || appliance_gone "$1"
}

appliance_agent_start() {
	local home=$appliance_dir/$1 config=()
	[ ! -e "$home/agent.conf" ] || config=(--config "$home/agent.conf")
	appliance_spawn "$1" "$1-agent" "$appliance_build/bin/godwit-agent" --state "$home/agent" \
		--hypervisor "$home/hypervisor/hypervisor.sock" ${config[@]+"${config[@]}"}
}

appliance_endpoint_stop() {
	# shellcheck disable=SC2046 # one word a pid
	appliance_end "${2:-TERM}" $(appliance_agent "$1") $(appliance_hypervisor "$1")
}

appliance_endpoint_crash() {
	local pids
	pids=$(appliance_pids "$1")
	# shellcheck disable=SC2086
	appliance_end KILL $pids
}

# ---- Guests ----------------------------------------------------------------------------------------------------

appliance_console() {
	echo "$appliance_dir/$1/hypervisor/desktops/$2/serial.log"
}

appliance_type() {
	"$appliance_lib/serial_type.py" "$appliance_dir/$1/hypervisor/desktops/$2/serial.sock" "$3"
}

# Where there is a login prompt, something else can stand in front of a line.
appliance_load() {
	grep -aoE "load n=[0-9]+ .*disk_bad=[0-9]+" "$2" 2>/dev/null | tail -n 1 | grep -oE "(^| )$1=[^ ]+" | cut -d= -f2
}

appliance_said() {
	grep -qaE "load $1" "$2" 2>/dev/null
}

appliance_first_n() {
	grep -aoE 'load n=[0-9]+' "$1" 2>/dev/null | head -n 1 | cut -d= -f2
}

# ---- The usual beginning of a system test ----------------------------------------------------------------------

# begin COMMAND...: without this there is nothing to test.
begin() {
	check "the test can begin: $*" "$@"
	[ "$tap_failed" = 0 ] || bail "there is nothing to test with"
}

# appliance_up ENDPOINT...: server, sign-in, endpoints.
appliance_up() {
	local name
	appliance_server_start && appliance_login || return 1
	for name in "$@"; do
		appliance_endpoint_start "$name" || return 1
	done
}

# appliance_import DESKTOP [MEMORY [OPTION...]]: the small guest with the options GUEST_LOAD and one processor: with two, QEMU's
# emulation (10.0.2, TCG) now and then aborts in iotlb_to_section() or loses the end of an interrupt when the host is busy.
appliance_import() {
	local desktop=$1 memory=${2:-192M} image=$appliance_dir/small.raw
	shift $(($# < 2 ? $# : 2))
	[ -e "$image" ] || "$appliance_lib/../guest/small.sh" "$image" --load "${GUEST_LOAD:-mem=48 hot=8}" || return 1
	appliance_cli desktop import "$desktop" "$image" --vcpus 1 --memory "$memory" --network none --quiet "$@"
}

# appliance_counts ENDPOINT DESKTOP [LINES]: at least so many counter lines more than now appear within 300 s.
appliance_counts() {
	local console from
	console=$(appliance_console "$1" "$2")
	from=$(appliance_load n "$console")
	appliance_wait 300 appliance_n_reaches "$console" $((${from:-0} + ${3:-3}))
}

appliance_n_reaches() {
	[ "0$(appliance_load n "$1")" -ge "$2" ]
}

# appliance_desktop DESKTOP ENDPOINT...: all of that, and the desktop runs on the first of the endpoints.
appliance_desktop() {
	local desktop=$1
	shift
	appliance_up "$@" && appliance_import "$desktop" && appliance_boots "$1" "$desktop"
}

# appliance_boots ENDPOINT DESKTOP: start it there; true when its program counts.
appliance_boots() {
	appliance_cli desktop start "$2" --endpoint "$1" --no-wait --quiet && appliance_counts "$1" "$2"
}

# appliance_local DESKTOP: no job of it is under way any more; after a start its disks are all on the endpoint then.
appliance_local() {
	appliance_wait 120 appliance_is 0 '[.[] | select(.state == "queued" or .state == "running")] | length' \
		job list --desktop "$1"
}

# appliance_tell ENDPOINT DESKTOP COMMAND [REGEX]: a command to guest_load of the small guest; true when it answered.
appliance_tell() {
	appliance_type "$1" "$2" "$3" && appliance_wait 300 appliance_said "${4:-ok $3}" "$(appliance_console "$1" "$2")"
}
