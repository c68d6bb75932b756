//! The DMZ, a third side: what goes between it, the realm and the world, with public addresses and with private ones. No NIC.
#![allow(missing_docs)]

mod common;

use ces_dataplane::msg::{Command, HopId, Neighbour, PuntClass};
use ces_dataplane::premises::Premises;
use ces_dataplane::reason::DropReason as Why;
use ces_dataplane::settings::NatRoom;
use ces_dataplane::table::fib::Fib;
use ces_dataplane::verdict::Verdict;
use common::dmz::*;
use common::rules::filter;
use common::*;
use std::sync::Arc;

const MAC_WEB: [u8; 6] = [2, 0, 0, 0, 3, 1];
const SERVER: u32 = 0x0808_0808;
const EXTERNAL: u32 = 0xc633_6442;
const SYN: u8 = 0x02;
const ACK: u8 = 0x10;

/// A gateway with a DMZ of a public network and a private one.
fn gateway(rules: &str) -> Gateway {
    let mut settings = settings();
    add_dmz(&mut settings);
    settings.nat_room = NatRoom { sessions: 64, mappings: 64, hosts: 8, addresses: 2 };
    settings.nat.addresses = vec![address(EXTERNAL)];
    let mut gateway = Gateway::bare(settings.clone());
    let (web, back) = (HopId(4), HopId(5));
    for hop in [web, back] {
        gateway.command(Command::SetHop(hop, Neighbour { port: DMZ, mac: Some(MAC_WEB), pin: None }));
    }
    for (host, hop) in [(HOST, HOP_HOST), (OTHER, HOP_OTHER), (WEB, web), (BACK, back)] {
        gateway.command(Command::Reach(address(host), hop));
    }
    let premises = Premises::new(&settings).with_routes(Arc::new(Fib::of(&dmz_routes(), 1)));
    gateway.state.move_in(&mut premises.with_filter(Some(filter(rules)), 1));
    gateway
}

/// What becomes of a packet that comes by a port: by which it leaves, and between which addresses, or why not.
fn fate(gateway: &mut Gateway, port: u8, packet: &Ip) -> Result<(u8, u32, u32), Why> {
    let frame = match port {
        DMZ => ethernet(MAC_DMZ, MAC_WEB, 0x0800, &packet.bytes()),
        OUTSIDE => ethernet(MAC_OUT, MAC_ROUTER, 0x0800, &packet.bytes()),
        _ => from_host(packet),
    };
    match gateway.one(port, &frame) {
        (Verdict::Forward(_), out) => {
            let (by, frame) = &out[0];
            assert_sound(frame);
            let at = |place: usize| u32::from_be_bytes(frame[place..place + 4].try_into().unwrap());
            Ok((*by, at(26), at(30)))
        }
        (Verdict::Drop(why) | Verdict::Reply(_, why), _) => Err(why),
        (other, _) => panic!("{other:?}"),
    }
}

fn segment(from: (u32, u16), to: (u32, u16), flags: u8) -> Ip {
    Ip::new(from.0, to.0, 6, tcp(from.1, to.1, flags, &[], &[]))
}

#[test]
fn the_realm_reaches_the_dmz_as_it_is_and_nobody_comes_from_there() {
    let mut gateway = gateway("allow tcp from dmz 192.0.2.130 to inside");
    let (host, web) = ((HOST, 4000), (WEB, 80));
    assert_eq!(fate(&mut gateway, INSIDE, &segment(host, web, SYN)), Ok((DMZ, HOST, WEB)));
    assert_eq!(fate(&mut gateway, DMZ, &segment(web, host, SYN | ACK)), Ok((INSIDE, WEB, HOST)));
    // On the straight line, both ways.
    assert_eq!(fate(&mut gateway, INSIDE, &segment(host, web, ACK)), Ok((DMZ, HOST, WEB)));
    assert_eq!(fate(&mut gateway, DMZ, &segment(web, host, ACK)), Ok((INSIDE, WEB, HOST)));
    // What opens: as the rules say, and without one not at all.
    assert_eq!(fate(&mut gateway, DMZ, &segment((WEB, 5000), (OTHER, 22), SYN)), Ok((INSIDE, WEB, OTHER)));
    assert_eq!(fate(&mut gateway, DMZ, &segment((BACK, 5000), (OTHER, 22), SYN)), Err(Why::Unasked));
    assert_eq!(fate(&mut gateway, DMZ, &Ip::new(WEB, HOST, 17, udp(53, 99, b"x"))), Err(Why::Unasked));
    assert_eq!(fate(&mut gateway, DMZ, &segment(web, (HOST, 4001), ACK)), Err(Why::Unasked));
    assert_eq!(fate(&mut gateway, DMZ, &Ip::new(WEB, PROXY, 17, udp(53, 99, b"x"))), Err(Why::Unasked));
}

/// P9: parts of an answer from the DMZ, of whatever protocol, that overtake their first one wait for it.
#[test]
fn p9_parts_of_an_answer_from_the_dmz_arrive_in_any_order() {
    for (protocol, asked, told) in [
        (1, icmp(8, 0, 7 << 16, &[1; 16]), icmp(0, 0, 7 << 16, &[1; 16])),
        (17, udp(5000, 53, b"q"), udp(53, 5000, &[1; 16])),
    ] {
        let mut gateway = gateway("");
        let asked = Ip::new(HOST, WEB, protocol, asked);
        assert_eq!(fate(&mut gateway, INSIDE, &asked), Ok((DMZ, HOST, WEB)));
        let whole = Ip::new(WEB, HOST, protocol, told).bytes()[20..].to_vec();
        let first = Ip::new(WEB, HOST, protocol, whole[..16].to_vec()).fragment(0x2000).raw();
        let later = Ip::new(WEB, HOST, protocol, whole[16..].to_vec()).fragment(2).raw();
        let frame = ethernet(MAC_DMZ, MAC_WEB, 0x0800, &later.bytes());
        assert!(matches!(gateway.one(DMZ, &frame).0, Verdict::HoldLater(_)), "{protocol}");
        for part in [first, later] {
            assert_eq!(fate(&mut gateway, DMZ, &part), Ok((INSIDE, WEB, HOST)), "{protocol}");
        }
    }
}

#[test]
fn public_addresses_are_routed_and_private_ones_translated() {
    let rules = "allow tcp from outside to dmz 192.0.2.130 port 80\ndeny icmp from dmz\n";
    let mut gateway = gateway(rules);
    let (stranger, web) = ((SERVER, 7000), (WEB, 80));
    assert_eq!(fate(&mut gateway, OUTSIDE, &segment(stranger, web, SYN)), Ok((DMZ, SERVER, WEB)));
    assert_eq!(fate(&mut gateway, DMZ, &segment(web, stranger, SYN | ACK)), Ok((OUTSIDE, WEB, SERVER)));
    assert_eq!(fate(&mut gateway, OUTSIDE, &segment(stranger, (WEB, 22), SYN)), Err(Why::Unasked));
    assert_eq!(fate(&mut gateway, OUTSIDE, &segment(stranger, (BACK, 80), SYN)), Err(Why::Unasked));
    // Out.
    assert_eq!(fate(&mut gateway, DMZ, &segment((WEB, 9), stranger, SYN)), Ok((OUTSIDE, WEB, SERVER)));
    let out = fate(&mut gateway, DMZ, &segment((BACK, 5000), stranger, SYN));
    assert_eq!(out, Ok((OUTSIDE, EXTERNAL, SERVER)));
    let answer = fate(&mut gateway, OUTSIDE, &segment(stranger, (EXTERNAL, 5000), SYN | ACK));
    assert_eq!(answer, Ok((DMZ, SERVER, BACK)));
    let ping = Ip::new(WEB, SERVER, 1, icmp(8, 0, 7 << 16 | 1, b"x"));
    assert_eq!(fate(&mut gateway, DMZ, &ping), Err(Why::FilterDenied));
}

#[test]
fn rules_tell_all_three_zones_apart() {
    let rules = "deny tcp from inside to outside\ndeny udp from inside to dmz\nallow udp from dmz to outside on outside port 53\n\
                 deny udp from on dmz to outside\n";
    let mut gateway = gateway(rules);
    assert_eq!(fate(&mut gateway, INSIDE, &segment((HOST, 4000), (SERVER, 80), SYN)), Err(Why::FilterDenied));
    assert!(fate(&mut gateway, INSIDE, &segment((HOST, 4000), (WEB, 80), SYN)).is_ok());
    assert_eq!(fate(&mut gateway, INSIDE, &Ip::new(HOST, WEB, 17, udp(9, 9, b"x"))), Err(Why::FilterDenied));
    assert!(fate(&mut gateway, DMZ, &segment((WEB, 4000), (SERVER, 80), SYN)).is_ok());
    assert!(fate(&mut gateway, DMZ, &Ip::new(WEB, SERVER, 17, udp(9, 53, b"x"))).is_ok());
    let other = fate(&mut gateway, DMZ, &Ip::new(WEB, SERVER, 17, udp(9, 54, b"x")));
    assert_eq!(other, Err(Why::FilterDenied));
}

/// RFC 2827; RFC 3704 §2.2.
#[test]
fn nobody_speaks_for_another_zone() {
    let mut gateway = gateway("allow");
    for (port, source) in [(DMZ, HOST), (DMZ, SERVER), (INSIDE, WEB), (OUTSIDE, HOST)] {
        let packet = Ip::new(source, if port == OUTSIDE { WEB } else { SERVER }, 17, udp(9, 9, b"x"));
        assert_eq!(fate(&mut gateway, port, &packet), Err(Why::SourceSpoofed), "{source:#x} by {port}");
    }
    let from_dmz = Ip::new(BACK, WEB, 17, udp(9, 9, b"x"));
    assert_eq!(fate(&mut gateway, OUTSIDE, &from_dmz), Err(Why::SourceSpoofed));
    // The gateway answers there for itself.
    let ping = Ip::new(WEB, OWN, 1, icmp(8, 0, 7 << 16 | 1, b"x"));
    let frame = ethernet(MAC_DMZ, MAC_WEB, 0x0800, &ping.bytes());
    assert!(matches!(gateway.one(DMZ, &frame).0, Verdict::Punt(_)));
    let mut who = vec![0, 1, 8, 0, 6, 4, 0, 1];
    who.extend(MAC_WEB.iter().copied().chain(WEB.to_be_bytes()).chain([0; 6]).chain(OWN.to_be_bytes()));
    let frame = ethernet([0xff; 6], MAC_WEB, 0x0806, &who);
    assert!(matches!(gateway.one(DMZ, &frame).0, Verdict::Punt(_)), "ARP");
    assert_eq!(gateway.state.counters.drops.iter().sum::<u64>(), 5, "each packet has one fate");
}

/// What the gateway answers for itself would go into the DMZ.
#[test]
fn p4_addresses_of_the_dmz_do_not_arrive_outside() {
    let mut gateway = gateway("allow");
    for (source, protocol, payload) in [
        (WEB, 1, icmp(8, 0, 7 << 16 | 1, b"x")),
        (BACK, 1, icmp(8, 0, 7 << 16 | 1, b"x")),
        (WEB, 6, tcp(5000, 48001, SYN, &[], &[])),
        (BACK, 17, udp(5000, 53, b"q")),
        (OWN, 17, udp(5000, 53, b"q")),
    ] {
        let packet = Ip::new(source, LOCAL, protocol, payload);
        assert_eq!(fate(&mut gateway, OUTSIDE, &packet), Err(Why::SourceSpoofed), "{source:#x} {protocol}");
    }
    for (sender, fate) in
        [(WEB, Verdict::Drop(Why::SourceSpoofed)), (0xc633_64fe, Verdict::Punt(PuntClass::Arp))]
    {
        let mut who = vec![0, 1, 8, 0, 6, 4, 0, 1];
        who.extend(MAC_ROUTER.iter().copied().chain(sender.to_be_bytes()).chain([0; 6]));
        who.extend(LOCAL.to_be_bytes());
        let frame = ethernet([0xff; 6], MAC_ROUTER, 0x0806, &who);
        assert_eq!(gateway.one(OUTSIDE, &frame).0, fate, "{sender:#x}");
    }
}

#[test]
fn errors_find_their_session() {
    let mut gateway = gateway("allow");
    let asked = Ip::new(HOST, WEB, 17, udp(4000, 9, b"x"));
    assert_eq!(fate(&mut gateway, INSIDE, &asked), Ok((DMZ, HOST, WEB)));
    let refused = Ip::new(WEB, HOST, 1, icmp(3, 3, 0, &asked.bytes()));
    assert_eq!(fate(&mut gateway, DMZ, &refused), Ok((INSIDE, WEB, HOST)));
    let knock = Ip::new(SERVER, WEB, 17, udp(4000, 9, b"x"));
    assert_eq!(fate(&mut gateway, OUTSIDE, &knock), Ok((DMZ, SERVER, WEB)));
    let refused = Ip::new(WEB, SERVER, 1, icmp(3, 3, 0, &knock.bytes()));
    assert_eq!(fate(&mut gateway, DMZ, &refused), Ok((OUTSIDE, WEB, SERVER)));
}
