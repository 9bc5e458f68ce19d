# shellcheck shell=bash disable=SC2317 # fault_sweep calls these by name
# store_sweep.sh - crash sweeps over godwit-store. Source it after tap.sh and fault.sh, then: store_sweeps BUILD STEP HOWS…
#
# Each sweep makes the n-th write, fsync, rename or unlink of one command fail, kills the command there, or cuts the power
# there, for every n (every STEP-th). Afterwards the store must open, verify must find it sound, every snapshot that was
# acknowledged must read back bit for bit, and the same command must succeed when it is repeated. There is one sweep for
# each command and each of HOWS (fault.sh has them; several in one word: they take turns). COMMANDS='put gc' picks some.

sweep_commands="put increment forget prune gc reindex mirror mirror_gc mirror_strays repair repair_chunks rotate"

sweep_program() { "$sweep_build/bin/godwit-store" "$@"; }
sweep_store() { sweep_program "$@" --key k; }
sweep_snapshot() { sweep_store put "$@" --output json | jq -er .snapshot; }

# The state before: snapshots A and B of two disks, C of a third that shares half of A and is then forgotten. The mirror
# knows nothing of B, nor that C is forgotten. "late" is what GC with repacking made of it.
sweep_base() {
	head -c 1300000 /dev/urandom >a.img
	cp a.img b.img
	head -c 70000 /dev/urandom | dd of=b.img bs=1 seek=300000 conv=notrunc status=none
	head -c 1500000 /dev/urandom >new.img
	cp b.img increment.img
	head -c 131072 /dev/urandom | dd of=increment.img bs=65536 seek=4 conv=notrunc status=none
	echo "262144 131072" >extents
	head -c 900000 /dev/urandom >c.img
	dd if=a.img of=c.img bs=65536 count=5 conv=notrunc status=none
	echo "correct horse battery" >passphrase
	rm -rf base base.key mirror-base
	sweep_program init base >/dev/null
	cp base.key k
	sweep_store key protect base --passphrase-file passphrase >/dev/null
	c=$(sweep_snapshot base --desktop d --volume disk0=c.img) || bail "no snapshot C"
	a=$(sweep_snapshot base --desktop d --volume disk0=a.img) || bail "no snapshot A"
	sweep_store mirror base mirror-base >/dev/null
	b=$(sweep_snapshot base --desktop d --volume disk0=b.img) || bail "no snapshot B"
	sweep_store forget base "$c" >/dev/null
	cp -r base late
	sweep_store gc late --repack 99 >/dev/null
}

sweep_prepare() { rm -rf s m && cp -r base s && cp -r mirror-base m && cp base.key k && rm -f out.json; }

# What snapshot $2 of store $1 holds is file $3.
sweep_same() { sweep_store get "$1" "$2" disk0 back.img && cmp back.img "$3"; }

# A and B are what they were; the store is sound. $1: the store.
sweep_sound() { sweep_store verify "$1" && sweep_same "$1" "$a" a.img && sweep_same "$1" "$b" b.img; }

sweep_put() { sweep_store put s --desktop d --volume disk0=new.img --output json >out.json; }
sweep_put_verify() {
	sweep_sound s || return 1
	if [ "$2" = 0 ]; then
		sweep_same s "$(jq -r .snapshot out.json)" new.img || return 1
	fi
	sweep_put && sweep_sound s
}

sweep_increment() {
	sweep_store put s --desktop d --volume disk0=increment.img --parent "$b" --changed disk0=extents --output json >out.json
}
sweep_increment_verify() {
	sweep_sound s || return 1
	if [ "$2" = 0 ]; then
		sweep_same s "$(jq -r .snapshot out.json)" increment.img || return 1
	fi
	sweep_increment && sweep_same s "$(jq -r .snapshot out.json)" increment.img && sweep_sound s
}

sweep_forget() { sweep_store forget s "$a"; }
sweep_forget_verify() {
	sweep_store verify s && sweep_same s "$b" b.img || return 1
	# Acknowledged means gone for good; otherwise it is whole or gone.
	if [ "$2" = 0 ]; then
		! sweep_store get s "$a" disk0 back.img
	else
		sweep_same s "$a" a.img || ! sweep_store get s "$a" disk0 back.img
	fi
}

sweep_prune() { sweep_store prune s --desktop d --keep-last 1; }
sweep_prune_verify() { sweep_forget_verify "$@" && sweep_prune && sweep_forget_verify 0 0; }

sweep_gc() { sweep_store gc s --repack 99; }
sweep_gc_verify() {
	sweep_sound s && ! sweep_store get s "$c" disk0 back.img &&
		sweep_gc && sweep_sound s && sweep_store reindex s && sweep_sound s &&
		! sweep_store get s "$c" disk0 back.img
}

sweep_reindex() { sweep_store reindex s; }
sweep_reindex_verify() { sweep_sound s; }

# What a mirror lists it can restore, at any instant.
sweep_mirror() { sweep_store mirror s m; }
sweep_mirror_verify() {
	sweep_sound s && sweep_store verify m && sweep_same m "$a" a.img && sweep_mirror && sweep_sound m
}

sweep_mirror_gc_prepare() { sweep_prepare && rm -rf s && cp -r late s; }
sweep_mirror_gc() { sweep_mirror; }
sweep_mirror_gc_verify() {
	sweep_mirror_verify "$@" && ! sweep_store get m "$c" disk0 back.img && sweep_store reindex m && sweep_sound m &&
		! sweep_store get m "$c" disk0 back.img
}

# The mirror has packs that the store does not know: it was repaired from another store.
sweep_mirror_strays_prepare() {
	sweep_prepare && sweep_mirror && sweep_other || return 1
	printf 'xyz' | dd of="m/packs/$(find m/packs -type f -printf '%s %f\n' | sort -n | tail -n 1 | cut -d ' ' -f 2)" \
		bs=1 seek=100000 conv=notrunc status=none
	sweep_store repair m --from other
}
sweep_mirror_strays() { sweep_mirror; }
sweep_mirror_strays_verify() {
	sweep_sound s && sweep_sound m && sweep_mirror && sweep_sound m && diff <(ls s/packs) <(ls m/packs)
}

# One pack with a flipped bit in a record, one lost, one cut off; the mirror has them all.
sweep_repair_prepare() {
	sweep_prepare && sweep_mirror && [ "$(find s/packs -type f | wc -l)" -ge 4 ] || return 1
	local packs
	mapfile -t packs < <(ls -S s/packs)
	printf 'xyz' | dd of="s/packs/${packs[0]}" bs=1 seek=100000 conv=notrunc status=none
	truncate -s 5000 "s/packs/${packs[1]}"
	rm "s/packs/${packs[2]}"
}
sweep_repair() { sweep_store verify s --repair-from m; }
sweep_repair_verify() {
	# Before it was repaired a snapshot is refused or right, never wrong.
	sweep_same s "$a" a.img || ! sweep_store get s "$a" disk0 back.img || return 1
	if [ "$2" = 0 ]; then
		sweep_sound s || return 1
	fi
	sweep_repair && sweep_sound s
}

# Another store has the same disks in other packs, under another key.
sweep_other() {
	[ -d other ] || {
		sweep_program init other >/dev/null &&
			sweep_program put other --desktop x --volume disk0=b.img >/dev/null &&
			sweep_program put other --desktop x --volume disk0=a.img >/dev/null
	}
}

# Damaged records, and a lost footer.
sweep_repair_chunks_prepare() {
	sweep_prepare && sweep_other || return 1
	local packs
	mapfile -t packs < <(ls -S s/packs)
	printf 'xyz' | dd of="s/packs/${packs[0]}" bs=1 seek=100000 conv=notrunc status=none
	printf 'xyz' | dd of="s/packs/${packs[0]}" bs=1 seek=400000 conv=notrunc status=none
	truncate -s -40 "s/packs/${packs[1]}"
}
sweep_repair_chunks() { sweep_store repair s --from other; }
sweep_repair_chunks_verify() {
	sweep_same s "$a" a.img || ! sweep_store get s "$a" disk0 back.img || return 1
	if [ "$2" = 0 ]; then
		sweep_sound s || return 1
	fi
	sweep_repair_chunks && sweep_sound s && sweep_store gc s && sweep_sound s
}

sweep_rotate() { sweep_store key rotate s --passphrase-file passphrase; }
sweep_rotate_verify() {
	sweep_sound s || return 1
	if [ "$2" = 0 ]; then
		[ "$(jq '.keys | length' k)" = 2 ] || return 1
	fi
	# With either form of the keys: the file, and what the passphrase brings back.
	sweep_rotate && sweep_put && mv k lost.key && sweep_store key recover s --passphrase-file passphrase &&
		sweep_sound s && sweep_same s "$(jq -r .snapshot out.json)" new.img
}

store_sweeps() {
	local step=$2 command how prepare
	sweep_build=$(realpath "$1")
	shift 2
	FAULT_PROGRAM=godwit-store
	FAULT_ROOTS="s m k"
	sweep_base
	sweep_prepare && sweep_put
	is "$(find base/index s/index -name 'run-*' -printf '%P ' | wc -w)" 4 "a put merges the three index runs of the base"
	for command in ${COMMANDS-$sweep_commands}; do
		prepare=sweep_prepare
		! declare -F "sweep_${command}_prepare" >/dev/null || prepare=sweep_${command}_prepare
		for how in "$@"; do
			fault_sweep "$command, $how at every operation" any "$how" "$prepare" "sweep_$command" \
				"sweep_${command}_verify" "$step"
		done
	done
}
