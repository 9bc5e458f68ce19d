#!/usr/bin/env bash
# FORMAT.md says everything: a reader in another language, written from it alone (tests/lib/read_store.py), reads the golden
# store and one that was made a moment ago to the same bytes as godwit-store, and names the place of damage.
. "$(dirname "$0")/../lib/tap.sh"
build=$(realpath "$1")
lib=$(realpath "$(dirname "$0")/../lib")
golden=$(realpath "$(dirname "$0")/../golden")
need jq
"$lib/read_store.py" --help >/dev/null || bail "python3-cryptography or python3-zstandard is not installed: run tests/setup.sh test"
store() { "$build/bin/godwit-store" "$@"; }
do_store() { store "$@" >said 2>&1 || bail "godwit-store $*: $(cat said)"; }
reader() { "$lib/read_store.py" "$@"; }
index_is_right() { "$lib/read_index.py" "$@"; }
cd "$TAP_DIR" || bail "no folder"

# ---- The golden store ----------------------------------------------------------------------------------------

sort "$golden/store-1.sums" >wanted
mkdir bare && cp -r "$golden/store-1/packs" bare/ && cp "$golden/store-1.key" bare.key
is "$(reader sums bare | sort)" "$(cat wanted)" "packs and a key are enough for the golden store"
echo "golden passphrase" >passphrase
is "$(reader --passphrase-file passphrase sums "$golden/store-1" | sort)" "$(cat wanted)" "... or its passphrase"
echo "another passphrase" >another
run reader --passphrase-file another list "$golden/store-1"
like "$errors" 'recovery.json: not this passphrase' "... but no other one"
run reader get bare "$(cat "$golden/store-1.forgotten")" disk0 out
like "$errors" 'there is no snapshot' "what was forgotten stays forgotten"
like "$(reader list bare)" "$(head -n 1 wanted | cut -c 1-20).* alice import" "snapshots are listed"

# ---- A store of today ----------------------------------------------------------------------------------------

# What `godwit-store get` gives for every volume.
sums() {
	local snapshot volume
	store list "$@" --output json | jq -r '.[] | .snapshot as $s | .volumes[] | "\($s) \(.name)"' |
		while read -r snapshot volume; do
			store get "$1" "$snapshot" "$volume" out "${@:2}" >&2
			echo "$snapshot $volume $(sha256sum <out | cut -c 1-64)"
		done
}
agree() {
	sums "$1" >by_godwit 2>said
	reader sums "$1" >by_reader 2>>said
	if [ -s by_godwit ]; then check "$2" diff by_godwit by_reader; else fail "$2" "$(cat said)"; fi
}

openssl rand -out noise 100000
yes "what compresses well" | head -c 700000 >words
: >empty
# More than 256 blocks, so that the tree has three levels; repeated blocks, holes, and an end inside a block.
for place in 0 20 200 300; do dd if=noise of=disk bs=64K seek=$place conv=notrunc status=none; done
dd if=words of=disk bs=1M seek=5 conv=notrunc status=none
truncate -s 21M disk && printf end >>disk
cp disk disk2 && dd if=words of=disk2 bs=1000 seek=777 count=100 conv=notrunc status=none
do_store init fresh
first() { store list fresh --output json | jq -r '.[0].snapshot'; }
do_store put fresh --desktop alice --volume disk0=disk --volume notes=words --volume nothing=empty
do_store put fresh --desktop alice --volume disk0=disk2 --parent latest
do_store put fresh --desktop bob --domain other --volume disk0=disk2
agree fresh "a full, an incremental and another domain's snapshot are read alike"
check "the index says what the packs say" index_is_right fresh
alice=$(first)
check "a snapshot is pinned" store pin fresh "$alice"
like "$(reader list fresh)" "$alice .* pinned" "... which the reader sees"
do_store unpin fresh "$alice" && do_store key rotate fresh && echo "a long passphrase" >passphrase
do_store key protect fresh --passphrase-file passphrase
do_store put fresh --desktop alice --volume disk0=disk --volume words=words --parent "$(first)"
check "the oldest is forgotten" store forget fresh "$alice"
do_store gc fresh --repack 100
agree fresh "after a rotated key, forgetting, GC and repacking still"
unlike "$(reader list fresh | cut -d " " -f 1)" "$alice" "what was forgotten is gone for both"
is "$(reader --passphrase-file passphrase sums fresh)" "$(reader sums fresh)" "the recovery form holds both keys"
check "index and counts of references say what the packs and trees say" index_is_right fresh
check "the old packs get the new key" store gc fresh --rekey
agree fresh "... and then all is as it was"
check "... the index, too," index_is_right fresh
sums fresh >wanted 2>said
latest=$(store list fresh --output json | jq -r '.[-1].snapshot')
check "a volume is written as a file" reader get fresh "$latest" disk0 out
check "... with the same bytes" cmp out disk
check "... and holes" test "$(stat -c '%b' out)" -lt $(($(stat -c '%s' out) / 512 / 2))

do_store mirror fresh copy && cp fresh.key copy.key
agree copy "a mirror is read alike"
pack=$(basename "$(find copy/packs -type f -size +50k | head -n 1)")
mkdir -p copy/incoming && mv "copy/packs/$pack" copy/incoming/ && : >copy/incoming/switch
agree copy "... in the middle of a switch, too"

# ---- Damage --------------------------------------------------------------------------------------------------

pack=$(find fresh/packs -type f -size +50k -printf '%s %p\n' | sort -n | tail -n 1 | cut -d ' ' -f 2)
size=$(stat -c %s "$pack")
footer=$(od -An -t u8 -j $((size - 24)) -N 8 "$pack" | tr -d ' ')
cp "$pack" whole
# flipped OFFSET REGION REGEX
flipped() {
	python3 "$lib/flip.py" "$pack" 1 1 "$1" $(($1 + 1))
	run reader check fresh
	like "$status $errors" "^1 read_store.py: $pack: $3" "a bit in $2 is found and its place named"
	check_not "... by verify, too" store verify fresh
	cp whole "$pack"
}
flipped 20 "the header" "header: the CRC is wrong"
flipped 70 "the domain's name" "header at 0: the tag"
flipped 150 "a record's header" "record 0 at 144: the CRC of its header"
flipped 190 "a payload" "record 0 at 144: the CRC is wrong"
flipped $((footer - 1)) "a record's tag" "record [0-9]+ at [0-9]+: the CRC is wrong"
flipped $((footer + 60)) "the footer" "footer at $footer: the CRC"
flipped $((size - 30)) "the trailer" "trailer at $((size - 32)): there is none"
python3 "$lib/flip.py" "$pack" 1 1 "$footer" "$size"
is "$(reader --salvage sums fresh 2>said)" "$(cat wanted)" "without a footer the records are found one by one"
truncate -s $((size - 100)) "$pack"
is "$(reader --salvage sums fresh 2>said)" "$(cat wanted)" "... and when the end is cut off"
cp whole "$pack"
python3 "$lib/flip.py" "$pack" 2 3 8 60
is "$(reader --salvage sums fresh 2>said)" "$(cat wanted)" "what stands in clear in a header is made again"
cp whole "$pack"
renamed=${pack%/*}/00000000000000000000000000000000.pack
mv "$pack" "$renamed"
run reader list fresh
like "$errors" "00.pack: header: the pack is [0-9a-f]{32} by its header" "a pack under another name is refused"
run store verify fresh
like "$status $output" "^1 .*$renamed: by its header it is ${pack##*/}: give it that name back" "... by verify, too"
mv "$renamed" "$pack"
check "and with its name all is well" store verify fresh
done_testing
