"""Hole punching between two hosts behind gateways (RFC 5128 §3.3, §3.4), with a rendezvous server that both can reach.

    punch.py server ADDRESS                    tells each of two peers under which address the other is seen; UDP, TCP port 7000
    punch.py peer SERVER NAME udp|tcp          prints what the other peer said, and from where
"""

import socket
import sys
import threading
import time

PORT = 7000


def serve_udp(address):
    peers = {}
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.bind((address, PORT))
    while True:
        name, where = sock.recvfrom(100)
        peers[name] = where
        for own, other in ((a, b) for a in peers for b in peers if a != b):
            sock.sendto("{} {}".format(*peers[other]).encode(), peers[own])


def serve_tcp(address):
    sock = socket.create_server((address, PORT))
    while True:
        both = [sock.accept() for _ in range(2)]
        for (conn, _), (_, other) in zip(both, reversed(both)):
            conn.sendall("{} {}".format(*other).encode())
            conn.close()


def told(text):
    address, port = text.decode().split()
    return address, int(port)


def udp(server, name):
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.settimeout(0.2)
    other = heard = None
    for _ in range(100):
        sock.sendto(name.encode(), (server, PORT))
        if other:
            sock.sendto(f"I am {name}".encode(), other)
        try:
            text, where = sock.recvfrom(100)
        except socket.timeout:
            if heard:
                break
            continue
        if where == (server, PORT):
            other = told(text)
        else:
            heard = f"{text.decode()} at {where[0]}"
    print(heard)


def tcp(server, name):
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    sock.connect((server, PORT))
    port = sock.getsockname()[1]
    other = told(sock.recv(100))
    for _ in range(100):
        punch = socket.socket()
        punch.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        punch.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        punch.bind(("0.0.0.0", port))
        punch.settimeout(5)
        try:
            punch.connect(other)
        except OSError:
            punch.close()
            time.sleep(0.1)
            continue
        punch.sendall(f"I am {name}".encode())
        print(punch.recv(100).decode(), "at", punch.getpeername()[0])
        return
    print(None)


if sys.argv[1] == "server":
    threading.Thread(target=serve_tcp, args=(sys.argv[2],), daemon=True).start()
    serve_udp(sys.argv[2])
else:
    {"udp": udp, "tcp": tcp}[sys.argv[4]](sys.argv[2], sys.argv[3])
