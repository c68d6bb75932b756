"""A time server (RFC 5905 §7.3, mode 4) that answers with this machine's clock: ntp.py ADDRESS"""

import socket
import struct
import sys
import time

EPOCH = 2208988800  # seconds from 1900 to 1970


def stamp(seconds):
    return struct.pack("!II", int(seconds) + EPOCH, int(seconds % 1 * 2**32))


sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
sock.bind((sys.argv[1], 123))
while True:
    request, where = sock.recvfrom(100)
    received = stamp(time.time())
    if len(request) >= 48 and request[0] & 7 == 3:
        head = struct.pack("!BBbb", 0x24, 1, request[2], -20) + bytes(8) + b"LOCL"
        sock.sendto(head + received + request[40:48] + received + stamp(time.time()), where)
