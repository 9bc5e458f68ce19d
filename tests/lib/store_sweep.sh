# shellcheck shell=bash disable=SC2317 # fault_sweep calls these by name
# store_sweep.sh - crash sweeps over godwit-store. Source it after tap.sh and fault.sh, then: store_sweeps BUILD STEP HOW…
#
# Each sweep makes the n-th write, fsync, rename or unlink of one command fail, or kills the command there, for every
# n (every STEP-th). Afterwards the store must open, verify must find it sound, every snapshot that was acknowledged
# must read back bit for bit, and the same command must succeed when it is repeated.

sweep_store() { "$sweep_build/bin/godwit-store" "$@"; }

# The state before: snapshots A and B of two disks, C of a third that shares half of A and is then forgotten.
sweep_base() {
	head -c 1300000 /dev/urandom >a.img
	cp a.img b.img
	head -c 70000 /dev/urandom | dd of=b.img bs=1 seek=300000 conv=notrunc status=none
	head -c 1500000 /dev/urandom >new.img
	head -c 900000 /dev/urandom >c.img
	dd if=a.img of=c.img bs=65536 count=5 conv=notrunc status=none
	rm -rf base base.key mirror-base
	sweep_store init base >/dev/null
	c=$(sweep_store put base --desktop d --volume disk0=c.img --output json | jq -r .snapshot)
	a=$(sweep_store put base --desktop d --volume disk0=a.img --output json | jq -r .snapshot)
	sweep_store mirror base mirror-base >/dev/null
	b=$(sweep_store put base --desktop d --volume disk0=b.img --output json | jq -r .snapshot)
	sweep_store forget base "$c" >/dev/null
}

sweep_prepare() { rm -rf s m && cp -r base s && cp -r mirror-base m && rm -f out.json; }

# A and B are what they were; the store is sound. $1: the store.
sweep_sound() {
	sweep_store verify "$1" --key base.key &&
		sweep_store get "$1" "$a" disk0 back.img --key base.key && cmp back.img a.img &&
		sweep_store get "$1" "$b" disk0 back.img --key base.key && cmp back.img b.img
}

sweep_put() { sweep_store put s --key base.key --desktop d --volume disk0=new.img --output json >out.json; }
sweep_put_verify() {
	sweep_sound s || return 1
	if [ "$2" = 0 ]; then
		sweep_store get s "$(jq -r .snapshot out.json)" disk0 back.img --key base.key && cmp back.img new.img || return 1
	fi
	sweep_put && sweep_sound s
}

sweep_forget() { sweep_store forget s "$a" --key base.key; }
sweep_forget_verify() {
	sweep_store verify s --key base.key || return 1
	sweep_store get s "$b" disk0 back.img --key base.key && cmp back.img b.img || return 1
	# Acknowledged means gone for good; otherwise it is whole or gone.
	if [ "$2" = 0 ]; then ! sweep_store get s "$a" disk0 back.img --key base.key; fi
}

sweep_gc() { sweep_store gc s --key base.key --repack 99; }
sweep_gc_verify() {
	sweep_sound s && ! sweep_store get s "$c" disk0 back.img --key base.key &&
		sweep_gc && sweep_sound s && sweep_store reindex s --key base.key && sweep_sound s &&
		! sweep_store get s "$c" disk0 back.img --key base.key
}

sweep_reindex() { sweep_store reindex s --key base.key; }
sweep_reindex_verify() { sweep_sound s; }

sweep_mirror() { sweep_store mirror s m --key base.key; }
sweep_mirror_verify() {
	sweep_sound s && sweep_store verify m --key base.key && sweep_store get m "$a" disk0 back.img --key base.key &&
		cmp back.img a.img && sweep_mirror && sweep_sound m
}

store_sweeps() {
	local step=$2 command how
	sweep_build=$(realpath "$1")
	shift 2
	FAULT_PROGRAM=godwit-store
	sweep_base
	for command in put forget gc reindex mirror; do
		for how in "$@"; do
			fault_sweep "$command, $how at every operation" any "$how" sweep_prepare "sweep_$command" \
				"sweep_${command}_verify" "$step"
		done
	done
}
