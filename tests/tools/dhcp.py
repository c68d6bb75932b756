"""What any station on the link can say in a DHCP client's name, in a frame of its own.

    dhcp.py KIND INTERFACE --server S [--identifier HEX] [--mac CHADDR] [--has A] [--wants A]

KIND is that of option 53: 3 REQUEST, 4 DECLINE, 7 RELEASE.
"""

import argparse
import ipaddress
import socket
import struct

from datagram import ipv4, udp

parser = argparse.ArgumentParser()
parser.add_argument("kind", type=int)
parser.add_argument("interface")
parser.add_argument("--server", required=True)
parser.add_argument("--identifier", default="")
parser.add_argument("--mac")
parser.add_argument("--has", default="0.0.0.0")
parser.add_argument("--wants")
said = parser.parse_args()


def option(code, value):
    return bytes([code, len(value)]) + value


link = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
link.bind((said.interface, 0))
own = link.getsockname()[4]
client = bytes.fromhex(said.mac.replace(":", "")) if said.mac else own
head = struct.pack("!BBBBIHH", 1, 1, 6, 0, 7, 0, 0) + ipaddress.IPv4Address(said.has).packed + bytes(12)
message = head + client + bytes(10 + 192) + bytes([99, 130, 83, 99]) + option(53, bytes([said.kind]))
if said.identifier:
    message += option(61, bytes.fromhex(said.identifier))
if said.wants:
    message += option(50, ipaddress.IPv4Address(said.wants).packed)
if said.kind != 3:
    message += option(54, ipaddress.IPv4Address(said.server).packed)
message += b"\xff" + bytes(60)
packet = ipv4("0.0.0.0", "255.255.255.255", 17, udp(68, 67, message))
link.send(b"\xff" * 6 + own + b"\x08\x00" + packet)
