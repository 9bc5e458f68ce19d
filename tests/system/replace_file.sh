#!/usr/bin/env bash
# io_replace_file under kills and errors at every step: the file is the old one or the new one, whole, and what the
# caller was told is true.
# shellcheck disable=SC2317 # the sweep calls its functions by name
# shellcheck source=tests/lib/tap.sh
. "$(dirname "$0")/../lib/tap.sh"
# shellcheck source=tests/lib/fault.sh
. "$(dirname "$0")/../lib/fault.sh"
fault_load "$1"
program=$(realpath "$1/tests/test_io")
cd "$TAP_DIR" || exit
mkdir d
old=$(printf 'old %.0s' {1..500})
new=$(printf 'new %.0s' {1..700})

back() { rm -rf d && mkdir d && printf %s "$old" >d/f; }
replace() { "$program" replace d/f "$new"; }
content() { cat d/f; }
is_old() { [ "$(content)" = "$old" ]; }
is_new() { [ "$(content)" = "$new" ]; }

after_kill() {
	[ "$1" != 0 ] || [ "$2" = 0 ] && is_new && return
	[ "$2" = 137 ] && { is_old || is_new; }
}
after_error() {
	echo "files: $(ls -A d)"
	[ "$(ls -A d)" = f ] || return # a failure leaves no temporary file behind
	if [ "$2" = 0 ]; then is_new; else is_old || grep -q '^fsync ' "$fault_log"; fi
}
for how in kill torn after; do
	fault_sweep "replaced or not after '$how' at each step" any "$how" back replace after_kill
done
for how in ENOSPC EIO EINTR; do
	fault_sweep "replaced or not after $how at each step" any "$how" back replace after_error
done

back
check "a short write is finished" fault write:1:short replace
check "... with all its bytes" is_new

back
fault_trace "$TAP_DIR/trace" replace
is "$(cut -d' ' -f1 trace | xargs)" "write fdatasync rename fsync" "durable before it is visible, then the folder"
like "$(tail -n 1 trace)" "/d\$" "... the folder of the file"
done_testing
