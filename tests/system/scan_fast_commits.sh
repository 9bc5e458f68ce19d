#!/usr/bin/env bash
# ext4 whose journal says more than our replay understands: fast commits, and features of another time. The reader leaves such
# a file system to the kernel's driver in the micro-VM; where there is none, or it refuses, what can be read is scanned and the
# verdict is incomplete.
# shellcheck source=tests/lib/tap.sh
. "$(dirname "$0")/../lib/tap.sh"
build=$(realpath "$1")
scan=$build/bin/godwit-scan store=$build/bin/godwit-store
need mkfs.ext4 debugfs jq qemu-system-x86_64
[ -e "$build/scan-vm/initrd" ] || bail "there is no $build/scan-vm: run 'make scan-vm'"
[ "$(id -u)" = 0 ] || skip_all "needs root to fill the file systems"
cd "$TAP_DIR" || exit
at_end 'mountpoint -q mnt && umount mnt'

mkdir -p sig mnt elsewhere
cp -r "$build/bin" elsewhere/ # programs that have no micro-VM beside them
printf '%s%s' 'X5O!P%@AP[4\PZX54(P^)7CC)7}$EICAR-STANDARD' '-ANTIVIRUS-TEST-FILE!$H+H*' >eicar.com
printf 'Test.Eicar:0:0:%s\n' "$(od -An -v -tx1 eicar.com | tr -d ' \n')" >sig/test.ndb

hashes() { # FOLDER
	(cd "$1" && find . -type f -print0 | sort -z | xargs -0 sha256sum | sed 's/  \.\//  /' | sort)
}
declare -A says=([before]='["clean",[]]' [dirty]='["infected","fresh.com",[]]' [after]='["infected","fresh.com",[]]')
judged() { jq -c '{verdict, files, bytes, findings: [.findings[].path] | sort, reasons: .reasons | sort}' <<<"$output"; }

# ---- What is only in the fast commits -----------------------------------------------------------------------------------
truncate -s 64M fast.img && mkfs.ext4 -q -O fast_commit fast.img
mount -o loop fast.img mnt 2>said || skip_all "this kernel cannot mount ext4 with fast commits: $(cat said)"
head -c 300000 "$(command -v bash)" >mnt/big
for i in {1..30}; do echo "file $i" >"mnt/f$i"; done
echo short >mnt/grows
unmount mnt
cp --sparse=always fast.img before.img
# Without a commit every few seconds, which would turn the fast ones into a whole one on a busy machine.
mount -o loop,commit=3600 fast.img mnt
counts=/proc/fs/ext4/$(basename "$(findmnt -n -o SOURCE mnt)")/fc_info
[ -e "$counts" ] || skip_all "this kernel makes no fast commits"
touch mnt/first && sync -f mnt # a fast commit comes after a whole one only
cp eicar.com mnt/fresh.com && sync mnt/fresh.com
head -c 70000 "$(command -v bash)" >>mnt/grows && sync mnt/grows
mv mnt/f7 mnt/seven && rm mnt/f8 && sync mnt/seven
diag "fast commits: $(grep -m 1 commits "$counts")"
cp --sparse=always fast.img dirty.img # as a snapshot would see it
hashes mnt >want
unmount mnt
cp --sparse=always fast.img after.img

run elsewhere/bin/godwit-scan image dirty.img --signatures sig --output json
is "$status $(jq -r '.verdict, .reasons[]' <<<"$output")" \
	"2 incomplete
unreadable: disk0 : ext: its journal holds fast commits, which only the kernel replays" \
	"without the micro-VM the file of a fast commit is not seen, so the verdict is incomplete"

# ---- With the micro-VM, between two snapshots that our reader reads ---------------------------------------------------------
check "a store" "$store" init st
for image in before dirty after; do
	"$store" put st --desktop d1 --volume "disk0=$image.img" >put.log 2>&1 || diag "$(cat put.log)"
	snapshot=$(awk '/^snapshot/ { sub(":", "", $2); print $2 }' put.log)
	run "$scan" snapshot st "$snapshot" --signatures sig --state state --output json
	told=$(judged)
	"$scan" files "$snapshot" --state state | jq -r '.sha256 + "  " + .path' | sort >"$image.files"
	run "$scan" image "$image.img" --signatures sig --output json
	is "$told" "$(judged)" "an incremental scan says what a full one says: $image"
	is "$(jq -c '[.verdict, .findings[].path, .reasons]' <<<"$output")" "${says[$image]}" "... which is the truth"
done
check "every file of a fast commit has the bytes that the guest wrote" diff dirty.files want
check "... and of the unmounted file system" diff after.files want

# ---- What no driver knows -------------------------------------------------------------------------------------------------
truncate -s 64M odd.img && mkfs.ext4 -q -O ^metadata_csum odd.img
mount -o loop odd.img mnt
cp eicar.com mnt/ && sync -f mnt
cp --sparse=always odd.img unknown.img
unmount mnt
block=$(debugfs -R 'bmap <8> 0' unknown.img 2>/dev/null)
size=$(debugfs -R 'stats -h' unknown.img 2>/dev/null | awk '/^Block size:/ { print $3 }')
printf '\x40' | dd of=unknown.img bs=1 seek=$((block * size + 40)) conv=notrunc status=none # its incompatible features
run "$scan" image unknown.img --signatures sig --output json
is "$status $(jq -r .findings[].path <<<"$output")" "1 eicar.com" "a journal with a feature that the kernel refuses, too: what can be read is scanned"
like "$(jq -r '.reasons[]' <<<"$output" | tr '\n' ';')" \
	'ext4 does not mount:.*its journal has features that are not known' "... and both reasons are told"

done_testing
