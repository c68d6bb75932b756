//! Each encapsulation between the gateways, chosen by configuration.

use crate::Case;
use ces_tests::lab::{Edit, Lab, Realm};

pub const CASES: &[Case] = &[
    ("vxlan", vxlan),
    ("gre", gre),
    ("geneve", geneve),
    ("packet_sockets_in_place_of_xdp", packet_sockets_in_place_of_xdp),
    ("no_encapsulation_in_common_is_refused", no_encapsulation_in_common_is_refused),
];

const SHIPPED: &str = "payloads = { vxlan = 80, gre = 60, geneve = 40 }";

/// Traffic that uses every length and protocol, while the Internet is watched.
fn carries(lab: &Lab, edits: &[Edit], filter: &str, room: u32) {
    lab.gateways(edits);
    lab.reach("a1", "www.b.demo");
    let pings = lab.background("a1", "ping -n -c 40 -i 0.1 -W 5 www.b.demo");
    let watched =
        lab.run("net", &format!("timeout 20 tcpdump -nni gwa -c 4 '{filter} and host 198.51.100.2'"));
    assert!(watched.stderr.contains("4 packets captured"), "{filter}: {watched}");
    pings.end();
    lab.run("a1", "curl -sS -m 20 http://www.b.demo/").says("Hello from b1");
    lab.run("a1", "curl -sS -m 120 -o /dev/null -w '%{size_download}' http://www.b.demo/20MB.bin")
        .says("20000000");
    lab.reach("a1", "www.b.demo");
    lab.run("a1", "ping -n -c 2 -i 0.1 -W 5 -s 4000 www.b.demo").says(" 0% packet loss");
    lab.run("a1", "ip route flush cache");
    lab.run("a1", &format!("ping -n -c 2 -i 0.1 -W 5 -M do -s {} www.b.demo", room - 28))
        .says(" 0% packet loss");
    let larger = lab.run("a1", &format!("ping -n -c 2 -i 0.1 -W 2 -M do -s {} www.b.demo", room - 27));
    assert!(!larger.ok(), "{larger}");
    lab.run("a1", "ip route flush cache");
}

fn vxlan(lab: &Lab) {
    // RFC 7348 §4.1: UDP 4789.
    carries(lab, &[], "udp dst port 4789", 1450);
}

fn gre(lab: &Lab) {
    let only = "payloads = { gre = 60 }";
    carries(lab, &[(Realm::A, SHIPPED, only), (Realm::B, SHIPPED, only)], "ip proto 47", 1500 - 20 - 8 - 14);
}

fn geneve(lab: &Lab) {
    // RFC 8926 §3.3: UDP 6081. Both can do all; A, which asks, prefers GENEVE.
    let first = "payloads = { geneve = 90, vxlan = 80, gre = 60 }";
    carries(lab, &[(Realm::A, SHIPPED, first)], "udp dst port 6081", 1450);
}

fn packet_sockets_in_place_of_xdp(lab: &Lab) {
    // DPDK's packet sockets have the kernel put fragments together and cut what is longer than a buffer, so that no
    // fragments come through; everything else does.
    lab.gateways(&[
        (Realm::A, "net_af_xdp0", "net_af_packet0"),
        (Realm::A, "net_af_xdp1", "net_af_packet1"),
        (Realm::B, "net_af_xdp0", "net_af_packet0"),
        (Realm::B, "net_af_xdp1", "net_af_packet1"),
    ]);
    lab.reach("a1", "www.b.demo");
    lab.run("a1", "ping -n -c 3 -i 0.2 -W 5 www.b.demo").says(" 0% packet loss");
    lab.run("a1", "curl -sS -m 120 -o /dev/null -w '%{size_download}' http://www.b.demo/20MB.bin")
        .says("20000000");
}

fn no_encapsulation_in_common_is_refused(lab: &Lab) {
    let edits =
        [(Realm::A, SHIPPED, "payloads = { gre = 60 }"), (Realm::B, SHIPPED, "payloads = { geneve = 60 }")];
    lab.gateways(&edits);
    assert_eq!(lab.dig_status("a1", "www.b.demo"), "NXDOMAIN");
    lab.gateways(&[]);
}
