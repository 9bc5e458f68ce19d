#!/usr/bin/python3 -B
"""read_store.py - reads a store without Godwit: snapshot/FORMAT.md as a program.

  read_store.py [--key FILE | --passphrase-file FILE] [--salvage] COMMAND STORE ...

  list STORE                       each snapshot that exists, with its volumes
  sums STORE                       "SNAPSHOT VOLUME SHA-256" of each volume
  get STORE SNAPSHOT VOLUME FILE   a volume as a raw file, zeros as holes
  check STORE                      every record of every pack

Written from the document alone, never from our C: what this cannot read, the document does not say. It needs the key and
packs/, and looks at store.json for the no-delete window. It ignores what a reader may ignore: index/ (all of it is derived;
read_index.py reads it all the same), tmp/, damaged/, deleted and lock. Any damage is an error, with the place; only with
--salvage are packs whose footer or header is damaged read record by record.
Debian packages: python3-cryptography, python3-zstandard. Source: snapshot/FORMAT.md; read_pack.py is the lower half.
"""
import argparse
import hashlib
import itertools
import os
import re
import sys
import time
from datetime import datetime, timezone

from read_pack import CHUNK, CHUNK_MAX, MANIFEST, NOTE, Pack, Refused, keys_of_file, keys_of_recovery, read_json, require

ZERO_ID = bytes(32)


# ---- Manifests and notes ---------------------------------------------------------------------------------------

def text(pattern):
    return lambda value: isinstance(value, str) and re.fullmatch(pattern, value)


def number(limit):
    return lambda value: type(value) is int and 0 <= value <= limit


SNAPSHOT = text(r"[0-9]{8}-[0-9]{6}-[0-9a-f]{8}")
NAME = text(r"[a-z0-9][a-z0-9-]{0,62}")
FLAG = (lambda value: isinstance(value, bool))

# member: (is the value valid?, the default, or None if it must be there)
VOLUME_MEMBERS = {
    "name": (text(r"(?!/)(?!.*\.\.)[!#-\[\]-~]{1,127}(?<!/)"), None),
    "kind": (text("disk|ram|blob"), None),
    "size": (number((1 << 56) - 1), None),
    "grid": (lambda value: value in [1 << n for n in range(12, 21)], None),
    "root": (text("[0-9a-f]{64}"), None),
}
MANIFEST_MEMBERS = {
    "version": (lambda value: value == 1, None),
    "snapshot": (SNAPSHOT, None),
    "desktop": (NAME, None),
    "domain": (NAME, "default"),
    "parent": (lambda value: value == "" or SNAPSHOT(value), ""),
    "created": (text(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}Z"), None),
    "created_ms": (number(999), 0),
    "kind": (text("import|cold|live|mended"), None),
    "epoch": (number(1 << 63), 0),
    "branch": (FLAG, False),
    "application_consistent": (FLAG, False),
    "machine": (lambda value: isinstance(value, dict), {}),
    "volumes": (lambda value: isinstance(value, list) and len(value) <= 128, None),
}
NOTE_MEMBERS = {
    "snapshot": (SNAPSHOT, None),
    "op": (text("forget|pin|unpin"), None),
    "at_ms": (number(1 << 63), None),
}


def members(value, table, place):
    require(isinstance(value, dict), place, "not an object")
    for name in value:
        require(name in table, place, f"unknown member {name}")
        require(table[name][0](value[name]), place, f"{name} is {value[name]!r}")
    for name, (_, default) in table.items():
        require(name in value or default is not None, place, f"{name} is missing")
        value.setdefault(name, default)
    return value


def created_ms(manifest):
    moment = datetime.strptime(manifest["created"], "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=timezone.utc)
    return int(moment.timestamp()) * 1000 + manifest["created_ms"]


# ---- Store folder ----------------------------------------------------------------------------------------------

class Store:
    def __init__(self, folder, keys, salvage=False):
        self.folder, self.keys, self.no_delete_ms, self.id = folder, keys, 0, None
        about = os.path.join(folder, "store.json")
        if os.path.exists(about):  # derived, but for the window
            with open(about, "rb") as file:
                value = read_json(file.read(), about, "godwit-store")
            self.id, self.no_delete_ms = bytes.fromhex(value["id"]), value.get("no_delete_ms", 0)
        self.packs = {}
        for path in self.pack_files():
            pack = Pack(path, keys, self.id, salvage)
            self.packs[pack.name], self.id = pack, pack.store_id
        require(self.packs or self.id, folder, "not a store: no store.json and no packs")
        self.chunks, self.snapshots = {}, {}
        for pack in self.packs.values():
            for record in pack.records:
                if record.type == CHUNK:
                    self.chunks.setdefault((pack.domain, record.id), []).append(record)
                if record.type == MANIFEST:
                    self.add_manifest(record)
        self.read_notes()

    def pack_files(self):
        """packs/, and in a mirror that switches what is staged as well, without what the switch takes away."""
        gone, folders, seen = set(), ["packs"], set()
        switch = os.path.join(self.folder, "incoming", "switch")
        if os.path.exists(switch):
            with open(switch, encoding="ascii") as file:
                gone = set(file.read().split())
            folders.insert(0, "incoming")
        for folder in (os.path.join(self.folder, name) for name in folders):
            for name in sorted(os.listdir(folder)):
                if re.fullmatch(r"[0-9a-f]{32}\.pack", name) and name[:32] not in gone | seen:
                    seen.add(name[:32])
                    yield os.path.join(folder, name)

    def add_manifest(self, record):
        place = f"{record.pack.path}: manifest at {record.offset}"
        manifest = members(read_json(record.pack.read(record), place), MANIFEST_MEMBERS, place)
        for volume in manifest["volumes"]:
            members(volume, VOLUME_MEMBERS, f"{place}: volume")
        names = [volume["name"] for volume in manifest["volumes"]]
        require(len(set(names)) == len(names), place, "two volumes have one name")
        self.snapshots[manifest["snapshot"]] = manifest

    def read_notes(self):
        now, self.forgotten, self.pins = time.time() * 1000, set(), {}
        for pack in self.packs.values():
            for record in (r for r in pack.records if r.type == NOTE):
                place = f"{pack.path}: note at {record.offset}"
                note = members(read_json(pack.read(record), place), NOTE_MEMBERS, place)
                about = note["snapshot"]
                if note["op"] != "forget":
                    self.pins[about] = max(self.pins.get(about, (-1, "")), (note["at_ms"], note["op"]))
                elif about in self.snapshots and not self.in_window(about, now):
                    self.forgotten.add(about)
        in_order = sorted(self.snapshots.values(), key=lambda m: (created_ms(m), m["snapshot"]))
        self.living = {m["snapshot"]: m for m in in_order if m["snapshot"] not in self.forgotten}

    def in_window(self, id, now):
        return self.no_delete_ms and created_ms(self.snapshots[id]) + self.no_delete_ms >= now

    def pinned(self, id):
        return self.pins.get(id, (0, ""))[1] == "pin"

    def chunk(self, domain, id, length, place):
        """From any pack of the domain that has it; from another one if that is damaged."""
        refusal = Refused(f"{place}: needs the chunk {id.hex()}, which no pack of domain {domain} has")
        for record in self.chunks.get((domain, id), []):
            try:
                data = record.pack.read(record)
            except Refused as why:
                refusal = Refused(f"{place}: {why}")
                continue
            require(len(data) == length, place, f"chunk {id.hex()} has {len(data)} bytes instead of {length}")
            return data
        raise refusal

    # ---- Volumes -----------------------------------------------------------------------------------------------

    def blocks(self, manifest, volume):
        """Each block that is not a hole: its offset and bytes."""
        size, grid, root = volume["size"], volume["grid"], bytes.fromhex(volume["root"])
        place = f"snapshot {manifest['snapshot']}, volume {volume['name']}"
        require(size or root == ZERO_ID, place, "is empty and has a root")
        counts = [-(-size // grid)]
        while counts[-1] > 1:
            counts.append(-(-counts[-1] // 256))

        def walk(level, i, id):
            if id == ZERO_ID:
                return
            where = f"{place}: level {level}, node {i}"
            if level == 0:
                yield i * grid, self.chunk(manifest["domain"], id, min(grid, size - i * grid), where)
                return
            children = min(256, counts[level - 1] - 256 * i)
            node = self.chunk(manifest["domain"], id, 32 * children, where)
            for child in range(children):
                yield from walk(level - 1, 256 * i + child, node[32 * child:32 * child + 32])

        return walk(len(counts) - 1, 0, root)


# ---- Commands --------------------------------------------------------------------------------------------------

def command_list(store):
    for id, manifest in store.living.items():
        print(id, manifest["domain"], manifest["desktop"], manifest["kind"], manifest["parent"] or "-",
              *["pinned"] * store.pinned(id))
        for volume in manifest["volumes"]:
            print("  ", volume["name"], volume["kind"], volume["size"])


def command_sums(store):
    for id, manifest in store.living.items():
        for volume in manifest["volumes"]:
            digest, end = hashlib.sha256(), 0
            for offset, data in itertools.chain(store.blocks(manifest, volume), [(volume["size"], b"")]):
                while end < offset:  # a hole
                    digest.update(bytes(min(CHUNK_MAX, offset - end)))
                    end = min(end + CHUNK_MAX, offset)
                digest.update(data)
                end += len(data)
            print(id, volume["name"], digest.hexdigest())


def command_get(store, snapshot, name, path):
    require(snapshot in store.living, store.folder, f"there is no snapshot {snapshot}")
    manifest = store.living[snapshot]
    volume = next((v for v in manifest["volumes"] if v["name"] == name), None)
    require(volume, f"{store.folder}: snapshot {snapshot}", f"there is no volume {name}")
    with open(path, "wb") as file:
        file.truncate(volume["size"])
        for offset, data in store.blocks(manifest, volume):
            file.seek(offset)
            file.write(data)


def command_check(store):
    for pack in store.packs.values():
        for record in pack.records:
            pack.read(record)
    print(f"{len(store.packs)} packs, {len(store.snapshots)} snapshots, {len(store.forgotten)} forgotten")


COMMANDS = {"list": command_list, "sums": command_sums, "get": command_get, "check": command_check}


def main():
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--key")
    arguments.add_argument("--passphrase-file")
    arguments.add_argument("--salvage", action="store_true")
    arguments.add_argument("command", choices=COMMANDS)
    arguments.add_argument("store")
    arguments.add_argument("rest", nargs="*")
    options = arguments.parse_args()
    try:
        if options.passphrase_file:
            with open(options.passphrase_file, "rb") as file:
                keys = keys_of_recovery(os.path.join(options.store, "recovery.json"), file.readline().rstrip(b"\n"))
        else:
            keys = keys_of_file(options.key or options.store + ".key")
        COMMANDS[options.command](Store(options.store, keys, options.salvage), *options.rest)
    except (Refused, OSError) as error:
        sys.exit(f"read_store.py: {error}")


if __name__ == "__main__":
    main()
