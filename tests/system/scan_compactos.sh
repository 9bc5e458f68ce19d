#!/usr/bin/env bash
# NTFS files as Windows' CompactOS keeps them: no data of their own, the contents compressed in a stream beside. Other
# readers see zeros there. Each algorithm: found, and the same bytes as before; a stream that is damaged is never clean.
# shellcheck disable=SC2154 # what tap.sh sets
# shellcheck source=tests/lib/tap.sh
. "$(dirname "$0")/../lib/tap.sh"
build=$(realpath "$1")
compact=$(realpath "$(dirname "$0")/../lib/compact_file.py")
scan=$build/bin/godwit-scan
need mkntfs ntfs-3g jq python3
[ "$(id -u)" = 0 ] || skip_all "needs root to fill the file system"
cd "$TAP_DIR" || exit
mkdir sig mnt

# The marker comes often, so that the compressed chunks do not hold it as it is.
marker=GodwitTestMarker-0123456789-behind-compression
printf 'Test.Marker:0:*:%s\n' "$(printf %s "$marker" | od -An -v -tx1 | tr -d ' \n')" >sig/test.ndb
# Always the same bytes, with calls of x86 (e8), which LZX keeps in another form; libfsntfs turns those in the last ten bytes
# of a chunk back although they never were turned (mgmt-server/scan/README.md), so there are none.
code() {
	python3 - "$1" <<-'END'
		import random, sys
		pick, out = random.Random(1), bytearray()
		words = [pick.randbytes(pick.randrange(3, 9)) for _ in range(300)] + [b"\xe8" + pick.randbytes(2) + b"\0\0" for _ in range(40)]
		while len(out) < int(sys.argv[1]):
		    out += pick.choice(words)
		for chunk in range(0, len(out), 32768):
		    end = min(chunk + 32768, len(out))
		    out[end - 16 : end] = bytes(16)
		sys.stdout.buffer.write(out[: int(sys.argv[1])])
	END
}
{ code 196608; yes "$(tr '[:lower:]' '[:upper:]' <<<"$marker")" | head -c 50000; printf '%s ' "$marker" "$marker"; head -c 100001 /dev/zero; } >infected
{ code 262144; head -c 7857 /dev/zero; } >clean

truncate -s 64M n.img && mkntfs -q -F -s 512 -p 0 n.img >/dev/null 2>&1
ntfs-3g -o streams_interface=windows n.img mnt 2>/dev/null || skip_all "needs FUSE"
at_end 'mountpoint -q mnt && umount mnt'
algorithms="lzx xpress16k xpress4k xpress8k"
for a in $algorithms; do
	check "$a: a compressed file is made" python3 "$compact" infected "mnt/$a" "$a"
	python3 "$compact" clean "mnt/clean-$a" "$a"
done
unmount mnt

run "$scan" image n.img --signatures sig --output json
is "$status $(jq -r '[.findings[] | .path + ":" + .stream] | sort | join(" ")' <<<"$output")" \
	"1 $(printf '%s: ' $algorithms | sed 's/ $//')" "what is compressed is found in each of them, and nowhere else"
"$scan" list n.img --output jsonl >list
for a in $algorithms; do
	is "$(jq -r --arg path "$a" 'select(.path == $path and .stream == "") | .sha256' list)" "$(sha256sum <infected | cut -c1-64)" "$a: the same bytes"
	is "$(jq -r --arg path "clean-$a" 'select(.path == $path and .stream == "") | .sha256' list)" "$(sha256sum <clean | cut -c1-64)" "... of the other file, too"
done

for a in $algorithms; do
	truncate -s 8M damaged.img && mkntfs -q -F -s 512 -p 0 damaged.img >/dev/null 2>&1
	ntfs-3g -o streams_interface=windows damaged.img mnt && python3 "$compact" clean mnt/hurt "$a" damaged
	unmount mnt
	run "$scan" image damaged.img --signatures sig --output json
	like "$status $(jq -r '.verdict + " " + (.reasons | join(" "))' <<<"$output")" "^2 incomplete .*hurt" "$a: a damaged one makes the verdict incomplete, by its name"
	rm damaged.img
done
done_testing
