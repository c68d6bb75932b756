"""Queries that nobody should send, over UDP and TCP. Whether the server still answers proper ones is for the caller to see."""

import socket
import struct
import sys

server = sys.argv[1]
HEAD = struct.pack("!HHHHHH", 0x1234, 0x0100, 1, 0, 0, 0)
NAME = b"\3www\1b\4demo\0"
QUESTION = NAME + struct.pack("!HH", 35, 1)
BAD = [
    b"", b"\0", HEAD, HEAD[:11], HEAD + b"\xc0\x0c" + QUESTION[-4:], HEAD + b"\xc0\x0e\xc0\x0c" + QUESTION[-4:],
    HEAD + b"\x3f" + b"a" * 20, HEAD + (b"\x3f" + b"a" * 63) * 5 + b"\0" + QUESTION[-4:], HEAD + NAME,
    HEAD[:4] + struct.pack("!H", 65535) + HEAD[6:] + QUESTION, HEAD[:4] + struct.pack("!H", 40) + HEAD[6:] + QUESTION * 40,
    HEAD[:6] + struct.pack("!HHH", 9, 9, 9) + QUESTION, HEAD[:2] + b"\x81\x80" + HEAD[4:] + QUESTION,
    HEAD[:2] + b"\x28\x00" + HEAD[4:] + QUESTION, HEAD + QUESTION[:-2] + b"\0\3", HEAD + QUESTION + b"\xff" * 900,
    HEAD[:10] + b"\0\1" + QUESTION + b"\0" + struct.pack("!HHIH", 41, 4096, 0, 60000),
    HEAD[:10] + b"\0\2" + QUESTION + (b"\0" + struct.pack("!HHIH", 41, 4096, 0, 0)) * 2,
    bytes(range(256)) * 5, b"\xff" * 1400,
]

udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
for message in BAD:
    udp.sendto(message, (server, 53))
for message in BAD:
    tcp = socket.create_connection((server, 53), 10)
    tcp.settimeout(0.2)
    try:
        tcp.sendall(struct.pack("!H", len(message)) + message)
        tcp.recv(65536)
        tcp.sendall(b"\xff\xff" + message)
        tcp.recv(65536)
    except OSError:
        pass
    tcp.close()
