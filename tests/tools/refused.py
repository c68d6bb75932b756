"""Sends a UDP datagram to a port where nobody listens; says what the kernel learnt from the ICMP error."""

import socket
import sys

connection = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
connection.settimeout(5)
connection.connect((sys.argv[1], int(sys.argv[2])))
for _ in range(3):
    try:
        connection.send(b"anybody?")
        connection.recv(100)
    except ConnectionRefusedError:
        sys.exit(print("refused"))
    except TimeoutError:
        pass
sys.exit("nothing came back")
