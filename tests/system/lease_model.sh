#!/usr/bin/env bash
# The lease protocol's model holds in every state that exists, also when the server's catalogue comes back from older copies,
# and the checker finds each mistake that is built in.
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
	run gcc "${optimised:--O1}" -w -DSAFETY -DNOFAIR -DNOREDUCE -DMEMLIM=2000 -o pan pan.c
	[ "$status" = 0 ] || return
	run timeout 900 ./pan -m400000
}

# holds NAME WHAT FLAG...: in every state
holds() {
	optimised=-O2 explore "$1" "${@:3}"
	is "$status" 0 "the model was explored: $2"
	like "$output" 'errors: 0' "a strict desktop never has two runners"
	unlike "$output" 'max search depth too small|out of memory' "... in any state"
	diag "$(grep -E 'states, stored|total actual memory|elapsed time' <<<"$output")"
}

holds right "the catalogue is what it was"
holds once "it comes back from an older copy, and there is a restart" -DRESTORES=1 -DRESTARTS=1 -DEPOCHS=2
holds twice "it comes back twice" -DRESTORES=2 -DRESTARTS=0 -DEPOCHS=2
holds later "it comes back, and the right moves on afterwards" -DRESTORES=1 -DRESTARTS=0 -DEPOCHS=3

for mistake in COUNTS_FROM_RECEIPT RUNS_ON_GRANT NO_MARGIN RENEWS_STALE REVOKES_AT_ONCE; do
	explore "$mistake" "-D$mistake"
	like "$output" 'assertion violated' "$mistake: two runners are found"
done
for mistake in NO_DOUBT RENEWS_IN_DOUBT CLAIMS_AT_ONCE CLAIMS_IN_DOUBT FORGETS_DOUBT OLD_WORDS; do
	flags=(-DRESTORES=1 -DRESTARTS=0 -DEPOCHS=2)
	[ $mistake != CLAIMS_IN_DOUBT ] || flags=(-DRESTORES=2 -DRESTARTS=0 -DEPOCHS=2)
	[ $mistake != FORGETS_DOUBT ] || flags=(-DRESTORES=1 -DRESTARTS=1 -DEPOCHS=2)
	[ $mistake != OLD_WORDS ] || flags+=(-DTTL=3)
	explore "$mistake" "-D$mistake" "${flags[@]}"
	like "$output" 'assertion violated' "$mistake: two runners are found"
done
done_testing
