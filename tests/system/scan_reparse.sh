#!/usr/bin/env bash
# NTFS files that a driver of Windows opens (reparse points). Where the contents are not in the file, no reader of the file
# system has them: the scan is incomplete and says why; what is there is scanned all the same. Where they are, it is as with any file.
# shellcheck disable=SC2154 # what tap.sh sets
# shellcheck source=tests/lib/tap.sh
. "$(dirname "$0")/../lib/tap.sh"
build=$(realpath "$1")
scan=$build/bin/godwit-scan
need mkntfs ntfs-3g jq setfattr python3
[ "$(id -u)" = 0 ] || skip_all "needs root to fill the file system"
cd "$TAP_DIR" || exit
mkdir sig mnt
marker=GodwitTestMarker-0123456789-behind-a-driver
printf 'Test.Marker:0:*:%s\n' "$(printf %s "$marker" | od -An -v -tx1 | tr -d ' \n')" >sig/test.ndb

volume() {
	truncate -s 16M "$1" && mkntfs -q -F -s 512 -p 0 "$1" >/dev/null 2>&1
	ntfs-3g -o streams_interface=windows,special_files=wsl "$1" mnt 2>/dev/null
}
# reparse FILE TAG [DATA]: both as hexadecimal bytes, in the order of the disk.
reparse() {
	local data=${3:-}
	setfattr -h -n system.ntfs_reparse_data -v "0x$2$(printf '%02x000000' $((${#data} / 2)))$data" "mnt/$1"
}
volume elsewhere.img || skip_all "needs FUSE"
at_end 'mountpoint -q mnt && umount mnt'

# ---- contents that are elsewhere: the file is full of zeros, or holds a part ---------------------------------------------
n=0
while read -r name tag data; do
	{ head -c 20000 /dev/zero; printf ' %s of %s' "$name" "$marker"; } >"mnt/$name"
	reparse "$name" "$tag" "${data:-}" && n=$((n + 1))
done <<-END
	deduplicated 13000080 0102030405060708
	remote 040000c0 01020304
	single 07000080 01020304
	projected 1c000090 01020304
	container 18100090 01020304
	unknown ff000080 01020304
	wim-image 17000080 01000000010000000100000000000000
END
truncate -s 30000 mnt/cloud-holes && reparse cloud-holes 1a600090 01020304 && n=$((n + 1))
printf 'a part that is %s' "$marker" >mnt/cloud-offline
# Archive, offline and not all here, as OneDrive sets them.
setfattr -h -n system.ntfs_attrib -v 0x20100000 mnt/cloud-offline && reparse cloud-offline 1a600090 01020304 && n=$((n + 1))
unmount mnt
is "$n" 9 "files with reparse points are made"
run "$scan" image elsewhere.img --signatures sig --output json
is "$status $(jq -r '.verdict' <<<"$output")" "1 infected" "what is there is scanned"
is "$(jq -r '[.findings[].path] | sort | join(" ")' <<<"$output")" "cloud-offline container deduplicated projected remote single unknown wim-image" "... all of it"
reasons=$(jq -r '.reasons[]' <<<"$output")
is "$(wc -l <<<"$reasons")" 9 "and each is a reason"
while read -r name what; do
	like "$reasons" "unreadable: [^ ]* [^ ]* $name: its contents are $what" "$name: named, with the reason"
done <<-END
	deduplicated deduplicated
	remote moved to remote storage
	single in the store of single instances
	projected projected by a program
	container in a layer
	unknown of a reparse point that is not known .reparse point 0x800000ff
	wim-image in a WIM image
	cloud-holes in the cloud .reparse point 0x9000601a
	cloud-offline in the cloud
END

# ---- contents that are here ----------------------------------------------------------------------------------------------
volume here.img
n=0
printf 'all of it' >mnt/cloud-whole && reparse cloud-whole 1a600090 01020304 && n=$((n + 1))
head -c 30000 /dev/zero | tr '\0' x >mnt/cloud-long && reparse cloud-long 1a600090 01020304 && n=$((n + 1))
: >mnt/alias && reparse alias 1b000080 01020304 && n=$((n + 1))
# As the Linux of Windows has them.
mkfifo mnt/pipe && n=$((n + 1))
mknod mnt/device c 1 3 && n=$((n + 1))
python3 -c 'import socket; socket.socket(socket.AF_UNIX).bind("mnt/socket")' && n=$((n + 1))
ln -s elsewhere mnt/linux-link && n=$((n + 1))
: >mnt/link && reparse link 0c0000a0 0000080000000800010000006d006e0074002e00 && n=$((n + 1))
: >mnt/nothing-left && reparse nothing-left 13000080 01020304 && n=$((n + 1)) # deduplicated, and empty: nothing is missing
unmount mnt
is "$n" 9 "files whose contents are theirs are made"
run "$scan" image here.img --signatures sig --output json
is "$status $(jq -r '.verdict + " " + (.reasons | tostring)' <<<"$output")" "0 clean []" "they are as any others"
"$scan" list here.img --output jsonl >list
is "$(jq -r 'select(.path == "cloud-whole") | .sha256' list)" "$(printf 'all of it' | sha256sum | cut -c1-64)" "... with the bytes that Windows shows"
done_testing
