#!/usr/bin/env python3
"""pack_sectors.py IMAGE OUT: an image without its zeros, as fuzz targets take it (tests/lib/packed_sectors.h)."""
import struct
import sys

image = open(sys.argv[1], "rb").read()
with open(sys.argv[2], "wb") as out:
    out.write(struct.pack("<I", len(image) // 1024 - 1))
    for number in range(len(image) // 512):
        sector = image[number * 512 : number * 512 + 512]
        if any(sector):
            out.write(struct.pack("<H", number) + sector)
