#!/usr/bin/env bash
# tests/guest/debian.sh OUT.raw [--load 'NAME=VALUE …']: a real Debian 12 on a bootable disk of 2.5 GiB.
#
# Built by mmdebstrap from the mirror that this machine's apt sources name: systemd, udev, login on ttyS0 (root, password
# "godwit"), Debian's cloud kernel and its own initramfs, GRUB for BIOS, and the service guest-load. Partition 1 is the
# root file system, partition 2 is raw and takes guest_load's numbered blocks. Commands for guest_load go to the FIFO
# /run/guest_load. As root mmdebstrap unpacks directly; other users need newuidmap (package uidmap) and fakeroot.
set -euo pipefail
# shellcheck source=tests/guest/lib.sh
. "$(dirname "$0")/lib.sh"

suite=bookworm
root_mib=2400
raw_mib=64
uuid=67647774-0000-4000-8000-000000000002
packages=linux-image-cloud-amd64,initramfs-tools,zstd,systemd-sysv,udev,dbus,login,passwd,kmod,e2fsprogs,procps,iproute2
packages+=,less,nano,psmisc,ca-certificates,openssl,python3-minimal
default_load='mem=192 hot=32 rate=1000 disk_rate=20 report_ms=250'

out='' load=''
while [ $# -gt 0 ]; do
	case $1 in
	--load) load=$2; shift 2 ;;
	-*) die "unknown option $1; usage: debian.sh OUT.raw [--load 'NAME=VALUE …']" ;;
	*) out=$1; shift ;;
	esac
done
[ -n "$out" ] || die "usage: debian.sh OUT.raw [--load 'NAME=VALUE …']"
need_tools gcc grub-mkimage mkfs.ext4 mmdebstrap python3

# The mirror that apt uses for the main suite of this machine's own release; it has $suite, too.
mirror_of() {
	apt-get indextargets --format '$(REPO_URI) $(CODENAME) $(ORIGIN)' 'Created-By: Packages' |
		awk -v codename="$1" '$2 == codename && $3 == "Debian" { print $1; exit }'
}

apt_sources() {
	local release main security
	release=$(. /etc/os-release && echo "$VERSION_CODENAME")
	main=$(mirror_of "$release")
	[ -n "$main" ] || die "apt has no source for $release to build a Debian from"
	echo "deb $main $suite main"
	# Security updates too, when this machine gets the same ones.
	security=$(mirror_of "$suite-security")
	[ -z "$security" ] || echo "deb $security $suite-security main"
}

# What mmdebstrap runs inside the new root before it packs it.
write_customize() {
	cat >"$1" <<-'END'
		set -e
		root=$1 here=$2
		echo godwit-guest >"$root/etc/hostname"
		printf '127.0.0.1 localhost godwit-guest\n' >"$root/etc/hosts"
		echo 'LABEL=debian / ext4 errors=remount-ro,noatime 0 1' >"$root/etc/fstab"
		echo root:godwit | chroot "$root" chpasswd
		install -m755 "$here/guest_load" "$root/usr/local/bin/guest_load"
		install -m644 "$here/guest-load.service" "$root/etc/systemd/system/guest-load.service"
		install -m644 "$here/guest_load.conf" "$root/etc/guest_load.conf"
		for unit in guest-load.service serial-getty@ttyS0.service; do
			chroot "$root" systemctl enable -q $unit
		done
		# Seconds of an emulated processor that nobody in this guest needs.
		for unit in apt-daily.timer apt-daily-upgrade.timer dpkg-db-backup.timer e2scrub_all.timer e2scrub_reap.service \
			fstrim.timer systemd-pstore.service getty@tty1.service systemd-networkd.service; do
			chroot "$root" systemctl mask -q $unit
		done
		mkdir -p "$root/boot/grub"
		install -m644 "$here/grub.cfg" "$root/boot/grub/grub.cfg"
		# The kernel's links in / lead GRUB to the newest one; the machine id is made at the first boot.
		: >"$root/etc/machine-id"
		rm -rf "$root"/var/lib/apt/lists/* "$root"/var/cache/apt/*.bin "$root"/var/log/*.log "$root"/var/log/apt \
			"$root/etc/resolv.conf"
	END
}

write_files() {
	build_guest_load "$1/guest_load"
	cat >"$1/guest_load.conf" <<-END
		LOAD=$default_load $load
	END
	cat >"$1/guest-load.service" <<-'END'
		[Unit]
		Description=Self-checking load in memory and on disk
		After=local-fs.target

		[Service]
		EnvironmentFile=/etc/guest_load.conf
		ExecStartPre=/bin/sh -c 'test -p /run/guest_load || mkfifo /run/guest_load'
		ExecStart=/usr/local/bin/guest_load folder=/root disk=/dev/vda2 commands=/run/guest_load $LOAD
		# Not ttyS0 itself: each login hangs that up.
		StandardOutput=file:/dev/console
		Restart=on-failure

		[Install]
		WantedBy=multi-user.target
	END
	cat >"$1/grub.cfg" <<-'END'
		set timeout=0
		serial --unit=0 --speed=115200
		terminal_input serial
		terminal_output serial
		menuentry "Debian GNU/Linux" {
			# linux16: the command linux would move 50 MiB byte by byte, 2 s under TCG.
			linux16 /vmlinuz root=/dev/vda1 ro console=ttyS0 quiet loglevel=3 mitigations=off nokaslr no_timer_check tsc=reliable
			initrd16 /initrd.img
		}
	END
	# Only what finds the root file system.
	mkdir -p "$1/initramfs-tools/conf.d"
	printf 'MODULES=list\nCOMPRESS=zstd\nCOMPRESSLEVEL=1\nFSTYPE=ext4\n' >"$1/initramfs-tools/conf.d/godwit"
	printf 'virtio_pci\nvirtio_blk\next4\n' >"$1/initramfs-tools/modules"
}

# A user who is not root gets the same owners in the image: fakeroot remembers them between tar and mkfs.
pack_root() {
	local tar=$1 folder=$2 ext4=$3 as_root=()
	[ "$(id -u)" = 0 ] || as_root=(fakeroot -i "$folder.owners" -s "$folder.owners")
	mkdir -p "$folder"
	: >"$folder.owners"
	${as_root[@]+"${as_root[@]}"} tar -C "$folder" -xpf "$tar" --exclude './dev/*'
	make_ext4 "$folder" "$ext4" "${root_mib}M" debian "$uuid" ${as_root[@]+"${as_root[@]}"}
}

build_debian() {
	local work out=$1
	say "building Debian 12 from this machine's apt mirror; this takes about two minutes"
	work=$(mktemp -d)
	chmod 755 "$work"
	write_files "$work"
	write_customize "$work/customize"
	apt_sources >"$work/sources.list"
	mmdebstrap --quiet --mode=auto --variant=minbase --include="$packages" \
		--aptopt='Apt::Install-Recommends "false"' \
		--dpkgopt='path-exclude=/usr/share/doc/*' --dpkgopt='path-exclude=/usr/share/locale/*' \
		--dpkgopt='path-exclude=/usr/share/man/*' \
		--essential-hook="mkdir -p \"\$1/etc/initramfs-tools/conf.d\" && cp -r $work/initramfs-tools/. \"\$1/etc/initramfs-tools/\"" \
		--customize-hook="sh $work/customize \"\$1\" $work" \
		"$suite" "$work/root.tar" "$work/sources.list"
	say "packing it into a disk"
	pack_root "$work/root.tar" "$work/root" "$work/ext4"
	make_disk "$out" - "$work/ext4" "$raw_mib"
	rm -rf "$work"
	say "built $(du -h "$out" | cut -f1) of $(du -h --apparent-size "$out" | cut -f1)"
}

# A new kernel or security update makes a new image; the day's other changes in the archive do not.
image=$(cached debian .raw "$suite $packages $load $(kernel_version)" build_debian)
copy_out "$image" "$out"
