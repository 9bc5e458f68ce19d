#!/usr/bin/env python3
"""Requests that no decent client would send, byte by byte over TLS.

  raw_https.py send HOST:PORT CA            stdin is sent as it is ("\\n" becomes CRLF); prints the status lines of what
                                            comes back and then "closed", or "open" if nothing came for 3 s
  raw_https.py trickle HOST:PORT CA SECONDS one byte every 0.2 s of an endless header; prints the seconds until it was cut
  raw_https.py body HOST:PORT CA SECONDS    a login whose body trickles in the same way
  raw_https.py idle HOST:PORT COUNT SECONDS so many connections that never say anything
  raw_https.py enrol HOST:PORT CA TOKEN CSR DIR COUNT   make the endpoints p1, p2 …, all with the key of that request
  raw_https.py parked HOST:PORT CA DIR COUNT SECONDS   a long poll each for the endpoints p1, p2 … (DIR/pN.pem, all with
                                            the key DIR/p.key); prints how many were answered with 200, how long the
                                            first and the last took
"""
import http.client
import json
import socket
import ssl
import sys
import threading
import time


def connect(where, ca, cert=None, key=None):
    context = ssl.create_default_context(cafile=ca)
    if cert:
        context.load_cert_chain(cert, key)
    host, port = where.rsplit(":", 1)
    return context.wrap_socket(socket.create_connection((host, int(port)), 60), server_hostname=host)


def send(where, ca):
    s = connect(where, ca)
    s.sendall(sys.stdin.buffer.read().replace(b"\n", b"\r\n"))
    s.settimeout(60)
    got, end = b"", "open"
    try:
        while True:
            piece = s.recv(65536)
            if not piece:
                end = "closed"
                break
            got += piece
    except socket.timeout:
        pass
    except OSError:
        end = "closed"
    for line in got.split(b"\r\n"):
        if b"HTTP/1." in line:
            print(line[line.index(b"HTTP/1."):].decode())
    print(end)


def trickle(where, ca, seconds, first):
    s = connect(where, ca)
    begin = time.monotonic()
    s.sendall(first)
    while time.monotonic() - begin < seconds:
        try:
            s.sendall(b"a")
            s.settimeout(0.2)
            if s.recv(100) == b"":
                break
        except socket.timeout:
            continue
        except OSError:
            break
    else:
        print("never")
        return
    print("%.1f" % (time.monotonic() - begin))


def idle(where, count, seconds):
    host, port = where.rsplit(":", 1)
    held = [socket.create_connection((host, int(port))) for _ in range(count)]
    time.sleep(seconds)
    return held


def enrol(where, ca, token, csr, folder, count):
    host, port = where.rsplit(":", 1)
    c = http.client.HTTPSConnection(host, int(port), context=ssl.create_default_context(cafile=ca))
    with open(csr, encoding="ascii") as f:
        request = f.read()

    def post(path, body):
        c.request("POST", path, json.dumps(body), {"Authorization": "Bearer " + token})
        return json.load(c.getresponse())

    for i in range(1, count + 1):
        secret = post("/api/v1/endpoint-tokens", {})["token"].split("-")[1]
        answer = post("/api/v1/enrol", {"secret": secret, "name": "p%d" % i, "request_pem": request})
        with open("%s/p%d.pem" % (folder, i), "w", encoding="ascii") as f:
            f.write(answer["certificate_pem"])


def parked(where, ca, folder, count, seconds):
    results, lock = [], threading.Lock()

    def poll(i):
        status = b""
        try:
            s = connect(where, ca, "%s/p%d.pem" % (folder, i), folder + "/p.key")
            s.settimeout(seconds + 120)
            s.sendall(b"GET /agent/v1/work?wait_ms=%d HTTP/1.1\r\nHost: x\r\n\r\n" % (seconds * 1000))
            status = s.recv(4096)
        except OSError as e:
            status = str(e).encode()
        with lock:
            results.append((status[9:12], time.monotonic()))

    begin = time.monotonic()
    threads = [threading.Thread(target=poll, args=(i,)) for i in range(1, count + 1)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    print(sum(r[0] == b"200" for r in results), *("%.1f" % (f(r[1] for r in results) - begin) for f in (min, max)))


if __name__ == "__main__":
    what, args = sys.argv[1], sys.argv[2:]
    if what == "send":
        send(*args)
    elif what == "trickle":
        trickle(args[0], args[1], float(args[2]), b"GET / HTTP/1.1\r\nX-Long: ")
    elif what == "body":
        trickle(args[0], args[1], float(args[2]),
                b"POST /api/v1/login HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n")
    elif what == "idle":
        idle(args[0], int(args[1]), float(args[2]))
    elif what == "enrol":
        enrol(*args[:5], int(args[5]))
    else:
        parked(*args[:3], int(args[3]), float(args[4]))
