"""The lab of scripts/lab with many hosts in each realm, and cesload as all of these hosts: what `names`, `restarts` and `longest`
measure in. Nothing is stubbed: queries and packets are frames on DPDK ports, the name server is BIND, the two gateways are two
processes with TLS between them. Needs root, for the namespaces. CES_BIN names a directory with cesd, cesctl and cesload that
are built already."""

import json
import os
import re
import shutil
import subprocess
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.realpath(__file__)))
LAB = ROOT + "/scripts/lab"
# Hosts of each realm that cesload is.
HOSTS = 1000
# Sessions that either gateway has room for.
SESSIONS = 1 << 19
PROFILE = """
[memory]
mib = 128
[generator]
nap_us = 20
[[port]]
name = "a"
device = "net_af_packet0,iface=load-a"
address = "192.168.16.0"
gateway = "192.168.10.1"
[[port]]
name = "b"
device = "net_af_packet1,iface=load-b"
address = "192.168.16.0"
gateway = "192.168.10.1"
answers_for = ["192.168.16.0/22"]
[session]
name = "it"
from = "a"
to = "b"
protocol = "{protocol}"
client = "{client}"
client_port = "1024-{last_port}"
server_port = 7007
requests = {requests}
timeout_ms = {timeout_ms}
retries = {retries}
outstanding = {outstanding}
[session.dns]
server = "192.168.10.1"
name = "{name}{{}}.b.demo"
numbers = "{numbers}"
"""


def run(*words, **more):
    """Runs a program and returns what it printed."""
    done = subprocess.run(words, text=True, stdout=subprocess.PIPE, **more)
    if done.returncode != 0:
        raise RuntimeError(f"{' '.join(words[:6])}: status {done.returncode}: {done.stdout.strip()[-500:]}")
    return done.stdout


def lab(*words):
    return run(LAB, *words)


def ctl(realm, *words):
    """What cesctl says, as JSON."""
    return json.loads(lab("ctl", realm, "--json", *words))


def node(name):
    """A namespace of the lab."""
    return f"ces{open(os.environ['CES_LAB'] + '/id').read().strip()}-{name}"


def address(host):
    return f"192.168.{16 + host // 256}.{host % 256}"


def build():
    """Builds what is not named by CES_BIN."""
    if os.geteuid() != 0:
        sys.exit(f"{os.path.basename(sys.argv[0])}: needs root: it makes network namespaces. Run it with sudo.")
    if "CES_BIN" not in os.environ:
        run("cargo", "build", "--quiet", "--release", "-p", "ces-control", "-p", "ces-load", "--bins", cwd=ROOT)
        os.environ["CES_BIN"] = os.environ.get("CARGO_TARGET_DIR", ROOT + "/target") + "/release"


def edit(realm, *changes):
    """Changes the configuration of a realm: what must stand there, and what stands there then."""
    path = f"{os.environ['CES_LAB']}/{realm}/cesd.toml"
    text = open(path).read()
    for old, new in changes:
        if old not in text:
            raise RuntimeError(f"{path}: {old} was expected")
        text = text.replace(old, new, 1)
    open(path, "w").write(text)


def enlarge(realm, services):
    """What a realm of this size needs, and no limit that would be measured instead of the gateway. `services` are the names of a
    host beside its own."""
    other = "ab".replace(realm, "")
    edit(
        realm,
        ('["192.168.10.1/24"]', '["192.168.10.1/16"]'),
        ('networks = ["192.168.10.0/24"]', 'networks = ["192.168.0.0/16"]\nhost_bindings = 65536'),
        ("[dns]", "[dns]\nnegotiation_rate = 0\nhost_rate = 0\noutside_rate = 0\npublished_ttl_s = 3600"),
        ('files = ["hosts.toml"]', 'files = ["hosts.toml", "many.toml"]'),
        # Said here, so that no name of a peer's host is looked up first, of which there is a limit.
        ("[cetp]", f'[cetp]\npeer_zones = {{ "gw{other}.demo." = ["{other}.demo."] }}'),
        ("[admin]", f"[cetp.limits]\nsessions = {SESSIONS}\nsessions_per_peer = {SESSIONS}\n"
                    f"sessions_per_peer_max = {SESSIONS}\nmessages_per_s = 100000000\n[capacity]\nbindings = {SESSIONS}\n"
                    "[punt]\narp = 100000\nudp = 1000000\ndns = 1000000\n[admin]"),
    )
    with open(f"{os.environ['CES_LAB']}/{realm}/many.toml", "w") as file:
        file.write('[[policy]]\nname = "many"\noutbound.to = "*"\ninbound.from = "*"\n')
        file.write('[[policy]]\nname = "checked"\ninbound = { from = "*", request = ["control.ack"] }\n')
        for host in range(HOSTS + 1):  # the last one is dnsperf's
            file.write(f'[[host]]\nname = "h{host}.{realm}.demo"\naddress = "{address(host)}"\npolicy = "many"\n')
            if realm == "b" and services:
                file.write(f"services = [{', '.join(services(host))}]\n")


def up(services=None):
    """The lab with many hosts, its gateways not started; both realms' networks in one namespace, so that one process has hosts
    in both. Returns the state directory."""
    os.environ["CES_LAB"] = lab("up", "--plain").strip()
    for realm in "ab":
        enlarge(realm, services)
        near, lan = node("a1"), node("l" + realm)
        line = f"link add load-{realm} netns {near} type veth peer name load netns {lan}"
        run("ip", *line.split())
        # A frame that DPDK reads must be whole and have its checksums.
        for namespace, interface in ((near, f"load-{realm}"), (lan, "load")):
            off = "tx off rx off sg off tso off gso off gro off".split()
            run("ip", "netns", "exec", namespace, "ethtool", "-K", interface, *off)
        run("ip", "-n", near, *f"link set load-{realm} arp off up".split())
        run("ip", "-n", lan, *"link set load master br0 up".split())
    return os.environ["CES_LAB"]


def down():
    """Ends the lab, and keeps its logs where CES_LOGS says."""
    if "CES_LAB" in os.environ:
        if "CES_LOGS" in os.environ:
            shutil.copytree(os.environ["CES_LAB"] + "/log", os.environ["CES_LOGS"], dirs_exist_ok=True)
        subprocess.run([LAB, "down"], check=False)


def measure(work, file):
    """What a program does: builds, does its work in the lab, which gives figures, and ends the lab. The figures go to a file, if
    one is named, a line each. Returns the exit status."""
    build()
    try:
        with open(file or os.devnull, "w") as out:
            for figure in work():
                out.write(json.dumps(figure) + "\n")
                out.flush()
        return 0
    except RuntimeError as error:
        print(f"{os.path.basename(sys.argv[0])}: {error}", file=sys.stderr)
        return 1
    finally:
        down()


def threads(realm):
    """Processor time in µs of the gateway's control thread, which has its process's number, and of its journal."""
    pid = open(f"{os.environ['CES_LAB']}/run/gw{realm}.pid").read().strip()
    found = {"control": 0.0, "journal": 0.0}
    for task in os.listdir(f"/proc/{pid}/task"):
        name = "control" if task == pid else open(f"/proc/{pid}/task/{task}/comm").read().strip()
        if name in found:
            found[name] = int(open(f"/proc/{pid}/task/{task}/schedstat").read().split()[0]) / 1000
    return found


def resident(realm):
    """Resident memory of the gateway in bytes."""
    pid = open(f"{os.environ['CES_LAB']}/run/gw{realm}.pid").read().strip()
    return int(re.search(r"VmRSS:\s+(\d+)", open(f"/proc/{pid}/status").read()).group(1)) * 1024


def profile(name, numbers, hosts=HOSTS, outstanding=1, requests=0, protocol="udp", timeout_ms=1000, retries=1):
    """Writes a profile of sessions that begin with a name; returns its path."""
    client = address(0) if hosts == 1 else f"{address(0)}-{address(hosts - 1)}"
    # Ports for so many at once; a few more, since a port that was just used is not the next to be.
    last_port = 1023 + max(64, 2 * outstanding // hosts)
    path = os.environ["CES_LAB"] + "/case.toml"
    with open(path, "w") as file:
        file.write(PROFILE.format(**locals()))
    return path


def cesload(mode, path, *options):
    """The command line of cesload in the namespace with the hosts of both realms; its report goes to `case.json`."""
    report = os.environ["CES_LAB"] + "/case.json"
    return [LAB, "in", "a1", os.environ["CES_BIN"] + "/cesload", mode, path, *map(str, options), "--quiet", "--json", report]


def report():
    """What cesload measured, and why sessions failed."""
    said = json.load(open(os.environ["CES_LAB"] + "/case.json"))
    failed = dict(re.findall(r"it: (\d+) sessions failed: (.*)\.", note)[0][::-1] for note in said["notes"]
                  if "sessions failed" in note)
    return said, {why: int(count) for why, count in failed.items()}
