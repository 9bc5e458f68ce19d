#!/usr/bin/python3 -B
"""read_index.py STORE [--key FILE] - compares index/ with the packs: snapshot/FORMAT.md, Index and Counts of references.

A reader can do without all of this. Here it proves that the document says what the files are: every chunk must be found
through the runs (its filter bits, then the one page that can hold its tag), every snapshot in `state`, and the counts in
`refs` must be those that the trees give. The index must be as new as the packs: no writer may have died or be at work.
Source: snapshot/FORMAT.md.
"""
import argparse
import os
import struct
import sys

from read_pack import CHUNK, MANIFEST, Refused, crc32c, hkdf, keys_of_file, require
from read_store import ZERO_ID, Store, created_ms


# ---- Index -----------------------------------------------------------------------------------------------------

def siphash128(key, data):
    """SipHash-2-4 with 128 bits of output."""
    mask = (1 << 64) - 1

    def turn(x, bits):
        return (x << bits | x >> 64 - bits) & mask

    def rounds(count):
        v0, v1, v2, v3 = v
        for _ in range(count):
            v0 = v0 + v1 & mask
            v1 = turn(v1, 13) ^ v0
            v0 = turn(v0, 32)
            v2 = v2 + v3 & mask
            v3 = turn(v3, 16) ^ v2
            v0 = v0 + v3 & mask
            v3 = turn(v3, 21) ^ v0
            v2 = v2 + v1 & mask
            v1 = turn(v1, 17) ^ v2
            v2 = turn(v2, 32)
        v[:] = v0, v1, v2, v3

    k0, k1 = struct.unpack("<QQ", key)
    v = [k0 ^ 0x736F6D6570736575, k1 ^ 0x646F72616E646F6D ^ 0xEE, k0 ^ 0x6C7967656E657261, k1 ^ 0x7465646279746573]
    data += bytes(-(len(data) + 1) % 8) + bytes([len(data) & 0xFF])
    for (word,) in struct.iter_unpack("<Q", data):
        v[3] ^= word
        rounds(2)
        v[0] ^= word
    v[2] ^= 0xEE
    rounds(4)
    low = v[0] ^ v[1] ^ v[2] ^ v[3]
    v[1] ^= 0xDD
    rounds(4)
    return struct.pack("<QQ", low, v[0] ^ v[1] ^ v[2] ^ v[3])


def read_whole(path):
    """A file whose last four bytes are the CRC of the others."""
    with open(path, "rb") as file:
        data = file.read()
    require(len(data) > 4 and crc32c(data[:-4]) == struct.unpack("<I", data[-4:])[0], path, "the CRC is wrong")
    return data[:-4]


def name_of(raw):
    return raw.rstrip(b"\0").decode()


class Run:
    def __init__(self, path):
        self.path = path
        with open(path, "rb") as file:
            self.data = file.read()
        magic, self.entries, self.pages, self.blocks = struct.unpack_from("<8sQQQ", self.data)
        filter_crc, crc = struct.unpack_from("<I24xI", self.data, 32)
        require(magic == b"GODWRUN1" and crc == crc32c(self.data[:60]), f"{path}: header", "damaged")
        self.filter = self.data[64 + 4096 * self.pages:]
        require(len(self.filter) == 64 * self.blocks and crc32c(self.filter) == filter_crc, f"{path}: filter", "damaged")
        tags = [tag for page in range(self.pages) for tag, _, _ in self.page(page)]
        require(tags == sorted(tags) and len(tags) == self.entries, path, "not ascending, or another count")

    def page(self, number):
        raw = self.data[64 + 4096 * number:][:4096]
        crc, count = struct.unpack_from("<II", raw)
        require(crc == crc32c(raw[4:]), f"{self.path}: page {number}", "the CRC is wrong")
        return list(struct.iter_unpack("<16sII", raw[8:8 + 24 * count]))

    def may_have(self, tag):
        low, high = struct.unpack("<QQ", tag)
        block = self.filter[64 * (high * self.blocks >> 64):][:64]
        bits = [low >> 9 * i & 511 for i in range(6)]
        return all(block[bit // 8] >> bit % 8 & 1 for bit in bits)

    def find(self, tag):
        if not self.may_have(tag):
            return []
        first, last = 0, self.pages - 1
        while first < last:  # the last page that begins at or before the tag
            middle = (first + last + 1) // 2
            first, last = (middle, last) if self.page(middle)[0][0] <= tag else (first, middle - 1)
        return [(pack, record) for found, pack, record in self.page(first) if found == tag]


def check_state(store, folder):
    """Returns the packs by number and the runs."""
    path = os.path.join(folder, "state")
    data = read_whole(path)
    magic, key, packs, snapshots, runs, domains = struct.unpack_from("<8s8sIIII", data)
    require(magic == b"GODWIDX2", path, "not a state")
    require(key in store.keys, path, f"needs the key {key.hex()}")
    at = 48
    domain_names = [name_of(data[at + 64 * i:at + 64 * i + 64]) for i in range(domains)]
    at += 64 * domains
    run_names = [f"run-{n:016x}" for n in struct.unpack_from(f"<{runs}Q", data, at)]
    at += 8 * runs
    numbered = []
    for number in range(packs):
        name, state, hurt, records, domain, manifests, size, _ = struct.unpack_from("<16sBB2xIIIQQ", data, at)
        at += 48
        pack, place = store.packs.get(name.hex()), f"{path}: pack {number}"
        numbered.append(None if state == 3 else pack)
        if state == 3:
            require(pack is None, place, "is deleted, and there")
            continue
        require(pack, place, f"{name.hex()} is not there")
        require(state < 2 and not hurt, place, "is said to be damaged")
        require((records, domain_names[domain], size) == (len(pack.records), pack.domain, pack.size), place, "is not so")
        require(manifests == sum(r.type == MANIFEST for r in pack.records), place, "another count of manifests")
    require({p.name for p in numbered if p} == set(store.packs), path, "packs are missing")
    found = 0
    for _ in range(snapshots):
        id, flags, pack, record, created, _ = struct.unpack_from("<25sB2xIIxxxxQQ", data, at)
        at += 56
        id, place = name_of(id), f"{path}: snapshot {id}"
        if pack == 0xFFFFFFFF:  # only notes are known
            require(id not in store.snapshots, place, "its manifest is in a pack")
            continue
        found += 1
        require(id in store.snapshots, place, "no pack has its manifest")
        require((flags & 1 > 0, flags & 2 > 0) == (id in store.forgotten, store.pinned(id)), place, f"flags {flags}")
        require(created == created_ms(store.snapshots[id]), place, "another time")
        require(numbered[pack].records[record].type == MANIFEST, place, "its record is no manifest")
    require(at == len(data), path, "has something behind its end")
    require(found == len(store.snapshots), path, f"{found} snapshots instead of {len(store.snapshots)}")
    return key, numbered, [Run(os.path.join(folder, name)) for name in run_names]


def check_index(store, folder):
    key, numbered, runs = check_state(store, folder)
    tag_keys = {}
    for (domain, id) in store.chunks:
        if domain not in tag_keys:
            tag_keys[domain] = hkdf(store.keys[key], store.id, b"godwit index 1 " + domain.encode(), 16)
        tag = siphash128(tag_keys[domain], id)
        hits = [numbered[pack].records[record] for run in runs for pack, record in run.find(tag) if numbered[pack]]
        require(any(hit.id == id and hit.type == CHUNK for hit in hits), folder, f"chunk {id.hex()} is in no run")
    print(f"index: {len(store.chunks)} chunks in {len(runs)} runs")


# ---- Counts of references --------------------------------------------------------------------------------------

def count_references(store, counted):
    """{(domain, id): {level: count}}: how often a chunk is referenced as a node of that level, 0 for blocks."""
    counts = {}

    def add(domain, level, id, volume, i, levels):
        if id == ZERO_ID:
            return
        seen = counts.setdefault((domain, id), {})
        seen[level] = seen.get(level, 0) + 1
        if seen[level] > 1 or level == 0:
            return
        children = min(256, levels[level - 1] - 256 * i)
        node = store.chunk(domain, id, 32 * children, f"volume {volume}")
        for child in range(children):
            add(domain, level - 1, node[32 * child:32 * child + 32], volume, 256 * i + child, levels)

    for id in counted:
        for volume in store.snapshots[id]["volumes"]:
            levels = [-(-volume["size"] // volume["grid"])]
            while levels[-1] > 1:
                levels.append(-(-levels[-1] // 256))
            add(store.snapshots[id]["domain"], len(levels) - 1, bytes.fromhex(volume["root"]), volume["name"], 0, levels)
    return counts


def check_refs(store, path):
    data = read_whole(path)
    magic, packs, snapshots, slots, _ = struct.unpack_from("<8sIIQQ", data)
    require(magic == b"GODWREF1", path, "not counts of references")
    counted = [name_of(data[32 + 40 * i:57 + 40 * i]) for i in range(snapshots)]
    at = 32 + 40 * snapshots
    listed = [struct.unpack_from("<16sIIIIQ", data, at + 40 * i) for i in range(packs)]
    at += 40 * packs
    slot = {key: count for key, count, _ in struct.iter_unpack("<QII", data[at:at + 16 * slots])}
    at += 16 * slots
    found = {}
    for place, (name, records, _, with_count, _, size) in enumerate(listed):
        if not with_count:
            continue
        pack = store.packs[name.hex()]
        for record in pack.records:
            count = data[at + record.number]
            base = place << 32 | record.number << 4
            if count == 255:
                count = slot[base | 15]
            if count:
                as_nodes = {level: slot[base | level] for level in range(1, 8) if base | level in slot}
                found[pack.domain, record.id] = count, as_nodes
        at += records
    require(at == len(data), path, "has something behind its end")
    want = {key: (sum(levels.values()), {l: n for l, n in levels.items() if l}) for key, levels in
            count_references(store, counted).items()}
    require(found == want, path, f"counts of {len(found)} chunks are not those of the trees")
    print(f"refs: {len(want)} chunks of {len(counted)} snapshots")


def main():
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--key")
    arguments.add_argument("store")
    options = arguments.parse_args()
    folder = os.path.join(options.store, "index")
    try:
        store = Store(options.store, keys_of_file(options.key or options.store + ".key"))
        check_index(store, folder)
        if os.path.exists(os.path.join(folder, "refs")):
            check_refs(store, os.path.join(folder, "refs"))
    except (Refused, OSError) as error:
        sys.exit(f"read_index.py: {error}")


if __name__ == "__main__":
    main()
