"""What the stateless profiles of TRex have in common: streams that walk through a gateway's bindings.

TRex's field engine writes one address of a list after the other into each packet, both lists in step, so that each packet
is of a binding that exists; tags cannot be counted up, since a tag is an encrypted handle. It then mends the IPv4 checksum.
The UDP checksum of the hosts' datagram is 0 (none): the engine cannot mend it behind a tunnel's header.

Needs a TRex whose STLVmFlowVar takes value_list (v3). Not run here with TRex: see ../README.md.
"""

import argparse
import os
import sys

from trex_stl_lib.api import (
    STLFlowLatencyStats,
    STLPktBuilder,
    STLScVmRaw,
    STLStream,
    STLTXCont,
    STLVmFixIpv4,
    STLVmFlowVar,
    STLVmWrFlowVar,
)

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
import ces_frames  # noqa: E402


def program(group):
    """Writes source and destination of the hosts' packet, the next pair for each packet."""
    sources = [int.from_bytes(source, "big") for source, _ in group.pairs]
    destinations = [int.from_bytes(destination, "big") for _, destination in group.pairs]
    return STLScVmRaw([
        STLVmFlowVar(name="source", value_list=sources, size=4, op="inc"),
        STLVmFlowVar(name="destination", value_list=destinations, size=4, op="inc"),
        STLVmWrFlowVar(fv_name="source", pkt_offset=group.ip + 12),
        STLVmWrFlowVar(fv_name="destination", pkt_offset=group.ip + 16),
        STLVmFixIpv4(offset=group.ip),
    ])


class Bindings:
    """The streams of one direction and mix: rates in parts of `-m`, a stream for each size and tunnel."""

    def __init__(self, direction, size=64, sizes=None):
        self.direction = direction
        self.mix = ces_frames.sizes_of(size, sizes)

    def get_streams(self, tunables, **_):
        parser = argparse.ArgumentParser(description="Streams of a gateway's bindings")
        ces_frames.options(parser)
        parser.add_argument("--probes", type=int, default=1000, help="latency packets a second; 0 = none")
        parser.add_argument("--probe-size", type=int, default=self.mix[0][0])
        given = parser.parse_args(tunables)
        bindings = ces_frames.shuffled(ces_frames.read_bindings(given.bindings), given.seed)
        weights = sum(weight for _, weight in self.mix)
        streams = []
        for size, weight in self.mix:
            for group in ces_frames.groups(bindings, self.direction, size):
                share = weight / weights * len(group.pairs) / len(bindings)
                packet = STLPktBuilder(pkt_buffer=group.frame, vm=program(group))
                streams.append(STLStream(name=group.name, packet=packet, mode=STLTXCont(pps=share)))
        if given.probes:
            streams.append(self.probe(bindings[0], given))
        return streams

    def probe(self, binding, given):
        """One binding's packets, whose delay TRex measures; their rate does not follow `-m`."""
        data, _ = ces_frames.frame(binding, self.direction, given.probe_size)
        return STLStream(
            name=f"{self.direction}-probe",
            packet=STLPktBuilder(pkt_buffer=data),
            mode=STLTXCont(pps=given.probes),
            flow_stats=STLFlowLatencyStats(pg_id=1),
        )
