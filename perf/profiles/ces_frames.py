#!/usr/bin/env python3
"""The packets of a gateway's bindings, as other generators than cesload need them: the same that cesload's streams with
[stream.ces] send, header by header.

    ces_frames.py --bindings FILE --direction egress|ingress [--size 64 | --sizes imix-simple] --pcap FILE
                  [--source-mac MAC] [--destination-mac MAC] [--frames N] [--seed N]

--bindings is what `cesctl --json show bindings` prints. Egress are the hosts' packets to their proxy addresses; ingress are
tunnel packets with valid tags. Sizes are those of Ethernet frames with their FCS; in a tunnel, of the frame inside it.

The payload is zeroes: no signature of cesload is in it, since loss and delay are for the generator at hand to measure.
Nothing but Python's own library is needed; the profiles for TRex import this file.
"""

import argparse
import ipaddress
import json
import random
import struct
import sys
from collections import namedtuple

FCS = 4
ETHERNET = 14
IPV4 = 20
UDP = 8
TUNNEL = 8  # VXLAN, GENEVE without options, GRE with a key: each has 8 bytes
FRAME_MIN = 64

# The mixes that `cesload sizes` names: frame size with FCS, weight.
SIZES = {
    "imix-simple": [(64, 7), (594, 4), (1518, 1)],
    "imix-csit": [(64, 28), (570, 16), (1518, 4)],
    "imix-rfc2544": [(64, 1), (128, 1), (256, 1), (512, 1), (1024, 1), (1280, 1), (1518, 1)],
}
VXLAN_PORT = 4789  # RFC 7348 section 5
GENEVE_PORT = 6081  # RFC 8926 section 3.3
DYNAMIC_PORTS = 0xC000  # source ports of tunnel packets (RFC 7348 section 5)
SOURCE_PORT = 1024
DISCARD = 9  # RFC 863
NO_MAC = bytes(6)

Tunnel = namedtuple("Tunnel", "encapsulation local remote id_in")
Binding = namedtuple("Binding", "host proxy tag remote_tag tunnel")
# Frames that are equal but for two addresses and, in a tunnel, its source port: one buffer, where its hosts' packet
# begins, and the pairs of addresses that are to be written there in turn.
Group = namedtuple("Group", "name frame ip pairs")


class Wrong(Exception):
    """A file or an argument that cannot be used, with the reason."""


def checksum(data):
    """RFC 1071."""
    if len(data) % 2:
        data += b"\0"
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def read_bindings(path):
    """The bindings with a tunnel that carry UDP. Raises Wrong."""
    try:
        with open(path, encoding="utf-8") as file:
            listed = json.load(file)
    except (OSError, ValueError) as error:
        raise Wrong(f"{path}: {error}") from error
    bindings = []
    try:
        for number, one in enumerate(listed):
            if one.get("tunnel") is None or one.get("protocol") not in (None, 17) or one.get("port"):
                continue
            tunnel = one["tunnel"]
            if tunnel["encapsulation"] not in ("vxlan", "geneve", "gre"):
                raise Wrong(f"{path}: binding {number}: encapsulation {tunnel['encapsulation']!r} is not known")
            bindings.append(Binding(
                ipaddress.IPv4Address(one["host"]).packed,
                ipaddress.IPv4Address(one["proxy"]).packed,
                struct.pack("!I", one["tag"]),
                struct.pack("!I", one["remote_tag"]),
                Tunnel(
                    tunnel["encapsulation"],
                    ipaddress.IPv4Address(tunnel["local"]).packed,
                    ipaddress.IPv4Address(tunnel["remote"]).packed,
                    int(tunnel["id_in"]),
                ),
            ))
    except (AttributeError, KeyError, TypeError, ValueError, struct.error) as error:
        raise Wrong(f"{path} is not what `cesctl --json show bindings` prints: {error!r}") from error
    if not bindings:
        raise Wrong(f"{path} has no binding with a tunnel that carries UDP")
    return bindings


def sizes_of(size, sizes):
    """The mix as a list of (size, weight). Raises Wrong."""
    if sizes is not None:
        if sizes not in SIZES:
            raise Wrong(f"there is no mix {sizes!r}; there are: {', '.join(SIZES)}")
        return SIZES[sizes]
    if not FRAME_MIN <= size <= 1518:
        raise Wrong(f"size {size}: {FRAME_MIN} to 1518 bytes were expected, the FCS included")
    return [(size, 1)]


def ipv4(source, destination, protocol, payload):
    head = struct.pack("!BBHHHBBH", 0x45, 0, IPV4 + len(payload), 0, 0x4000, 64, protocol, 0) + source + destination
    return head[:10] + struct.pack("!H", checksum(head)) + head[12:] + payload


def hosts_packet(source, destination, size):
    """A UDP datagram between two hosts that fills a frame of `size` bytes."""
    length = size - FCS - ETHERNET - IPV4
    udp = struct.pack("!HHHH", SOURCE_PORT, DISCARD, length, 0) + bytes(length - UDP)
    pseudo = source + destination + struct.pack("!BBH", 0, 17, length)  # RFC 768
    udp = udp[:6] + struct.pack("!H", checksum(pseudo + udp) or 0xFFFF) + udp[8:]
    return ipv4(source, destination, 17, udp)


def tunnel_packet(tunnel, port, packet):
    """The packet in the tunnel towards the gateway, and where it begins in it."""
    inner = NO_MAC + NO_MAC + b"\x08\x00" + packet
    if tunnel.encapsulation == "gre":  # RFC 2890: with a key
        body = struct.pack("!HHI", 0x2000, 0x6558, tunnel.id_in) + inner
        return ipv4(tunnel.remote, tunnel.local, 47, body), IPV4 + TUNNEL + ETHERNET
    if tunnel.encapsulation == "vxlan":
        header, destination = struct.pack("!II", 0x08000000, tunnel.id_in << 8), VXLAN_PORT
    else:
        header, destination = struct.pack("!HHI", 0, 0x6558, tunnel.id_in << 8), GENEVE_PORT
    body = header + inner
    udp = struct.pack("!HHHH", port, destination, UDP + len(body), 0) + body
    return ipv4(tunnel.remote, tunnel.local, 17, udp), IPV4 + UDP + TUNNEL + ETHERNET


def addresses(binding, direction):
    """Source and destination of the hosts' packet of a binding."""
    if direction == "egress":
        return binding.host, binding.proxy
    return binding.remote_tag, binding.tag


def frame(binding, direction, size, macs=(NO_MAC, NO_MAC)):
    """One frame without its FCS, and where its hosts' packet begins."""
    source, destination = addresses(binding, direction)
    packet, at = hosts_packet(source, destination, size), 0
    if direction == "ingress":
        port = (SOURCE_PORT ^ int.from_bytes(source[2:], "big")) | DYNAMIC_PORTS
        packet, at = tunnel_packet(binding.tunnel, port, packet)
    return macs[1] + macs[0] + b"\x08\x00" + packet, ETHERNET + at


def shuffled(bindings, seed):
    """In random order, as cesload sends them."""
    bindings = list(bindings)
    random.Random(seed).shuffle(bindings)
    return bindings


def without_udp_checksum(data, ip):
    """The frame with the checksum of the hosts' datagram left out (RFC 768: 0), for who changes addresses afterwards."""
    at = ip + IPV4 + 6
    return data[:at] + b"\0\0" + data[at + 2 :]


def groups(bindings, direction, size):
    """All bindings' frames of a size: one group, or one for each tunnel that they come in."""
    tunnels = {}
    for binding in bindings:
        tunnels.setdefault(binding.tunnel if direction == "ingress" else None, []).append(binding)
    for number, members in enumerate(tunnels.values()):
        data, ip = frame(members[0], direction, size)
        pairs = [addresses(binding, direction) for binding in members]
        yield Group(f"{direction}-{size}-{number}", without_udp_checksum(data, ip), ip, pairs)


def sequence(bindings, direction, mix, count, macs):
    """`count` frames, or once through all bindings: bindings in turn, sizes by weight."""
    round_of_sizes = [size for size, weight in mix for _ in range(weight)]
    random.Random(len(bindings)).shuffle(round_of_sizes)
    for number in range(count or len(bindings) * (1 if len(mix) == 1 else len(round_of_sizes))):
        size = round_of_sizes[number % len(round_of_sizes)]
        # With a mix, a binding keeps its turn until it has had every size.
        binding = bindings[number // (1 if len(mix) == 1 else len(round_of_sizes)) % len(bindings)]
        yield frame(binding, direction, size, macs)[0]


def write_pcap(path, frames):
    """A classic capture of Ethernet frames. Returns how many there were. Raises Wrong."""
    written = 0
    try:
        with open(path, "wb") as file:
            file.write(struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 65535, 1))
            for data in frames:
                file.write(struct.pack("<IIII", 0, written % 1_000_000, len(data), len(data)) + data)
                written += 1
    except OSError as error:
        raise Wrong(f"{path}: {error}") from error
    return written


def mac(text):
    parts = text.split(":")
    if len(parts) != 6 or not all(len(part) == 2 for part in parts):
        raise argparse.ArgumentTypeError(f"{text!r} is no MAC address: one like 02:00:00:00:00:01 was expected")
    return bytes(int(part, 16) for part in parts)


def options(parser):
    """What TRex's profiles and this program have in common."""
    parser.add_argument("--bindings", required=True, help="what `cesctl --json show bindings` printed")
    parser.add_argument("--seed", type=int, default=1, help="of the bindings' order")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options(parser)
    parser.add_argument("--direction", required=True, choices=["egress", "ingress"])
    parser.add_argument("--size", type=int, default=64)
    parser.add_argument("--sizes", help=", ".join(SIZES))
    parser.add_argument("--pcap", required=True)
    parser.add_argument("--frames", type=int, default=0, help="how many; 0: once through all bindings and sizes")
    parser.add_argument("--source-mac", type=mac, default=NO_MAC)
    parser.add_argument("--destination-mac", type=mac, default=NO_MAC)
    given = parser.parse_args()
    try:
        mix = sizes_of(given.size, given.sizes)
        bindings = shuffled(read_bindings(given.bindings), given.seed)
        macs = (given.source_mac, given.destination_mac)
        written = write_pcap(given.pcap, sequence(bindings, given.direction, mix, given.frames, macs))
    except Wrong as error:
        sys.exit(f"ces_frames: {error}")
    print(f"{written} frames of {len(bindings)} bindings in {given.pcap}")


if __name__ == "__main__":
    main()
