"""Tunnel packets with valid tags, frames of 64 bytes: as cesload's ingress-64.toml.

    start -f perf/profiles/trex/ingress_64.py -p 0 -m 1mpps -t --bindings FILE [--probes N]
"""

import os
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from ces_stl import Bindings  # noqa: E402


def register():
    return Bindings("ingress", size=64)
