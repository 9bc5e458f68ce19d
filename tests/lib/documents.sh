# shellcheck shell=bash
# documents.sh - a home folder, and what can happen to one: for tests of the ransomware watch.
#
#   documents_make FOLDER          90 documents of many kinds and sizes, 30 logs, 40 programs
#   documents_in_place FOLDER N    ransomware: the first N documents are overwritten by a cipher and get .locked appended
#   documents_copied FOLDER        … are encrypted into a copy NAME.locked by openssl, and removed
#   documents_pieces FOLDER        … every fourth 16 KiB is encrypted, nothing else changes
#   documents_no_names FOLDER      … the same as copied, under names that say nothing
#   documents_busy FOLDER          work: texts edited, documents and photos saved anew, a backup, a video, logs rotated
#   documents_upgraded FOLDER      a distribution's upgrade: every program replaced, packages downloaded

documents_random() { openssl enc -aes-256-ctr -nosalt -pass "pass:$1" -iter 1 -pbkdf2 </dev/zero 2>/dev/null | head -c "$2"; }

documents_text() { seq "$1" "$(($1 + $2))" | sed 's/.*/line & of a text that somebody wrote, and would like to keep/'; }

documents_make() {
	local i
	mkdir -p "$1"/letters "$1"/photos "$1"/work "$1"/log "$1"/bin
	for i in {1..30}; do
		documents_text "$i" $((i * 60)) >"$1/letters/letter$i.txt"
		(cd "$1/letters" && zip -q "../work/report$i.odt" "letter$i.txt")
		{ printf '\xff\xd8\xff\xe0\0\x10JFIF'; documents_random "photo$i" $((20000 + i * 3000)); } >"$1/photos/photo$i.jpg"
		documents_text $((i * 100)) 400 >"$1/log/log.$i"
	done
	find /usr/bin /usr/sbin -type f -size -200k | LC_ALL=C sort | head -n 40 >"$1/../programs"
	i=0
	while read -r file; do cp "$file" "$1/bin/program$((i++))"; done <"$1/../programs"
}

documents_all() { find "$1/letters" "$1/photos" "$1/work" -type f | LC_ALL=C sort; }

documents_in_place() {
	local file
	while read -r file; do
		openssl enc -aes-256-ctr -nosalt -pass pass:x -pbkdf2 -iter 1 -in "$file" -out "$1/../cipher" 2>/dev/null
		dd if="$1/../cipher" of="$file" conv=notrunc status=none
		mv "$file" "$file.locked"
	done < <(documents_all "$1" | grep -v '\.locked$\|\.q[0-9]*$' | head -n "$2")
}

documents_copied() {
	local file
	while read -r file; do
		openssl enc -aes-256-cbc -pass pass:x -pbkdf2 -iter 1 -in "$file" -out "$file.locked" 2>/dev/null
		rm "$file"
	done < <(documents_all "$1")
}

documents_no_names() {
	local file n=0
	while read -r file; do
		openssl enc -aes-256-cbc -pass pass:x -pbkdf2 -iter 1 -in "$file" -out "$1/$(printf '%s' "$((n++))$file" | md5sum | cut -c1-12).enc" 2>/dev/null
		rm "$file"
	done < <(documents_all "$1")
}

documents_pieces() {
	python3 - "$1" <<-'END'
		import os, pathlib, sys
		for folder in "letters", "work", "photos":
		    for path in sorted((pathlib.Path(sys.argv[1]) / folder).iterdir()):
		        with open(path, "r+b") as f:
		            for at in range(0, path.stat().st_size, 65536):
		                f.seek(at)
		                n = len(f.read(16384))
		                f.seek(at)
		                f.write(os.urandom(n))
	END
}

documents_busy() {
	local i
	for i in {1..30}; do
		documents_text "$i" 40 >>"$1/letters/letter$i.txt"
		(cd "$1/letters" && rm "../work/report$i.odt" && zip -q "../work/report$i.odt" "letter$i.txt")
		{ printf '\xff\xd8\xff\xe0\0\x10JFIF'; documents_random "again$i" $((21000 + i * 3100)); } >"$1/photos/photo$i.jpg"
		gzip "$1/log/log.$i"
	done
	(cd "$1" && zip -qr backup.zip letters work)
	{ printf '\0\0\0\x18ftypmp42'; documents_random video 6000000; } >"$1/video.mp4"
}

documents_upgraded() {
	local i=0 file
	find /usr/bin /usr/sbin -type f -size -200k | LC_ALL=C sort | tail -n 40 >"$1/../programs"
	while read -r file; do
		cp "$file" "$1/bin/new" && mv "$1/bin/new" "$1/bin/program$((i++))"
	done <"$1/../programs"
	tar -C "$1" -cf - bin | xz -0 >"$1/bin.deb"
}

# documents_rename FOLDER SUFFIX: take that suffix away and put another, different one on each file.
documents_rename() {
	local file n=0
	while read -r file; do
		mv "$file" "${file%"$2"}.q$((n++))$RANDOM"
	done < <(find "$1" -name "*$2")
}
