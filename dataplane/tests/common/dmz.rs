//! A gateway with a DMZ of a public network and a private one.

use super::*;
use ces_dataplane::nat::exceptions::Exception;
use ces_dataplane::table::fib::{Next, Route};

/// The gateway's port there.
pub(crate) const DMZ: u8 = 2;
pub(crate) const MAC_DMZ: [u8; 6] = [2, 0, 0, 0, 0, 3];
/// The gateway in the DMZ, a server with a public address there, and one with a private address.
pub(crate) const OWN: u32 = 0xc000_0281;
pub(crate) const WEB: u32 = 0xc000_0282;
pub(crate) const BACK: u32 = 0xac10_0502;

/// The port, and what is not translated: the public network towards everybody, and what goes between realm and DMZ.
pub(crate) fn add_dmz(settings: &mut WorkerSettings) {
    settings.ports.push(PortSettings {
        side: Side::Dmz,
        mac: MAC_DMZ,
        addresses: vec![(address(OWN), 28)],
        networks: vec![(address(0xc000_0280), 28), (address(0xac10_0500), 24)],
        vlan: None,
        mtu: 1500,
    });
    let pair = |inside: &str, outside: &str| Exception {
        inside: inside.parse().unwrap(),
        outside: outside.parse().unwrap(),
    };
    settings.nat.exceptions = vec![
        pair("192.0.2.128/28", "0.0.0.0/0"),
        pair("10.0.0.0/24", "192.0.2.128/28"),
        pair("10.0.0.0/24", "172.16.5.0/24"),
    ]
    .into();
}

/// The routes of such a gateway.
pub(crate) fn dmz_routes() -> [Route; 5] {
    let route = |network, prefix, next| Route { network, prefix, next };
    [
        route(0, 0, Next::Via(ROUTER)),
        route(0x0a00_0000, 24, Next::OnLink(INSIDE)),
        route(LOCAL & 0xffff_ff00, 24, Next::OnLink(OUTSIDE)),
        route(0xac10_0500, 24, Next::OnLink(DMZ)),
        route(0xc000_0280, 28, Next::OnLink(DMZ)),
    ]
}
