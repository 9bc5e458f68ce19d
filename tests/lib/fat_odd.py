#!/usr/bin/env python3
"""fat_odd.py IMAGE: makes files of a FAT or exFAT image odd in ways that no driver would.

Each line of stdin is a command, its words separated by tabs, with escapes as in Python's strings:
  short OLD NEW [CASE]   the short name, eleven bytes, and the bits that say what is shown in lower case
  long OLD NEW           FAT's long name, of as many pieces
  field OLD AT HEX       bytes in the entry with that short name
  link CLUSTER NEXT      FAT16: the entry of the file allocation table
  boot AT HEX            bytes of the boot sector
  valid NAME BYTES       exFAT: so many of its bytes were written
  sum NAME               exFAT: a wrong checksum
A name that is not there exactly once is an error.
"""
import struct
import sys

ENTRY = 32
image = open(sys.argv[1], "r+b")
data = bytearray(image.read())


def entries():
    """Where entries may be: sectors that are not filled with one byte."""
    for sector in range(0, len(data), 512):
        block = data[sector : sector + 512]
        if block.count(block[0]) != len(block):
            yield from range(sector, sector + 512, ENTRY)


def one(found, name):
    found = list(found)
    if len(found) != 1:
        sys.exit("fat_odd.py: %r is there %d times" % (name, len(found)))
    return found[0]


def short(name):
    return one((o for o in entries() if data[o : o + 11] == name and data[o + 11] != 15), name)


def piece(o):
    return data[o + 1 : o + 11] + data[o + 14 : o + 26] + data[o + 28 : o + 32]


def long_pieces(name):
    """The pieces of a long name, 26 bytes each; they may lie anywhere, as folders may lie in fragments."""
    units = name.encode("utf-16-le", "surrogatepass")
    count = (len(units) + 25) // 26
    units = (units + b"\0\0" + b"\xff" * 26)[: count * 26]
    return [units[n * 26 : n * 26 + 26] for n in range(count)]


def exfat_set(name):
    want = name.encode("utf-16-le")

    def fits(o):
        whole = b"".join(data[o + n * ENTRY + 2 : o + n * ENTRY + 32] for n in range(2, data[o + 1] + 1))
        return data[o + ENTRY] == 0xC0 and data[o + ENTRY + 3] == len(want) // 2 and whole[: len(want)] == want

    return one((o for o in entries() if data[o] == 0x85 and fits(o)), name)


def set_sum(o, error=0):
    total = error
    for n in range((data[o + 1] + 1) * ENTRY):
        if n not in (2, 3):
            total = ((total << 15 | total >> 1) + data[o + n]) & 0xFFFF
    data[o + 2 : o + 4] = struct.pack("<H", total)


def do_short(old, new, case="0"):
    o, name = short(old.encode("latin-1")), new.encode("latin-1")
    if len(name) != 11:
        sys.exit("fat_odd.py: %r is not eleven bytes" % name)
    data[o : o + 11] = name
    data[o + 12] = int(case, 0)


def do_long(old, new):
    old, new = long_pieces(old), long_pieces(new)
    if len(old) != len(new):
        sys.exit("fat_odd.py: a name of %d pieces has not %d" % (len(old), len(new)))
    pieces = [o for o in entries() if data[o + 11] == 15 and data[o] & 63 <= len(old)]
    for n, (before, after) in enumerate(zip(old, new)):
        o = one((o for o in pieces if data[o] & 63 == n + 1 and piece(o) == before), before)
        data[o + 1 : o + 11], data[o + 14 : o + 26], data[o + 28 : o + 32] = after[:10], after[10:22], after[22:]


def do_field(old, at, value):
    o = short(old.encode("latin-1")) + int(at, 0)
    data[o : o + len(value) // 2] = bytes.fromhex(value)


def do_link(cluster, follows):
    reserved, sector = struct.unpack_from("<H", data, 14)[0], struct.unpack_from("<H", data, 11)[0]
    struct.pack_into("<H", data, reserved * sector + 2 * int(cluster), int(follows, 0))


def do_boot(at, value):
    data[int(at) : int(at) + len(value) // 2] = bytes.fromhex(value)


def do_valid(name, length):
    o = exfat_set(name)
    data[o + ENTRY + 8 : o + ENTRY + 16] = struct.pack("<Q", int(length))
    set_sum(o)


def do_sum(name):
    set_sum(exfat_set(name), 1)


commands = {name[3:]: do for name, do in globals().items() if name.startswith("do_")}
for line in sys.stdin:
    # Text may hold any letters; only the escapes are taken apart.
    words = [w.encode("latin-1", "backslashreplace").decode("unicode_escape") for w in line.rstrip("\n").split("\t")]
    commands[words[0]](*words[1:])
image.seek(0)
image.write(data)
