#!/usr/bin/env python3
"""A TCP relay that can hold uploads: hold_upload.py PORT TO-PORT HOLD

Relays 127.0.0.1:PORT to 127.0.0.1:TO-PORT. While the file HOLD exists, requests end after SMALL bytes: what is larger is
chunks on their way to the server, and the rest of it waits until HOLD is gone. HOLD can name a number of bytes that
get through nevertheless, of all large requests together. The line "held" is added to it when the first one stands.
"""
import os
import socket
import sys
import threading

SMALL = 64 * 1024  # a question for chunks has 32 KiB; heartbeats, reports and polls have less


class Gate:
    def __init__(self, hold):
        self.hold = hold
        self.lock = threading.Lock()
        self.passed = 0  # bytes of large requests since the file is there

    def wait(self, size):
        """Before @size bytes of a large request go on."""
        with self.lock:
            try:
                with open(self.hold, "r+", encoding="ascii") as f:
                    words = f.read().split()
                    self.passed += size
                    if self.passed <= int(words[0] if words else 0):
                        return
                    if "held" not in words:
                        f.write("0 held\n" if not words else "held\n")
            except FileNotFoundError:
                self.passed = 0
                return
        while os.path.exists(self.hold):
            threading.Event().wait(0.02)


class Connection:
    def __init__(self, gate, client, server):
        self.gate, self.client, self.server = gate, client, server
        self.said = 0  # bytes since the server's last word: the request's so far

    def forth(self):
        try:
            while data := self.client.recv(16384):
                self.said += len(data)
                if self.said > SMALL:
                    self.gate.wait(len(data))
                self.server.sendall(data)
            self.server.shutdown(socket.SHUT_WR)
        except OSError:
            pass

    def back(self):
        try:
            while data := self.server.recv(65536):
                self.said = 0
                self.client.sendall(data)
        except OSError:
            pass
        self.end(self.client)
        self.end(self.server)

    @staticmethod
    def end(sock):
        try:
            sock.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass


def main(port, to_port, hold):
    gate = Gate(hold)
    listener = socket.create_server(("127.0.0.1", port), backlog=256)
    while True:
        client, _ = listener.accept()
        try:
            server = socket.create_connection(("127.0.0.1", to_port))
        except OSError:
            client.close()
            continue
        for end in client, server:
            end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection = Connection(gate, client, server)
        threading.Thread(target=connection.forth, daemon=True).start()
        threading.Thread(target=connection.back, daemon=True).start()


main(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3])
