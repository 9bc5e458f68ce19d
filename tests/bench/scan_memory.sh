#!/usr/bin/env bash
# tests/bench/scan_memory.sh BUILD: what a scan of memory costs: CPU seconds for each GiB of a small guest's memory that is in use, and
# how much of what is scanned is there for the sake of processes' order. clamscan on the same file for comparison.
#
#   RAM_MIB   the guest's memory (default 1024), three quarters of which its program fills
set -euo pipefail
cd "$(dirname "$0")/../.."
build=$(realpath "${1:-build/release}")
: "${RAM_MIB:=1024}"
dir=$(mktemp -d "${TMPDIR:-/tmp}/godwit-bench-memory.XXXXXX")
qemu=
trap '[ -z "$qemu" ] || kill "$qemu" 2>/dev/null || true; rm -rf "$dir"' EXIT

tests/guest/small.sh "$dir/small.raw" --load "mem=$((RAM_MIB * 3 / 4)) hot=8"
qemu-system-x86_64 -machine q35,accel=tcg -m "$RAM_MIB" -display none -nic none -drive "file=$dir/small.raw,if=virtio,format=raw" \
	-serial "file:$dir/console" -qmp "unix:$dir/qmp,server=on,wait=off" &
qemu=$!
for _ in {1..600}; do
	grep -qa '^load n=3 ' "$dir/console" 2>/dev/null && break
	sleep 0.2
done
python3 - "$dir/qmp" "$dir/ram" $((RAM_MIB << 20)) <<'END'
import json, socket, sys
s = socket.socket(socket.AF_UNIX)
s.connect(sys.argv[1])
f = s.makefile("rw")
def ask(name, **arguments):
    f.write(json.dumps({"execute": name, "arguments": arguments}) + "\n")
    f.flush()
    while True:
        answer = json.loads(f.readline())
        if "return" in answer or "error" in answer:
            return answer
f.readline()
ask("qmp_capabilities")
ask("stop")
print(ask("pmemsave", val=0, size=int(sys.argv[3]), filename=sys.argv[2]).get("error", ""), end="")
ask("quit")
END
wait "$qemu" || true
qemu=

mkdir "$dir/sig"
printf 'Test.Eicar:0:0:58354f2150254041505b345c505a58353428505e2937434329377d2445494341522d5354414e444152442d414e544956495255532d544553542d46494c452124482b482a\n' >"$dir/sig/test.ndb"
cpu() {
	local TIMEFORMAT='%U %S'
	{ time "$@" >"$dir/out" 2>&1 || true; } 2>&1 | tail -n 1 | awk '{ print $1 + $2 }'
}
seconds=$(cpu "$build/bin/godwit-scan" image --memory "$dir/ram" --signatures "$dir/sig" --output json)
bytes=$(jq .memory_bytes "$dir/out")
echo "memory $RAM_MIB MiB, handed to the engine $((bytes >> 20)) MiB in $(jq .scanned_contents "$dir/out") contents, verdict $(jq -r .verdict "$dir/out")"
awk -v s="$seconds" -v mib="$RAM_MIB" 'BEGIN { printf "godwit-scan: %.2f CPU-s, %.2f for each GiB of memory\n", s, s / mib * 1024 }'
if command -v clamscan >/dev/null; then
	clam=$(cpu clamscan --database="$dir/sig" --max-filesize=4000M --max-scansize=4000M "$dir/ram")
	awk -v s="$clam" 'BEGIN { printf "clamscan on the same file as one: %.2f CPU-s\n", s }'
fi
