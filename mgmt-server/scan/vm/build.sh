#!/usr/bin/env bash
# Makes the micro-VM that reads file systems with the kernel's own drivers: vm/build.sh INIT OUT-FOLDER
#
# Debian's cloud kernel is downloaded and unpacked, not installed; INIT is our static init program. OUT-FOLDER gets
# vmlinuz and initrd. Made again only when an input changed.
set -euo pipefail
init=$(realpath "$1")
mkdir -p "$2"
out=$(realpath "$2")
. "$(dirname "$0")/../../../tests/guest/lib.sh"

# What a guest's disk may hold. A name that this kernel does not have is left out.
modules=(virtio_pci virtio_blk virtio_console xfs btrfs ext4 f2fs jfs reiserfs squashfs erofs isofs udf exfat vfat
	nls_utf8 nls_cp437 nls_ascii ntfs3 hfsplus hfs dm_mod dm_mirror dm_snapshot dm_thin_pool dm_raid dm_cache dm_crypt
	crc32c_generic libcrc32c zstd lzo)

make_initrd() {
	local root=$1 kernel=$2 name present=() library
	mkdir -p "$root"/{modules,sbin,lib64,etc}
	for name in "${modules[@]}"; do
		if modprobe -d "$kernel" -S "$(ls "$kernel/lib/modules")" --show-depends "$name" >/dev/null 2>&1; then
			present+=("$name")
		fi
	done
	copy_modules "$kernel" "$root/modules" "${present[@]}"
	cp "$init" "$root/init"
	if [ -x /sbin/lvm ]; then
		cp -L /sbin/lvm "$root/sbin/lvm"
		ldd /sbin/lvm | grep -o '/[^ ]*' | sort -u | while read -r library; do
			mkdir -p "$root$(dirname "$library")"
			cp -L "$library" "$root$library"
		done
	else
		say "lvm2 is not installed: the virtual machine will not read logical volumes"
	fi
}

build_vm() {
	local to=$1 kernel root
	kernel=$(kernel_folder)
	root=$to/root
	mkdir -p "$to"
	make_initrd "$root" "$kernel"
	(cd "$root" && find . -print0 | sort -z | cpio --quiet -0 -o -H newc -R 0:0) | gzip -1 >"$to/initrd"
	cp "$kernel"/boot/vmlinuz-* "$to/vmlinuz"
	rm -rf "$root"
}

need_tools cpio modprobe ldd gzip
built=$(cached scan-vm '' "$(cat "$0" "$init" | sha256sum) $(kernel_version)" build_vm)
for file in vmlinuz initrd; do
	cmp -s "$built/$file" "$out/$file" || cp "$built/$file" "$out/$file"
done
