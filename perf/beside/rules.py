"""What the others are told to do for a realm, and what they print about their own work. Pairs are what `dut --export` writes."""

import ipaddress
import re
import struct

INTERFACES = ("inside", "outside")
# The realm of ces-perf (perf/src/realm.rs).
INSIDE_MAC, OUTSIDE_MAC, ROUTER_MAC = "02:00:00:00:00:01", "02:00:00:00:01:01", "02:00:00:00:01:02"
INSIDE, LOCATOR, ROUTER = "10.0.0.1", "198.51.100.1", "198.51.100.2"
TUNNEL_HOP = "192.0.2.2"
SYSCTLS = """cd /proc/sys/net/ipv4; echo 1 > ip_forward
for i in conf/*; do echo 0 > $i/rp_filter; echo 0 > $i/send_redirects; echo 1 > $i/accept_local; done"""


def tag(number):
    return str(ipaddress.ip_address(number))


# --- OVS: one rule for each direction of a binding, as the predecessor of this gateway had its switch do


def ovs_forward(_pairs):
    return f"in_port=1,ip,actions=dec_ttl,set_field:{OUTSIDE_MAC}->eth_src,set_field:{ROUTER_MAC}->eth_dst,output:2\n"


def ovs_nat(_pairs):
    out = f"set_field:{OUTSIDE_MAC}->eth_src,set_field:{ROUTER_MAC}->eth_dst,output:2"
    return (
        "table=0,in_port=1,ip,actions=dec_ttl,ct(table=1,zone=1,nat)\n"
        "table=0,in_port=2,ip,actions=dec_ttl,ct(table=1,zone=1,nat)\n"
        f"table=1,in_port=1,ct_state=+trk+new,ip,actions=ct(commit,zone=1,nat(src={LOCATOR}:1024-65535)),{out}\n"
        f"table=1,in_port=1,ct_state=+trk+est,ip,actions={out}\n"
        f"table=1,in_port=2,ct_state=+trk+est,ip,actions=set_field:{INSIDE_MAC}->eth_src,output:1\n"
    )


def ovs_ces(pairs):
    flows = ""
    for pair in pairs:
        tunnel, ours, theirs = pair["tunnel"], tag(pair["tag"]), tag(pair["remote_tag"])
        flows += (
            f"in_port=1,ip,nw_src={pair['host']},nw_dst={pair['proxy']},actions=dec_ttl,set_field:{ours}->ip_src,"
            f"set_field:{theirs}->ip_dst,set_field:{tunnel['id_out']}->tun_id,set_field:{tunnel['remote']}->tun_dst,output:2\n"
            f"in_port=2,tun_id={tunnel['id_in']},tun_src={tunnel['remote']},tun_dst={tunnel['local']},ip,nw_src={theirs},"
            f"nw_dst={ours},actions=dec_ttl,set_field:{pair['proxy']}->ip_src,set_field:{pair['host']}->ip_dst,"
            f"set_field:{INSIDE_MAC}->eth_src,set_field:{pair['host_mac']}->eth_dst,output:1\n"
        )
    return flows


OVS = {"forward": ovs_forward, "nat": ovs_nat, "ces": ovs_ces}

# --- the kernel: routes, permanent neighbours, nftables


def roads(pairs):
    inside, outside = INTERFACES
    hosts = {pair["host"]: pair["host_mac"] for pair in pairs}
    return (
        f"addr add {INSIDE}/8 dev {inside}\naddr add {LOCATOR}/24 dev {outside}\n"
        f"neigh replace {ROUTER} lladdr {ROUTER_MAC} dev {outside} nud permanent\n"
        f"route add default via {ROUTER} dev {outside}\n"
    ) + "".join(f"neigh replace {host} lladdr {mac} dev {inside} nud permanent\n" for host, mac in hosts.items())


def tunnels(pairs):
    text = (
        "link add tunnels type vxlan external dstport 4789 nolearning\nlink set tunnels up\n"
        f"neigh replace {TUNNEL_HOP} lladdr 02:00:00:00:02:02 dev tunnels nud permanent\n"
    )
    for pair in pairs:
        tunnel = pair["tunnel"]
        text += (f"route add {tag(pair['remote_tag'])}/32 encap ip id {tunnel['id_out']} src {tunnel['local']} "
                 f"dst {tunnel['remote']} ttl 64 via {TUNNEL_HOP} dev tunnels onlink\n")
    return text


def nft_nat(flowtable):
    known = f"""
    flowtable known {{ hook ingress priority 0; devices = {{ {', '.join(INTERFACES)} }}; }}
    chain between {{
        type filter hook forward priority 0;
        ip protocol udp flow add @known
    }}""" if flowtable else ""
    return f"""table ip ces {{
    chain after {{
        type nat hook postrouting priority srcnat;
        oifname {INTERFACES[1]} snat to {LOCATOR}
    }}{known}
}}
"""


def nft_vxlan(pairs):
    every = lambda text: ", ".join(
        text.format(ours=tag(pair["tag"]), theirs=tag(pair["remote_tag"]), **pair) for pair in pairs)
    return f"""table ip ces {{
    map remote {{ type ipv4_addr . ipv4_addr : ipv4_addr; elements = {{ {every('{host} . {proxy} : {theirs}')} }}; }}
    map tag {{ type ipv4_addr : ipv4_addr; elements = {{ {every('{theirs} : {ours}')} }}; }}
    map proxy {{ type ipv4_addr . ipv4_addr : ipv4_addr; elements = {{ {every('{theirs} . {ours} : {proxy}')} }}; }}
    map host {{ type ipv4_addr : ipv4_addr; elements = {{ {every('{ours} : {host}')} }}; }}
    chain before {{
        type filter hook prerouting priority raw;
        iifname {INTERFACES[0]} ip daddr set ip saddr . ip daddr map @remote
        iifname tunnels ip saddr set ip saddr . ip daddr map @proxy
        iifname tunnels ip daddr set ip daddr map @host
    }}
    chain after {{
        type filter hook postrouting priority 300;
        oifname tunnels ip saddr set ip daddr map @tag
    }}
}}
table netdev ces {{
    # The inner Ethernet header carries no addresses; without this the kernel takes the packets for another station's.
    chain arrival {{
        type filter hook ingress device tunnels priority 0;
        meta pkttype set host
    }}
}}
"""


NFT = {"forward": lambda _: "", "nat": lambda _: nft_nat(False), "nat-flowtable": lambda _: nft_nat(True), "vxlan": nft_vxlan}

# --- what they print


def testpmd(text):
    """Cycles and packets of the polling thread so far."""
    found = re.findall(r"CPU cycles/packet=.*?total cycles=(\d+).*? packets=(\d+)", text)
    return {"cycles": float(found[-1][0]), "packets": float(found[-1][1])} if found else None


def ovs(text):
    """The same of all polling threads; the main thread is none."""
    total = {"cycles": 0.0, "packets": 0.0}
    polls = False
    for line in text.splitlines():
        if line.startswith(("pmd thread", "main thread")):
            polls = line.startswith("pmd")
        found = re.match(r"\s*avg processing cycles per packet:.*\((\d+)/(\d+)\)", line)
        if polls and found:
            total = {"cycles": total["cycles"] + int(found[1]), "packets": total["packets"] + int(found[2])}
    return total


def rate(report, measure):
    """What the generator found. ValueError: nothing."""
    result = report["result"] or {}
    if measure == "mrr":
        if not result.get("sent") or not result.get("received"):
            raise ValueError(f"the generator sent {result.get('sent')} packets and received {result.get('received')}")
        share = result["received"] / result["sent"]
        return {"pps": result["rate_sent_pps"] * share, "loss_ratio": 1.0 - share}
    if result.get("rate_pps") is None:
        said = [report["verdict"].get("why"), *report["notes"]]
        raise ValueError(f"the search found no rate: {'; '.join(text.rstrip('.') for text in said if text)}")
    return {"pps": result["rate_pps"], "loss_ratio": result.get("loss_ratio") or 0.0}


# --- flows of those that make no tunnel packets


def write_capture(pairs, size, path):
    """A capture with one packet of each binding's host, in frames of this size with their checksum."""
    length = size - 4
    with open(path, "wb") as file:
        file.write(struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 65535, 1))
        for entry, pair in enumerate(pairs):
            port = 1024 + ((entry * 0x9E3779B1 & 0xFFFFFFFF) >> 18)
            addresses = [ipaddress.ip_address(pair[name]).packed for name in ("host", "proxy")]
            head = struct.pack(">BBHHHBBH4s4s", 0x45, 0, length - 14, 0, 0, 64, 17, 0, *addresses)
            total = sum(struct.unpack(">10H", head))
            total = (total & 0xFFFF) + (total >> 16)
            head = head[:10] + struct.pack(">H", 0xFFFF - ((total & 0xFFFF) + (total >> 16))) + head[12:]
            frame = bytes(12) + b"\x08\x00" + head + struct.pack(">HHHH", port, 9, length - 34, 0)
            file.write(struct.pack("<IIII", 0, 0, length, length) + frame.ljust(length, b"\0"))
