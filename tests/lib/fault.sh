# shellcheck shell=bash
# fault.sh - run programs under tests/lib/faultfs.c. Source it after tap.sh; faultfs.c's top explains OP, N and HOW.
#
#   fault_load BUILD                      once; bails when BUILD/lib/faultfs.so is not there
#   fault OP:N:HOW COMMAND...             run COMMAND with that fault; its exit status (137: killed)
#   fault_trace FILE COMMAND...           run COMMAND without a fault; FILE lists its operations, "OP N PATH" a line
#   fault_struck                          did the last `fault` reach its operation?
#   fault_sweep NAME OPS HOW PREPARE RUN VERIFY [STEP]
#                                         one TAP result for a whole sweep; see below
#
# fault_sweep calls, for N = 1, 1+STEP, 1+2*STEP … until the fault no longer strikes (STEP 1 if not given):
#   PREPARE       a shell function: the state before
#   RUN           a shell function: execs or runs the program; called in a subshell with the fault set for all it starts
#   VERIFY N CODE a shell function: is what is left sound? CODE is RUN's exit status. Its output is shown if it fails
# and once more with VERIFY 0 0 for the run that no fault struck, which must end with 0. It counts as failed, too, when
# the fault never struck at all: then the sweep has shown nothing. FAULT_PATH and FAULT_PROGRAM narrow what is counted;
# every process counts for itself.

fault_load() {
	fault_object=$(realpath "$1/lib/faultfs.so" 2>/dev/null) || bail "$1/lib/faultfs.so is not built: make tests"
	fault_log=$TAP_DIR/.fault
}

fault() {
	local spec=$1
	shift
	rm -f "$fault_log"
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
	if [ -n "${FAULT_PATH-}" ]; then declare -x "GODWIT_FAULT_PATH=$FAULT_PATH"; fi
	if [ -n "${FAULT_PROGRAM-}" ]; then declare -x "GODWIT_FAULT_PROGRAM=$FAULT_PROGRAM"; fi
	shift 2
	"$@"
)

fault_struck() {
	[ -s "$fault_log" ]
}

fault_sweep() {
	local name=$1 ops=$2 how=$3 prepare=$4 run_it=$5 verify=$6 step=${7:-1} n=1 struck=0 code said=$TAP_DIR/.sweep
	while :; do
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
			fail "$name" "not sound after $(cat "$fault_log") (exit status $code):
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
