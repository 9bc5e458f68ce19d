# shellcheck shell=bash
# fault.sh - run programs under tests/lib/faultfs.c. Source it after tap.sh; faultfs.c's top explains OP, N and HOW.
#
#   fault_load BUILD                      once; bails when BUILD/lib/faultfs.so is not there
#   fault OP:N:HOW COMMAND...             run COMMAND with that fault; its exit status (137: killed)
#   fault_trace FILE COMMAND...           run COMMAND without a fault; FILE lists its operations, "OP N PATH" a line
#   fault_struck                          did the last `fault` reach its operation?
#   fault_sweep NAME OPS HOWS PREPARE RUN VERIFY [STEP]
#                                         one TAP result for a whole sweep; see below
#
# fault_sweep calls, for N = 1, 1+STEP, 1+2*STEP … until the fault no longer strikes (STEP 1 if not given):
#   PREPARE       a shell function: the state before
#   RUN           a shell function: execs or runs the program; called in a subshell with the fault set for all it starts
#   VERIFY N CODE a shell function: is what is left sound? CODE is RUN's exit status. Its output is shown if it fails
# HOWS: one HOW, or several that take turns, a blank between them. Beside faultfs's own there is power:WHAT: killed there,
# and what no fsync had made durable is lost (tests/lib/power_cut.py has WHAT), also after the run that no fault struck.
# FAULT_ROOTS names the files and folders that this is about.
#
# VERIFY is called once more with 0 0 for the run that no fault struck, which must end with 0. It counts as failed, too, when
# the fault never struck at all: then the sweep has shown nothing. FAULT_PATH and FAULT_PROGRAM narrow what is counted;
# every process counts for itself.

fault_load() {
	fault_object=$(realpath "$1/lib/faultfs.so" 2>/dev/null) || bail "$1/lib/faultfs.so is not built: make tests"
	fault_log=$TAP_DIR/.fault
	fault_power_cut=$(realpath "${BASH_SOURCE[0]%/*}/power_cut.py")
}

fault() {
	local spec=$1 what code=0
	shift
	rm -f "$fault_log"
	case $spec in
	*:power:*)
		what=${spec##*:}
		rm -rf "$fault_log.power" && mkdir "$fault_log.power"
		GODWIT_POWER=$fault_log.power fault_with "GODWIT_FAULT=${spec%:power:*}:kill" \
			"GODWIT_FAULT_LOG=$fault_log" "$@" || code=$?
		# shellcheck disable=SC2086 # a list
		"$fault_power_cut" "$fault_log.power" "$what" "$(tr -dc 0-9 <<<"$spec")" $FAULT_ROOTS || return 99
		return "$code"
		;;
	esac
	fault_with "GODWIT_FAULT=$spec" "GODWIT_FAULT_LOG=$fault_log" "$@"
}

fault_trace() {
	local file=$1
	shift
	fault_with "GODWIT_FAULT_TRACE=$file" "GODWIT_FAULT_LOG=" "$@"
}

# A function can be the command, so this is a subshell and not env(1).
fault_with() (
	declare -x "LD_PRELOAD=$fault_object" "$1" "$2"
	if [ -n "${GODWIT_POWER-}" ]; then declare -x "GODWIT_POWER=$GODWIT_POWER"; fi
	if [ -n "${FAULT_PATH-}" ]; then declare -x "GODWIT_FAULT_PATH=$FAULT_PATH"; fi
	if [ -n "${FAULT_PROGRAM-}" ]; then declare -x "GODWIT_FAULT_PROGRAM=$FAULT_PROGRAM"; fi
	shift 2
	"$@"
)

fault_struck() {
	[ -s "$fault_log" ]
}

fault_sweep() {
	local name=$1 ops=$2 how prepare=$4 run_it=$5 verify=$6 step=${7:-1} n=1 struck=0 code said=$TAP_DIR/.sweep hows
	read -ra hows <<<"$3"
	while :; do
		how=${hows[struck % ${#hows[@]}]}
		if ! "$prepare" >"$said" 2>&1; then
			fail "$name" "preparing for $ops:$n:$how failed:
$(tail -n 40 "$said")"
			return
		fi
		code=0
		fault "$ops:$n:$how" "$run_it" >"$said" 2>&1 || code=$?
		if ! fault_struck; then
			[ "$code" = 0 ] && "$verify" 0 0 >>"$said" 2>&1 && break
			fail "$name" "without any fault: exit status $code, or the state is not sound:
$(tail -n 40 "$said")"
			return
		fi
		struck=$((struck + 1))
		if ! "$verify" "$n" "$code" >>"$said" 2>&1; then
			fail "$name" "not sound after $(cat "$fault_log") (exit status $code, fault $ops:$n:$how):
$(tail -n 40 "$said")"
			return
		fi
		n=$((n + step))
	done
	if [ "$struck" = 0 ]; then
		fail "$name" "no $ops operation was ever reached"
	else
		pass "$name ($struck faults)"
	fi
}
