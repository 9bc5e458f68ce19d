#!/usr/bin/env bash
# make_image.sh IMAGE VARIANT: an ext4 disk image made of this machine's own /usr, for benchmarks.
#
#   base     6 GiB with about 4.2 GiB of files
#   second   the same disk after some 60 MiB of further files were installed into it; needs IMAGE's base beside it
#   other    a disk of another machine: mostly the same files, laid out anew
#
# Nothing is mounted and no root is needed: mke2fs -d and debugfs write the file system.
set -euo pipefail
image=$1 variant=$2
: "${BENCH_DATA_MIB:=4200}" "${BENCH_SIZE_MIB:=6144}"

# Files of /usr, sorted, until there is enough; FIRST (a pattern) is what makes two machines differ.
stage() {
	local into=$1 skip=$2
	find /usr -xdev -type f -size -200M ! -path "$skip" -printf '%s %p\n' | LC_ALL=C sort -k2 |
		awk -v limit=$((BENCH_DATA_MIB * 1048576)) '{ sum += $1; if (sum > limit) next; sub(/^[0-9]+ /, ""); print }' |
		cpio -pdml --quiet "$into" 2>/dev/null || true
}

case $variant in
base | other)
	dir=$(mktemp -d "$(dirname "$image")/stage.XXXXXX")
	trap 'rm -rf "$dir"' EXIT
	if [ "$variant" = base ]; then stage "$dir" '/usr/share/doc/*'; else stage "$dir" '/usr/bin/*'; fi
	rm -f "$image"
	truncate -s "${BENCH_SIZE_MIB}M" "$image"
	/sbin/mke2fs -q -t ext4 -F -d "$dir" "$image"
	;;
second)
	cp --sparse=always "${image%/*}/base.img" "$image"
	# Shared libraries that the base did not take: real programs, not noise.
	find /usr/lib /usr/local -xdev -type f -name '*.so*' -size +1M -size -20M -printf '%s %p\n' | LC_ALL=C sort -rk2 |
		awk '{ sum += $1; if (sum > 60 * 1048576) next; n++; sub(/^[0-9]+ /, ""); print "write " $0 " /new" n }' |
		/sbin/debugfs -w -f - "$image" >/dev/null 2>&1
	;;
*) echo "make_image.sh: no variant '$variant'" >&2; exit 2 ;;
esac
