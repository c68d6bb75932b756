"""Connects by TCP and says the largest segment that the two ends agreed on."""

import socket
import sys

connection = socket.create_connection((sys.argv[1], int(sys.argv[2])), 10)
print(connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG))
