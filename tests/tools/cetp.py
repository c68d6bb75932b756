"""A peer that does not keep to CETP. Says what the gateway did: "refused", "closed", or "open" after all was said.

    cetp.py garbage|length|json|types|slow|silent|plain ADDRESS PORT --source S [--ca F --cert F --key F]
"""

import argparse
import json
import socket
import ssl
import struct
import sys
import time

C2C = {
    "VER": 2, "SST": 123456, "DST": 0,
    "TLV": [{"ope": "info", "group": "ces", "code": "cesid", "value": "mallory.demo."}],
}


def frame(payload):
    return struct.pack("!H", len(payload)) + payload


SAYS = {
    "garbage": bytes(range(256)) * 16,
    "length": struct.pack("!H", 0) * 64,
    "json": frame(b'{"VER": 2, "SST": ') * 32,
    "types": b"".join(frame(json.dumps(m).encode()) for m in (
        [], 7, {"VER": "x"}, {**C2C, "SST": -1}, {**C2C, "SST": 2**32}, {**C2C, "TLV": {}}, {**C2C, "TLV": [[]]},
        {**C2C, "TLV": [{"ope": 1, "group": {}, "code": None}]},
    )) * 4,
    "silent": b"",
    "slow": frame(json.dumps(C2C).encode()),
    "plain": frame(json.dumps(C2C).encode()),
}


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("how", choices=sorted(SAYS))
    parser.add_argument("address")
    parser.add_argument("port", type=int)
    parser.add_argument("--source", required=True)
    parser.add_argument("--ca")
    parser.add_argument("--cert")
    parser.add_argument("--key")
    given = parser.parse_args()
    try:
        connection = socket.create_connection((given.address, given.port), 10, (given.source, 0))
        if given.cert:
            context = ssl.create_default_context(cafile=given.ca)
            context.check_hostname = False
            context.load_cert_chain(given.cert, given.key)
            connection = context.wrap_socket(connection)
    except OSError as error:
        sys.exit(print("refused", error))
    connection.settimeout(30)
    try:
        if given.how == "slow":
            for byte in SAYS["slow"]:
                connection.sendall(bytes([byte]))
                time.sleep(0.2)
        else:
            connection.sendall(SAYS[given.how])
        while connection.recv(4096):
            pass
        print("closed")
    except TimeoutError:
        print("open")
    except OSError as error:
        print("closed", error)


main()
