#!/usr/bin/env bash
# Runs tests and counts them: tests/run.sh BUILD GROUP...
#
#   unit     every BUILD/tests/test_* (cmocka, TAP), and every fuzz corpus replayed
#   asan     the same of build/asan
#   system   every tests/system/*.sh, tests/ui/*.sh (TAP on stdout)
#
# A test program prints TAP. What it prints is kept in BUILD/tests/log/; a failing program's log is shown. The last
# line is "N passed, N failed, N skipped"; the exit status is 1 if anything failed. ONLY=PATTERN runs matching names. A system test
# may take LIMIT_S seconds (default 900).
set -uo pipefail
cd "$(dirname "$0")/.." || exit
build=$1
shift
log_dir=$build/tests/log
mkdir -p "$log_dir"
rm -f "$log_dir"/*.count

# run_one NAME LIMIT_SECONDS COMMAND...: one test program, its TAP counted into NAME.count.
run_one() {
	local name=$1 limit=$2 log=$log_dir/$1.log status=0 started=$SECONDS
	shift 2
	timeout --kill-after=10 "$limit" "$@" >"$log" 2>&1 </dev/null || status=$?
	# A TAP plan that was not fulfilled, or a program that died, is one more failure.
	awk -v status="$status" -v name="$name" -v count="$log_dir/$name.count" -v seconds=$((SECONDS - started)) '
		# "not ok … # SKIP" is how cmocka 1.1.5 says it.
		/^(not )?ok .*# *[Ss][Kk][Ii][Pp]/ { skipped++; reason[skipped] = $0; next }
		/^ok /                      { passed++; why = 0 }
		/^not ok /                  { failed++; print "FAILED " name ": " $0; why = 8 }
		/^#/ && why                 { why--; print "  " $0 }
		/^1\.\.[0-9]+/              { split($1, plan, "\\.\\."); planned += plan[2]; has_plan = 1 }
		END {
			ran = passed + failed + skipped
			if (status != 0 && !failed) { failed++; print "FAILED " name ": exit status " status }
			else if (!has_plan)         { failed++; print "FAILED " name ": printed no TAP plan" }
			else if (ran != planned)    { failed++; print "FAILED " name ": planned " planned " tests, ran " ran }
			printf "%d %d %d\n", passed, failed, skipped > count
			printf "  %-44s %3d passed %s%s %ds\n", name, passed, failed ? failed " FAILED " : "",
				skipped ? skipped " skipped" : "", seconds
			for (i = 1; i <= skipped; i++) print "    skipped: " reason[i]
			exit failed > 0
		}' "$log" || { echo "---- the end of $log"; tail -n 300 "$log"; echo "----"; }
}

replay_corpus() {
	echo 1..1
	"$@" && echo "ok 1 - corpus replayed" || echo "not ok 1 - corpus replayed: $*"
}

run_unit() {
	local prefix=$1 dir=$2 program stem
	export CMOCKA_MESSAGE_OUTPUT=tap ASAN_OPTIONS=detect_leaks=1 UBSAN_OPTIONS=print_stacktrace=1
	export -f run_one replay_corpus
	for program in "$dir"/tests/test_*; do
		[ -x "$program" ] && [[ $(basename "$program") == ${ONLY:-*} ]] && printf '%s %s\n' "$prefix$(basename "$program")" "$program"
	done | xargs -r -P "$(nproc)" -L 1 bash -c 'run_one "$0" 900 "$1"'
	for program in "$dir"/tests/fuzz_*; do
		[ -x "$program" ] || continue
		stem=$(basename "$program")
		[[ $stem == ${ONLY:-*} ]] || continue
		run_one "$prefix$stem" 900 bash -c 'replay_corpus "$@"' - "$program" tests/fuzz/corpus/"${stem#fuzz_}"/*
	done
}

# As many at once as there are processors: most of them wait most of the time. A script that may not be executed fails.
run_system() {
	local script
	export -f run_one
	for script in tests/system/*.sh tests/ui/*.sh; do
		[ -f "$script" ] && [[ $(basename "$script" .sh) == ${ONLY:-*} ]] && printf '%s %s\n' "$(basename "$script" .sh)" "$script"
	done | xargs -r -P "$(nproc)" -L 1 bash -c 'run_one "$1" "${LIMIT_S:-900}" "$2" "$0"' "$build"
}

export log_dir
for group in "$@"; do
	echo "$group:"
	case $group in
	unit) run_unit '' "$build" ;;
	asan) run_unit asan- build/asan ;;
	system) run_system ;;
	*) echo "tests/run.sh: no group '$group'; there are: unit asan system" >&2; exit 2 ;;
	esac
done

cat "$log_dir"/*.count 2>/dev/null | awk '{ p += $1; f += $2; s += $3 }
	END { printf "%d passed, %d failed%s\n", p, f, s ? ", " s " skipped" : ""; exit f > 0 || p == 0 }'
