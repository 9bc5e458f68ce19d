#!/usr/bin/env bash
# What users do wrong with godwit-store: nothing is lost by it, and the message says what is wrong, where, and what to do.
. "$(dirname "$0")/../lib/tap.sh"
build=$(realpath "$1")
need jq qemu-img nbdinfo script
store() { "$build/bin/godwit-store" "$@"; }
cd "$TAP_DIR" || bail "no folder"

run store init s
like "$output" 'key file s\.key ' "init says where the key is"
head -c 200000 /dev/urandom >disk.img
store put s --desktop alice --volume disk0=disk.img >/dev/null
alice=$(store list s --output json | jq -r '.[0].snapshot')
store put s --desktop bob --domain other --volume disk0=disk.img >/dev/null
bob=$(store list s --output json | jq -r '.[1].snapshot')

# ---- The command line

run store get s latest
is "$status" 2 "an operand is missing: wrong usage"
like "$errors" "usage: godwit-store get STORE SNAPSHOT VOLUME FILE" "... with what the command takes"
run store list --frob s
like "$errors" "^godwit-store list: unrecognized option.*usage: godwit-store list STORE" "an unknown option, too"
run store key rotate
like "$errors" "^godwit-store key rotate: which store.*usage: godwit-store key rotate\|protect" "... and a store that is not named"
for command in init put list get verify repair stat forget pin unpin prune gc serve import export mirror key reindex; do
	run store "$command" --help
	like "$status $output" "^0 usage: godwit-store $command " "--help of $command speaks of $command"
done

run store get s latest disk1 out
like "$status $errors" "^1 .*has no volume 'disk1'; it has disk0" "a volume that is not there: which are, is said"
head -c 100000 disk.img >big.key
run store list s --key big.key
like "$errors" "store s: its key file: read big.key: larger than" "a file that is no key file is called so"

# ---- put

run store put s --desktop alice --volume disk0="$TAP_DIR"
like "$status $errors" "^1 .*$TAP_DIR is neither a file nor a disk" "a folder is no volume"
mkfifo pipe
run timeout 60 "$build/bin/godwit-store" put s --desktop alice --volume disk0=pipe
like "$status $errors" "^1 .*pipe is neither a file nor a disk" "... nor is a pipe, and nobody waits for it"
run store put s --desktop alice --volume ../disk=disk.img
like "$status $errors" "^2 .*'../disk' is not 1 to 127 visible" "a bad volume's name is named before anything is read"
run store put s --desktop alice --volume a=disk.img --volume a=disk.img
like "$status $errors" "^2 .*two volumes are named a" "... and one that is there twice"
run store put s --desktop alice --volume disk0=disk.img --parent latest --output json
made=$(jq -r .snapshot <<<"$output")
is "$(store list s --output json | jq -r ".[] | select(.snapshot == \"$made\") | .parent + \" \" + .domain")" "$alice default" \
	"the latest parent is the desktop's own latest, in its own domain"
run store put s --desktop carol --volume disk0=disk.img --parent latest
like "$errors" "desktop carol has no snapshot" "... and if it has none, it says so"

# ---- Snapshots by what they begin with

check "a snapshot is pinned by its beginning" store pin s "${bob%??}"
run store forget s "${bob%??}"
like "$errors" "$bob is pinned" "... which is that one"
run store forget s 20
like "$errors" "3 snapshots begin with '20'" "what is not unique is not forgotten"
run store forget s "${made%??}"
like "$status $output" "^0 $made is forgotten" "what is, is, and it says which"
run store prune s --desktop nobody --keep-last 1
like "$errors" "desktop nobody has no snapshot in s" "a desktop that is not there is not passed over"

# ---- Mirrors

run store mirror s s
like "$status $errors" "^1 .*that is the store itself" "a store is no mirror of itself"
check "... and gc still runs in it" store gc s
store init other >/dev/null
run store mirror s other
like "$errors" "other is another store" "another store is no mirror"
check "... nor made into one" store gc other
mkdir papers && touch papers/thesis
run store mirror s papers
like "$errors" "papers is no mirror, and not empty: there is thesis in it" "a folder with other things in it is refused"
is "$(ls papers)" thesis "... and left alone"
mkdir -p begun/packs begun/incoming && touch begun/lock begun/.store.json.x1y2z3.tmp
check "... but not one in which a first run was killed" store mirror s begun
store mirror s m --no-delete-hours 2 >/dev/null
mv m/store.json kept.json
run store mirror s m
like "$errors" "m is no mirror, and not empty: there is packs, but no store.json, in it" "a mirror that lost its settings is not begun anew"
mv kept.json m/store.json
check "the same window again is no mistake" store mirror s m --no-delete-hours 2
run store mirror s m --no-delete-hours 3
like "$status $errors" "^1 .*window of 2 hours that stays" "another one is, as it would not be kept"

# ---- Keys

run store key recover s --passphrase-file disk.img --key none.key
like "$errors" "key recover: s/recovery.json \(nobody made one" "there is no recovery form"
echo "a long passphrase" >passphrase
store key protect s --passphrase-file passphrase >/dev/null
run store key rotate s </dev/null
like "$errors" "key rotate: the passphrase of the keys in s/recovery.json is needed" "a rotation wants the recovery form's passphrase"

# ---- serve, export

listens() { nbdinfo --size "nbd+unix:///?socket=$TAP_DIR/nbd.sock"; }
spawn serve "$build/bin/godwit-store" serve s "$alice" disk0 --socket nbd.sock
check "serve listens" wait_for 180 listens
like "$(cat "$(log_of serve)")" "disk0 of $alice is served read-only at nbd\+unix:///\?socket=nbd.sock" "... and says where"
run store serve s "$alice" disk0 --socket nbd.sock
like "$status $errors" "^1 .*somebody serves at nbd.sock already" "a socket in use is not taken away"
stop "$spawned" KILL
check "... its file stays" test -S nbd.sock
spawn again "$build/bin/godwit-store" serve s "$alice" disk0 --socket nbd.sock
check "one that nobody listens on is taken" wait_for 180 listens
stop "$spawned"
run store serve s "$alice" disk0 --socket disk.img
like "$errors" "disk.img is there and is no socket" "a file is not"
cp disk.img mine.img
run timeout 60 "$build/bin/godwit-store" serve s "$alice" disk0 --socket nbd2.sock --overlay mine.img
like "$status $errors" "^1 .*mine.img is there and is no overlay" "a file that is no overlay is not written over"
check "... nor cut" cmp disk.img mine.img
check "... and gets no map" test ! -e mine.img.map
run store export s "$alice" disk0 out.qcow2
is "$status $errors" "0 " "an export says nothing that is none of a user's business"
is "$(qemu-img info --output json out.qcow2 | jq -r .format)" qcow2 "... and has the format of its name"

# ---- A store whose packs are gone; a terminal

mv s/packs/* . && run store list s
like "$errors" "[0-9] packs are damaged or missing" "an empty list says that packs are missing"
mv ./*.pack s/packs/
run store list s
is "$errors" "" "... and else nothing"
run script -qec "$build/bin/godwit-store verify s --rate 300K" /dev/null
like "$output" "verify: .* of .* %" "a terminal gets a line of progress"
done_testing
