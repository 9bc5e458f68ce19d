#!/usr/bin/env python3
"""Chunks as a test's client sends them (docs/protocol.md, section 3), written from the document, not from our C.

  chunks.py make DIR BLOCKS SEED [--memory]   a disk of that many random 64 KiB blocks (and RAM of the same):
                                              DIR/records, DIR/ids (all chunks), DIR/volumes.json
  chunks.py graft DIR FILE BLOCKS             a disk whose only chunk of its own is the root: it names the ids in FILE
  chunks.py flip FILE OFFSET                  invert one byte
  chunks.py read FILE                         check records that were fetched: prints "COUNT BYTES", fails on a bad one
"""
import hashlib
import json
import os
import random
import struct
import sys
import zlib

GRID = {"disk": 65536, "ram": 16384, "blob": 65536}


def record(data):
    packed = zlib.compress(data, 1)
    codec, payload = (1, packed) if len(packed) < len(data) else (0, data)
    return hashlib.sha256(data).digest() + struct.pack("<B3xII", codec, len(data), len(payload)) + payload


def volume(name, kind, data, out, ids):
    """The records of a volume's tree; returns its entry in the manifest."""
    grid = GRID[kind]
    level = [data[i:i + grid] for i in range(0, len(data), grid)]
    while True:
        hashes = []
        for chunk in level:
            out.write(record(chunk))
            hashes.append(hashlib.sha256(chunk).digest())
            ids.write(hashes[-1])
        if len(hashes) == 1:
            return {"name": name, "kind": kind, "size": len(data), "grid": grid, "root": hashes[0].hex()}
        level = [b"".join(hashes[i:i + 256]) for i in range(0, len(hashes), 256)]


def make(folder, blocks, seed, memory):
    os.makedirs(folder, exist_ok=True)
    noise = random.Random(seed)
    with open(folder + "/records", "wb") as out, open(folder + "/ids", "wb") as ids:
        volumes = [volume("disk0", "disk", noise.randbytes(65536 * blocks), out, ids)]
        if memory:
            volumes.append(volume("ram/pc.ram", "ram", noise.randbytes(65536 * blocks), out, ids))
            volumes.append(volume("qemu/head", "blob", b"head" * 64, out, ids))
            volumes.append(volume("qemu/tail", "blob", b"tail" * 64, out, ids))
    with open(folder + "/volumes.json", "w", encoding="ascii") as f:
        json.dump(volumes, f)


def graft(folder, ids_path, blocks):
    """A root over chunks that are not ours. Its children are grid blocks, or inner nodes above 256 blocks."""
    os.makedirs(folder, exist_ok=True)
    children = blocks if blocks <= 256 else (blocks + 255) // 256
    with open(ids_path, "rb") as f:
        node = f.read(32 * children).ljust(32 * children, b"\0")
    with open(folder + "/records", "wb") as out:
        out.write(record(node))
    with open(folder + "/volumes.json", "w", encoding="ascii") as f:
        json.dump([{"name": "disk0", "kind": "disk", "size": 65536 * blocks, "grid": 65536,
                    "root": hashlib.sha256(node).hexdigest()}], f)


def flip(path, offset):
    with open(path, "r+b") as f:
        f.seek(offset)
        byte = f.read(1)[0]
        f.seek(offset)
        f.write(bytes([byte ^ 0xFF]))


def read(path):
    count = size = at = 0
    with open(path, "rb") as f:
        data = f.read()
    while at < len(data):
        want, codec, raw_len, length = data[at:at + 32], data[at + 32], *struct.unpack_from("<II", data, at + 36)
        payload = data[at + 44:at + 44 + length]
        if codec != 2:  # zstd is not in Python's library; its length still counts
            raw = zlib.decompress(payload) if codec == 1 else payload
            assert len(raw) == raw_len and hashlib.sha256(raw).digest() == want, "record %d" % count
        count, size, at = count + 1, size + raw_len, at + 44 + length
    assert at == len(data), "half a record at the end"
    print(count, size)


if __name__ == "__main__":
    if sys.argv[1] == "make":
        make(sys.argv[2], int(sys.argv[3]), int(sys.argv[4]), "--memory" in sys.argv)
    elif sys.argv[1] == "graft":
        graft(sys.argv[2], sys.argv[3], int(sys.argv[4]))
    elif sys.argv[1] == "flip":
        flip(sys.argv[2], int(sys.argv[3]))
    else:
        read(sys.argv[2])
