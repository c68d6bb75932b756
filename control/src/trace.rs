//! A frame in words, for `cesctl trace`.
//!
//! Lenient where the packet path is strict: a frame that was dropped as malformed is shown as far as it can be read.

use ces_rules::protocol_name;
use ces_wire::{arp, ethernet, geneve, gre, icmp, ipv4, tcp, udp, vxlan};
use std::fmt::Write as _;
use std::net::Ipv4Addr;

/// The tag protocol identifier of a service VLAN tag (IEEE 802.1ad).
const SERVICE_VLAN: u16 = 0x88a8;
/// Encapsulations within one another that are followed.
const DEPTH: u32 = 3;

fn be16(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_be_bytes([*bytes.get(at)?, *bytes.get(at + 1)?]))
}

fn be32(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from(be16(bytes, at)?) << 16 | u32::from(be16(bytes, at + 2)?))
}

/// A MAC address as people write it.
pub fn mac(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(17);
    for (i, byte) in bytes.iter().enumerate() {
        let _ = write!(text, "{}{byte:02x}", if i == 0 { "" } else { ":" });
    }
    text
}

/// The frame, layer by layer, separated by ` | `. `kept` are its first bytes, of `length` in all.
pub fn describe(kept: &[u8], length: usize) -> String {
    let kept = &kept[..kept.len().min(length)];
    let mut text = String::new();
    if ethernet(kept, &mut text, 0).is_none() {
        text.push_str(if kept.len() < length { " …" } else { " (cut short)" });
    }
    text
}

fn separate(text: &mut String) {
    if !text.is_empty() {
        text.push_str(" | ");
    }
}

fn ethernet(bytes: &[u8], text: &mut String, depth: u32) -> Option<()> {
    separate(text);
    let (to, from) = (bytes.get(..ethernet::SOURCE)?, bytes.get(ethernet::SOURCE..ethernet::TYPE)?);
    // Inside a tunnel the addresses are zero and say nothing.
    if depth == 0 || to.iter().chain(from).any(|&byte| byte != 0) {
        let _ = write!(text, "{} > {}", mac(from), mac(to));
    } else {
        text.push_str("eth");
    }
    let mut kind = be16(bytes, ethernet::TYPE)?;
    let mut at = ethernet::LENGTH;
    while matches!(kind, ethernet::VLAN | SERVICE_VLAN) {
        let _ = write!(text, " vlan {}", be16(bytes, at)? & ethernet::VLAN_MASK);
        kind = be16(bytes, at + 2)?;
        at += ethernet::TAG;
    }
    let payload = bytes.get(at..)?;
    match kind {
        ethernet::IPV4 => ipv4(payload, text, depth),
        ethernet::ARP => arp(payload, text),
        other => {
            let _ = write!(text, " type 0x{other:04x}, {} bytes", payload.len());
            Some(())
        }
    }
}

fn address(bytes: &[u8], at: usize) -> Option<Ipv4Addr> {
    Some(Ipv4Addr::from(be32(bytes, at)?))
}

fn arp(bytes: &[u8], text: &mut String) -> Option<()> {
    separate(text);
    text.push_str("ARP");
    let operation = be16(bytes, arp::OPERATION)?;
    let (sender, target) = (address(bytes, arp::SENDER)?, address(bytes, arp::TARGET)?);
    let _ = match operation {
        arp::REQUEST => write!(text, " who has {target}? tell {sender}"),
        arp::REPLY => write!(text, " {sender} is at {}", mac(bytes.get(arp::SENDER_MAC..arp::SENDER)?)),
        other => write!(text, " operation {other}"),
    };
    Some(())
}

fn ipv4(bytes: &[u8], text: &mut String, depth: u32) -> Option<()> {
    separate(text);
    text.push_str("IPv4");
    let first = *bytes.first()?;
    if first >> 4 != 4 {
        let _ = write!(text, " version {}", first >> 4);
        return Some(());
    }
    let header = usize::from(first & 0xf) * 4;
    let (total, fragment) = (usize::from(be16(bytes, ipv4::TOTAL_LENGTH)?), be16(bytes, ipv4::FRAGMENT)?);
    let (ttl, protocol) = (*bytes.get(ipv4::TTL)?, *bytes.get(ipv4::PROTOCOL)?);
    let (source, destination) = (address(bytes, ipv4::SOURCE)?, address(bytes, ipv4::DESTINATION)?);
    let _ = write!(text, " {source} > {destination} ttl {ttl} len {total}");
    if fragment & ipv4::DONT_FRAGMENT != 0 {
        text.push_str(" DF");
    }
    if header > ipv4::LENGTH {
        let _ = write!(text, " options {}", header - ipv4::LENGTH);
    }
    if header < ipv4::LENGTH || total < header {
        text.push_str(" (bad length)");
        return Some(());
    }
    let offset = usize::from(fragment & ipv4::OFFSET_MASK) * 8;
    if offset > 0 || fragment & ipv4::MORE_FRAGMENTS != 0 {
        let more = if fragment & ipv4::MORE_FRAGMENTS != 0 { "+" } else { "" };
        let _ = write!(text, " id {} fragment {offset}{more}", be16(bytes, ipv4::ID)?);
        if offset > 0 {
            let _ = write!(text, " of {}", protocol_name(protocol));
            return Some(());
        }
    }
    let payload = bytes.get(header..bytes.len().min(total).max(header))?;
    match protocol {
        ipv4::ICMP => icmp(payload, text, depth),
        ipv4::TCP => tcp(payload, text),
        ipv4::UDP => udp(payload, text, depth),
        ipv4::GRE => gre(payload, text, depth),
        other => {
            let _ = write!(text, " | protocol {other}");
            Some(())
        }
    }
}

fn tcp(bytes: &[u8], text: &mut String) -> Option<()> {
    separate(text);
    text.push_str("TCP");
    let (from, to) = (be16(bytes, 0)?, be16(bytes, 2)?);
    let _ = write!(text, " {from} > {to}");
    let (sequence, acknowledged) = (be32(bytes, tcp::SEQUENCE)?, be32(bytes, tcp::ACKNOWLEDGEMENT)?);
    let flags = *bytes.get(tcp::FLAGS)?;
    let mut names = String::new();
    let names_of = [
        (tcp::SYN, 'S'),
        (tcp::ACK, 'A'),
        (tcp::PSH, 'P'),
        (tcp::FIN, 'F'),
        (tcp::RST, 'R'),
        (tcp::URG, 'U'),
    ];
    for (bit, name) in names_of {
        if flags & bit != 0 {
            names.push(name);
        }
    }
    let _ = write!(text, " [{names}] seq {sequence}");
    if flags & tcp::ACK != 0 {
        let _ = write!(text, " ack {acknowledged}");
    }
    let header = usize::from(bytes.get(tcp::DATA_OFFSET)? >> 4) * 4;
    if flags & tcp::SYN != 0
        && let Some((_, mss)) = bytes.get(..header).and_then(tcp::maximum_segment)
    {
        let _ = write!(text, " mss {mss}");
    }
    Some(())
}

fn udp(bytes: &[u8], text: &mut String, depth: u32) -> Option<()> {
    separate(text);
    text.push_str("UDP");
    let (from, to) = (be16(bytes, udp::SOURCE_PORT)?, be16(bytes, udp::DESTINATION_PORT)?);
    let length = be16(bytes, udp::DATAGRAM_LENGTH)?;
    let _ = write!(text, " {from} > {to} len {length}");
    let payload = bytes.get(udp::LENGTH..)?;
    match to {
        vxlan::PORT if depth < DEPTH => {
            let _ = write!(text, " | VXLAN {}", be32(payload, vxlan::ID)? >> 8);
            ethernet(payload.get(vxlan::LENGTH..)?, text, depth + 1)
        }
        geneve::PORT if depth < DEPTH => {
            let options = usize::from(payload.first()? & geneve::OPTIONS_MASK) * 4;
            let _ = write!(text, " | GENEVE {}", be32(payload, geneve::ID)? >> 8);
            ethernet(payload.get(geneve::LENGTH + options..)?, text, depth + 1)
        }
        53 => {
            text.push_str(" | DNS query");
            Some(())
        }
        _ if from == 53 => {
            text.push_str(" | DNS answer");
            Some(())
        }
        _ => Some(()),
    }
}

fn gre(bytes: &[u8], text: &mut String, depth: u32) -> Option<()> {
    separate(text);
    text.push_str("GRE");
    let (flags, kind) = (be16(bytes, 0)?, be16(bytes, 2)?);
    let mut at = gre::WORD;
    if flags & gre::HAS_CHECKSUM != 0 {
        at += gre::WORD;
    }
    if flags & gre::HAS_KEY != 0 {
        let _ = write!(text, " key {}", be32(bytes, at)?);
        at += gre::WORD;
    }
    if flags & gre::HAS_SEQUENCE != 0 {
        at += gre::WORD;
    }
    match kind {
        ethernet::BRIDGED if depth < DEPTH => ethernet(bytes.get(at..)?, text, depth + 1),
        ethernet::IPV4 if depth < DEPTH => ipv4(bytes.get(at..)?, text, depth + 1),
        other => {
            let _ = write!(text, " type 0x{other:04x}");
            Some(())
        }
    }
}

fn icmp(bytes: &[u8], text: &mut String, depth: u32) -> Option<()> {
    separate(text);
    text.push_str("ICMP");
    let (kind, code) = (*bytes.first()?, *bytes.get(1)?);
    match kind {
        icmp::ECHO | icmp::ECHO_REPLY => {
            let name = if kind == icmp::ECHO { "echo request" } else { "echo reply" };
            let _ =
                write!(text, " {name} id {} seq {}", be16(bytes, icmp::REST)?, be16(bytes, icmp::REST + 2)?);
            Some(())
        }
        icmp::UNREACHABLE | icmp::TIME_EXCEEDED | icmp::PARAMETER_PROBLEM => {
            let _ = match (kind, code) {
                (icmp::UNREACHABLE, icmp::NET_UNREACHABLE) => write!(text, " net unreachable"),
                (icmp::UNREACHABLE, icmp::HOST_UNREACHABLE) => write!(text, " host unreachable"),
                (icmp::UNREACHABLE, icmp::PROTOCOL_UNREACHABLE) => write!(text, " protocol unreachable"),
                (icmp::UNREACHABLE, icmp::PORT_UNREACHABLE) => write!(text, " port unreachable"),
                (icmp::UNREACHABLE, icmp::FRAGMENTATION_NEEDED) => {
                    write!(text, " fragmentation needed, mtu {}", be16(bytes, icmp::NEXT_HOP_MTU)?)
                }
                (icmp::UNREACHABLE, icmp::PROHIBITED) => write!(text, " prohibited"),
                (icmp::TIME_EXCEEDED, icmp::IN_TRANSIT) => write!(text, " time exceeded"),
                (icmp::TIME_EXCEEDED, _) => write!(text, " reassembly time exceeded"),
                (icmp::PARAMETER_PROBLEM, _) => write!(text, " parameter problem"),
                (_, other) => write!(text, " unreachable, code {other}"),
            };
            if depth < DEPTH {
                text.push_str(" about (");
                let mut quoted = String::new();
                // The quoted packet is cut short by nature.
                let _ = ipv4(bytes.get(icmp::LENGTH..)?, &mut quoted, DEPTH);
                text.push_str(&quoted);
                text.push(')');
            }
            Some(())
        }
        other => {
            let _ = write!(text, " type {other} code {code}");
            Some(())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn ip(protocol: u8, source: [u8; 4], destination: [u8; 4], payload: &[u8]) -> Vec<u8> {
        let total = (20 + payload.len()) as u16;
        let mut bytes = vec![0x45, 0, 0, 0, 0, 0, 0x40, 0, 64, protocol, 0, 0];
        bytes[2..4].copy_from_slice(&total.to_be_bytes());
        bytes.extend(source);
        bytes.extend(destination);
        bytes.extend(payload);
        bytes
    }

    fn eth(inner: bool, payload: &[u8]) -> Vec<u8> {
        let mut bytes = if inner { vec![0; 12] } else { vec![2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2] };
        bytes.extend([8, 0]);
        bytes.extend(payload);
        bytes
    }

    fn echo() -> Vec<u8> {
        vec![8, 0, 0, 0, 0, 7, 0, 1]
    }

    #[test]
    fn a_ping_in_vxlan_is_told_layer_by_layer() {
        let inner = eth(true, &ip(1, [1, 2, 3, 4], [5, 6, 7, 8], &echo()));
        let mut udp = vec![0xc0, 0, 0x12, 0xb5, 0, 0, 0, 0, 8, 0, 0, 0, 0, 0, 42, 0];
        udp.extend(inner);
        let length = (udp.len() as u16).to_be_bytes();
        udp[4..6].copy_from_slice(&length);
        let frame = eth(false, &ip(17, [192, 0, 2, 2], [198, 51, 100, 2], &udp));
        assert_eq!(
            describe(&frame, frame.len()),
            "02:00:00:00:00:02 > 02:00:00:00:00:01 | IPv4 192.0.2.2 > 198.51.100.2 ttl 64 len 78 DF \
             | UDP 49152 > 4789 len 58 | VXLAN 42 | eth | IPv4 1.2.3.4 > 5.6.7.8 ttl 64 len 28 DF \
             | ICMP echo request id 7 seq 1"
        );
    }

    #[test]
    fn gre_and_geneve_are_followed_too() {
        let inner = eth(true, &ip(1, [1, 2, 3, 4], [5, 6, 7, 8], &echo()));
        let mut gre = vec![0x20, 0, 0x65, 0x58, 0, 0, 0, 9];
        gre.extend(&inner);
        let text = describe(&eth(false, &ip(47, [1; 4], [2; 4], &gre)), 500);
        assert!(text.contains("GRE key 9 | eth | IPv4 1.2.3.4 > 5.6.7.8"), "{text}");
        let mut geneve = vec![0, 1, 0x17, 0xc1, 0, 60, 0, 0, 0, 0, 0x65, 0x58, 0, 0, 5, 0];
        geneve.extend(&inner);
        let text = describe(&eth(false, &ip(17, [1; 4], [2; 4], &geneve)), 500);
        assert!(text.contains("GENEVE 5 | eth | IPv4 1.2.3.4"), "{text}");
    }

    #[test]
    fn a_syn_shows_its_mss() {
        let mut syn = vec![0x9c, 0x40, 0, 80, 0, 0, 0, 1, 0, 0, 0, 0, 0x60, 2, 0xff, 0xff, 0, 0, 0, 0];
        syn.extend([2, 4, 5, 0xb4]);
        let text = describe(&eth(false, &ip(6, [1; 4], [2; 4], &syn)), 58);
        assert!(text.ends_with("TCP 40000 > 80 [S] seq 1 mss 1460"), "{text}");
    }

    #[test]
    fn an_error_shows_what_it_is_about() {
        let mut error = vec![3, 4, 0, 0, 0, 0, 5, 0xdc];
        error.extend(ip(17, [9; 4], [8; 4], &[0, 53, 0, 54, 0, 8, 0, 0]));
        let text = describe(&eth(false, &ip(1, [1; 4], [2; 4], &error)), 500);
        assert!(text.contains("fragmentation needed, mtu 1500 about (IPv4 9.9.9.9 > 8.8.8.8"), "{text}");
    }

    #[test]
    fn what_is_cut_is_said_to_be() {
        let frame = eth(false, &ip(6, [1; 4], [2; 4], &[0; 4]));
        assert!(describe(&frame, frame.len()).ends_with("(cut short)"));
        assert!(describe(&frame, 100).ends_with('…'));
    }

    proptest! {
        #[test]
        fn any_bytes_are_described(bytes in prop::collection::vec(any::<u8>(), 0..200), length in 0usize..2000) {
            describe(&bytes, length);
        }

        #[test]
        fn any_ip_packet_is_described(protocol in prop::sample::select(vec![1u8, 6, 17, 47]), body: Vec<u8>) {
            describe(&eth(false, &ip(protocol, [1; 4], [2; 4], &body)), 9000);
        }
    }
}
