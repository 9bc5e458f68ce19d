#!/usr/bin/env bash
# The fault injector itself, on programs that know nothing of it: every operation is counted and fails as told, and a
# sweep finds a program that is not crash-safe.
# shellcheck disable=SC2317 # the sweep calls its functions by name
# shellcheck source=tests/lib/tap.sh
. "$(dirname "$0")/../lib/tap.sh"
# shellcheck source=tests/lib/fault.sh
. "$(dirname "$0")/../lib/fault.sh"
need python3
fault_load "$1"
cd "$TAP_DIR" || exit

# One operation of each kind, the result of each on a line of its own.
cat >each.py <<'PY'
import os, errno
def attempt(name, f):
    try:
        r = f()
        print(name, "ok" if r is None else r)
    except OSError as e:
        print(name, errno.errorcode[e.errno])
fd = os.open("each.tmp", os.O_RDWR | os.O_CREAT | os.O_TRUNC)
attempt("write", lambda: os.write(fd, b"12345678"))
attempt("writev", lambda: os.writev(fd, [b"1234", b"5678"]))
attempt("pwrite", lambda: os.pwrite(fd, b"abcdefgh", 0))
attempt("pwritev", lambda: os.pwritev(fd, [b"ABC", b"DEFGH"], 8))
attempt("fsync", lambda: os.fsync(fd))
attempt("fdatasync", lambda: os.fdatasync(fd))
attempt("ftruncate", lambda: os.ftruncate(fd, 16))
attempt("fallocate", lambda: os.posix_fallocate(fd, 0, 16))
attempt("rename", lambda: os.rename("each.tmp", "each"))
attempt("link", lambda: os.link("each", "each.2"))
attempt("unlink", lambda: os.unlink("each.2"))
folder = os.open(".", os.O_RDONLY)
attempt("fsync-folder", lambda: os.fsync(folder))
print("content", os.pread(fd, 100, 0).decode("ascii", "replace"))
PY
each() {
	rm -f each each.2 each.tmp
	output=$(fault "$1" python3 each.py 2>errors) && status=0 || status=$?
	output=${output//$'\n'/ }
}

healthy='write 8 writev 8 pwrite 8 pwritev 8 fsync ok fdatasync ok ftruncate ok fallocate ok rename ok link ok unlink ok fsync-folder ok content abcdefghABCDEFGH'
each any:99:EIO
is "$output" "$healthy" "a fault that is never reached changes nothing"
check_not "... and is not reported" fault_struck

while read -r spec name result; do
	each "$spec"
	like " $output " " $name $result " "$spec: $name gives $result"
	check "... and is reported" fault_struck
done <<'CASES'
write:1:ENOSPC write ENOSPC
write:2:EIO writev EIO
pwrite:1:EDQUOT pwrite EDQUOT
pwrite:2:ENOSPC pwritev ENOSPC
fsync:1:EIO fsync EIO
fsync:2:EIO fsync-folder EIO
fdatasync:1:EIO fdatasync EIO
ftruncate:1:EFBIG ftruncate EFBIG
fallocate:1:ENOSPC fallocate ENOSPC
rename:1:EXDEV rename EXDEV
link:1:EMLINK link EMLINK
unlink:1:EROFS unlink EROFS
any:3:EIO pwrite EIO
write,fdatasync:3:EIO fdatasync EIO
write:1:short write 4
pwrite:2:short pwritev 4
CASES

each write:1:EIO
like "$output" 'write EIO writev 8' "only the n-th fails"
each write:1+:ENOSPC
like "$output" 'write ENOSPC writev ENOSPC pwrite 8' "with + all later ones of its kind fail, too"

each rename:1:kill
is "$status:$(ls -d each each.tmp 2>/dev/null)" "137:each.tmp" "kill strikes before the operation"
each rename:1:after
is "$status:$(ls -d each each.tmp 2>/dev/null)" "137:each" "after strikes behind it"
each pwrite:2:torn
is "$status:$(cat each.tmp)" "137:abcdefghABCD5678" "torn leaves the first half, written across the parts"
each write:1:torn
is "$status:$(cat each.tmp)" "137:1234" "... also in a file's first write"

FAULT_PATH=/each.2 each any:1:EIO
like "$output" 'write 8 .*rename ok link EIO' "a path narrows what is counted"
FAULT_PROGRAM=nothing each any:1:EIO
is "$output" "$healthy" "a program's name does, too"

check "pipes and sockets are not counted" fault any:1:kill python3 -c '
import os, socket
a, b = os.pipe()
os.write(b, b"x")
s, t = socket.socketpair()
os.write(s.fileno(), b"x")'

rm -f each*
fault_trace "$TAP_DIR/trace" cp /etc/hostname copy >errors 2>&1
fault_trace "$TAP_DIR/trace" mv copy moved >>errors 2>&1
fault_trace "$TAP_DIR/trace" rm moved >>errors 2>&1
like "$(cat trace)" "rename 1 $TAP_DIR/moved.*unlink 1 $TAP_DIR/moved" "a trace names operations and paths"

for spec in write wrte:1:EIO write:0:EIO write:x:EIO write:1:EWHAT write:1: :1:EIO; do
	code=0
	said=$(fault "$spec" /bin/true 2>&1) || code=$?
	like "$code $said" '^99 faultfs: ' "'$spec' is refused"
done

# ---- Sweeps ---------------------------------------------------------------------------------------------------

cat >safe.py <<'PY'
import os
fd = os.open("state.new", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
os.write(fd, b"new " * 1000)
os.fdatasync(fd)
os.rename("state.new", "state")
PY
cat >unsafe.py <<'PY'
import os
fd = os.open("state", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
os.write(fd, b"new " * 1000)
PY
printf 'old %.0s' {1..1000} >old
python3 -c 'print("new " * 1000, end="")' >new
back() { cp old state; }
safe() { python3 safe.py; }
unsafe() { python3 unsafe.py; }
idle() { true; }
whole() { cmp -s state old || cmp -s state new; }

# sweep NAME ARGUMENTS...: one fault_sweep as a test of its own, so that its failure can be looked at.
sweep() {
	result=$(fault_sweep "$@")
}
for how in kill torn after EIO; do
	sweep safe any "$how" back safe whole
	is "$result" "ok $((tap_ran + 1)) - safe (3 faults)" "$how: three points, all sound"
done
sweep unsafe any torn back unsafe whole
like "$result" '^not ok .*not sound after write 1 torn' "a sweep finds what is not crash-safe"
sweep idle any kill back idle whole
like "$result" '^not ok .*no any operation was ever reached' "a sweep that strikes nothing is a failure"
sweep broken any kill back false whole
like "$result" '^not ok .*without any fault: exit status 1' "so is a program that fails without any fault"

# ---- Power cuts -----------------------------------------------------------------------------------------------

# synced: its data is; moved: its name, too; lost: nothing of it; grown: its end is not; removed: its end was not synced.
cat >power.py <<'PY'
import os
def write(name, data, *sync):
    fd = os.open("disk/" + name, os.O_WRONLY | os.O_CREAT)
    os.write(fd, data)
    if sync:
        os.fdatasync(fd)
    os.close(fd)
folder = os.open("disk", os.O_RDONLY)
write("moved.new", b"moved", True)
write("synced.new", b"synced", True)
os.rename("disk/moved.new", "disk/moved")
os.fsync(folder)
os.rename("disk/synced.new", "disk/synced")
write("lost", b"lost")
write("grown", b"GROWN AND MORE")
os.unlink("disk/removed")
os.ftruncate(os.open("disk/cut", os.O_RDWR), 1)
PY
FAULT_ROOTS=disk
while read -r what left; do
	rm -rf disk && mkdir disk
	for name in grown removed cut; do printf '%s' "$name" >"disk/$name"; done
	fault "any:99:power:$what" python3 power.py >said 2>&1
	is "$(cd disk && grep -H . * 2>/dev/null | tr '\n' ' ')" "$left " "power cut: $what"
done <<'CASES'
all cut:cut grown:grown moved:moved removed:removed synced.new:synced
data cut:cut grown:grown moved:moved synced:synced
names cut:c grown:GROWN AND MORE moved:moved removed:removed synced.new:synced
CASES

# A power cut finds what a kill does not: names that arrive before their content.
cat >early.py <<'PY'
import os
fd = os.open("state.new", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
os.write(fd, b"new " * 1000)
os.rename("state.new", "state")
PY
FAULT_ROOTS="state state.new"
early() { python3 early.py; }
sweep early any kill back early whole
like "$result" '^ok ' "a rename without fdatasync survives any kill"
sweep early any power:data back early whole
like "$result" '^not ok ' "... but no power cut"
sweep safe any power:data back safe whole
like "$result" '^ok ' "... and the one with fdatasync survives that, too"
done_testing
