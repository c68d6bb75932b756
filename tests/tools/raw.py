"""Packets of an IP protocol without ports, from one kernel to another.

    raw.py receive PROTOCOL                       prints whom the first one is from; waits 8 s at most
    raw.py send PROTOCOL SOURCE DESTINATION       sends some
"""

import socket
import sys
import time

what, protocol = sys.argv[1], int(sys.argv[2])
raw = socket.socket(socket.AF_INET, socket.SOCK_RAW, protocol)
if what == "receive":
    raw.settimeout(8)
    try:
        print("ready", flush=True)
        print(raw.recvfrom(2000)[1][0])
    except OSError:
        print("nothing came")
else:
    raw.bind((sys.argv[3], 0))
    for _ in range(5):
        # A hello of OSPF, as far as its header goes.
        raw.sendto(bytes([2, 1, 0, 44]) + bytes(40), (sys.argv[4], 0))
        time.sleep(0.3)
