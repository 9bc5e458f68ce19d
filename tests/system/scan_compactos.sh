#!/usr/bin/env bash
# NTFS files as Windows' CompactOS keeps them: no data of their own, the contents compressed in a stream beside. Other
# readers see zeros there. Each algorithm and size: found, and the same bytes as before; a stream that is damaged is never
# clean; what only looks like CompactOS is a stream like any other.
# shellcheck disable=SC2154 # what tap.sh sets
# shellcheck source=tests/lib/tap.sh
. "$(dirname "$0")/../lib/tap.sh"
build=$(realpath "$1")
compact=$(realpath "$(dirname "$0")/../lib/compact_file.py")
scan=$build/bin/godwit-scan
need mkntfs ntfs-3g ntfsinfo jq python3
[ "$(id -u)" = 0 ] || skip_all "needs root to fill the file system"
cd "$TAP_DIR" || exit
mkdir sig mnt

# The marker comes often, so that the compressed chunks do not hold it as it is.
marker=GodwitTestMarker-0123456789-behind-compression
printf 'Test.Marker:0:*:%s\n' "$(printf %s "$marker" | od -An -v -tx1 | tr -d ' \n')" >sig/test.ndb
# Always the same bytes, with calls of x86 (e8), which LZX keeps in another form but for the last ten bytes of a chunk: one
# chunk after the other has an e8 at 1 to 16 bytes from its end, with a small number behind it.
code() {
	python3 - "$1" <<-'END'
		import random, sys
		pick, out = random.Random(1), bytearray()
		words = [pick.randbytes(pick.randrange(3, 9)) for _ in range(300)] + [b"\xe8" + pick.randbytes(2) + b"\0\0" for _ in range(40)]
		while len(out) < int(sys.argv[1]):
		    out += pick.choice(words)
		for number, end in enumerate(range(32768, len(out), 32768)):
		    out[end - 16 : end + 16] = bytes(32)
		    out[end - 1 - number % 16] = 0xe8
		sys.stdout.buffer.write(out[: int(sys.argv[1])])
	END
}
noise() { openssl enc -aes-128-ctr -K 00 -iv 00 -in /dev/zero 2>/dev/null | head -c "$1"; }
{ code 655360; yes "$(tr '[:lower:]' '[:upper:]' <<<"$marker")" | head -c 50000; printf '%s ' "$marker" "$marker"; head -c 100001 /dev/zero; } >infected
{ code 262144; head -c 7857 /dev/zero; } >code
: >empty
printf MZ >tiny
code 65536 >exact
code 65537 >over # its last chunk is one byte
noise 40000 >stored
files="infected code empty tiny exact over stored"

truncate -s 64M n.img && mkntfs -q -F -s 512 -c 512 -p 0 n.img >/dev/null 2>&1
ntfs-3g -o streams_interface=windows n.img mnt 2>/dev/null || skip_all "needs FUSE"
at_end 'mountpoint -q mnt && umount mnt'
algorithms="lzx xpress16k xpress4k xpress8k"
made=0
for a in $algorithms; do
	for f in $files; do
		python3 "$compact" "$f" "mnt/$f-$a" "$a" && made=$((made + 1))
	done
done
is "$made" 28 "compressed files are made"
# Only its name is CompactOS's: nothing says that it holds the main data.
printf harmless >mnt/plain
printf '%s' "$marker" >mnt/plain:WofCompressedData
mkdir mnt/folder
printf '%s' "$marker" >mnt/folder:WofCompressedData
: >mnt/folder/plain
{ head -c 70000 /dev/zero; printf '%s' "$marker"; } >mnt/folder/plain:WofCompressedData
unmount mnt
run "$scan" image n.img --signatures sig --output json
# shellcheck disable=SC2046,SC2086 # words
expected=$(printf '%s\n' folder:WofCompressedData folder/plain:WofCompressedData plain:WofCompressedData $(printf 'infected-%s: ' $algorithms) | sort | paste -sd' ')
is "$status $(jq -r '.verdict + " " + ([.findings[] | .path + ":" + .stream] | sort | join(" "))' <<<"$output")" \
	"1 infected $expected" "what is compressed is found in each of them, and nowhere else; so is what is hidden under CompactOS's name"
is "$(jq -c .reasons <<<"$output")" "[]" "nothing was left out"
"$scan" list n.img --output jsonl >list
digest_of() { jq -r --arg path "$1" 'select(.path == $path and .stream == "") | .sha256' list; }
for f in $files; do
	want=$(sha256sum <"$f" | cut -c1-64)
	# shellcheck disable=SC2046,SC2086 # words
	is "$(for a in $algorithms; do digest_of "$f-$a"; done | paste -sd' ')" "$want $want $want $want" "$f: the same bytes by each algorithm"
done
is "$(jq -r --arg mine "plain folder folder/plain" 'select(.stream == "WofCompressedData" and (.path as $p | $mine | split(" ") | index($p))) | .path' list | sort | paste -sd" ")" "folder folder/plain plain" "what only has its name is listed, once each"

# ---- in more pieces than fit into the file's first record --------------------------------------------------------------
noise 200000 >noise
{ code 100000; head -c 160000 noise; } >mixed
for made in stored:noise:xpress4k mixed:mixed:lzx; do
	IFS=: read -r name from a <<<"$made"
	truncate -s 2M "$name.img" && mkntfs -q -F -s 512 -c 512 -p 0 "$name.img" >/dev/null 2>&1
	ntfs-3g -o streams_interface=windows "$name.img" mnt
	python3 "$compact" "$from" "mnt/$name" "$a" fragmented
	unmount mnt
	like "$(ntfsinfo -f -F "/$name" "$name.img" 2>&1 | tr '\n' ' ')" ATTRIBUTE_LIST "$name: in so many pieces that it needs an attribute list"
	"$scan" list "$name.img" --output jsonl >list
	is "$(digest_of "$name")" "$(sha256sum <"$from" | cut -c1-64)" "... and the same bytes all the same"
done

# ---- what is damaged: each by its name and with what is wrong, and nothing is said of what is sound -----------------------
truncate -s 16M damaged.img && mkntfs -q -F -s 512 -p 0 damaged.img >/dev/null 2>&1
ntfs-3g -o streams_interface=windows damaged.img mnt && cp code mnt/well
while read -r a how what; do
	python3 "$compact" code "mnt/$a-$how" "$a" "$how"
	printf '%s %s %s\n' "$a" "$how" "$what" >>damaged
done <<-END
	lzx damaged lzx-damaged: chunk 4 of 9 of its compressed stream cannot be decompressed
	xpress16k damaged xpress16k-damaged: chunk 8 of
	xpress4k damaged xpress4k-damaged: chunk 33 of
	xpress8k damaged xpress8k-damaged: chunk 16 of
	lzx outside lzx-outside: chunk 0 of 9 .* lies where none can be
	xpress4k backwards xpress4k-backwards: chunk 1 of
	xpress4k short xpress4k-short: compressed by CompactOS: its compressed stream of [0-9]* bytes is too short
	lzx streamless lzx-streamless: .*no stream WofCompressedData
	lzx wim lzx-wim: its contents are in a WIM image
	lzx unknown the description of record
END
unmount mnt
run "$scan" image damaged.img --signatures sig --output json
is "$status $(jq -r '.verdict + " " + (.findings | length | tostring) + " " + (.reasons | length | tostring)' <<<"$output")" "2 incomplete 0 10" \
	"damaged files make a scan incomplete, and nothing else does"
reasons=$(jq -r '.reasons[]' <<<"$output")
while read -r a how what; do
	like "$reasons" "$what" "$a, $how"
done <damaged
"$scan" list damaged.img --output jsonl >list 2>/dev/null
is "$(digest_of well)" "$(sha256sum <code | cut -c1-64)" "what is sound beside them is listed"
done_testing
