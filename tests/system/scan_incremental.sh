#!/usr/bin/env bash
# An incremental scan says what a full one says: random changes to ext4, FAT and NTFS, then both, with the same verdict,
# findings and files. And what the state is good for besides: hunts, other signatures, damage.
#
#   SCAN_ROUNDS  changes per file system (default 5)
#   SCAN_SEED    of what changes (default 1)
# shellcheck disable=SC2016,SC2317 # EICAR; functions that are called by name
# shellcheck source=tests/lib/tap.sh
. "$(dirname "$0")/../lib/tap.sh"
build=$(realpath "$1")
need jq mkfs.ext4 debugfs mkfs.vfat mcopy
scan=$build/bin/godwit-scan store=$build/bin/godwit-store
: "${SCAN_ROUNDS:=5}" "${SCAN_SEED:=1}"
RANDOM=$SCAN_SEED
cd "$TAP_DIR" || exit

mkdir sig tree mnt
printf '%s%s' 'X5O!P%@AP[4\PZX54(P^)7CC)7}$EICAR-STANDARD' '-ANTIVIRUS-TEST-FILE!$H+H*' >eicar.com
signature_of() { printf '%s:0:0:%s\n' "$1" "$(od -An -v -tx1 | tr -d ' \n')"; }
signature_of Test.Eicar <eicar.com >sig/test.ndb
for i in {1..120}; do mkdir -p tree/$((i % 7)) && head -c $((RANDOM * 3 % 40000 + 1)) /dev/urandom >"tree/$((i % 7))/f$i"; done
head -c 900 /dev/urandom >tree/small && cp eicar.com tree/3/
check "a store" "$store" init st

put() { # DESKTOP IMAGE: the snapshot's id in $snapshot
	"$store" put st --desktop "$1" --volume "disk0=$2" >put.log 2>&1 || return 1
	snapshot=$(awk '/^snapshot/ { sub(":", "", $2); print $2 }' put.log)
}
full() { "$scan" snapshot st "$snapshot" --signatures sig --output json; }
incremental() { "$scan" snapshot st "$snapshot" --signatures sig --state state --output json; }
judged() { jq -c '{verdict, files, bytes, findings: (.findings | sort), reasons: (.reasons | sort)}'; }
same_files() { # IMAGE
	diff <("$scan" list "$1" --output jsonl | sort) <("$scan" files "$snapshot" --state state | sort) >files.diff
}

# ---- changes -------------------------------------------------------------------------------------------------------
content() { # a new file's bytes in ./new
	case $((RANDOM % 5)) in
	0) cp eicar.com new ;;
	1) : >new ;;
	2) head -c $((RANDOM % 700 + 1)) /dev/urandom >new ;;
	3) cp "tree/$((RANDOM % 7))/f$((RANDOM % 7 + 7))" new 2>/dev/null || echo other >new ;;
	*) head -c $((RANDOM * 9 % 200000 + 1)) /dev/urandom >new ;;
	esac
}
change_ext() { # IMAGE: without a kernel, so what debugfs can do
	local i n=$((RANDOM % 7)) k=$((RANDOM % 120 + 1))
	for ((i = 0; i < 6; i++)); do
		n=$((RANDOM % 7)) k=$((RANDOM % 120 + 1))
		content
		case $((RANDOM % 6)) in
		0) echo "write new $n/new$round$i" ;;
		1) echo "rm $((k % 7))/f$k" ;;
		2) printf 'rm %s/f%s\nwrite new %s/f%s\n' "$((k % 7))" "$k" "$((k % 7))" "$k" ;;
		3) printf 'ln %s/f%s %s/moved%s\nunlink %s/f%s\n' "$((k % 7))" "$k" "$n" "$round$i" "$((k % 7))" "$k" ;;
		4) printf 'mkdir d%s\nwrite new d%s/deep\n' "$round$i" "$round$i" ;;
		5) printf 'set_inode_field %s/f%s mtime @%s\n' "$((k % 7))" "$k" "$((1700000000 + RANDOM))" ;;
		esac >commands
		debugfs -w -f commands "$1" >/dev/null 2>&1
	done
	# Bytes of a file change below the file system, as a guest's own tool could do it: nothing but the block says so.
	local block
	k=$((RANDOM % 120 + 1))
	block=$(debugfs -R "blocks $((k % 7))/f$k" "$1" 2>/dev/null | awk '{ print $1 }')
	case $block in '' | 0 | *[!0-9]*) ;; *) dd if=eicar.com of="$1" bs=4096 seek="$block" conv=notrunc status=none ;; esac
}
change_fat() { # IMAGE
	local i n k sector
	for ((i = 0; i < 6; i++)); do
		n=$((RANDOM % 7)) k=$((RANDOM % 120 + 1))
		content
		case $((RANDOM % 6)) in
		0) mcopy -Do -i "$1" new "::/$n/new$round$i" ;;
		1) mdel -i "$1" "::/$((k % 7))/f$k" ;;
		2) mcopy -Do -i "$1" new "::/$((k % 7))/f$k" ;;
		3) mmove -Do -i "$1" "::/$((k % 7))/f$k" "::/$n/moved $round $i" ;;
		4) mmd -Ds -i "$1" "::/d$round$i" && mcopy -i "$1" new "::/d$round$i/deep" ;;
		5) mmove -i "$1" "::/$n" "::/d$round$i" ;;
		esac
	done >/dev/null 2>&1 </dev/null
	# One byte below the file system, and the time of the file stays as it was.
	k=$((RANDOM % 120 + 1))
	sector=$(mshowfat -i "$1" "::/$((k % 7))/f$k" 2>/dev/null | grep -o '<[0-9]*' | head -1 | tr -d '<')
	[ -z "$sector" ] || printf x | dd of="$1" bs=1 seek=$((heap + (sector - 2) * 512)) conv=notrunc status=none
}
change_ntfs() { # IMAGE, mounted on mnt
	local i n k
	for ((i = 0; i < 8; i++)); do
		n=$((RANDOM % 7)) k=$((RANDOM % 120 + 1))
		content
		case $((RANDOM % 7)) in
		0) cp new "mnt/$n/new$round$i" ;;
		1) rm -f "mnt/$((k % 7))/f$k" ;;
		2) cp new "mnt/$((k % 7))/f$k" ;;
		3) mv -f "mnt/$((k % 7))/f$k" "mnt/$n/moved$round$i" ;;
		4) mkdir -p "mnt/d$round$i" && mv -f "mnt/$n" "mnt/d$round$i/was$n" && mkdir "mnt/$n" ;;
		5) setfattr -n "user.stream$i" -v "$(head -c 40 eicar.com)" "mnt/$((k % 7))/f$k" ;;
		6) printf x | dd of="mnt/$((k % 7))/f$k" bs=1 seek=$((RANDOM % 300)) conv=notrunc status=none ;;
		esac
	done 2>/dev/null
}

rounds() { # DESKTOP IMAGE CHANGE
	local round ok_verdict=1 ok_files=1 reused=0 want got
	for ((round = 0; round < SCAN_ROUNDS; round++)); do
		[ "$round" = 0 ] || "$3" "$2" || return 1
		put "$1" "$2" || return 1
		want=$(full | judged)
		got=$(incremental | tee last.json | judged)
		if [ -z "$want" ] || [ "$want" != "$got" ]; then
			ok_verdict=0
			printf '# round %s\n# full        %s\n# incremental %s\n' "$round" "${want:0:600}" "${got:0:600}"
		fi
		same_files "$2" || { ok_files=0 && sed 's/^/# /' files.diff | head -5; }
		reused=$(jq .reused_files last.json)
	done
	is "$ok_verdict" 1 "$1: after every change the incremental verdict is the full one"
	is "$ok_files" 1 "... and so are the files with their hashes"
	check "... though most files were not read again" [ "$reused" -gt 60 ]
}

truncate -s 48M ext.img && mkfs.ext4 -q -d tree ext.img
rounds ext ext.img change_ext
first=$(jq -r '.verdict' last.json)
is "$first" infected "... with what was put in"

truncate -s 40M fat.img && mkfs.vfat -F 32 -s 1 fat.img >/dev/null && mcopy -Q -s -i fat.img tree/* ::
heap=$(python3 -c '
import struct
boot = open("fat.img", "rb").read(512)
print((struct.unpack_from("<H", boot, 14)[0] + 2 * struct.unpack_from("<I", boot, 36)[0]) * 512)')
rounds fat fat.img change_fat

if [ "$(id -u)" = 0 ] && command -v mkntfs ntfs-3g >/dev/null; then
	truncate -s 48M ntfs.img && mkntfs -q -F -s 512 -p 0 ntfs.img >/dev/null 2>&1
	on_ntfs() { # IMAGE: each round is a mount of its own, so that everything is on the disk afterwards
		ntfs-3g "$1" mnt -o streams_interface=xattr || return 1
		"${2:-change_ntfs}" "$1"
		unmount mnt
	}
	fill() { cp -r tree/. mnt/; }
	if on_ntfs ntfs.img fill 2>/dev/null; then
		rounds ntfs ntfs.img on_ntfs
	else
		skip "ntfs: the same changes" "no FUSE"
	fi
else
	skip "ntfs: the same changes" "needs root and ntfs-3g"
fi

# ---- what the state is good for ------------------------------------------------------------------------------------
printf 'a rare text %s\n' "$SCAN_SEED" >rare.txt
hash=$(sha256sum rare.txt | cut -d' ' -f1)
debugfs -w -R "write rare.txt 2/rare.txt" ext.img >/dev/null 2>&1 && put ext ext.img && held=$snapshot && incremental >/dev/null
debugfs -w -R "rm 2/rare.txt" ext.img >/dev/null 2>&1 && put ext ext.img && incremental >/dev/null
run "$scan" hunt --state state --sha256 "$hash" --output json
is "$status $(jq -r '.hits[] | .desktop + " " + .path + " " + .first.id + " " + (.snapshot_count | tostring)' <<<"$output")" \
	"1 ext 2/rare.txt $held 1" "a hunt by hash names desktop, path and the one snapshot"
run "$scan" hunt --state state --sha256 "$(printf '%064d' 7)"
is "$status$output" 0 "... and nothing where there is nothing"
run "$scan" hunt --state state --sha256 123
is "$status" 3 "... and refuses what is no hash"
echo 'rule Rare { strings: $a = "a rare text" condition: $a }' >rare.yar
run "$scan" hunt --state state --yara rare.yar --store st --output json
is "$(jq -r '.hits[] | .path + " " + .first.id' <<<"$output")" "2/rare.txt $held" "a hunt by rule finds it in the old snapshot"
run "$scan" hunt --state state --yara rare.yar --store st --output json
is "$(jq -r '"\(.scanned_contents) \(.hits | length)"' <<<"$output")" "0 1" "... and the second time no content is scanned"

printf 'a rare text' | signature_of Test.Rare >sig/new.ndb
run "$scan" rescan st --state state --signatures sig
is "$(jq -r --arg id "$held" '.snapshots[] | select(.snapshot == $id) | .findings[] | select(.signature == "Test.Rare.UNOFFICIAL") | .path' <<<"$output")" \
	2/rare.txt "new signatures: the old snapshot is infected now"
is "$(jq -r '.scanned_contents <= .contents and .scanned_contents > 0' <<<"$output")" true "... and each content was scanned once at most"
snapshot=$held
is "$(full | judged | jq -c '.findings | length')" \
	"$(jq --arg id "$held" '.snapshots[] | select(.snapshot == $id) | .findings | length' <<<"$output")" "... as a full scan says"
printf 'garbage' | dd of=state/scan.db bs=1 seek=9000 conv=notrunc status=none
is "$(incremental 2>/dev/null | judged)" "$(full | judged)" "a damaged state costs time, no verdict"
rm -rf state
is "$(incremental | judged)" "$(full | judged)" "... and so does none"
mkdir empty
run "$scan" snapshot st "$snapshot" --signatures empty --state state --output json
is "$status" 2 "no signatures are never clean, whatever is remembered"
done_testing
