//! Encrypted tunnels between the gateways, which is the default: what the Internet sees, and what it can do with that.

use crate::Case;
use crate::tunnel::{CLEAR, carries};
use ces_tests::lab::{Background, Edit, Lab, Realm, eventually};
use std::collections::BTreeSet;
use std::path::PathBuf;

pub(crate) const CASES: &[Case] = &[
    ("sealed_by_default", sealed_by_default),
    ("nobody_reads_what_crosses", nobody_reads_what_crosses),
    ("replayed_and_forged_frames_are_counted_and_not_delivered", replayed_and_forged_frames_are_counted),
    ("encryption_that_is_required_refuses_who_does_not", required_refuses_who_does_not),
    ("a_peer_that_does_not_encrypt_is_spoken_to_in_clear", in_clear_with_who_does_not),
    ("keys_change_under_traffic_without_a_loss", keys_change_without_a_loss),
    ("r1_no_nonce_comes_twice_over_a_restart", r1_no_nonce_comes_twice),
];

const GWA: &str = "192.0.2.2";
const GWB: &str = "198.51.100.2";

/// The place of a line in both configurations.
const TLS: &str = "[tls]";

fn sealed_by_default(lab: &Lab) {
    // PSP: UDP 1000. 1500 less the outer IPv4 20, UDP 8, header 16 and tag 16.
    carries(lab, &[], "udp dst port 1000", 1440);
    for realm in Realm::BOTH {
        lab.ctl(realm, "show peers").says(", epoch ");
        let metrics = lab.metrics(realm);
        for direction in ["in", "out"] {
            let name = "ces_tunnel_sealed_packets_total";
            assert!(metrics.sum(name, &[("direction", direction)]) >= 40.0, "{direction}");
        }
        assert!(metrics.sum("ces_tunnel_rekeys_total", &[]) >= 1.0);
        assert!(metrics.sum("ces_cetp_peer_encrypted", &[]) >= 1.0);
    }
}

/// Captures what crosses the Internet between the gateways while something is done there.
fn captured(lab: &Lab, name: &str, filter: &str, doing: impl FnOnce()) -> PathBuf {
    let file = lab.directory().join(name);
    let capture: Background = lab.background(
        "net",
        &format!("tcpdump -U --immediate-mode -Z root -nni gwa -w {} '{filter}'", file.display()),
    );
    assert!(eventually(|| file.exists()), "tcpdump has begun");
    doing();
    capture.end();
    file
}

/// The IPv4 packets of a capture.
fn packets(file: &PathBuf) -> Vec<Vec<u8>> {
    let bytes = std::fs::read(file).expect("tcpdump has written it");
    let (mut rest, mut packets) = (bytes.get(24..).unwrap_or_default(), Vec::new());
    while let Some(head) = rest.first_chunk::<16>() {
        let length = u32::from_le_bytes([head[8], head[9], head[10], head[11]]) as usize;
        let Some(frame) = rest.get(16..16 + length) else { break };
        packets.push(frame[14..].to_vec());
        rest = &rest[16 + length..];
    }
    packets
}

fn nobody_reads_what_crosses(lab: &Lab) {
    lab.gateways(&[]);
    lab.reach("a1", "www.b.demo");
    let file = captured(lab, "sealed.pcap", &format!("host {GWB} and not tcp port 48001"), || {
        lab.run("a1", "curl -sS -m 20 http://www.b.demo/").says("Hello from b1");
    });
    let all = packets(&file);
    assert!(all.len() >= 8, "{} packets", all.len());
    for packet in &all {
        assert!(!packet.windows(13).any(|part| part == b"Hello from b1" || part == b"Host: www.b.d"));
        // Nor which hosts: UDP to port 1000, and behind PSP's header nothing that looks like IPv4 between tags.
        assert_eq!((packet[9], &packet[22..24]), (17, &1000u16.to_be_bytes()[..]), "{packet:02x?}");
    }
    // The same in clear shows that this would be seen.
    lab.gateways(CLEAR);
    lab.reach("a1", "www.b.demo");
    let file = captured(lab, "clear.pcap", &format!("host {GWB} and not tcp port 48001"), || {
        lab.run("a1", "curl -sS -m 20 http://www.b.demo/").says("Hello from b1");
    });
    let seen = |packet: &Vec<u8>| packet.windows(13).any(|part| part == b"Hello from b1");
    assert!(packets(&file).iter().any(seen));
}

fn replayed_and_forged_frames_are_counted(lab: &Lab) {
    lab.gateways(&[]);
    lab.reach("a1", "www.b.demo");
    let from_b = format!("udp dst port 1000 and src host {GWB}");
    let file = captured(lab, "replay.pcap", &from_b, || {
        lab.run("a1", "ping -n -c 4 -i 0.2 -W 5 www.b.demo").says(" 0% packet loss");
    });
    let count = packets(&file).len() as u64;
    assert!(count >= 4);
    let heard = lab.background("a1", "timeout 60 tcpdump -nni eth0 -l icmp");
    for source in [GWB, "203.0.113.67"] {
        lab.drops_more(Realm::A, "tunnel_replayed", count, || {
            lab.tool("net", "datagram.py", &format!("replay {} --source {source}", file.display()))
                .says(&format!("{count} sent"));
        });
        for byte in [45, 60, -1] {
            lab.drops_more(Realm::A, "tunnel_forged", count, || {
                let what = format!("replay {} --source {source} --flip={byte}", file.display());
                lab.tool("net", "datagram.py", &what).expect();
            });
        }
    }
    // In clear, from the peer's own address.
    for kind in ["vxlan", "gre", "geneve"] {
        lab.drops_more(Realm::A, "tunnel_clear", 3, || {
            let what =
                format!("tunnel --source {GWB} --destination {GWA} --id 7 --count 3 --encapsulation {kind}");
            lab.tool("net", "datagram.py", &what).expect();
        });
    }
    let heard = heard.end();
    assert!(!heard.stdout.contains("ICMP"), "nothing of that was delivered: {heard}");
    lab.run("a1", "ping -n -c 2 -i 0.2 -W 5 www.b.demo").says(" 0% packet loss");
}

const REQUIRED: Edit = (
    Realm::A,
    "[[cetp.endpoints]]",
    "[cetp.peer_encryption]\n\"gwb.demo.\" = \"required\"\n\n[[cetp.endpoints]]",
);

fn required_refuses_who_does_not(lab: &Lab) {
    lab.gateways(&[REQUIRED, CLEAR[1]]);
    assert_eq!(lab.dig_status("a1", "www.b.demo"), "NXDOMAIN");
    let refused =
        lab.metrics(Realm::A).sum("ces_cetp_total", &[("layer", "c2c"), ("outcome", "unencrypted")]);
    assert!(refused >= 1.0, "it is counted");
    assert!(lab.log(Realm::A).contains("unencrypted"), "and told");
    // With who encrypts it stands.
    lab.gateways(&[REQUIRED]);
    lab.reach("a1", "www.b.demo");
    lab.gateways(&[]);
}

fn in_clear_with_who_does_not(lab: &Lab) {
    carries(lab, &[CLEAR[1]], "udp dst port 4789", 1450);
    lab.ctl(Realm::A, "show peers").says("none");
    lab.gateways(&[]);
}

const SOON: [Edit; 2] = [
    (Realm::A, TLS, "[cetp.limits]\nrekey_s = 10\n\n[tls]"),
    (Realm::B, TLS, "[cetp.limits]\nrekey_s = 10\n\n[tls]"),
];

fn rekeys(lab: &Lab, realm: Realm) -> f64 {
    lab.metrics(realm).sum("ces_tunnel_rekeys_total", &[])
}

fn keys_change_without_a_loss(lab: &Lab) {
    lab.gateways(&SOON);
    lab.reach("a1", "www.b.demo");
    let before = Realm::BOTH.map(|realm| rekeys(lab, realm));
    let pings = lab.background("a1", "ping -n -q -c 2500 -i 0.01 -W 5 www.b.demo");
    let changed =
        eventually(|| Realm::BOTH.iter().zip(before).all(|(realm, old)| rekeys(lab, *realm) >= old + 2.0));
    let pings = pings.wait();
    assert!(changed, "both have other keys, twice");
    pings.says(" 0% packet loss");
    for realm in Realm::BOTH {
        for reason in
            ["tunnel_forged", "tunnel_replayed", "tunnel_late", "tunnel_key_unknown", "tunnel_unkeyed"]
        {
            assert_eq!(lab.drops(realm, reason), 0, "{reason}");
        }
    }
    lab.gateways(&[]);
}

const KEEPS_STATE: Edit = (Realm::A, "[registry]", "[state]\ndirectory = \"state\"\n\n[registry]");

fn r1_no_nonce_comes_twice(lab: &Lab) {
    lab.gateways(&[KEEPS_STATE]);
    lab.reach("a1", "www.b.demo");
    let from_a = format!("udp dst port 1000 and src host {GWA}");
    let file = captured(lab, "nonces.pcap", &from_a, || {
        let pings = lab.background("a1", "ping -n -q -c 400 -i 0.05 -W 5 www.b.demo");
        for _ in 0..3 {
            std::thread::sleep(std::time::Duration::from_secs(1));
            lab.kill(Realm::A);
            lab.start(Realm::A);
        }
        // The session and its keys live on: what was under way goes on by itself.
        assert!(lab.run("a1", "ping -n -c 3 -i 0.2 -W 5 www.b.demo").ok());
        pings.wait();
    });
    let all = packets(&file);
    // Index and initialization vector, under each key.
    let nonces: BTreeSet<&[u8]> = all.iter().map(|packet| &packet[32..44]).collect();
    let starts: BTreeSet<&[u8]> = all.iter().map(|packet| &packet[36..39]).collect();
    assert!(all.len() >= 100 && starts.len() >= 4, "{} packets, {} starts", all.len(), starts.len());
    assert_eq!(nonces.len(), all.len(), "each comes once");
    lab.gateways(&[]);
}
