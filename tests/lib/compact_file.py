#!/usr/bin/env python3
"""compact_file.py FILE TARGET ALGORITHM [damaged]: FILE as Windows' CompactOS keeps it, at TARGET on a volume that ntfs-3g mounted.

TARGET becomes a file of FILE's size without data, with the compressed chunks in its stream WofCompressedData and a
reparse point that says so ([MS-FSCC] 2.1.2, IO_REPARSE_TAG_WOF; provider 2: chunks in a stream of the same file).
The stream: the end offsets of all chunks but the last, 32 bits each, then the chunks; one that does not shrink is plain.
ALGORITHM: xpress4k, lzx, xpress8k, xpress16k. damaged: 4000 bytes in the middle of the stream are 0xff.
"""
import ctypes
import os
import struct
import sys

WOF_TAG = 0x80000017
ALGORITHMS = {  # name: its number in the reparse point, libwim's compression type, bytes per chunk
    "xpress4k": (0, 1, 4096),
    "lzx": (1, 2, 32768),
    "xpress8k": (2, 1, 8192),
    "xpress16k": (3, 1, 16384),
}


def compress(data, kind, chunk_len):
    wim = ctypes.CDLL("libwim.so.15")
    wim.wimlib_compress.restype = ctypes.c_size_t
    compressor = ctypes.c_void_p()
    if wim.wimlib_create_compressor(kind, ctypes.c_size_t(chunk_len), 0, ctypes.byref(compressor)):
        sys.exit("compact_file.py: libwim has no such compressor")
    ends, packed = [], b""
    for at in range(0, len(data), chunk_len):
        chunk = data[at:at + chunk_len]
        out = ctypes.create_string_buffer(chunk_len)
        n = wim.wimlib_compress(chunk, ctypes.c_size_t(len(chunk)), out, ctypes.c_size_t(len(chunk) - 1), compressor)
        packed += out.raw[:n] if n else chunk
        ends.append(len(packed))
    return b"".join(struct.pack("<I", end) for end in ends[:-1]) + packed


def main():
    source, target, name = sys.argv[1:4]
    number, kind, chunk_len = ALGORITHMS[name]
    with open(source, "rb") as f:
        data = f.read()
    with open(target, "wb") as f:
        f.truncate(len(data))
    with open(target + ":WofCompressedData", "wb") as f:
        stream = compress(data, kind, chunk_len)
        if sys.argv[4:] == ["damaged"]:
            middle = len(stream) // 2
            stream = stream[:middle] + b"\xff" * 4000 + stream[middle + 4000:]
        f.write(stream)
    provider = struct.pack("<IIII", 1, 2, 1, number)
    os.setxattr(target, "system.ntfs_reparse_data", struct.pack("<IHH", WOF_TAG, len(provider), 0) + provider, follow_symlinks=False)


main()
