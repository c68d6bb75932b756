//! Each encapsulation between the gateways, chosen by configuration.

use crate::Case;
use ces_tests::lab::{Edit, Lab, Realm};

pub(crate) const CASES: &[Case] = &[
    ("vxlan", vxlan),
    ("gre", gre),
    ("geneve", geneve),
    ("packet_sockets_in_place_of_xdp", packet_sockets_in_place_of_xdp),
    ("no_encapsulation_in_common_is_refused", no_encapsulation_in_common_is_refused),
    ("frames_for_other_generators_are_carried", frames_for_other_generators_are_carried),
];

const SHIPPED: &str = "payloads = { vxlan = 80, gre = 60, geneve = 40 }";
/// Tunnels in clear.
pub(crate) const CLEAR: &[Edit] = &[
    (Realm::A, SHIPPED, "encryption = \"off\"\npayloads = { vxlan = 80, gre = 60, geneve = 40 }"),
    (Realm::B, SHIPPED, "encryption = \"off\"\npayloads = { vxlan = 80, gre = 60, geneve = 40 }"),
];

/// Traffic that uses every length and protocol, while the Internet is watched.
pub(crate) fn carries(lab: &Lab, edits: &[Edit], filter: &str, room: u32) {
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
    carries(lab, CLEAR, "udp dst port 4789", 1450);
}

fn gre(lab: &Lab) {
    let only = "encryption = \"off\"\npayloads = { gre = 60 }";
    carries(lab, &[(Realm::A, SHIPPED, only), (Realm::B, SHIPPED, only)], "ip proto 47", 1500 - 20 - 8 - 14);
}

fn geneve(lab: &Lab) {
    // RFC 8926 §3.3: UDP 6081. Both can do all; A, which asks, prefers GENEVE.
    let first = "encryption = \"off\"\npayloads = { geneve = 90, vxlan = 80, gre = 60 }";
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

/// What `cesload frames` makes of exported bindings for TRex and Pktgen, sent through the gateways: host's packets arrive at
/// the far host by way of both, tunnel packets by way of the one that they are made for.
fn frames_for_other_generators_are_carried(lab: &Lab) {
    lab.gateways(CLEAR);
    lab.reach("a1", "www.b.demo");
    let directory = lab.directory().display();
    let tools = lab.root().display();
    let cases =
        [(Realm::A, "egress-64", "a1", "192.168.10.11"), (Realm::B, "ingress-imix", "net", "192.0.2.2")];
    for (realm, profile, node, source) in cases {
        let bindings = lab.ctl(realm, "--json show bindings");
        std::fs::write(lab.directory().join("bindings.json"), bindings.expect())
            .expect("the lab's directory");
        let made = format!(
            "cp {tools}/perf/profiles/{profile}.toml {directory}/ && \
             {}/cesload frames {directory}/{profile}.toml --count 12 --pcap {directory}/frames.pcap",
            lab.binaries().display()
        );
        lab.run(node, &made).expect();
        let sending = lab.background(
            node,
            &format!(
                "sh -c 'for i in $(seq 50); do python3 {tools}/tests/tools/datagram.py replay {directory}/frames.pcap \
                 --source {source}; sleep 0.1; done'"
            ),
        );
        // It tells whether the checksums are right.
        let seen = lab
            .run("b1", "timeout 20 tcpdump -vv -nni eth0 -c 12 'udp dst port 9 and dst host 192.168.10.11'");
        sending.end();
        assert!(seen.stderr.contains("12 packets captured"), "{profile}: {seen}");
        assert!(!seen.stdout.contains("bad"), "{profile}: {seen}");
        assert!(seen.stdout.contains("udp sum ok"), "{profile}: {seen}");
    }
}
