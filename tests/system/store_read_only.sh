#!/usr/bin/env bash
# A store on a read-only file system: everything that reads works, with the index and without it; everything that writes says
# what is wrong and changes nothing.
. "$(dirname "$0")/../lib/tap.sh"
build=$(realpath "$1")
need jq qemu-img unshare
cd "$TAP_DIR" || bail "no folder"
unshare -rm true 2>/dev/null || skip_all "no mount namespace of one's own here"
store() { "$build/bin/godwit-store" "$@" --key key; }

head -c 1000000 /dev/urandom >a.img
mkdir disk
store init disk/s >/dev/null
id=$(store put disk/s --desktop d --volume disk0=a.img --output json | jq -r .snapshot)
store mirror disk/s disk/m >/dev/null
cp -r disk/s disk/bare
rm -rf disk/bare/index
find disk -type f -exec sha256sum {} + | sort >before

# Each line: a command, its exit status and what it said, in a namespace where disk/ cannot be written.
cat >inside.sh <<'INSIDE'
mount --bind disk disk && mount -o remount,bind,ro disk || exit 99
! touch disk/x 2>/dev/null || exit 99
while read -r command; do
	code=0
	# shellcheck disable=SC2086 # a command line
	said=$("$1" $command --key key 2>&1 >/dev/null </dev/null) || code=$?
	printf '%s\t%s\t%s\n' "$command" "$code" "$said"
done <commands
"$1" serve disk/s "$2" disk0 --socket "$PWD/sock" --key key >/dev/null 2>&1 &
for _ in {1..600}; do [ -S sock ] && break; sleep 0.1; done
qemu-img compare -f raw -F raw "nbd+unix:///?socket=$PWD/sock" a.img && echo "served"
kill $!
wait
INSIDE
reading="list disk/s
list disk/bare
get disk/s $id disk0 s.back
get disk/bare $id disk0 bare.back
get disk/m $id disk0 m.back
verify disk/s
verify disk/bare
verify disk/s --quick
stat disk/s
prune disk/s --desktop d --keep-last 1 --dry-run
export disk/s $id disk0 out.qcow2 --format qcow2
mirror disk/s copy"
writing="put disk/s --desktop d --volume disk0=a.img
forget disk/s $id
pin disk/s $id
gc disk/s
reindex disk/s
key rotate disk/s
verify disk/s --repair-from disk/m
mirror disk/s disk/m
init disk/n"
printf '%s\n' "$reading" "$writing" >commands
unshare -rm bash inside.sh "$build/bin/godwit-store" "$id" >results 2>errors || bail "$(cat errors)"

while read -r command; do
	is "$(awk -F'\t' -v c="$command" '$1 == c { print $2 }' results)" 0 "${command//$id/ID}"
done <<<"$reading"
while read -r command; do
	like "$(awk -F'\t' -v c="$command" '$1 == c { print $2, $3 }' results)" '^[12] .*[Rr]ead-only file system' \
		"${command//$id/ID} is refused, with the reason"
done <<<"$writing"
like "$(tail -n 1 results)" '^served$' "it can be served"
for back in s bare m; do check "$back reads back" cmp "$back.back" a.img; done
check "the mirror that was made of it is sound" store verify copy
is "$(find disk -type f -exec sha256sum {} + | sort)" "$(cat before)" "nothing was changed"
done_testing
