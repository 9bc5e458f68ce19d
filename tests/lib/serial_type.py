#!/usr/bin/env python3
"""serial_type.py SOCKET TEXT: type TEXT and a newline on a serial console that listens on a unix socket.

Ends when the emulator has taken all of it. What is still unread when we hang up would be lost: a slow guest's 16-byte
FIFO takes its time.
"""
import fcntl
import os
import socket
import struct
import sys
import termios
import time

LIMIT_S = 60


def unread(console):
    """Bytes that the other side has not read yet (SIOCOUTQ, unix(7))."""
    return struct.unpack("i", fcntl.ioctl(console, termios.TIOCOUTQ, struct.pack("i", 0)))[0]


def main():
    path, text = sys.argv[1:]
    # Deep state folders do not fit into a socket address: go there.
    os.chdir(os.path.dirname(path) or ".")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as console:
        console.settimeout(LIMIT_S)
        console.connect(os.path.basename(path))
        console.sendall((text + "\n").encode())
        end = time.monotonic() + LIMIT_S
        while unread(console) > 0:
            if time.monotonic() > end:
                sys.exit(f"serial_type.py: the guest behind {path} does not read what is typed")
            # What the guest prints meanwhile is in its log; left here it would block the emulator's writes.
            try:
                console.recv(65536, socket.MSG_DONTWAIT)
            except BlockingIOError:
                time.sleep(0.01)


if __name__ == "__main__":
    main()
