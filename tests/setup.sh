#!/usr/bin/env bash
# Installs what Godwit needs on a Debian machine and says what it does.
#
#   tests/setup.sh build        what `make` needs: compiler, libraries, QEMU >= 10
#   tests/setup.sh test         build, and what `make test` and `make demo` need
#   tests/setup.sh bench        test, and the programs that `make bench` compares with
#   tests/setup.sh lint         build, and the analysers that `make lint` runs
#
# Nothing is done for a package that is already there, so a second run costs well under a second. The machine's
# own apt sources decide where packages come from; on Debian 12 the suite bookworm-backports is added from the
# same mirror, because that is where QEMU 10 lives.
set -euo pipefail

build_packages=(gcc make pkg-config libc6-dev libssl-dev libcurl4-openssl-dev libsqlite3-dev zlib1g-dev libzstd-dev
	libjansson-dev libinih-dev libmicrohttpd-dev libgnutls28-dev libnbd-dev nbdkit nbdkit-plugin-dev libseccomp-dev libcap-dev liburing-dev
	libblkid-dev libext2fs-dev libclamav-dev libfsntfs-dev libbfio-dev libwim-dev ntfs-3g-dev)
qemu_packages=(qemu-system-x86 qemu-utils)
test_packages=(fdisk cryptsetup-bin attr ntfs-3g libwim15 dosfstools exfatprogs exfat-fuse xfsprogs btrfs-progs lvm2 mtools zip clamav clamav-testfiles python3-aiosmtpd libcmocka-dev clang libclang-rt-dev mmdebstrap busybox-static cpio e2fsprogs
	grub-pc-bin kmod fakeroot uidmap xz-utils acl jq curl sqlite3 openssl
	libnbd-bin iproute2 util-linux python3 python3-cryptography python3-zstandard chromium nodejs npm zstd spin)
bench_packages=(restic borgbackup time)
lint_packages=(clang clang-format clang-tidy cppcheck shellcheck)

# Debian versions the meta package: libclang-rt-dev exists from 13 on, 12 has libclang-rt-14-dev only.
rename_for_release() {
	local name=$1
	if [ "$name" = libclang-rt-dev ] && [ "$(. /etc/os-release && echo "$VERSION_CODENAME")" = bookworm ]; then
		name=libclang-rt-14-dev
	fi
	# A node that is installed from elsewhere brings its own npm; Debian's would conflict with it.
	if { [ "$name" = nodejs ] || [ "$name" = npm ]; } && command -v "${name/nodejs/node}" >/dev/null; then
		return
	fi
	echo "$name"
}

installed() {
	[ "$(dpkg-query -W -f '${db:Status-Status}' "$1" 2>/dev/null)" = installed ]
}

as_root() {
	if [ "$(id -u)" = 0 ]; then "$@"; else sudo -- "$@"; fi
}

# A mirror may fail once, and somebody else may be installing (a machine that has just booted often updates itself).
apt() {
	as_root env DEBIAN_FRONTEND=noninteractive LC_ALL=C apt-get -q -o Acquire::Retries=5 -o DPkg::Lock::Timeout=900 "$@"
}

lists_are_fresh=
update_lists() {
	local said end=$((SECONDS + 900))
	[ -z "$lists_are_fresh" ] || return 0
	# The lock of the lists is one that apt itself does not wait for.
	until said=$(apt update 2>&1 >/dev/null); do
		if [[ $said != *"Could not get lock"* ]] || [ $SECONDS -ge $end ]; then
			echo "$said" >&2
			echo "setup: apt-get update failed" >&2
			return 1
		fi
		sleep 2
	done
	lists_are_fresh=1
}

install_packages() {
	local said order=(apt install -y --fix-broken --no-install-recommends "$@")
	if said=$("${order[@]}" 2>&1 >/dev/null); then return; fi
	# What an installation that was killed has left half done keeps apt from beginning another one.
	if [[ $said = *"dpkg was interrupted"* ]]; then
		echo "setup: finishing an installation that was interrupted (dpkg --configure -a)"
		as_root env DEBIAN_FRONTEND=noninteractive dpkg --force-confdef --force-confold --configure -a >/dev/null
		"${order[@]}" >/dev/null
	else
		echo "$said" >&2
		return 1
	fi
}

install_missing() {
	local missing=() name
	for name in "$@"; do
		name=$(rename_for_release "$name")
		if [ -n "$name" ] && ! installed "$name"; then missing+=("$name"); fi
	done
	[ ${#missing[@]} -gt 0 ] || return 0
	echo "setup: installing ${missing[*]}"
	update_lists
	install_packages "${missing[@]}"
}

qemu_is_new_enough() {
	local version
	version=$(dpkg-query -W -f '${Version}' qemu-system-x86 2>/dev/null) && dpkg --compare-versions "$version" ge 1:10.0
}

# The mirror that this machine's apt already uses for the release's main suite.
debian_mirror() {
	apt-get indextargets --format '$(REPO_URI) $(CODENAME) $(ORIGIN)' 'Created-By: Packages' |
		awk -v codename="$1" '$2 == codename && $3 == "Debian" { print $1; exit }'
}

install_qemu() {
	local mirror
	if ! qemu_is_new_enough && [ "$(. /etc/os-release && echo "$VERSION_CODENAME")" = bookworm ]; then
		update_lists
		mirror=$(debian_mirror bookworm)
		if [ -z "$mirror" ]; then
			echo "setup: apt has no source for bookworm to take bookworm-backports from; add one and run this again" >&2
			exit 1
		fi
		echo "setup: adding the suite bookworm-backports from $mirror (QEMU 10 is there) to apt's sources"
		printf 'Types: deb\nURIs: %s\nSuites: bookworm-backports\nComponents: main\nSigned-By: %s\n' \
			"$mirror" /usr/share/keyrings/debian-archive-keyring.gpg |
			as_root tee /etc/apt/sources.list.d/godwit-backports.sources >/dev/null
		lists_are_fresh=
		update_lists
		echo "setup: installing ${qemu_packages[*]} from bookworm-backports"
		install_packages -t bookworm-backports "${qemu_packages[@]}"
	fi
	install_missing "${qemu_packages[@]}"
	if ! qemu_is_new_enough; then
		echo "setup: QEMU 10.0 or newer is needed, apt offers $(dpkg-query -W -f '${Version}' qemu-system-x86)" >&2
		exit 1
	fi
}

# The guests of the tests get Debian's kernel from apt (tests/guest/lib.sh): its lists must be there even if no package is missing.
know_kernel() {
	[ -n "$(apt-cache show --no-all-versions linux-image-cloud-amd64 2>/dev/null)" ] || update_lists
}

# With userfaultfd QEMU captures the memory of a guest that runs. Root may use it, others need the device.
allow_userfaultfd() {
	local device=/dev/userfaultfd
	if [ "$(id -u)" = 0 ] || [ "$(cat /proc/sys/vm/unprivileged_userfaultfd 2>/dev/null)" = 1 ]; then return; fi
	if [ -r $device ] && [ -w $device ]; then return; fi
	if [ ! -e $device ]; then
		echo "setup: this kernel has no $device; guests will stand still while their memory is captured"
		return
	fi
	echo "setup: giving $(id -un) access to $device until the next boot (setfacl), for snapshots of running guests"
	as_root setfacl -m "u:$(id -un):rw" $device
}

case ${1:-} in
build) install_missing "${build_packages[@]}"; install_qemu ;;
test)
	install_missing "${build_packages[@]}" "${test_packages[@]}"
	install_qemu
	know_kernel
	allow_userfaultfd
	;;
bench)
	install_missing "${build_packages[@]}" "${test_packages[@]}" "${bench_packages[@]}"
	install_qemu
	know_kernel
	allow_userfaultfd
	;;
lint) install_missing "${build_packages[@]}" "${lint_packages[@]}"; install_qemu ;;
*) sed -n '2,/^set/s/^# \{0,1\}//p' "$0"; exit 2 ;;
esac
