//! Two gateways with one binding between a host of each, for tests of the worker's loop.
//!
//! Both realms use the same private addresses. The frames of the hosts are built and read here byte by byte, so that the
//! packet path is not its own judge.
#![allow(dead_code, reason = "each test binary uses its part")]
#![allow(clippy::wrong_self_convention, reason = "packets come from a host, not conversions")]

pub(crate) mod lab;

use ces_dataplane::msg::{
    Binding, BindingLimits, Command, Encapsulation, Far, HopId, Neighbour, Patience, PortId, Tunnel, TunnelId,
};
use ces_dataplane::settings::{PortSettings, Side, WorkerSettings};
use ces_dataplane::tag::{Handle, TagCipher};
use std::net::Ipv4Addr;

/// The port towards the realm.
pub(crate) const INSIDE: PortId = 0;
/// The port towards the other gateway.
pub(crate) const OUTSIDE: PortId = 1;
/// The host of either realm: the same address in both.
pub(crate) const HOST: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 10);
/// The gateway's address in either realm.
pub(crate) const GATEWAY: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 1);
/// What stands for the far host in either realm.
pub(crate) const PROXY: Ipv4Addr = Ipv4Addr::new(172, 16, 0, 5);
/// The MAC address of either host.
pub(crate) const HOST_MAC: [u8; 6] = [2, 0, 0, 0, 0, 10];

const ETHERNET: usize = 14;
const IPV4: usize = 20;
const UDP: usize = 8;

/// One of the two gateways, 0 or 1.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Gateway(pub u8);

impl Gateway {
    fn other(self) -> Gateway {
        Gateway(1 - self.0)
    }

    /// The MAC address of one of its ports.
    pub(crate) fn mac(self, port: PortId) -> [u8; 6] {
        [2, 0, 0, 1, self.0, port]
    }

    /// Its address outside.
    pub(crate) fn locator(self) -> Ipv4Addr {
        Ipv4Addr::new(192, 0, 2, 1 + self.0)
    }

    /// The settings of its only worker.
    pub(crate) fn settings(self) -> WorkerSettings {
        let port = |side, number, address, networks| PortSettings {
            side,
            mac: self.mac(number),
            addresses: vec![(address, 24)],
            networks,
            vlan: None,
            mtu: 1500,
        };
        let inside = port(Side::Inside, INSIDE, GATEWAY, vec![(Ipv4Addr::new(10, 0, 0, 0), 24)]);
        let outside = port(Side::Outside, OUTSIDE, self.locator(), Vec::new());
        let mut settings = WorkerSettings::new(vec![inside, outside], 1024);
        settings.tag_key[0] ^= u32::from(self.0);
        settings.proxy_networks = vec![(Ipv4Addr::new(172, 16, 0, 0), 16)];
        settings
    }

    /// The handle of its binding.
    pub(crate) fn handle(self) -> Handle {
        self.settings().layout.handle(0, 7 + u32::from(self.0), 3)
    }

    fn tag(self) -> u32 {
        TagCipher::new(self.settings().tag_key).tag(self.handle()).0
    }

    /// What the control thread would tell its worker.
    pub(crate) fn commands(self) -> Vec<Command> {
        let id = |gateway: Gateway| 100 + u32::from(gateway.0);
        let tunnel = Tunnel {
            encapsulation: Encapsulation::Vxlan,
            local: self.locator(),
            remote: self.other().locator(),
            id_in: id(self),
            id_out: id(self.other()),
            neighbour: HopId(1),
            mtu: 1500,
        };
        let binding = Binding {
            host: HOST,
            proxy: PROXY,
            far: Far::Tunnel { tunnel: TunnelId(0), remote_tag: self.other().tag() },
            neighbour: HopId(0),
            mac: None,
            idle_s: 0,
            patience: Patience::None,
            hard_s: 0,
            limits: BindingLimits::default(),
        };
        let to_peer = Neighbour { port: OUTSIDE, mac: Some(self.other().mac(OUTSIDE)), pin: None };
        vec![
            Command::SetHop(HopId(0), Neighbour { port: INSIDE, mac: Some(HOST_MAC), pin: None }),
            Command::SetHop(HopId(1), to_peer),
            Command::SetTunnel(TunnelId(0), tunnel),
            Command::InsertBinding(self.handle(), binding),
        ]
    }

    /// A UDP packet from its host to the proxy.
    pub(crate) fn from_host(self, payload: &[u8]) -> Vec<u8> {
        udp(self.mac(INSIDE), HOST_MAC, (HOST, 4000), (PROXY, 5000), payload)
    }

    /// A UDP packet from any address to the proxy.
    pub(crate) fn from_address(self, source: Ipv4Addr) -> Vec<u8> {
        udp(self.mac(INSIDE), HOST_MAC, (source, 4000), (PROXY, 5000), b"payload")
    }

    /// A DNS query from its host to the gateway.
    pub(crate) fn query(self) -> Vec<u8> {
        self.query_of(b"twelve bytes")
    }

    /// A DNS query with this message.
    pub(crate) fn query_from_outside(self) -> Vec<u8> {
        udp(self.mac(OUTSIDE), HOST_MAC, (Ipv4Addr::new(8, 8, 8, 8), 4001), (self.locator(), 53), b"query")
    }

    /// A DNS query of the host with this message.
    pub(crate) fn query_of(self, message: &[u8]) -> Vec<u8> {
        udp(self.mac(INSIDE), HOST_MAC, (HOST, 4001), (GATEWAY, 53), message)
    }

    /// Asserts that this is what its host receives when the other host sends `payload`.
    pub(crate) fn assert_at_host(self, frame: &[u8], payload: &[u8]) {
        assert_eq!(frame.len(), ETHERNET + IPV4 + UDP + payload.len());
        assert_eq!(frame[..6], HOST_MAC);
        assert_eq!(frame[6..12], self.mac(INSIDE));
        let packet = &frame[ETHERNET..];
        assert_eq!((&packet[12..16], &packet[16..20]), (&PROXY.octets()[..], &HOST.octets()[..]));
        assert_eq!(sum(0, &packet[..IPV4]), 0xffff, "IPv4 checksum");
        let pseudo = sum(17 + (UDP + payload.len()) as u32, &packet[12..20]);
        assert_eq!(sum(pseudo, &packet[IPV4..]), 0xffff, "UDP checksum");
        assert_eq!(packet[IPV4..IPV4 + 4], [0x0f, 0xa0, 0x13, 0x88], "ports");
        assert_eq!(&packet[IPV4 + UDP..], payload);
    }
}

fn udp(
    to: [u8; 6],
    from: [u8; 6],
    source: (Ipv4Addr, u16),
    destination: (Ipv4Addr, u16),
    payload: &[u8],
) -> Vec<u8> {
    let length = (UDP + payload.len()) as u16;
    let mut packet = vec![0x45, 0];
    packet.extend((IPV4 as u16 + length).to_be_bytes());
    packet.extend([0, 1, 0x40, 0, 64, 17, 0, 0]); // do not fragment, time to live 64, UDP
    packet.extend(source.0.octets());
    packet.extend(destination.0.octets());
    let checksum = !(sum(0, &packet) as u16);
    packet[10..12].copy_from_slice(&checksum.to_be_bytes());
    packet.extend(source.1.to_be_bytes());
    packet.extend(destination.1.to_be_bytes());
    packet.extend(length.to_be_bytes());
    packet.extend([0, 0]);
    packet.extend(payload);
    let pseudo = sum(17 + u32::from(length), &packet[12..20]);
    let checksum = !(sum(pseudo, &packet[IPV4..]) as u16);
    packet[IPV4 + 6..IPV4 + 8].copy_from_slice(&checksum.to_be_bytes());
    [&to[..], &from, &[0x08, 0x00], &packet].concat()
}

/// The one's complement sum of RFC 1071, added to `start`.
fn sum(start: u32, bytes: &[u8]) -> u32 {
    let words = bytes.chunks(2).map(|word| (u32::from(word[0]) << 8) + u32::from(*word.get(1).unwrap_or(&0)));
    let mut sum = start + words.sum::<u32>();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    sum
}
