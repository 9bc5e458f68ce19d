# shellcheck shell=bash disable=SC2034 # $output and its kin are for the tests
# tap.sh - what a system test needs: TAP on stdout, a state folder, children that never outlive the test.
#
#   #!/usr/bin/env bash
#   # What this test proves, in a sentence.
#   . "$(dirname "$0")/../lib/tap.sh"
#   build=$1
#
#   port=$(free_port)
#   spawn server "$build/bin/godwit-server" --port "$port"
#   check "the server listens" wait_for 5 port_open "$port"
#   run "$build/bin/godwit" desktop list --output json
#   is "$status" 0 "desktop list works"
#   like "$output" '^\[' "... and prints an array"
#   done_testing
#
# A test goes on after a failed check. Without done_testing the plan is missing and the runner counts a failure, so a
# script that dies half-way can never pass. `set -u` is on, `set -e` is not.
#
# Results
#   pass NAME                       fail NAME [DIAGNOSTIC]          skip NAME REASON
#   check NAME COMMAND...           ok if the command ends with 0; else its output is shown
#   check_not NAME COMMAND...       ok if it ends with 1..125: a refusal, neither a success nor a signal's death
#   is GOT WANT NAME                like GOT REGEX NAME             unlike GOT REGEX NAME       (bash's =~)
#   diag TEXT...                    comment lines in the TAP stream (figures, context)
#   bail REASON                     stop here; counts as a failure
#   skip_all REASON                 leave without running anything; for what this machine cannot do
#   done_testing                    print the plan and leave; the last line of every test
#
# Tools
#   $TAP_DIR                        this run's own folder (mktemp -d, 0700), removed at the end; KEEP_TAP_DIR=1 keeps it
#   run COMMAND...                  sets $status, $output (stdout) and $errors (stderr); always returns 0
#   spawn NAME COMMAND...           start in the background: pid in $spawned, both outputs in $TAP_DIR/NAME.log
#   log_of NAME                     the path of that log; its end is shown when a check fails
#   adopt PID                       kill this one too at the end (for what was started behind our back)
#   stop PID [SIGNAL [SECONDS]]     signal (TERM) and wait (60 s) until it is gone; 1 if it is still there
#   alive PID                       is it running (a zombie is not)?
#   free_port                       print a TCP port of 127.0.0.1 that nobody uses, and no other test until this one ends
#   port_open PORT                  does somebody accept connections there?
#   wait_for SECONDS COMMAND...     repeat until it ends with 0; 1 when the time is over
#   unmount FOLDER                  unmount it, and wait until its FUSE driver has written everything
#   need PROGRAM...                 bail when one is not installed (tests/setup.sh should have)
#
# At the end, however it comes (also by a signal), everything of this run that still lives is killed by pid: what
# spawn and adopt name, and every process with this run's TAP_DIR in its environment or its command line. The latter
# finds a QEMU that was meant to survive its daemon.
set -u

TAP_DIR=$(mktemp -d "${TMPDIR:-/tmp}/godwit-test.XXXXXXXX") || exit 99
export TAP_DIR
tap_pids=()
tap_logs=()
tap_ran=0
tap_failed=0
tap_owner=$BASHPID
tap_explain=      # a command that prints what else may explain a failure
tap_explain_max=2 # … for the first failures; later ones follow from them
spawned=
status=0
output=
errors=

# ---- Results --------------------------------------------------------------------------------------------------

diag() {
	printf '%s\n' "$*" | sed 's/^/# /'
}

pass() {
	tap_ran=$((tap_ran + 1))
	printf 'ok %d - %s\n' "$tap_ran" "${1//#/}"
}

fail() {
	local log
	tap_ran=$((tap_ran + 1))
	tap_failed=$((tap_failed + 1))
	printf 'not ok %d - %s\n' "$tap_ran" "${1//#/}"
	[ $# -lt 2 ] || diag "$2"
	for log in ${tap_logs[@]+"${tap_logs[@]}"}; do
		diag "the end of ${log##*/}:"
		tail -n 15 "$log" 2>/dev/null | sed 's/^/#   /'
	done
	[ -z "$tap_explain" ] || [ "$tap_failed" -gt "$tap_explain_max" ] || diag "$("$tap_explain" 2>/dev/null)"
}

skip() {
	tap_ran=$((tap_ran + 1))
	printf 'ok %d - %s # SKIP %s\n' "$tap_ran" "${1//#/}" "$2"
}

check() {
	local name=$1 said code=0
	shift
	said=$TAP_DIR/.check
	"$@" >"$said" 2>&1 || code=$?
	if [ "$code" = 0 ]; then pass "$name"; else fail "$name" "exit status $code of: $*
$(uniq "$said" | tail -n 40)"; fi
}

check_not() {
	local name=$1 said code=0
	shift
	said=$TAP_DIR/.check
	"$@" >"$said" 2>&1 || code=$?
	if [ "$code" -ge 1 ] && [ "$code" -le 125 ]; then pass "$name"; else fail "$name" "exit status $code of: $*
$(uniq "$said" | tail -n 40)"; fi
}

is() {
	if [ "$1" = "$2" ]; then pass "$3"; else fail "$3" "got:  $1
want: $2"; fi
}

like() {
	if [[ $1 =~ $2 ]]; then pass "$3"; else fail "$3" "got: $1
which does not match: $2"; fi
}

unlike() {
	if [[ $1 =~ $2 ]]; then fail "$3" "got: $1
which matches: $2"; else pass "$3"; fi
}

bail() {
	fail "the test could go on" "$*"
	exit 1
}

skip_all() {
	echo "1..1"
	echo "ok 1 - all # SKIP $*"
	exit 0
}

done_testing() {
	echo "1..$tap_ran"
	exit $((tap_failed > 0))
}

# ---- Tools ----------------------------------------------------------------------------------------------------

run() {
	status=0
	output=$("$@" 2>"$TAP_DIR/.errors") || status=$?
	errors=$(cat "$TAP_DIR/.errors")
}

log_of() {
	echo "$TAP_DIR/$1.log"
}

spawn() {
	local log
	log=$(log_of "$1")
	shift
	"$@" >>"$log" 2>&1 </dev/null &
	spawned=$!
	adopt "$spawned"
	case " ${tap_logs[*]-} " in *" $log "*) ;; *) tap_logs+=("$log") ;; esac
}

adopt() {
	tap_pids+=("$1 $(tap_born "$1")")
}

# When a process began, in ticks since the boot: a pid alone comes back within minutes where tests run, and at the end
# of this one it may be somebody else's.
tap_born() {
	local stat
	stat=$(cat "/proc/$1/stat" 2>/dev/null) || return
	stat=${stat##*) }
	cut -d ' ' -f 20 <<<"$stat"
}

alive() {
	local state
	state=$(ps -o stat= -p "$1" 2>/dev/null) && [[ $state != Z* ]]
}

tap_gone() {
	! alive "$1"
}

stop() {
	kill -"${2:-TERM}" "$1" 2>/dev/null
	wait_for "${3:-60}" tap_gone "$1"
}

# Claimed by a folder as long as this run goes on: a server that stands still for a moment must find its port again
# although other tests run at the same time.
free_port() {
	local port try claims=${TMPDIR:-/tmp}/godwit-ports-$UID
	mkdir -p "$claims" && find "$claims" -mindepth 1 -mmin +300 -delete 2>/dev/null # of runs that were killed
	for try in {1..200}; do
		port=$((20000 + (RANDOM * 32768 + RANDOM) % 12000))
		# Below the range that connect(2) takes ports from, and unused.
		if ! grep -qi "^ *[0-9]*: [0-9A-F]*:$(printf %04X "$port") " /proc/net/tcp /proc/net/tcp6 2>/dev/null &&
			mkdir "$claims/$port" 2>/dev/null; then
			echo "$claims/$port" >>"$TAP_DIR/.ports"
			echo "$port"
			return
		fi
	done
	echo "free_port: no free port after $try tries" >&2
	return 1
}

port_open() {
	(exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null
}

# What takes longer is looked at less often: a look costs processor time that the one who is waited for could use.
wait_for() {
	local end=$(($(tap_now_ms) + $1 * 1000)) looks=0 nap=0.05
	shift
	until "$@"; do
		[ "$(tap_now_ms)" -lt "$end" ] || return 1
		[ $((++looks)) -lt 40 ] || nap=0.2
		sleep "$nap"
	done
}

# Another test's mount namespace may have begun meanwhile and hold a copy of the mount: umount(8) alone would then leave
# what was written in memory. FUSE drivers of image files write and end later than umount(8) does.
unmount() {
	[ "$(stat -f -c %T "$1")" = fuseblk ] || mount -o remount,ro "$1" 2>/dev/null
	wait_for 60 umount "$1" && wait_for 180 tap_no_driver
}

tap_no_driver() {
	local comm
	for comm in $(grep -lE '^(low)?ntfs-3g|^mount.exfat' /proc/[0-9]*/comm 2>/dev/null); do
		if grep -qzxF -e "TAP_DIR=$TAP_DIR" "${comm%comm}environ" 2>/dev/null; then return 1; fi
	done
}

tap_now_ms() {
	local now=${EPOCHREALTIME/[.,]/}
	echo $((now / 1000))
}

need() {
	local program
	for program in "$@"; do
		command -v "$program" >/dev/null || bail "$program is not installed: run tests/setup.sh test"
	done
}

# ---- The end --------------------------------------------------------------------------------------------------

# Pids of this run that nobody named. The script itself and its shells do not count: a process's environ is what it
# was started with, and they were not started with TAP_DIR.
tap_find_strays() {
	{
		grep -lzxF -e "TAP_DIR=$TAP_DIR" /proc/[0-9]*/environ
		grep -lF -e "$TAP_DIR/" /proc/[0-9]*/cmdline
	} 2>/dev/null | cut -d/ -f3 | sort -u | while read -r pid; do
		# Looked at once more, for on a busy machine it may be gone by now (like that grep, whose command line has the
		# folder in it, too), and its pid somebody else's.
		if [ "$pid" != "$tap_owner" ] && [ "$pid" != "$BASHPID" ] &&
			{ grep -qszxF -e "TAP_DIR=$TAP_DIR" "/proc/$pid/environ" || grep -qsF -e "$TAP_DIR/" "/proc/$pid/cmdline"; }; then
			echo "$pid"
		fi
	done
}

# at_end COMMAND: done at the end whatever happened, when no process is left; the last one first. The exit status stays.
tap_undo=()
at_end() {
	tap_undo+=("$1")
}

tap_end() {
	local code=$? pid born victims i
	trap '' INT TERM HUP
	[ "$BASHPID" = "$tap_owner" ] || exit "$code"
	exec 2>/dev/null # the shell's own "Killed" notes
	for pid in ${tap_pids[@]+"${tap_pids[@]}"}; do
		born=${pid#* }
		pid=${pid% *}
		if [ -n "$born" ] && [ "$born" = "$(tap_born "$pid")" ]; then kill -KILL "$pid"; fi
	done
	# A daemon may have started another one while we looked: look until nothing is left.
	for _ in {1..20}; do
		victims=$(tap_find_strays)
		[ -n "$victims" ] || break
		# shellcheck disable=SC2086 # one word a pid
		kill -KILL $victims
		sleep 0.05
	done
	wait
	for ((i = ${#tap_undo[@]} - 1; i >= 0; i--)); do eval "${tap_undo[i]}"; done
	[ ! -e "$TAP_DIR/.ports" ] || xargs rmdir <"$TAP_DIR/.ports"
	if [ -n "${KEEP_TAP_DIR-}" ]; then
		echo "# kept $TAP_DIR"
	else
		rm -rf "$TAP_DIR"
	fi
	exit "$code"
}
trap tap_end EXIT
trap 'exit 130' INT
trap 'exit 143' TERM
trap 'exit 129' HUP
