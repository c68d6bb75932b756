#!/usr/bin/env python3
"""An Internet exchange on the outside link of the lab's gateway A: neighbours that speak BGP, each a router of its own with bird,
and bird beside the gateway, configured as docs/exchange/bird.conf shows. Needs root; the lab's gateway must have the address
192.0.2.2/28 and listen on TCP port 179.

  exchange.py up --prefixes N [--neighbours N]   begins it; every neighbour announces its part of the prefixes
  exchange.py withdraw NUMBER                    a neighbour announces no more
  exchange.py down                               ends it

The gateway's bird learns nothing about the exchange's own network, whatever the neighbours say of it, and says nothing about
it. CES_LAB names the lab."""

import argparse
import os
import subprocess
import sys
import time

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.realpath(__file__))))
LAN = "192.0.2.0/28"
# What neighbours answer with as the time to live of packets, so that is seen who answered: 200 and their number.
TTL = 200
# The first of the prefixes. They come in fours: a /22, and three /24 in it.
FIRST = 20 << 24
CORE = "log stderr { warning, error, fatal };\nprotocol device {}\n"


def state():
    return os.environ["CES_LAB"]


def node(name):
    """A namespace of the lab, or of a neighbour in it."""
    return f"ces{open(state() + '/id').read().strip()}-{name}"


def run(*words, check=True):
    done = subprocess.run(words, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False)
    if check and done.returncode != 0:
        raise RuntimeError(f"{' '.join(words)}: {done.stdout.strip()[-500:]}")
    return done.stdout


def ip(name, line):
    return run("ip", "-n", node(name), *line.split())


def inside(name, *words, check=True):
    return run("ip", "netns", "exec", node(name), *words, check=check)


def dotted(number):
    return ".".join(str(number >> shift & 255) for shift in (24, 16, 8, 0))


def prefixes(neighbour, neighbours, count):
    """Those of a neighbour, from 1: every so many fours."""
    for four in range(neighbour - 1, count // 4, neighbours):
        base = FIRST + (four << 10)
        yield f"{dotted(base)}/22"
        for part in range(1, 4):
            yield f"{dotted(base + (part << 8))}/24"


def host(neighbour, four=0, neighbours=4):
    """An address that the neighbour leads to."""
    return dotted(FIRST + ((four * neighbours + neighbour - 1) << 10) + 1)


def birdc(name, *words):
    return run("birdc", "-s", f"{state()}/bird-{name}.ctl", *words)


def start(name, config):
    path = f"{state()}/bird-{name}"
    with open(path + ".conf", "w") as file:
        file.write(config)
    inside(name, "bird", "-c", path + ".conf", "-s", path + ".ctl", "-P", path + ".pid")


def neighbour(number, neighbours, count):
    """A router on the exchange's link: an interface with a MAC address of its own on the cable to the gateway."""
    name = f"ix{number}"
    run("ip", "netns", "add", node(name))
    ip("net", f"link add {name} link gwa type macvlan mode bridge")
    ip("net", f"link set {name} netns {node(name)} name eth0")
    inside(name, "sysctl", "-qw", f"net.ipv4.ip_default_ttl={TTL + number}")
    ip(name, "link set lo up")
    inside(name, "ethtool", "-K", "eth0", "tx", "off", check=False)
    ip(name, "link set eth0 up")
    ip(name, f"address add 192.0.2.{number + 2}/28 dev eth0")
    # Whoever is asked for behind it, it is.
    ip(name, f"address add {dotted(FIRST)}/8 dev lo")
    for more in range(1, 16):
        ip(name, f"route add local {20 + more}.0.0.0/8 dev lo")
    with open(f"{state()}/bird-{name}.routes", "w") as file:
        file.writelines(f"route {prefix} blackhole;\n" for prefix in prefixes(number, neighbours, count))
    start(name, f"""router id 192.0.2.{number + 2};
{CORE}
protocol static announced {{
    ipv4;
include "{state()}/bird-{name}.routes";
}}
# What nobody may announce at an exchange: its own network, as narrow as can be.
protocol static stolen {{ ipv4; route 192.0.2.1/32 blackhole; route 192.0.2.0/29 blackhole; }}
protocol bgp to_gateway {{
    local 192.0.2.{number + 2} as {64600 + number};
    neighbor 192.0.2.2 as 64512;
    connect delay time 1; connect retry time 1; error wait time 1, 2;
    ipv4 {{ import all; export where source = RTS_STATIC; }};
}}
""")


def gateway(neighbours):
    """The documented configuration, with the lab's neighbours."""
    text = open(ROOT + "/docs/exchange/bird.conf").read()
    example = text[text.index("protocol bgp router_a"):]
    text = text.replace(example, "".join(
        example[:example.index("\n}\n") + 3].replace("router_a", f"ix{number}")
        .replace("192.0.2.3 as 64601", f"192.0.2.{number + 2} as {64600 + number}")
        for number in range(1, neighbours + 1)))
    start("gwa", text)


def up(options):
    with open(state() + "/exchange", "w") as file:
        file.write(str(options.neighbours))
    for number in range(1, options.neighbours + 1):
        neighbour(number, options.neighbours, options.prefixes)
    gateway(options.neighbours)


def withdraw(options):
    birdc(f"ix{options.number}", "disable", "to_gateway")


def down(_=None):
    try:
        neighbours = int(open(state() + "/exchange").read())
    except OSError:
        return
    os.remove(state() + "/exchange")
    names = ["gwa"] + [f"ix{number}" for number in range(1, neighbours + 1)]
    for name in names:
        run("birdc", "-s", f"{state()}/bird-{name}.ctl", "down", check=False)
    end = time.monotonic() + 20
    while any(os.path.exists(f"{state()}/bird-{name}.pid") for name in names) and time.monotonic() < end:
        time.sleep(0.1)
    for name in names[1:]:
        run("ip", "netns", "delete", node(name), check=False)


def main():
    parser = argparse.ArgumentParser(usage=__doc__)
    commands = parser.add_subparsers(required=True)
    one = commands.add_parser("up")
    one.add_argument("--prefixes", type=int, required=True)
    one.add_argument("--neighbours", type=int, default=4)
    one.set_defaults(does=up)
    one = commands.add_parser("withdraw")
    one.add_argument("number", type=int)
    one.set_defaults(does=withdraw)
    commands.add_parser("down").set_defaults(does=down)
    options = parser.parse_args()
    try:
        options.does(options)
    except (RuntimeError, OSError) as error:
        sys.exit(f"exchange: {error}")


if __name__ == "__main__":
    main()
