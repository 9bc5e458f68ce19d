#!/usr/bin/env python3
"""A TCP relay that can lose an answer: lose_answer.py PORT TO-PORT HOLD

Relays 127.0.0.1:PORT to 127.0.0.1:TO-PORT. A connection that begins while the file HOLD exists gets through its TLS
handshake and its request, but nothing of what the server says after that; when HOLD is gone, it is reset.
"""
import os
import socket
import struct
import sys
import threading

APPLICATION_DATA = 23  # a TLS record's type (RFC 8446, 5.1); a TLS 1.3 client's first is the end of its handshake


def records(stream):
    """Whole TLS records, until the end."""
    while True:
        head = stream.read(5)
        if len(head) < 5:
            return
        yield head[0], head + stream.read(struct.unpack(">H", head[3:])[0])


def relay(source, sink, held):
    """From the client: notes in the event `held`, if there is one, when the handshake is over."""
    try:
        for kind, record in records(source.makefile("rb")):
            if held and kind == APPLICATION_DATA:
                held.set()
            sink.sendall(record)
        sink.shutdown(socket.SHUT_WR)
    except OSError:
        pass


def back(source, sink, held):
    try:
        while data := source.recv(65536):
            if not (held and held.is_set()):
                sink.sendall(data)
        sink.shutdown(socket.SHUT_WR)
    except OSError:
        pass


def reset(client, gone):
    while os.path.exists(gone):
        threading.Event().wait(0.05)
    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    client.shutdown(socket.SHUT_RDWR)
    client.close()


def main(port, to_port, hold):
    listener = socket.create_server(("127.0.0.1", port))
    while True:
        client, _ = listener.accept()
        server = socket.create_connection(("127.0.0.1", to_port))
        held = threading.Event() if os.path.exists(hold) else None
        threading.Thread(target=relay, args=(client, server, held), daemon=True).start()
        threading.Thread(target=back, args=(server, client, held), daemon=True).start()
        if held:
            threading.Thread(target=reset, args=(client, hold), daemon=True).start()


main(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3])
