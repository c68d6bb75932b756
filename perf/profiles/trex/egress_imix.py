"""Hosts' packets to their proxy addresses, the mix imix-simple (7 × 64, 4 × 594, 1 × 1518 bytes): as cesload's egress-imix.toml.

    start -f perf/profiles/trex/egress_imix.py -p 0 -m 1mpps -t --bindings FILE [--probes N]
"""

import os
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from ces_stl import Bindings  # noqa: E402


def register():
    return Bindings("egress", sizes="imix-simple")
