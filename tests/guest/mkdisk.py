#!/usr/bin/env python3
"""mkdisk.py OUT --boot BOOT.IMG --core CORE.IMG PARTITION...: a BIOS-bootable MBR disk, written by hand.

PARTITION is FILE (its content, rounded up to 1 MiB) or a number of empty MiB. No loop device, no mount and no root are
needed: GRUB's boot.img and core.img are placed as grub-bios-setup does, core.img in the gap before the first
partition. Runs of zeros stay holes in OUT.
Source: GRUB's boot.S and diskboot.S (offsets 0x5c, 0x66, 0x1f4).
"""
import argparse
import os
import struct
import sys

SECTOR = 512
MIB = 1 << 20
FIRST_LBA = MIB // SECTOR      # partitions start on MiB borders
CORE_LBA = 1                   # directly behind the MBR
KERNEL_SECTOR = 0x5C           # boot.img: where core.img starts
DRIVE_CHECK = 0x66             # boot.img: a jump that floppies need; hard disks take two NOPs
BLOCK_LIST = SECTOR - 12       # core.img: start, length and segment of its remaining sectors
DISK_ID = 0x67647774           # fixed: the same inputs give the same image


def place_partitions(specs):
    """Yield (first sector, sector count, file or None) for each partition."""
    lba = FIRST_LBA
    for spec in specs:
        source = None if spec.isdigit() else spec
        size = int(spec) * MIB if source is None else os.path.getsize(source)
        sectors = -(-size // MIB) * FIRST_LBA
        yield lba, sectors, source
        lba += sectors


def master_boot_record(boot, partitions):
    mbr = bytearray(boot[:440].ljust(SECTOR, b"\0"))
    struct.pack_into("<Q", mbr, KERNEL_SECTOR, CORE_LBA)
    mbr[DRIVE_CHECK:DRIVE_CHECK + 2] = b"\x90\x90"
    struct.pack_into("<I", mbr, 440, DISK_ID)
    for number, (lba, sectors, _) in enumerate(partitions):
        struct.pack_into("<B3sB3sII", mbr, 446 + 16 * number, 0x80 if number == 0 else 0, b"\xfe\xff\xff", 0x83,
                         b"\xfe\xff\xff", lba, sectors)
    mbr[510:512] = b"\x55\xaa"
    return mbr


def place_core(core):
    core = bytearray(core)
    rest = -(-len(core) // SECTOR) - 1
    if CORE_LBA + 1 + rest > FIRST_LBA:
        sys.exit(f"mkdisk.py: core.img has {len(core)} bytes, more than the gap before the first partition")
    struct.pack_into("<QHH", core, BLOCK_LIST, CORE_LBA + 1, rest, 0x820)
    return core


def copy_sparse(out, source, offset):
    with open(source, "rb") as file:
        while chunk := file.read(64 * 1024):
            if chunk.count(0) != len(chunk):
                out.seek(offset)
                out.write(chunk)
            offset += len(chunk)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("out")
    parser.add_argument("--boot", required=True)
    parser.add_argument("--core", required=True)
    parser.add_argument("partition", nargs="+")
    args = parser.parse_args()
    if len(args.partition) > 4:
        parser.error("an MBR holds four partitions")

    partitions = list(place_partitions(args.partition))
    with open(args.boot, "rb") as file:
        mbr = master_boot_record(file.read(), partitions)
    with open(args.core, "rb") as file:
        core = place_core(file.read())
    with open(args.out, "wb") as out:
        out.truncate((partitions[-1][0] + partitions[-1][1]) * SECTOR)
        out.write(mbr)
        out.seek(CORE_LBA * SECTOR)
        out.write(core)
        for lba, _, source in partitions:
            if source:
                copy_sparse(out, source, lba * SECTOR)


if __name__ == "__main__":
    main()
