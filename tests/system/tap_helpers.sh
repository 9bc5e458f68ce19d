#!/usr/bin/env bash
# tests/lib/tap.sh itself: a failing check fails, a dying test prints no plan, and no child outlives its test.
# shellcheck disable=SC2016,SC2154 # the inner tests' text; what tap.sh sets
# shellcheck source=tests/lib/tap.sh
. "$(dirname "$0")/../lib/tap.sh"
lib=$(realpath "$(dirname "$0")/../lib/tap.sh")

# inner BODY: run BODY as a test of its own; its TAP is in $output.
inner() {
	printf '. "%s"\n%s\n' "$lib" "$1" >"$TAP_DIR/inner.test"
	run env -u TAP_DIR bash "$TAP_DIR/inner.test"
}

inner 'pass one; check two true; is a a three; like abc ^a four; unlike abc ^b five; check_not six false; done_testing'
is "$status" 0 "a test whose checks hold ends with 0"
like "$output" $'ok 6 - six\n1..6$' "... and its plan comes last"

for body in 'fail f' 'check f false' 'is a b f' 'like abc ^b f' 'unlike abc ^a f' 'check_not f true' \
	'check_not f bash -c "kill -SEGV \$\$"'; do
	inner "$body; pass after; done_testing"
	is "$status" 1 "'$body' fails the test"
	like "$output" $'not ok 1 - f\n.*ok 2 - after\n1..2' "... and the test goes on"
done

inner 'explains() { echo "what else is known"; }; tap_explain=explains; fail one; done_testing'
like "$output" '# what else is known' "a failure is explained"

inner 'pass one; exit 0'
unlike "$output" '1\.\.' "a test that stops early prints no plan"
inner 'pass one; undefined_variable=$nothing_sets_this; done_testing'
check_not "an unset variable ends the test" test "$status" = 0
inner 'skip one "no such hardware"; done_testing'
like "$output" 'ok 1 - one # SKIP no such hardware' "a skip carries its reason"
inner 'a=$(free_port); b=$(free_port); [ "$a" != "$b" ] && pass differ; check_not closed port_open "$a"; done_testing'
is "$status" 0 "free_port never hands out a port twice"
inner 'wait_for 1 false && fail f; n=$TAP_DIR/n; wait_for 60 eval "echo x >>$n; [ \$(wc -l <$n) -ge 3 ]" && pass ok; done_testing'
is "$status" 0 "wait_for repeats, and gives up"

# A child, a child that ignores TERM, and one that a daemon left behind, first with, then without its environment.
# A pid that was adopted and came back as somebody else's.
sleep 1005 &
other=$!
disown
inner "adopt $other; tap_pids=(\"$other 12345\"); pass one; done_testing"
check "a pid that is another process by now is left alone" alive "$other"
inner "adopt $other; pass one; done_testing"
check "one that is the same is ended" wait_for 60 tap_gone "$other"

inner 'spawn a sleep 1001; echo "# pid $spawned"
spawn b bash -c "trap \"\" TERM; sleep 1002; true"; echo "# pid $spawned"
sleeps() { grep -qx sleep "/proc/$1/comm"; }
setsid sleep 1003 & echo "# pid $!"; wait_for 60 sleeps "$!"
env -i bash -c "exec -a \$1/marked sleep 1004" - "$TAP_DIR" & echo "# pid $!"; wait_for 60 sleeps "$!"
kill -TERM $$; sleep 5'
is "$status" 143 "a test that is terminated says so"
left=
for pid in $(sed -n 's/^# pid //p' <<<"$output"); do
	alive "$pid" && left="$left $pid"
done
is "$(grep -c '^# pid' <<<"$output")" 4 "four children were started"
is "$left" "" "none of them outlives the test"

inner "at_end 'echo first >>$TAP_DIR/undone; false'; pass one; at_end 'echo second >>$TAP_DIR/undone'; done_testing"
is "$(xargs <"$TAP_DIR/undone")" "second first" "what is to be undone at the end is, the last first"
is "$status" 0 "... and the exit status stays"

inner 'echo "# dir $TAP_DIR"; done_testing'
check_not "the state folder is gone" test -e "$(sed -n 's/^# dir //p' <<<"$output")"
done_testing
