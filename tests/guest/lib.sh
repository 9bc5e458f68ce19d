# shellcheck shell=bash
# lib.sh - what small.sh and debian.sh share: a cache, the kernel package, guest_load, file systems and disks.
# Sourced with `set -euo pipefail` in force. Everything is made under build/guest/ of this checkout.

shopt -s inherit_errexit

guest_dir=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
repo_dir=$(cd "$guest_dir/../.." && pwd)
guest_cache=$repo_dir/build/guest
export SOURCE_DATE_EPOCH=1750000000 LC_ALL=C
PATH=$PATH:/usr/sbin:/sbin

say() { echo "guest: $*" >&2; }
die() { say "$*"; exit 1; }

need_tools() {
	local tool
	for tool in "$@"; do
		command -v "$tool" >/dev/null || die "$tool is missing; run tests/setup.sh test"
	done
}

# cached NAME EXTENSION INPUTS BUILD...: print the path of build/guest/NAME-HASH.EXTENSION; HASH is that of the text
# INPUTS and of every script here. When it is not there, BUILD... is run with the path of a file (or folder) to make
# as its last argument. Callers of one NAME wait for each other, and older files of that name go.
cached() {
	local name=$1 extension=$2 inputs=$3 hash path
	shift 3
	mkdir -p "$guest_cache"
	hash=$({ cat "$guest_dir"/*.sh "$guest_dir"/*.py "$guest_dir"/*.[ch]; echo "$inputs"; } | sha256sum | cut -c1-16)
	path=$guest_cache/$name-$hash$extension
	exec {cache_lock}>"$guest_cache/$name.lock"
	flock "$cache_lock"
	if [ ! -e "$path" ]; then
		# Paths with a hash of an hour ago may be in use by a test that still copies them.
		find "$guest_cache" -maxdepth 1 -name "$name-????????????????$extension*" -mmin +60 -exec rm -rf {} +
		rm -rf "$path.new"
		"$@" "$path.new" >&2
		mv "$path.new" "$path"
	fi
	exec {cache_lock}>&-
	echo "$path"
}

# copy_out CACHED OUT: a private, sparse copy that appears whole or not at all.
copy_out() {
	cp --sparse=always --reflink=auto "$1" "$2.$$.part"
	mv "$2.$$.part" "$2"
}

# ---- the kernel ------------------------------------------------------------------------------------------------

kernel_package() {
	apt-cache depends --no-recommends --no-suggests linux-image-cloud-amd64 2>/dev/null |
		awk '/Depends: linux-image-/ { print $2; exit }'
}

# apt takes seconds to answer, and says the same until its lists are other ones.
kernel_version() {
	local said=$guest_cache/kernel.version package
	if [ -s "$said" ] && [ "$said" -nt /var/lib/apt/lists ]; then
		cat "$said"
		return
	fi
	package=$(kernel_package)
	[ -n "$package" ] || die "apt knows no linux-image-cloud-amd64; run 'apt-get update'"
	mkdir -p "$guest_cache"
	echo "$package $(apt-cache show --no-all-versions "$package" | sed -n 's/^Version: //p')" >"$said.$BASHPID"
	mv "$said.$BASHPID" "$said"
	cat "$said"
}

# unpack_kernel FOLDER: Debian's cloud kernel, unpacked and not installed.
unpack_kernel() {
	local folder=$1 package
	package=$(kernel_package)
	say "downloading $package"
	mkdir -p "$folder/deb"
	(cd "$folder/deb" && apt-get -o Acquire::Retries=5 download -q "$package" >&2) ||
		die "apt-get download $package failed; are apt's lists up to date (apt-get update)?"
	dpkg-deb -x "$folder"/deb/*.deb "$folder"
	rm -r "$folder/deb"
	mkdir -p "$folder/lib"
	[ -d "$folder/lib/modules" ] || mv "$folder/usr/lib/modules" "$folder/lib/modules"
	depmod -b "$folder" "$(ls "$folder/lib/modules")"
}

kernel_folder() {
	cached kernel '' "$(kernel_version)" unpack_kernel
}

# copy_modules KERNEL_FOLDER TO NAME...: modules with what they depend on, uncompressed, and TO/list in loading order.
copy_modules() {
	local kernel=$1 to=$2 version module file name
	shift 2
	version=$(ls "$kernel/lib/modules")
	mkdir -p "$to"
	: >"$to/list"
	for module in "$@"; do
		modprobe -d "$kernel" -S "$version" --show-depends "$module" | awk '/^insmod/ { print $2 }'
	done | while read -r file; do
		name=$(basename "${file%.xz}")
		[ ! -e "$to/$name" ] || continue
		case $file in
		*.xz) xz -dc "$file" >"$to/$name" ;;
		*) cp "$file" "$to/$name" ;;
		esac
		echo "$name" >>"$to/list"
	done
}

# ---- programs, file systems, disks -----------------------------------------------------------------------------

build_guest_load() {
	gcc -std=gnu17 -D_GNU_SOURCE -O2 -static -pthread -Wall -Wextra -Wshadow -Wconversion -Werror \
		-o "$1" "$guest_dir"/guest_*.c
}

# make_ext4 FOLDER FILE SIZE LABEL UUID [AS_ROOT...]: AS_ROOT is put before mkfs (fakeroot, to own files as root).
make_ext4() {
	local folder=$1 file=$2 size=$3 label=$4 uuid=$5
	shift 5
	rm -f "$file"
	# No 64bit, metadata_csum or orphan_file: GRUB 2.06 and old readers know the rest.
	E2FSPROGS_FAKE_TIME=$SOURCE_DATE_EPOCH "$@" mkfs.ext4 -q -F -d "$folder" -L "$label" -U "$uuid" -b 4096 \
		-O ^64bit,^metadata_csum -E "hash_seed=$uuid,lazy_itable_init=0,lazy_journal_init=0,root_owner=0:0" \
		"$file" "$size" >/dev/null
}

# make_disk OUT CORE_CONFIG PARTITION...: CORE_CONFIG is what GRUB runs first; '-': /boot/grub/grub.cfg of partition 1.
make_disk() {
	local out=$1 config=$2 core
	local modules=(biosdisk part_msdos ext2 linux linux16)
	shift 2
	core=$(mktemp)
	if [ "$config" = - ]; then
		grub-mkimage -O i386-pc -p '(hd0,msdos1)/boot/grub' -o "$core" "${modules[@]}" normal configfile serial terminal
	else
		grub-mkimage -O i386-pc -p '(hd0,msdos1)/boot/grub' -o "$core" -c "$config" "${modules[@]}"
	fi
	python3 "$guest_dir/mkdisk.py" "$out" --boot /usr/lib/grub/i386-pc/boot.img --core "$core" "$@"
	rm "$core"
}
