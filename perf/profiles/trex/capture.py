"""The packets of a capture that `cesload frames` has written, each a stream of its own, at equal rates: those of a gateway's
bindings cannot be counted up, since a session tag is an encrypted handle.

    start -f perf/profiles/trex/capture.py -p 0 -m 1mpps -t --frames FILE [--probes N]

Not run here with TRex: see ../README.md.
"""

import argparse
import struct

from trex_stl_lib.api import STLFlowLatencyStats, STLPktBuilder, STLStream, STLTXCont


def packets(path):
    """A capture of this machine's byte order, as `cesload frames` writes it."""
    with open(path, "rb") as file:
        data = file.read()
    at = 24
    while at < len(data):
        (length,) = struct.unpack_from("<I", data, at + 8)
        yield data[at + 16 : at + 16 + length]
        at += 16 + length


class Capture:
    """Rates are in parts of `-m`; that of the probes is not."""

    def get_streams(self, tunables, **_):
        parser = argparse.ArgumentParser(description="Streams of a capture")
        parser.add_argument("--frames", required=True, help="what `cesload frames` has written")
        parser.add_argument("--probes", type=int, default=1000, help="latency packets a second; 0 = none")
        given = parser.parse_args(tunables)
        frames = [STLPktBuilder(pkt_buffer=frame) for frame in packets(given.frames)]
        streams = [STLStream(packet=frame, mode=STLTXCont(pps=1 / len(frames))) for frame in frames]
        if given.probes:
            probed = STLFlowLatencyStats(pg_id=1)
            streams.append(STLStream(packet=frames[0], mode=STLTXCont(pps=given.probes), flow_stats=probed))
        return streams


def register():
    return Capture()
