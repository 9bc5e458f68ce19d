#!/usr/bin/env bash
# tests/guest/small.sh OUT.raw [--load 'NAME=VALUE …']: the small guest, a disk that boots in a few seconds under TCG.
#
# Debian's cloud kernel, one initramfs with busybox and guest_load, GRUB for BIOS. Partition 1 is ext4 (kernel,
# initramfs, guest_load.conf, the marker file), partition 2 is raw and takes guest_load's numbered blocks.
# --load gives options of guest_load (guest_load.c); they replace the defaults below one by one.
set -euo pipefail
# shellcheck source=tests/guest/lib.sh
. "$(dirname "$0")/lib.sh"

default_load='mem=48 hot=16 rate=500 disk_rate=20 report_ms=250'
ext4_mib=128
raw_mib=64
uuid=67647774-0000-4000-8000-000000000001

out='' load=''
while [ $# -gt 0 ]; do
	case $1 in
	--load) load=$2; shift 2 ;;
	-*) die "unknown option $1; usage: small.sh OUT.raw [--load 'NAME=VALUE …']" ;;
	*) out=$1; shift ;;
	esac
done
[ -n "$out" ] || die "usage: small.sh OUT.raw [--load 'NAME=VALUE …']"
need_tools gcc grub-mkimage mkfs.ext4 debugfs cpio python3 depmod busybox

write_init() {
	cat >"$1/init" <<-'END'
		#!/bin/sh
		mount -t devtmpfs dev /dev; mount -t proc proc /proc; mount -t sysfs sys /sys
		while read -r module; do insmod /mod/$module; done </mod/list
		mount -t ext4 /dev/vda1 /disk || echo "guest off no disk"
		ip link set eth0 up 2>/dev/null # there may be none
		acpid -c /etc/acpi -l /dev/null -p /run/acpid.pid
		read -r options </disk/guest_load.conf
		while [ ! -e /run/off ]; do
			guest_load off=/bin/off folder=/disk disk=/dev/vda2 $options </dev/ttyS0 >/dev/ttyS0 2>&1
			[ -e /run/off ] || echo "load error exited" >/dev/ttyS0
			sleep 1
		done
		sleep 1000
	END
	# The journal is closed before the power goes: the next boot finds a clean file system, and a test can see it.
	cat >"$1/bin/off" <<-'END'
		#!/bin/sh
		touch /run/off
		killall -TERM guest_load; while pidof guest_load >/dev/null; do usleep 20000; done
		if umount /disk; then echo "load off clean" >/dev/ttyS0; else echo "load off dirty" >/dev/ttyS0; fi
		exec busybox poweroff -f
	END
	mkdir -p "$1/etc/acpi/PWRF"
	printf '#!/bin/sh\nexec /bin/off\n' >"$1/etc/acpi/PWRF/00000080"
	chmod 755 "$1/init" "$1/bin/off" "$1/etc/acpi/PWRF/00000080"
}

build_initramfs() {
	local kernel=$1 root=$2 to=$3 applet
	mkdir -p "$root"/{bin,dev,proc,sys,disk,run,etc}
	cp "$(command -v busybox)" "$root/bin/busybox"
	for applet in sh mount umount insmod ip acpid sleep usleep killall pidof touch; do
		ln -s busybox "$root/bin/$applet"
	done
	build_guest_load "$root/bin/guest_load"
	copy_modules "$kernel" "$root/mod" virtio_pci virtio_blk virtio_net button evdev
	write_init "$root"
	find "$root" -exec touch -h -d "@$SOURCE_DATE_EPOCH" {} +
	# Not compressed: reading 4 MiB costs less than unpacking them on an emulated processor.
	(cd "$root" && find . | sort | cpio -o -H newc -R 0:0 --reproducible --quiet) >"$to"
}

# linux16: the command `linux` would move 50 MiB with `rep movsb` to where the kernel likes to be, 2 s under TCG.
# The kernel line ends with what saves an emulated machine time.
write_grub() {
	cat >"$1" <<-END
		linux16 (hd0,msdos1)/vmlinuz console=ttyS0 quiet loglevel=3 panic=10 mitigations=off nokaslr no_timer_check tsc=reliable
		initrd16 (hd0,msdos1)/initrd
		boot
	END
}

# mkfs -d copies owner and ctime of the files it was given: the image would depend on who built it, and when.
settle_inodes() {
	local name
	for name in vmlinuz initrd guest_load.conf; do
		printf 'set_inode_field /%s %s\n' "$name" "ctime @$SOURCE_DATE_EPOCH" "$name" 'uid 0' "$name" 'gid 0'
	done | debugfs -w -f - "$1" >/dev/null 2>&1
}

build_small() {
	local kernel=$1 out=$2 work
	say "building the small guest"
	work=$(mktemp -d)
	mkdir -p "$work/disk"
	build_initramfs "$kernel" "$work/root" "$work/disk/initrd"
	cp "$kernel"/boot/vmlinuz-* "$work/disk/vmlinuz"
	echo "$default_load $load" >"$work/disk/guest_load.conf"
	find "$work/disk" -exec touch -h -d "@$SOURCE_DATE_EPOCH" {} +
	make_ext4 "$work/disk" "$work/ext4" "${ext4_mib}M" small "$uuid"
	settle_inodes "$work/ext4"
	write_grub "$work/grub.cfg"
	make_disk "$out" "$work/grub.cfg" "$work/ext4" "$raw_mib"
	rm -r "$work"
	say "built $(du -h "$out" | cut -f1) of $(du -h --apparent-size "$out" | cut -f1)"
}

kernel=$(kernel_folder)
image=$(cached small .raw "$kernel $load" build_small "$kernel")
copy_out "$image" "$out"
