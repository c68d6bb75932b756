//! A gateway with NAT44: two inside hosts, the world, and what of a packet the tests look at.

use super::*;
use ces_dataplane::premises::Premises;
use ces_dataplane::reason::DropReason as Why;
use ces_dataplane::settings::NatRoom;
use ces_dataplane::table::fib::{Fib, Next, Route};
use std::sync::Arc;

/// A server in the world, another one, and a router on the way.
pub(crate) const SERVER: u32 = 0x0808_0808;
pub(crate) const SERVER_2: u32 = 0x0909_0909;
pub(crate) const WAYPOINT: u32 = 0x0505_0505;
pub(crate) const SYN: u8 = 0x02;
pub(crate) const ACK: u8 = 0x10;
pub(crate) const FIN: u8 = 0x01;
pub(crate) const RST: u8 = 0x04;

pub(crate) fn nat_settings() -> WorkerSettings {
    let mut settings = settings();
    settings.nat_room = NatRoom { sessions: 64, mappings: 64, hosts: 8, addresses: 2 };
    settings.nat.addresses = vec![address(LOCAL)];
    // What is kept for six seconds first has cases of its own.
    settings.nat.tell_unasked = false;
    settings
}

pub(crate) fn routes(generation: u16) -> Arc<Fib> {
    let route = |network, prefix, next| Route { network, prefix, next };
    Arc::new(Fib::of(
        &[
            route(0, 0, Next::Via(ROUTER)),
            route(0x0a00_0000, 24, Next::OnLink(INSIDE)),
            route(LOCAL & 0xffff_ff00, 24, Next::OnLink(OUTSIDE)),
        ],
        generation,
    ))
}

pub(crate) fn gateway_with(settings: WorkerSettings) -> Gateway {
    let mut premises = Premises::new(&settings).with_routes(routes(1));
    let mut gateway = Gateway::bare(settings);
    gateway.state.move_in(&mut premises);
    gateway.command(Command::Reach(address(HOST), HOP_HOST));
    gateway.command(Command::Reach(address(OTHER), HOP_OTHER));
    gateway
}

pub(crate) fn gateway() -> Gateway {
    gateway_with(nat_settings())
}

pub(crate) fn from_other(packet: &Ip) -> Vec<u8> {
    ethernet(MAC_IN, MAC_OTHER, 0x0800, &packet.bytes())
}

pub(crate) fn from_world(packet: &Ip) -> Vec<u8> {
    ethernet(MAC_OUT, MAC_ROUTER, 0x0800, &packet.bytes())
}

/// The packet in the one frame that a packet becomes.
pub(crate) fn sent(gateway: &mut Gateway, port: u8, frame: &[u8]) -> (u8, Vec<u8>) {
    let (verdict, mut out) = gateway.one(port, frame);
    assert!(matches!(verdict, Verdict::Forward(_)), "{verdict:?}");
    assert_eq!(out.len(), 1);
    let (port, frame) = out.remove(0);
    assert_sound(&frame);
    (port, frame)
}

pub(crate) fn dropped(gateway: &mut Gateway, port: u8, frame: &[u8]) -> Why {
    match gateway.one(port, frame).0 {
        Verdict::Drop(why) | Verdict::Reply(_, why) => why,
        other => panic!("{other:?}"),
    }
}

pub(crate) fn word(frame: &[u8], at: usize) -> u32 {
    u32::from_be_bytes(frame[14 + at..14 + at + 4].try_into().unwrap())
}

/// Source and destination with ports.
pub(crate) fn flow(frame: &[u8]) -> (u32, u16, u32, u16) {
    let ports = word(frame, 20);
    (word(frame, 12), (ports >> 16) as u16, word(frame, 16), ports as u16)
}

/// The external port of what the host sends by UDP from this port to the server.
pub(crate) fn external(gateway: &mut Gateway, host: u32, port: u16) -> u16 {
    let packet = Ip::new(host, SERVER, 17, udp(port, 53, b"q"));
    let frame = if host == HOST { from_host(&packet) } else { from_other(&packet) };
    flow(&sent(gateway, INSIDE, &frame).1).1
}

pub(crate) fn segment(gateway: &mut Gateway, out: bool, flags: u8) -> Option<Vec<u8>> {
    let (port, frame) = if out {
        (INSIDE, from_host(&Ip::new(HOST, SERVER, 6, tcp(4000, 80, flags, &[], b"x"))))
    } else {
        (OUTSIDE, from_world(&Ip::new(SERVER, LOCAL, 6, tcp(80, 4000, flags, &[], b"x"))))
    };
    let (verdict, mut out) = gateway.one(port, &frame);
    matches!(verdict, Verdict::Forward(_)).then(|| {
        assert_sound(&out[0].1);
        out.remove(0).1
    })
}

pub(crate) fn wait(gateway: &mut Gateway, seconds: u64) {
    for _ in 0..seconds {
        gateway.now += SECOND;
        gateway.state.tick(gateway.now);
    }
    gateway.state.take_stock();
}
