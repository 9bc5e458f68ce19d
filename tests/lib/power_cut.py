#!/usr/bin/env python3
"""What is on the disk after a power cut: undo what no fsync had made durable.

    power_cut.py JOURNAL-FOLDER WHAT SEED ROOT…

JOURNAL-FOLDER  GODWIT_POWER of the program that died (tests/lib/faultfs_power.h has the journal's format); emptied here
WHAT            all     nothing lasts that was not synced
                data    names last, contents do not: a file renamed into place before its fdatasync is empty
                names   contents last, names do not
                some    names last up to an instant, and a write here and there, drawn from SEED
ROOT            files and folders that this is about; the disk is elsewhere for everything else
"""
import os
import random
import shutil
import sys

folder, what, seed, roots = sys.argv[1], sys.argv[2], int(sys.argv[3]), [os.path.abspath(r) for r in sys.argv[4:]]
rng = random.Random(seed)


def inside(path):
    return any(path == r or path.startswith(r + "/") or path.startswith(os.path.dirname(r) + "/." + os.path.basename(r))
               for r in roots)


def paths_by_inode():
    """Files only: a folder's inode never matters here."""
    found = {}
    for root in roots:
        if os.path.isfile(root):
            found[os.stat(root).st_ino] = root
        for where, _, files in os.walk(root):
            for f in files:
                path = os.path.join(where, f)
                found[os.lstat(path).st_ino] = path
    return found


entries, synced = [], {}
try:
    with open(os.path.join(folder, "journal"), encoding="utf-8", errors="surrogateescape") as journal:
        for line in journal:
            number, op, *fields = line.rstrip("\n").split("\t")
            if op == "S":
                # A file written first, then synced: every entry of that inode up to then is durable.
                synced[int(fields[0])] = max(synced.get(int(fields[0]), 0), int(fields[1]))
            else:
                entries.append((int(number), op, fields))
except FileNotFoundError:
    pass
entries.sort()
old = open(os.path.join(folder, "old"), "rb").read() if entries else b""
instant = rng.randint(0, entries[-1][0] + 1) if entries else 0


def lost(number, op, fields):
    """Entries name first what an fsync must have been about: the file for data, the folder for names."""
    if synced.get(int(fields[0]), 0) >= number:
        return False
    is_data = op in "WT"
    if what == "some":
        return rng.random() < 0.5 if is_data else number > instant
    return what == "all" or (what == "data") == is_data


def restore(path, kept):
    if kept != "0" and not os.path.lexists(path):
        os.link(os.path.join(folder, "kept-" + kept), path)


def undo_data(path, op, f):
    if op == "W":
        offset, size, length, had, position = map(int, f[1:])
    else:
        size, length, position = map(int, f[1:])
        offset, had = size - length, length
    with open(path, "r+b") as file:
        if f[0] in lasting:
            # Something later in this file was kept: a hole in front of it, not a shorter file.
            end = os.path.getsize(path)
            file.seek(offset)
            file.write((old[position:position + had] + bytes(length - had))[:max(end - offset, had)])
        else:
            file.seek(offset)
            file.write(old[position:position + had])
            file.truncate(size)


def undo(op, f):
    if op in "WT":
        path = paths_by_inode().get(int(f[0]))
        if path:
            undo_data(path, op, f)
    elif op == "C" and inside(f[1]):
        if os.path.isdir(f[1]):
            shutil.rmtree(f[1])
        elif os.path.lexists(f[1]):
            os.unlink(f[1])
    elif op == "R" and inside(f[3]):
        if os.path.lexists(f[3]) and os.lstat(f[3]).st_ino == int(f[1]):
            os.rename(f[3], f[2])
        restore(f[3], f[4])
    elif op == "U" and inside(f[1]):
        restore(f[1], f[2])


undone, lasting = 0, set()
for number, op, fields in reversed(entries):
    if lost(number, op, fields):
        undo(op, fields)
        undone += 1
    elif op in "WT":
        lasting.add(fields[0])
for name in os.listdir(folder):
    os.unlink(os.path.join(folder, name))
print(f"power cut: {undone} of {len(entries)} changes are lost")
