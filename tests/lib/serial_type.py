#!/usr/bin/env python3
"""serial_type.py SOCKET TEXT: type TEXT and a newline on a serial console that listens on a unix socket."""
import os
import socket
import sys
import time


def main():
    path, text = sys.argv[1:]
    # Deep state folders do not fit into a socket address: go there.
    os.chdir(os.path.dirname(path) or ".")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as console:
        console.settimeout(10)
        console.connect(os.path.basename(path))
        # A 16550 has a FIFO of 16 bytes and no flow control; a person types slower, too.
        for start in range(0, len(text) + 1, 8):
            console.sendall((text + "\n")[start:start + 8].encode())
            time.sleep(0.02)


if __name__ == "__main__":
    main()
