#!/usr/bin/env bash
# The lease protocol's model holds in every state that exists, and the checker finds each mistake that is built in.
# shellcheck disable=SC2154 # what tap.sh sets
# shellcheck source=tests/lib/tap.sh
. "$(dirname "$0")/../lib/tap.sh"
model=$(realpath "$(dirname "$0")/../models/lease.pml")

need spin gcc

# explore NAME FLAG...: check the model; what the checker said is in $output.
explore() {
	mkdir "$TAP_DIR/$1" && cd "$TAP_DIR/$1" || return
	shift
	run spin -a "$@" "$model"
	[ "$status" = 0 ] || return
	run gcc -O1 -w -DSAFETY -DNOFAIR -DCOLLAPSE -o pan pan.c
	[ "$status" = 0 ] || return
	run timeout 600 ./pan -m200000
}

explore right
is "$status" 0 "the model was explored"
like "$output" 'errors: 0' "a strict desktop never has two runners"
unlike "$output" 'max search depth too small' "... in any state"
diag "$(grep -E 'states, stored|total actual memory|elapsed time' <<<"$output")"

for mistake in COUNTS_FROM_RECEIPT RUNS_ON_GRANT NO_MARGIN RENEWS_STALE REVOKES_AT_ONCE; do
	explore "$mistake" "-D$mistake"
	like "$output" 'assertion violated' "$mistake: two runners are found"
done
done_testing
