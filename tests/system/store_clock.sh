#!/usr/bin/env bash
# Clocks that jump: retention, pins, no-delete windows and the schedule of checks stay on the safe side.
. "$(dirname "$0")/../lib/tap.sh"
build=$(realpath "$1")
need jq
jump=$build/lib/clock_jump.so
[ -e "$jump" ] || bail "$jump is not built: make tests"
cd "$TAP_DIR" || bail "no folder"
store() { "$build/bin/godwit-store" "$@" --key key; }
# at SECONDS COMMAND...: with a clock that is wrong by so much
at() { LD_PRELOAD=$jump GODWIT_CLOCK_JUMP_S=$1 "$build/bin/godwit-store" "${@:2}" --key key; }
year=31536000

for i in 1 2 3 4; do head -c 300000 /dev/urandom >$i.img; done
store init s >/dev/null
put() { at "$1" put s --desktop d --volume "disk0=$2.img" "${@:3}" --output json | jq -r .snapshot; }
first=$(put -86400 1)
parent=$(put 0 2)
behind=$(put -$year 3 --parent "$parent")
ahead=$(put $((10 * year)) 4)
run store prune s --desktop d --keep-last 1 --dry-run
like "$output" "$ahead +stays +from the future" "a snapshot from the future stays"
like "$output" "$parent +stays +last 1 of 1" "... and takes nobody's place"
like "$output" "$behind +stays +dated before its parent" "one whose clock was behind stays, too"
like "$output" "$first +goes" "an old one goes"

at $((10 * year)) unpin s "$first" >/dev/null
store pin s "$first" >/dev/null
run store forget s "$first"
like "$status $errors" '^1 .*pinned' "a pin holds although the one before came from the future"
rm -rf s/index
run store forget s "$first"
like "$status $errors" '^1 .*pinned' "... also with an index that is made anew"

# All packs were checked in the future. Checks go on all the same, and come to the damaged one.
at $((10 * year)) verify s --budget 100000000 >/dev/null
pack=$(ls -S s/packs | head -n 1)
printf 'xyz' | dd of="s/packs/$pack" bs=1 seek=100000 conv=notrunc status=none
found=0
for _ in s/packs/*; do
	run store verify s --budget 1
	[ "$status" != 1 ] || found=1
done
is "$found" 1 "a check in the future does not spare a pack from later ones"

# A mirror with a window of an hour, and a process that runs while the clock jumps ahead by a year.
store init w >/dev/null
id=$(store put w --desktop d --volume disk0=1.img --output json | jq -r .snapshot)
store mirror w v --no-delete-hours 1 >/dev/null
store forget w "$id" >/dev/null
store gc w >/dev/null
echo 0 >clock
LD_PRELOAD=$jump GODWIT_CLOCK_JUMP_FILE=$TAP_DIR/clock spawn mirror "$build/bin/godwit-store" mirror w v --every 1 --key key
rounds() { [ "$(grep -c copied "$(log_of mirror)")" -ge "$1" ]; }
check "the mirror runs" wait_for 180 rounds 1
echo $year >clock
check "... and goes on when the clock jumps" wait_for 180 rounds 4
unlike "$(cat "$(log_of mirror)")" '[1-9][0-9]* deleted' "a clock that jumps ahead ends no window"
stop "$spawned"
store get v "$id" disk0 back
check "... what was forgotten can still be had from the mirror" cmp back 1.img
run at -$year forget v "$id"
like "$status $errors" '^1 .*no-delete window' "nor does one that was set back"
done_testing
