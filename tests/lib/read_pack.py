"""read_pack.py - the lower half of read_store.py: FORMAT.md's Keys, Chunks, Packs and Encryption."""
import hashlib
import json
import os
import struct
import sys
import zlib

import zstandard
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

CHUNK_MAX = 1 << 20
RECORDS_MAX = 32768
CHUNK, MANIFEST, NOTE = 1, 2, 3


class Refused(Exception):
    """What is wrong, and where."""


def require(truth, place, what):
    if not truth:
        raise Refused(f"{place}: {what}")


# ---- The store's format: words that all sections use -----------------------------------------------------------

def make_crc_table():
    for byte in range(256):
        for _ in range(8):
            byte = byte >> 1 ^ (0x82F63B78 if byte & 1 else 0)
        yield byte


CRC_TABLE = tuple(make_crc_table())


def crc32c(data):
    crc = 0xFFFFFFFF
    for byte in data:
        crc = CRC_TABLE[(crc ^ byte) & 0xFF] ^ crc >> 8
    return crc ^ 0xFFFFFFFF


def hkdf(secret, salt, info, length):
    return HKDF(SHA256(), length, salt, info).derive(secret)


def members_once(pairs):
    if len(dict(pairs)) != len(pairs):
        raise ValueError("a member occurs twice")
    return dict(pairs)


def read_json(data, place, name=None):
    try:
        value = json.loads(data, object_pairs_hook=members_once)
    except ValueError as error:
        raise Refused(f"{place}: not JSON: {error}") from None
    require(isinstance(value, dict), place, "not a JSON object")
    require(name is None or value.get("format") == name, place, f"not a {name}")
    require(name is None or value.get("version") == 1, place, f"version {value.get('version')}, this reader knows 1")
    return value


# ---- Keys ------------------------------------------------------------------------------------------------------

def key_id(secret):
    return hkdf(secret, b"", b"godwit key id 1", 8)


def keys_of_file(path):
    with open(path, "rb") as file:
        value = read_json(file.read(), path, "godwit-key")
    return {key_id(secret): secret for secret in map(bytes.fromhex, value["keys"])}


def keys_of_recovery(path, passphrase):
    with open(path, "rb") as file:
        form = read_json(file.read(), path, "godwit-recovery")
    wrapping = hashlib.scrypt(passphrase, salt=bytes.fromhex(form["salt"]), n=form["n"], r=form["r"], p=form["p"],
                              maxmem=1 << 28, dklen=32)
    try:
        secrets = AESGCM(wrapping).decrypt(bytes(12), bytes.fromhex(form["sealed"]), b"godwit recovery 1")
    except InvalidTag:
        raise Refused(f"{path}: not this passphrase, or damaged") from None
    require(secrets and len(secrets) % 32 == 0, path, f"{len(secrets)} bytes of keys")
    return {key_id(secrets[i:i + 32]): secrets[i:i + 32] for i in range(0, len(secrets), 32)}


# ---- Chunks ----------------------------------------------------------------------------------------------------

def decode(codec, payload, length):
    """At most a byte more than @length, which is then an error: a short payload must not fill the memory."""
    if codec == 0:
        return payload
    if codec == 1:
        return zlib.decompressobj().decompress(payload, length + 1)
    return zstandard.ZstdDecompressor().stream_reader(payload).read(length + 1)


# ---- Packs and their encryption --------------------------------------------------------------------------------

class Record:
    """Where a chunk, manifest or note is, as footers (or the records themselves) tell."""

    def __init__(self, pack, number, offset, id, plain, length, type, codec):
        self.pack, self.number, self.offset, self.id = pack, number, offset, id
        self.plain, self.length, self.type, self.codec = plain, length, type, codec
        place = f"{pack.path}: record {number} at {offset}"
        require(type in (CHUNK, MANIFEST, NOTE), place, f"type {type}")
        require(codec <= 2, place, f"codec {codec}")
        require(1 <= plain <= CHUNK_MAX, place, f"{plain} bytes of plaintext")
        require(length == plain if codec == 0 else 1 <= length <= plain, place, f"{length} bytes for {plain}")


class Pack:
    def __init__(self, path, keys, store_id, salvage):
        self.path, self.name = path, os.path.basename(path)[:-len(".pack")]
        self.file = open(path, "rb")
        self.size = os.fstat(self.file.fileno()).st_size
        self.header = self.at(0, 144, "header")
        try:
            self.read_header(keys, store_id)
        except Refused as refusal:
            if not (salvage and store_id and self.remake_header(keys, store_id)):
                raise
            print(f"{refusal}; made again", file=sys.stderr)
        try:
            self.records = self.read_footer()
        except Refused as refusal:
            if not salvage:
                raise
            print(f"{refusal}; reading the records one by one", file=sys.stderr)
            self.records = list(self.walk_records())

    def at(self, offset, length, what):
        require(offset + length <= self.size, self.path, f"ends inside the {what} at {offset}")
        return os.pread(self.file.fileno(), length, offset)

    def decrypt(self, offset, kind, associated, sealed, what):
        nonce = struct.pack("<QI", offset, kind)
        try:
            return self.cipher.decrypt(nonce, sealed, associated)
        except InvalidTag:
            raise Refused(f"{self.path}: {what} at {offset}: the tag is wrong") from None

    def read_header(self, keys, store_id):
        magic, version, self.store_id, name, key, crc = struct.unpack_from("<8sI4x16s16s8s4xI", self.header)
        place = f"{self.path}: header"
        require(magic == b"GODWPACK", place, "not a pack")
        require(crc == crc32c(self.header[:60]), place, "the CRC is wrong")
        require(version == 1, place, f"version {version}, this reader knows 1")
        require(store_id in (None, self.store_id), place, "the pack is another store's")
        require(name.hex() == self.name, place, f"the pack is {name.hex()} by its header")
        require(key in keys, place, f"needs the key {key.hex()}, there are {', '.join(k.hex() for k in keys)}")
        self.cipher = AESGCM(hkdf(keys[key], self.store_id + name, b"godwit pack 1", 32))
        self.domain = self.decrypt(0, 0, self.header[:64], self.header[64:], "header").rstrip(b"\0").decode()

    def remake_header(self, keys, store_id):
        """What stands in clear in it is known, but for the key."""
        sealed = self.header[64:]
        for key in keys:
            clear = struct.pack("<8sI4x16s16s8s4x", b"GODWPACK", 1, store_id, bytes.fromhex(self.name), key)
            self.header = clear + struct.pack("<I", crc32c(clear)) + sealed
            try:
                self.read_header(keys, store_id)
                return True
            except Refused:
                pass
        return False

    def read_footer(self):
        trailer = self.at(max(self.size - 32, 144), 32, "trailer")
        magic, offset, length, footer_crc, count, crc = struct.unpack("<8sQIIII", trailer)
        place = f"{self.path}: trailer at {self.size - 32}"
        require(magic == b"GODWFOOT", place, "there is none")
        require(crc == crc32c(trailer[:28]), place, "the CRC is wrong")
        require(count <= RECORDS_MAX and length == 8 + 44 * count + 16 and offset + length + 32 == self.size, place,
                f"{count} records and a footer of {length} bytes at {offset} do not fit")
        sealed = self.at(offset, length, "footer")
        place = f"{self.path}: footer at {offset}"
        require(footer_crc == crc32c(sealed), place, "the CRC is wrong")
        footer = self.decrypt(offset, 2, self.header[:64], sealed, "footer")
        require(struct.unpack_from("<I", footer) == (count,), place, "another count than the trailer's")
        records, end = [], 144
        for number in range(count):
            id, plain, payload, type, codec = struct.unpack_from("<32sIIBB", footer, 8 + 44 * number)
            records.append(Record(self, number, end, id, plain, payload, type, codec))
            end += 72 + payload
        require(end == offset, place, f"the records end at {end}")
        return records

    def walk_records(self):
        """Without the footer: every record that is whole."""
        raw, offset, number = self.at(0, self.size, "pack"), 144, 0
        while (offset := raw.find(b"GREC", offset, self.size - 71)) >= 0:
            type, codec, plain, length = struct.unpack_from("<4xBB2xII", raw, offset)
            try:
                record = Record(self, number, offset, None, plain, length, type, codec)
                record.id = self.open_record(record)[:32]
            except Refused:
                offset += 1
                continue
            yield record
            offset, number = offset + 72 + length, number + 1

    def open_record(self, record):
        """The id and the payload, checked by everything but the id."""
        place = f"{self.path}: record {record.number} at {record.offset}"
        raw = self.at(record.offset, 72 + record.length, "record")
        magic, *same, crc, head_crc = struct.unpack_from("<4sBB2xIIII", raw)
        require(magic == b"GREC", place, "there is none")
        require(head_crc == crc32c(raw[:20]), place, "the CRC of its header is wrong")
        require(same == [record.type, record.codec, record.plain, record.length], place, "the footer says something else")
        require(crc == crc32c(raw[24:]), place, "the CRC is wrong")
        return self.decrypt(record.offset, 1, raw[:16], raw[24:], "record")

    def read(self, record):
        place = f"{self.path}: record {record.number} at {record.offset}"
        opened = self.open_record(record)
        require(opened[:32] == record.id, place, "the footer has another id")
        try:
            data = decode(record.codec, opened[32:], record.plain)
        except (zlib.error, zstandard.ZstdError) as error:
            raise Refused(f"{place}: {error}") from None
        require(len(data) == record.plain, place, f"{len(data)} bytes instead of {record.plain}")
        require(hashlib.sha256(data).digest() == record.id, place, "the content does not have its id")
        return data
