//! What strangers, broken programs and attackers send: dropped, counted under its reason, and nothing else happens.

use crate::Case;
use crate::tunnel::CLEAR;
use ces_tests::lab::{Lab, Realm, eventually};

pub(crate) const CASES: &[Case] = &[
    ("unasked_tcp", unasked_tcp),
    ("unasked_udp", unasked_udp),
    ("packet_past_the_gateway", packet_past_the_gateway),
    ("tunnel_packet_of_a_stranger", tunnel_packet_of_a_stranger),
    ("tunnel_packet_with_a_wrong_id", tunnel_packet_with_a_wrong_id),
    ("tunnel_packet_with_wrong_tags", tunnel_packet_with_wrong_tags),
    ("tunnel_packet_cut_short", tunnel_packet_cut_short),
    ("tunnel_packet_replayed_from_another_address", tunnel_packet_replayed_from_another_address),
    ("host_with_a_stolen_address", host_with_a_stolen_address),
    ("p10_an_address_is_its_hosts", p10_an_address_is_its_hosts),
    ("p10_an_address_moves_when_its_host_is_gone", p10_an_address_moves_when_its_host_is_gone),
    ("proxy_address_without_a_binding", proxy_address_without_a_binding),
    ("cetp_from_a_stranger", cetp_from_a_stranger),
    ("cetp_garbage", cetp_garbage),
    ("cetp_a_byte_at_a_time", cetp_a_byte_at_a_time),
    ("cetp_silence", cetp_silence),
    ("cetp_crowd", cetp_crowd),
];

const GWA: &str = "192.0.2.2";
const GWB: &str = "198.51.100.2";

fn unasked_tcp(lab: &Lab) {
    lab.gateways(&[]);
    lab.drops_more(Realm::A, "unasked", 5, || {
        let scan = lab.run("net", &format!("hping3 -S -p 22 -c 5 -i u20000 {GWA}"));
        scan.says("100% packet loss");
    });
}

fn unasked_udp(lab: &Lab) {
    lab.gateways(&[]);
    lab.drops_more(Realm::A, "unasked", 5, || {
        lab.tool(
            "net",
            "datagram.py",
            &format!("udp --source 203.0.113.7 --destination {GWA} --port 5000 --text hello --count 5"),
        )
        .expect();
    });
}

fn packet_past_the_gateway(lab: &Lab) {
    lab.gateways(&[]);
    // Somebody on the link sends to a private address by way of the gateway.
    lab.run("net", &format!("ip route replace 192.168.10.0/24 via {GWA}")).expect();
    let before = lab.metrics(Realm::A).sum("ces_drops_total", &[]);
    let ping = lab.run("net", "ping -n -c 3 -i 0.2 -W 1 192.168.10.11");
    lab.run("net", "ip route del 192.168.10.0/24").expect();
    ping.says("100% packet loss");
    assert!(eventually(|| lab.metrics(Realm::A).sum("ces_drops_total", &[]) >= before + 3.0));
}

fn tunnel(source: &str, id: u64, more: &str) -> String {
    format!("tunnel --source {source} --destination {GWA} --id {id} --count 3 {more}")
}

fn tunnel_packet_of_a_stranger(lab: &Lab) {
    lab.gateways(&[]);
    for kind in ["vxlan", "gre", "geneve"] {
        lab.drops_more(Realm::A, "tunnel_outer_unknown", 3, || {
            lab.tool("net", "datagram.py", &tunnel("203.0.113.66", 7, &format!("--encapsulation {kind}")))
                .expect();
        });
    }
}

/// The VXLAN id on what arrives at gwa, of the sessions that hosts of realm A start.
fn id_in(lab: &Lab) -> u64 {
    lab.reach("a1", "www.b.demo");
    let peers = lab.json(Realm::A, "show peers");
    find(&peers, "id_in")
        .and_then(serde_json::Value::as_u64)
        .unwrap_or_else(|| panic!("no tunnel in {peers:#}"))
}

/// The first value under this key, however deep.
fn find<'a>(value: &'a serde_json::Value, key: &str) -> Option<&'a serde_json::Value> {
    match value {
        serde_json::Value::Object(map) => {
            map.get(key).or_else(|| map.values().find_map(|inner| find(inner, key)))
        }
        serde_json::Value::Array(list) => list.iter().find_map(|inner| find(inner, key)),
        _ => None,
    }
}

fn tunnel_packet_with_a_wrong_id(lab: &Lab) {
    lab.gateways(CLEAR);
    let wrong = (id_in(lab) + 1) & 0xff_ffff;
    lab.drops_more(Realm::A, "tunnel_id_unknown", 3, || {
        lab.tool("net", "datagram.py", &tunnel(GWB, wrong, "")).expect();
    });
}

fn tunnel_packet_with_wrong_tags(lab: &Lab) {
    lab.gateways(CLEAR);
    let id = id_in(lab);
    lab.drops_more(Realm::A, "tunnel_tag_unknown", 3, || {
        lab.tool("net", "datagram.py", &tunnel(GWB, id, "--tags 1.2.3.4,5.6.7.8")).expect();
    });
}

fn tunnel_packet_cut_short(lab: &Lab) {
    lab.gateways(CLEAR);
    let id = id_in(lab);
    let before = lab.metrics(Realm::A).sum("ces_drops_total", &[]);
    for cut in [8, 12, 16, 20, 30, 40, 49] {
        lab.tool("net", "datagram.py", &tunnel(GWB, id, &format!("--cut {cut}"))).expect();
    }
    assert!(
        eventually(|| lab.metrics(Realm::A).sum("ces_drops_total", &[]) >= before + 21.0),
        "each is counted"
    );
    lab.run("a1", "ping -n -c 2 -i 0.2 -W 5 www.b.demo").says(" 0% packet loss");
}

fn tunnel_packet_replayed_from_another_address(lab: &Lab) {
    lab.gateways(CLEAR);
    let file = lab.directory().join("replay.pcap");
    let pings = lab.background("a1", "ping -n -c 40 -i 0.1 -W 5 www.b.demo");
    let capture = format!(
        "timeout 20 tcpdump -Z root -nni gwb -c 4 -w {} 'udp dst port 4789 and src host {GWB}'",
        file.display()
    );
    lab.run("net", &capture).expect();
    pings.end();
    lab.drops_more(Realm::A, "tunnel_outer_unknown", 4, || {
        lab.tool("net", "datagram.py", &format!("replay {} --source 203.0.113.67", file.display()))
            .says("4 sent");
    });
}

fn host_with_a_stolen_address(lab: &Lab) {
    lab.gateways(&[]);
    let proxy = lab.dig("a1", "www.b.demo");
    lab.drops_more(Realm::A, "source_spoofed", 3, || {
        lab.tool(
            "a1",
            "datagram.py",
            &format!("udp --source 172.16.1.1 --destination {proxy} --port 80 --count 3"),
        )
        .expect();
    });
}

/// How often that became of the MAC addresses of hosts.
fn macs(lab: &Lab, event: &str) -> f64 {
    lab.metrics(Realm::A).sum("ces_host_macs_total", &[("event", event)])
}

/// a2 asks who the gateway is, and sends, with the address of a1.
const AS_A1: &str = "ip neigh flush all; ping -n -c 2 -i 0.2 -W 1 -I 192.168.10.11 192.168.10.1";

fn p10_an_address_is_its_hosts(lab: &Lab) {
    lab.gateways(&[]);
    let proxy = lab.dig("a1", "www.b.demo");
    lab.reach("a1", "www.b.demo");
    let sent = |port: u16, to: &str| {
        let what = format!("udp --source 192.168.10.11 --destination {to} --port {port} --count 3");
        lab.tool("a2", "datagram.py", &what).expect();
    };
    lab.drops_more(Realm::A, "source_mac", 3, || sent(80, &proxy));
    let queries = || lab.metrics(Realm::A).sum("ces_dns_queries_total", &[("side", "inside")]);
    let (before, refused) = (queries(), macs(lab, "refused"));
    sent(53, "192.168.10.1");
    assert!(eventually(|| macs(lab, "refused") >= refused + 3.0));
    assert!(queries() <= before, "a forged query is not read");
    lab.run("a2", "ip address add 192.168.10.11/32 dev eth0").expect();
    lab.run("a2", &format!("sh -c '{AS_A1}'")).says("100% packet loss");
    lab.run("a2", "sh -c 'sleep 2; ping -n -c 1 -W 1 -I 192.168.10.11 192.168.10.1'")
        .says("100% packet loss");
    lab.run("a2", "ip address del 192.168.10.11/32 dev eth0").expect();
    lab.reach("a1", "www.b.demo");
    assert!(macs(lab, "moved") < 1.0, "its owner answers");
    lab.ctl(Realm::A, "show hosts").says("arp");
}

fn p10_an_address_moves_when_its_host_is_gone(lab: &Lab) {
    lab.gateways(&[]);
    lab.reach("a1", "www.b.demo");
    lab.run("a1", "ip link set eth0 down").expect();
    lab.run("a2", "ip address add 192.168.10.11/32 dev eth0").expect();
    let moved = eventually(|| lab.run("a2", &format!("sh -c '{AS_A1}'")).stdout.contains(" 0% packet loss"));
    lab.run("a2", "ip address del 192.168.10.11/32 dev eth0").expect();
    lab.run("a1", "ip link set eth0 up").expect();
    lab.run("a1", "ip route replace default via 192.168.10.1").expect();
    assert!(moved && macs(lab, "moved") >= 1.0);
    // And back, since a2 has it no longer.
    assert!(eventually(|| lab.run("a1", "ping -n -c 1 -W 1 www.b.demo").stdout.contains(" 0% packet loss")));
}

fn proxy_address_without_a_binding(lab: &Lab) {
    lab.gateways(&[]);
    lab.drops_more(Realm::A, "no_binding", 3, || {
        lab.run("a1", "ping -n -c 3 -i 0.2 -W 1 10.64.99.99").says("100% packet loss");
    });
    // The binding of one host is not another's.
    let proxy = lab.dig("a1", "www.b.demo");
    lab.drops_more(Realm::A, "no_binding", 1, || {
        lab.tool("a2", "datagram.py", &format!("udp --source 192.168.10.12 --destination {proxy} --port 80"))
            .expect();
    });
}

/// A peer that misbehaves at gwb, from an address of its own, with or without a certificate of the CA.
fn misbehave(lab: &Lab, how: &str, last: u8, certificate: bool) -> String {
    let ca = lab.directory().join("ca");
    let keys = if certificate {
        let (ca, name) = (ca.display(), "mallory.demo");
        format!("--ca {ca}/ca.crt --cert {ca}/{name}.crt --key {ca}/{name}.key")
    } else {
        String::new()
    };
    if !ca.join("mallory.demo.crt").exists() {
        let make = lab.root().join("scripts/make-ca");
        lab.run("net", &format!("{} {} mallory.demo.", make.display(), ca.display())).expect();
    }
    lab.tool("net", "cetp.py", &format!("{how} {GWB} 48001 --source 203.0.113.{last} {keys}"))
        .expect()
        .to_owned()
}

/// After whatever it was: the gateway runs, and a pair that is new to it can be made.
fn still_works(lab: &Lab) {
    assert!(lab.is_running(Realm::B));
    lab.run("a1", "curl -sS -m 20 http://www.b.demo/").says("Hello from b1");
}

fn cetp_from_a_stranger(lab: &Lab) {
    lab.gateways(&[]);
    // No TLS at all, and TLS without a certificate.
    for (how, last) in [("plain", 100), ("garbage", 101), ("silent", 102)] {
        let said = misbehave(lab, how, last, false);
        assert!(!said.starts_with("open"), "{how}: {said}");
    }
    still_works(lab);
}

fn cetp_garbage(lab: &Lab) {
    lab.gateways(&[]);
    for (how, last) in [("garbage", 110), ("length", 111), ("json", 112), ("types", 113)] {
        let said = misbehave(lab, how, last, true);
        assert!(!said.starts_with("open"), "{how}: {said}");
    }
    still_works(lab);
}

fn cetp_a_byte_at_a_time(lab: &Lab) {
    lab.gateways(&[]);
    let said = misbehave(lab, "slow", 120, true);
    assert!(!said.starts_with("open"), "{said}");
    still_works(lab);
}

fn cetp_silence(lab: &Lab) {
    lab.gateways(&[]);
    let said = misbehave(lab, "silent", 130, true);
    assert!(!said.starts_with("open"), "{said}");
    still_works(lab);
}

fn cetp_crowd(lab: &Lab) {
    lab.gateways(&[]);
    let crowd = r"
import socket
held = []
for n in range(400):
    c = socket.socket()
    c.settimeout(2)
    c.bind(('203.0.113.%d' % (140 + n % 20), 0))
    try:
        c.connect(('198.51.100.2', 48001))
        held.append(c)
    except OSError:
        pass
print(len(held), flush=True)
import time
time.sleep(60)
";
    let crowd = lab.background("net", &format!("python3 -c \"{}\"", crowd.replace('"', "\\\"")));
    lab.run("b1", "dig +short a1.a.demo").expect();
    still_works(lab);
    crowd.end();
    still_works(lab);
}
