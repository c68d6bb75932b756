"""UDP sessions from hosts of one realm to hosts of the other, through two gateways: as cesload's sessions-udp.toml.

    start -f perf/profiles/trex/sessions_udp.py -m 1000 -t --clients A-B --servers A-B [--sessions N] [--exchanges N]
"""

import os
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from ces_astf import Sessions  # noqa: E402


def register():
    return Sessions("udp")
