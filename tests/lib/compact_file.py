#!/usr/bin/env python3
"""compact_file.py FILE TARGET ALGORITHM [HOW]: FILE as Windows' CompactOS keeps it, at TARGET on a volume that ntfs-3g mounted.

TARGET becomes a file of FILE's size without data, with the compressed chunks in its stream WofCompressedData and a
reparse point that says so ([MS-FSCC] 2.1.2, IO_REPARSE_TAG_WOF; provider 2: chunks in a stream of the same file).
The stream: the end offsets of all chunks but the last, 32 bits each, then the chunks; one that does not shrink is plain.
ALGORITHM: xpress4k, lzx, xpress8k, xpress16k. HOW, for tests of readers:
    fragmented  on a small volume: another file's data lies between each two sectors of the stream
    damaged     a chunk in the middle is 0xff, table and all the others are right
    outside     the first chunk ends far behind the stream
    backwards   the second chunk ends before it begins
    short       the stream ends within its table
    streamless  there is no stream
    wim         the reparse point says that the contents are in a WIM image (provider 1)
    unknown     ... that the algorithm is one nobody knows
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
FRAGMENT = 512


def chunks_of(data, kind, chunk_len):
    wim = ctypes.CDLL("libwim.so.15")
    wim.wimlib_compress.restype = ctypes.c_size_t
    compressor = ctypes.c_void_p()
    if wim.wimlib_create_compressor(kind, ctypes.c_size_t(chunk_len), 0, ctypes.byref(compressor)):
        sys.exit("compact_file.py: libwim has no such compressor")
    for at in range(0, len(data), chunk_len):
        chunk = data[at:at + chunk_len]
        out = ctypes.create_string_buffer(chunk_len)
        n = wim.wimlib_compress(chunk, ctypes.c_size_t(len(chunk)), out, ctypes.c_size_t(len(chunk) - 1), compressor)
        yield out.raw[:n] if n else chunk


def stream_of(chunks, how):
    if how == "damaged":
        chunks[len(chunks) // 2] = b"\xff" * len(chunks[len(chunks) // 2])
    ends = [sum(len(c) for c in chunks[:i + 1]) for i in range(len(chunks) - 1)]
    if how == "outside":
        ends[0] = 0x7fffffff
    if how == "backwards":
        ends[1] = 1
    table = b"".join(struct.pack("<I", end) for end in ends)
    return table[:-1] if how == "short" else table + b"".join(chunks)


def write_fragmented(path, between, stream):
    for at in range(0, len(stream), FRAGMENT):
        for name, data in ((path, stream[at:at + FRAGMENT]), (between, b"\xaa" * FRAGMENT)):
            with open(name, "ab") as f:
                f.write(data)


def main():
    source, target, name = sys.argv[1:4]
    how = sys.argv[4] if sys.argv[4:] else "sound"
    number, kind, chunk_len = ALGORITHMS[name]
    with open(source, "rb") as f:
        data = f.read()
    with open(target, "wb") as f:
        f.truncate(len(data))
    stream = stream_of(list(chunks_of(data, kind, chunk_len)), how)
    if how == "fragmented":
        write_fragmented(target + ":WofCompressedData", target + "-between", stream)
    elif how != "streamless":
        with open(target + ":WofCompressedData", "wb") as f:
            f.write(stream)
    provider = struct.pack("<IIII", 1, 1 if how == "wim" else 2, 1, 9 if how == "unknown" else number)
    os.setxattr(target, "system.ntfs_reparse_data", struct.pack("<IHH", WOF_TAG, len(provider), 0) + provider, follow_symlinks=False)


main()
