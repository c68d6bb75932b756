"""IPv4 packets as an attacker on the Internet would make them: any source address, any content.

    datagram.py tunnel --source S --destination D --encapsulation vxlan|gre|geneve --id N --tags SRC,DST [--cut N]
    datagram.py replay FILE --source S [--flip N]   every packet of a capture again, its outer source changed, and a bit of byte N
    datagram.py udp --source S --destination D --port N --text T
"""

import argparse
import ipaddress
import socket
import struct
import sys


def checksum(data):
    if len(data) % 2:
        data += b"\0"
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    total = (total & 0xFFFF) + (total >> 16)
    return ~((total & 0xFFFF) + (total >> 16)) & 0xFFFF


def ipv4(source, destination, protocol, payload, ttl=64):
    head = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(payload), 0, 0x4000, ttl, protocol, 0)
    head += ipaddress.IPv4Address(source).packed + ipaddress.IPv4Address(destination).packed
    return head[:10] + struct.pack("!H", checksum(head)) + head[12:] + payload


def udp(source_port, port, payload):
    return struct.pack("!HHHH", source_port, port, 8 + len(payload), 0) + payload


def echo_request():
    head = struct.pack("!BBHHH", 8, 0, 0, 0x1234, 1) + b"abcdefgh"
    return head[:2] + struct.pack("!H", checksum(head)) + head[4:]


def tunnelled(kind, number, frame):
    if kind == "vxlan":
        return 17, udp(50000, 4789, struct.pack("!II", 0x08000000, number << 8) + frame)
    if kind == "geneve":
        return 17, udp(50000, 6081, struct.pack("!HHI", 0, 0x6558, number << 8) + frame)
    return 47, struct.pack("!HHI", 0x2000, 0x6558, number) + frame


def send(packets):
    out = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW)
    for packet in packets:
        out.sendto(packet, (str(ipaddress.IPv4Address(packet[16:20])), 0))
    print(len(packets), "sent")


def captured(path):
    """The IPv4 packets of a classic pcap of an Ethernet interface."""
    data = open(path, "rb").read()
    at = 24
    while at + 16 <= len(data):
        length = struct.unpack("<I", data[at + 8 : at + 12])[0]
        frame = data[at + 16 : at + 16 + length]
        at += 16 + length
        if frame[12:14] == b"\x08\x00":
            yield frame[14:]


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("what", choices=["tunnel", "replay", "udp"])
    parser.add_argument("file", nargs="?")
    parser.add_argument("--source", required=True)
    parser.add_argument("--destination")
    parser.add_argument("--encapsulation", default="vxlan")
    parser.add_argument("--id", type=int, default=0)
    parser.add_argument("--tags", default="1.2.3.4,5.6.7.8")
    parser.add_argument("--cut", type=int)
    parser.add_argument("--port", type=int)
    parser.add_argument("--text", default="")
    parser.add_argument("--count", type=int, default=1)
    parser.add_argument("--flip", type=int)
    given = parser.parse_args()
    if given.what == "replay":
        packets = []
        for packet in captured(given.file):
            head = packet[:10] + b"\0\0" + ipaddress.IPv4Address(given.source).packed + packet[16:20]
            packet = bytearray(head[:10] + struct.pack("!H", checksum(head)) + head[12:] + packet[20:])
            if given.flip is not None:
                packet[given.flip] ^= 1
            packets.append(bytes(packet))
        if not packets:
            sys.exit("no packet in the capture")
    elif given.what == "tunnel":
        source, destination = given.tags.split(",")
        frame = bytes(12) + b"\x08\x00" + ipv4(source, destination, 1, echo_request())
        protocol, payload = tunnelled(given.encapsulation, given.id, frame)
        if given.cut is not None:
            # The outer lengths stay true: it is the tunnel's own headers that end early.
            payload = payload[: given.cut]
            if protocol == 17 and len(payload) >= 8:
                payload = payload[:4] + struct.pack("!H", len(payload)) + payload[6:]
        packets = [ipv4(given.source, given.destination, protocol, payload)]
    else:
        packets = [ipv4(given.source, given.destination, 17, udp(40000, given.port, given.text.encode()))]
    send(packets * given.count)


if __name__ == "__main__":
    main()
