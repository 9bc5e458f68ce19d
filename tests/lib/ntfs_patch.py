#!/usr/bin/env python3
"""ntfs_patch.py IMAGE RECORD STREAM FIELD VALUE: change a number in a file's data attribute, which no driver would write so.

RECORD is the file's inode number, STREAM the stream's name ("" for the main data), which must lie in runs in that record.
FIELD: flags (16 bits; 0x4000 encrypted) or initialized (64 bits: how many bytes were ever written).
"""
import struct
import sys

FIELDS = {"flags": (12, "<H"), "initialized": (56, "<Q")}
DATA, END = 0x80, 0xffffffff
RECORD_LEN, SECTOR = 1024, 512


def attributes(image, record):
    at = record + struct.unpack_from("<H", image, record + 20)[0]
    while struct.unpack_from("<I", image, at)[0] != END:
        yield at
        at += struct.unpack_from("<I", image, at + 4)[0]


def main():
    path, number, stream, field, value = sys.argv[1:]
    with open(path, "rb") as f:
        image = bytearray(f.read())
    cluster = struct.unpack_from("<H", image, 11)[0] * image[13]
    record = struct.unpack_from("<Q", image, 48)[0] * cluster + int(number) * RECORD_LEN
    offset, form = FIELDS[field]
    for at in attributes(image, record):
        name_at = at + struct.unpack_from("<H", image, at + 10)[0]
        name = image[name_at:name_at + 2 * image[at + 9]].decode("utf-16le")
        if struct.unpack_from("<I", image, at)[0] == DATA and image[at + 8] == 1 and name == stream:
            # The last two bytes of a sector are kept elsewhere in a record.
            if (at + offset - record) % SECTOR > SECTOR - 2 - struct.calcsize(form):
                sys.exit("ntfs_patch.py: the field lies at the end of a sector")
            struct.pack_into(form, image, at + offset, int(value, 0))
            with open(path, "wb") as f:
                f.write(image)
            return
    sys.exit(f"ntfs_patch.py: record {number} has no data in runs by that name")


main()
