#!/usr/bin/env bash
# More packs than a process may open files: everything works all the same, in as little memory.
. "$(dirname "$0")/../lib/tap.sh"
build=$(realpath "$1")
need jq qemu-img prlimit python3
export FILES=64 # at most, also for what is started by what is started
store() { prlimit --nofile="$FILES:$FILES" "$build/bin/godwit-store" "$@"; }
cd "$TAP_DIR" || bail "no folder"

# Block after block of the disk in a pack of its own: what lies side by side in the volume is in 100 packs.
packs=100
store init s >/dev/null
openssl rand -out noise $((packs * 65536))
truncate -s $((packs * 65536)) disk.img
failed=0
for ((i = 0; i < packs; i++)); do
	dd if=noise of=disk.img bs=64K skip="$i" seek="$i" count=1 conv=notrunc status=none
	echo "$((i * 65536)) 65536" >changed
	parent=()
	[ "$i" = 0 ] || parent=(--parent latest --changed disk0=changed)
	store put s --desktop alice --volume disk0=disk.img "${parent[@]}" >said 2>&1 || failed=$((failed + 1))
done
is "$failed $(ls s/packs | wc -l)" "0 $packs" "$packs backups, a pack each"

for threads in 1 2 16; do
	check "get by $threads threads with $FILES files" store get s latest disk0 back.img --threads "$threads"
	check "... is the disk" cmp disk.img back.img
done
check "verify" store verify s
check "export" store export s latest disk0 back.img --format raw
check "... is the disk" cmp disk.img back.img
check "mirror" store mirror s m
run store put s --desktop bob --volume disk0=noise --output json
is "$(jq .new_bytes <<<"$output")" 0 "put of what is there finds it in all packs"
# The peak of a child is its own: nothing else is started here.
peak=$(python3 -c '
import resource, subprocess, sys
subprocess.run(sys.argv[1:], check=True, stdout=subprocess.DEVNULL)
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss // 1024)' \
	prlimit --nofile="$FILES:$FILES" "$build/bin/godwit-store" get s latest disk0 back.img)
diag "get: $peak MiB"
check "memory stays small" test "$peak" -gt 0 -a "$peak" -le 200
for snapshot in $(store list s --output json | jq -r '.[range(0; 50)].snapshot'); do
	echo "$snapshot"
done | xargs prlimit --nofile="$FILES:$FILES" "$build/bin/godwit-store" forget s >said
run store gc s --repack 100 --output json
is "$status $(jq '.packs_deleted > 50 and .packs_rewritten > 50' <<<"$output")" "0 true" "gc rewrites them"
check "... soundly" store verify s
check "... so that a restore" store get s latest disk0 back.img
check "... is still the disk" cmp noise back.img
check "the mirror follows" store mirror s m
check "... soundly" store verify m --key s.key
done_testing
