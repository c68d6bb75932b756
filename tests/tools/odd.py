"""An upstream that misbehaves on purpose: what it does with a question is said by the name's first label, below odd.demo.

    odd.py ADDRESS UPSTREAM

Every name of odd.demo has the address 203.0.113.80 but where its label says otherwise. Everything else is asked of UPSTREAM.

    silent-naptr, servfail-naptr, notimp-naptr, formerr-naptr, refused-naptr, slow700-naptr, slow1600-naptr         N1
    https-hint, hint-of-other (HTTPS), srv-extra (SRV): lead to www.b.demo, with a foreign address beside it        N2
    bare-alias: to NAPTR, that it stands for www.b.demo, and nothing more                                           N1
    inside, proxy, gateway, outside, loopback, mapped (AAAA): addresses that a stranger's name must not have        N3
    lowercase, lowercase-udp, uppercase-udp: gives the question back in that case; the latter two have no TCP       N4
    two-gateways: the first of its gateways is nobody's, the second is gwb                                          N6
    no-question, other-question, other-port: first a forged answer, then, 50 ms later, the true one                 N7
    unserved: said to be gwb's, which knows nothing of it, and has a TXT                                            N12
    port0, empty-field, escaped: CES records with a mistake, and one that only looks so                             N15
    trailing, broken-additional, broken-answer (good over TCP)                                                      N16
    big: TXT of 60 KB, over TCP                                                                                     N17

What it is asked it prints: names that a gateway has to answer itself (N8, N9, N10, N13) must not be among it. N5, N11 and N14 are
about restarts, the gateway's own refusals, and who asks from outside: there is nothing that an upstream could do.
"""

import socket
import socketserver
import struct
import sys
import threading
import time

A, CNAME, TXT, AAAA, SRV, NAPTR, HTTPS = 1, 5, 16, 28, 33, 35, 65
CODES = {"formerr": 1, "servfail": 2, "notimp": 4, "refused": 5}
ADDRESSES = {"inside": "192.168.10.12", "proxy": "10.64.0.1", "gateway": "192.168.10.1", "outside": "192.0.2.2"}
ADDRESSES["loopback"] = "127.0.0.1"
LEGACY = "203.0.113.80"
GWB = "!^.*$!cesid=1:gwb.demo.?cetp_ipv4=198.51.100.2?proto=tls?port=48001!"
MISTAKES = {
    "port0": GWB.replace("48001", "0"),
    "empty-field": GWB.replace("?proto", "??proto"),
    "escaped": GWB.replace("^.*$", "^.*\\!?$"),
}
WWW = "www.b.demo"


def wire(name):
    return b"".join(bytes([len(label)]) + label.encode() for label in name.split(".") if label) + b"\0"


def record(owner, kind, data, ttl=5):
    return owner + struct.pack("!HHIH", kind, 1, ttl, len(data)) + data


def naptr(order, regexp):
    text = lambda s: bytes([len(s)]) + s.encode()
    return struct.pack("!HH", order, 10) + text("U") + text("CES+cesid") + text(regexp) + b"\0"


def https(target, hint):
    return struct.pack("!H", 1) + wire(target) + struct.pack("!HH", 4, 4) + socket.inet_aton(hint)


def answers(label, kind, owner):
    """Answer and additional records."""
    www = record(owner, CNAME, wire(WWW))
    ces = lambda *records: ([www] + [record(wire(WWW), NAPTR, data) for data in records], [])
    if kind == A:
        return [record(owner, A, socket.inet_aton(ADDRESSES.get(label, LEGACY)))], []
    if kind == AAAA and label == "mapped":
        return [record(owner, AAAA, socket.inet_pton(socket.AF_INET6, "::ffff:10.64.0.1"))], []
    if kind == HTTPS and label in ("https-hint", "hint-of-other"):
        return [record(owner, HTTPS, https("." if label == "https-hint" else WWW, LEGACY))], []
    if kind == SRV and label == "srv-extra":
        data = struct.pack("!HHH", 1, 1, 5060) + wire(WWW)
        return [record(owner, SRV, data)], [record(wire(WWW), A, socket.inet_aton(LEGACY))]
    if kind == TXT:
        texts = range(300 if label == "big" else 1)
        return [record(owner, TXT, bytes([200]) + (b"%03d" % n) + b"x" * 197) for n in texts], []
    if kind == NAPTR and label == "bare-alias":
        return [www], []
    if kind == NAPTR and label == "unserved":
        return [record(owner, NAPTR, naptr(10, GWB))], []
    if kind == NAPTR and label in MISTAKES:
        return ces(naptr(10, MISTAKES[label]))
    if kind == NAPTR and label == "two-gateways":
        return ces(naptr(10, GWB.replace("gwb", "gwx").replace("198.51.100.2", LEGACY)), naptr(20, GWB))
    if kind == NAPTR and label == "https-hint":
        return ces(naptr(10, GWB))
    return [], []


def parse(query):
    at, labels = 12, []
    while query[at]:
        labels.append(query[at + 1 : at + 1 + query[at]].decode("latin-1"))
        at += 1 + query[at]
    kind, _ = struct.unpack("!HH", query[at + 1 : at + 5])
    return labels, kind, query[12 : at + 5]


def message(query, question, code=0, records=(), more=(), counts=None):
    flags = 0x8180 | code
    counts = counts or (1 if question else 0, len(records), 0, len(more))
    return query[:2] + struct.pack("!HHHHH", flags, *counts) + question + b"".join(records) + b"".join(more)


def respond(query, tcp):
    """What to send, each as (seconds to wait before it, message, by another port)."""
    labels, kind, question = parse(query)
    name = ".".join(labels).lower()
    print(name, kind, "tcp" if tcp else "udp", flush=True)
    if not name.endswith("odd.demo"):
        return [(0, ask(query, tcp), False)]
    label = labels[0].lower()
    how, _, what = label.partition("-")
    wait = 0
    if what == "naptr" and kind == NAPTR:
        if how == "silent":
            return []
        if how in CODES:
            return [(0, message(query, question, CODES[how]), False)]
        wait = int(how.removeprefix("slow")) / 1000
    records, more = answers(label, kind, b"\xc0\x0c")
    good = message(query, question, 0, records, more)
    if label.startswith("lowercase"):
        good = message(query, question[:-4].lower() + question[-4:], 0, records, more)
    elif label.startswith("uppercase"):
        good = message(query, question[:-4].upper() + question[-4:], 0, records, more)
    elif label == "trailing":
        good += b"\1" * 7
    elif label == "broken-additional":
        good = message(query, question, 0, records, [], (1, len(records), 0, 1)) + b"\xc0\x0c\0\1\0\1"
    elif label == "broken-answer" and not tcp:
        good = message(query, question, 0, records, [], (1, len(records) + 1, 0, 0))
    if not tcp and len(good) > 1232:
        good = message(query, question, 0x0200)
    if tcp:
        return [(wait, good, False)]
    if label == "no-question":
        return [(0, message(query, b"", 2), False), (0.05, good, False)]
    if label == "other-question":
        forged = record(b"\xc0\x0c", A, socket.inet_aton("203.0.113.66"))
        return [(0, message(query, wire("x.odd.demo") + question[-4:], 0, [forged]), False), (0.05, good, False)]
    if label == "other-port":
        forged = record(b"\xc0\x0c", A, socket.inet_aton("203.0.113.66"))
        return [(0, message(query, question, 0, [forged]), True), (0.05, good, False)]
    return [(wait, good, False)]


def ask(query, tcp):
    if not tcp:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as upstream:
            upstream.settimeout(3)
            upstream.sendto(query, (sys.argv[2], 53))
            return upstream.recv(65535)
    with socket.create_connection((sys.argv[2], 53), 3) as upstream:
        upstream.sendall(struct.pack("!H", len(query)) + query)
        return exactly(upstream, struct.unpack("!H", exactly(upstream, 2))[0])


def exactly(stream, count):
    data = b""
    while len(data) < count:
        more = stream.recv(count - len(data))
        if not more:
            raise ConnectionError
        data += more
    return data


class Udp(socketserver.BaseRequestHandler):
    def handle(self):
        query, reply = self.request
        try:
            for wait, answer, by_other in respond(query, False):
                time.sleep(wait)
                if by_other:
                    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
                        other.bind((sys.argv[1], 0))
                        other.sendto(answer, self.client_address)
                else:
                    reply.sendto(answer, self.client_address)
        except (OSError, IndexError, struct.error, ValueError):
            pass


class Tcp(socketserver.BaseRequestHandler):
    def handle(self):
        try:
            while True:
                query = exactly(self.request, struct.unpack("!H", exactly(self.request, 2))[0])
                if parse(query)[0][0].lower().endswith("case-udp"):
                    return
                for wait, answer, _ in respond(query, True):
                    time.sleep(wait)
                    self.request.sendall(struct.pack("!H", len(answer)) + answer)
        except (OSError, IndexError, struct.error, ValueError):
            pass


class UdpServer(socketserver.ThreadingUDPServer):
    allow_reuse_address = daemon_threads = True


class TcpServer(socketserver.ThreadingTCPServer):
    allow_reuse_address = daemon_threads = True


if __name__ == "__main__":
    tcp = TcpServer((sys.argv[1], 53), Tcp)
    threading.Thread(target=tcp.serve_forever, daemon=True).start()
    UdpServer((sys.argv[1], 53), Udp).serve_forever()
