#!/usr/bin/env bash
# What NTFS makes of a file's bytes on the way: holes, compression, what was never written, runs in many records, names that
# differ in case only. ntfs-3g is the reference: the same files, streams and bytes.
# shellcheck disable=SC2154 # what tap.sh sets
# shellcheck source=tests/lib/tap.sh
. "$(dirname "$0")/../lib/tap.sh"
build=$(realpath "$1")
patch=$(realpath "$(dirname "$0")/../lib/ntfs_patch.py")
scan=$build/bin/godwit-scan
need mkntfs ntfs-3g ntfsinfo jq setfattr python3
[ "$(id -u)" = 0 ] || skip_all "needs root to fill the file system"
cd "$TAP_DIR" || exit
mkdir mnt

mount_ntfs() { ntfs-3g -o "compression,streams_interface=windows${2:+,$2}" "$1" mnt 2>/dev/null; }
# What ntfs-3g reads: each file, and the streams whose names are in `streams`.
theirs() {
	mount_ntfs "$1" ro
	(
		cd mnt || exit
		find . -type f -printf '%P\n' | while read -r name; do printf '%s: %s\n' "$name" "$(sha256sum <"$name" | cut -c1-64)"; done
		for name in $2; do printf '%s %s\n' "$name" "$(sha256sum <"$name" | cut -c1-64)"; done
	) | sort
	unmount mnt
}
ours() { "$scan" list "$1" --output jsonl | jq -r '.path + ":" + .stream + " " + .sha256' | sort; } # of the main data "NAME: …"

# ---- holes and compression -----------------------------------------------------------------------------------------------
truncate -s 48M n.img && mkntfs -q -F -s 512 -p 0 n.img >/dev/null 2>&1
mount_ntfs n.img || skip_all "needs FUSE"
at_end 'mountpoint -q mnt && umount mnt'
mkdir mnt/packed mnt/folder && setfattr -h -n system.ntfs_attrib_be -v 0x00000800 mnt/packed
streams="packed/text:stream packed/text:short folder:stream part0:stream"
python3 - <<'END'
import os, random
pick = random.Random(5)
def text(n): return b"".join(pick.choice([b"alpha ", b"beta ", b"gamma ", b"delta "]) for _ in range(n // 5 + 1))[:n]
def put(name, *pieces):
    with open("mnt/" + name, "r+b" if os.path.exists("mnt/" + name) else "wb") as f:
        for at, data in pieces:
            f.seek(at)
            f.write(data)
# Units of compression are 64 KiB: text shrinks, noise does not, zeros vanish.
put("packed/text", (0, text(500000)))
put("packed/noise", (0, pick.randbytes(200000)))
put("packed/zeros", (0, bytes(300000)))
put("packed/mixed", (0, text(100000) + pick.randbytes(70000) + bytes(200000) + text(3333)))
for n in (5000, 65535, 65536, 65537): put(f"packed/{n}", (0, text(n)))
put("packed/holes", (0, text(70000)), (1000000, text(70000)), (3000000, b"end"))
put("packed/cut", (0, text(300000)))
os.truncate("mnt/packed/cut", 123457)
put("packed/rewritten", (0, text(300000)), (100000, pick.randbytes(65536)))
put("packed/text:stream", (0, text(200000)))
put("packed/text:short", (0, text(10)))
put("folder:stream", (0, text(100000)))
put("holes", (1 << 20, b"end"))
for name in ("Case", "case", "CASE"): put(name, (0, name.encode()))
for i in range(7): put(f"packed/part{i}", (0, text(300000)))
for i in range(4): put(f"part{i}", (0, text(300000)))
put("part0:stream", (0, text(100000)))
END
declare -A inode
for name in packed/part{0..6} part{0..3}; do inode[$name]=$(stat -c %i "mnt/$name"); done
unmount mnt
theirs n.img "$streams" >want
ours n.img >got
check "holes, compression, streams, case: the same $(wc -l <want) contents as ntfs-3g reads" diff want got

# ---- what was never written is zeros, whatever its clusters hold --------------------------------------------------------------
i=0
for n in 0 1 4096 65536 65537 200001 300000; do
	python3 "$patch" n.img "${inode[packed/part$i]}" "" initialized "$n"
	i=$((i + 1))
done
i=0
for n in 0 1 150000 299999; do
	python3 "$patch" n.img "${inode[part$i]}" "" initialized "$n"
	i=$((i + 1))
done
python3 "$patch" n.img "${inode[part0]}" stream initialized 0
theirs n.img "$streams" >want
ours n.img >got
check "what was never written: the same, compressed or not" diff want got

# ---- in more pieces than one record has room for -----------------------------------------------------------------------------
truncate -s 2M pieces.img && mkntfs -q -F -s 512 -c 512 -p 0 pieces.img >/dev/null 2>&1
mount_ntfs pieces.img
python3 - <<'END'
import random
data = random.Random(5).randbytes(250000)
for at in range(0, len(data), 512):
    for name in ("one", "other"):
        with open("mnt/" + name, "ab") as f:
            f.write(data[at:at + 512] if name == "one" else data[at + 100:at + 612])
END
unmount mnt
for name in one other; do
	like "$(ntfsinfo -f -F "/$name" pieces.img 2>&1 | tr '\n' ' ')" ATTRIBUTE_LIST "$name: it needs an attribute list"
done
theirs pieces.img "" >want
ours pieces.img >got
check "... and both have the same bytes" diff want got

# ---- other sizes of sectors, records and clusters ------------------------------------------------------------------------------
for geometry in "1024 1024" "4096 4096" "512 131072"; do
	read -r sector cluster <<<"$geometry"
	rm -f sizes.img && truncate -s 256M sizes.img && mkntfs -q -F -s "$sector" -c "$cluster" -p 0 sizes.img >/dev/null 2>&1
	mount_ntfs sizes.img
	python3 - <<-'END'
		import os, random
		pick = random.Random(7)
		os.mkdir("mnt/folder")
		for i in range(40): open(f"mnt/folder/{i}", "w").write(str(i))
		for name in ("noise", "folder:stream"): open("mnt/" + name, "wb").write(pick.randbytes(300000))
		with open("mnt/holes", "wb") as f:
		    f.seek(5000000)
		    f.write(b"end")
	END
	unmount mnt
	theirs sizes.img folder:stream >want
	ours sizes.img >got
	check "sectors of $sector, clusters of $cluster bytes: the same $(wc -l <want) contents" diff want got
done

# ---- encrypted, though only the stream itself says so -----------------------------------------------------------------------------
mkdir sig && printf 'Test.Nothing:0:*:%s\n' "$(printf 'no file has this' | od -An -v -tx1 | tr -d ' \n')" >sig/test.ndb
python3 "$patch" n.img "${inode[part1]}" "" flags 0x4000
run "$scan" image n.img --signatures sig --output json
like "$status $(jq -r '.verdict + " " + (.reasons | join(" "))' <<<"$output")" "^2 incomplete encrypted: disk0  part1: encrypted by EFS$" \
	"data that is encrypted, in a file that is not said to be: incomplete, and nothing else"
done_testing
