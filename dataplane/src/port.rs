//! A port as the path sees it: whom it belongs to, which sources it takes, how its frames begin.

use crate::reason::DropReason;
use crate::settings::{PortSettings, Side};
use crate::wire::{Wire, ethernet, ipv4, le64};

/// One port.
#[derive(Clone, Debug)]
pub struct PathPort {
    /// The side it faces.
    pub side: Side,
    /// Its MAC address.
    pub mac: [u8; 6],
    /// Its VLAN.
    pub vlan: Option<u16>,
    /// The largest IP packet that it sends.
    pub mtu: u16,
    /// What nearly all of its packets look like.
    pub gate: QuickLook,
    /// The gateway's first own address on it.
    pub address: Option<u32>,
    /// Networks and masks from which packets are taken; empty = any.
    networks: Vec<(u32, u32)>,
    /// The directed broadcast addresses of its subnets.
    broadcasts: Vec<u32>,
}

/// What nearly all packets look like that a port takes: known by a few comparisons of whole words (little-endian, as they
/// are loaded). A small copy of what [`PathPort::accept`] and [`PathPort::takes_from`] ask, for the inner loop.
#[derive(Clone, Copy, Debug)]
pub struct QuickLook {
    /// Bytes 0 to 5: the port's address.
    mac: u64,
    /// From byte 12 on: the tag of the port's VLAN, if it has one, and the EtherType of IPv4.
    kind: u64,
    kind_mask: u64,
    /// The first network that packets are taken from, with its mask; both 0 = any.
    network: u32,
    mask: u32,
    /// Bytes of the Ethernet header.
    length: u8,
    /// Ports of UDP of which packets may be read on their way through a binding: the bit of each, modulo 64.
    read: u64,
}

impl QuickLook {
    /// Bytes that it looks at.
    const LOOKED_AT: usize = 20;

    fn new(mac: [u8; 6], vlan: Option<u16>, (network, mask): (u32, u32)) -> Self {
        let header = ethernet::Header { destination: mac, source: [0; 6], vlan, ethertype: ethernet::IPV4 };
        let mut bytes = [0; Self::LOOKED_AT];
        header.emit(&mut bytes);
        // The priority above a tag's VLAN may be any.
        let kind_mask = if vlan.is_some() { 0xffff_ff0f_ffff } else { 0xffff };
        let (mac, kind) = (le64(&bytes, 0), le64(&bytes, 12));
        Self { mac, kind, kind_mask, network, mask, length: header.length() as u8, read: 0 }
    }

    /// The IPv4 packet in a frame that the port certainly takes, and where it begins. `None`: [`PathPort::accept`] has to say.
    #[inline(always)]
    pub fn ipv4<'f>(&self, frame: &'f [u8]) -> Option<(usize, &'f [u8])> {
        let begin: &[u8; Self::LOOKED_AT] = frame.first_chunk()?;
        let differs = ((le64(begin, 0) ^ self.mac) << 16) | ((le64(begin, 12) ^ self.kind) & self.kind_mask);
        let at = usize::from(self.length);
        if differs == 0 { frame.get(at..).map(|ip| (at, ip)) } else { None }
    }

    /// Whether a packet with this source may certainly come in. If not, [`PathPort::takes_from`] has to say.
    #[inline(always)]
    pub const fn takes_from(&self, source: u32) -> bool {
        source & self.mask == self.network
    }

    /// Whether one of these two ports may be one of which packets are read; if not, none is.
    #[inline(always)]
    pub const fn may_read(&self, ports: u32) -> bool {
        self.read >> (ports & 63) & 1 != 0 || self.read >> (ports >> 16 & 63) & 1 != 0
    }
}

/// What an accepted frame carries, and where that begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Carried {
    /// An IPv4 packet at this offset.
    Ipv4(usize),
    /// An ARP message at this offset.
    Arp(usize),
}

impl PathPort {
    /// A port with these settings.
    pub fn new(settings: &PortSettings) -> Self {
        let network = |&(address, prefix): &(std::net::Ipv4Addr, u8)| {
            let mask = ipv4::mask(prefix);
            (address.to_bits() & mask, mask)
        };
        let networks: Vec<_> = settings.networks.iter().map(network).collect();
        Self {
            side: settings.side,
            mac: settings.mac,
            vlan: settings.vlan,
            mtu: settings.mtu,
            gate: QuickLook::new(settings.mac, settings.vlan, networks.first().copied().unwrap_or_default()),
            address: settings.addresses.first().map(|&(address, _)| address.to_bits()),
            networks,
            // RFC 3021: a /31 has no broadcast address, nor has a /32.
            broadcasts: settings
                .addresses
                .iter()
                .filter(|&&(_, prefix)| prefix < 31)
                .map(|entry| network(entry).0 | !network(entry).1)
                .collect(),
        }
    }

    /// The same, where packets of UDP with these ports may be read.
    pub fn reading(mut self, ports: impl Iterator<Item = u16>) -> Self {
        self.gate.read = ports.fold(0, |read, port| read | 1 << (port & 63));
        self
    }

    /// Whether this port takes the frame, and what it carries.
    pub fn accept(&self, frame: &[u8]) -> Result<Carried, DropReason> {
        let header = ethernet::Header::parse(frame)?;
        // A tag with VLAN 0 carries a priority and no VLAN (IEEE 802.1Q §6.9.1).
        if header.vlan != self.vlan && (header.vlan, self.vlan) != (Some(0), None) {
            return Err(DropReason::VlanUnknown);
        }
        if header.destination != self.mac {
            return accept_other(&header);
        }
        match header.ethertype {
            ethernet::IPV4 => Ok(Carried::Ipv4(header.length())),
            ethernet::ARP => Ok(Carried::Arp(header.length())),
            _ => Err(DropReason::EthertypeUnknown),
        }
    }

    /// Whether a packet with this source may come in here.
    pub fn takes_from(&self, source: u32) -> bool {
        self.networks.is_empty() || self.networks.iter().any(|&(network, mask)| source & mask == network)
    }

    /// Whether the address means everybody on one of its subnets.
    pub fn is_broadcast(&self, address: u32) -> bool {
        address == u32::MAX || self.broadcasts.contains(&address)
    }

    /// The header of a frame with IPv4 that leaves this port.
    pub fn header_to(&self, destination: [u8; 6]) -> ethernet::Header {
        ethernet::Header { destination, source: self.mac, vlan: self.vlan, ethertype: ethernet::IPV4 }
    }
}

/// A frame whose destination is not the port's address: ARP may come to everybody, nothing else is taken.
#[cold]
fn accept_other(header: &ethernet::Header) -> Result<Carried, DropReason> {
    if !header.to_group() {
        return Err(DropReason::NotForUs);
    }
    match header.ethertype {
        ethernet::ARP => Ok(Carried::Arp(header.length())),
        ethernet::IPV4 if header.destination == ethernet::BROADCAST => Err(DropReason::Broadcast),
        ethernet::IPV4 => Err(DropReason::Multicast),
        _ => Err(DropReason::EthertypeUnknown),
    }
}

/// Whether no host may use this source address (RFC 1122 §3.2.1.3, RFC 6890).
pub fn martian(source: u32) -> bool {
    matches!(source >> 24, 0 | 127 | 224..)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn port(vlan: Option<u16>) -> PathPort {
        PathPort::new(&PortSettings {
            side: Side::Inside,
            mac: [2, 0, 0, 0, 0, 1],
            addresses: vec![([10, 0, 0, 1].into(), 24)],
            networks: vec![([10, 0, 0, 7].into(), 24)],
            vlan,
            mtu: 1500,
        })
    }

    fn frame(destination: [u8; 6], vlan: Option<u16>, ethertype: u16) -> Vec<u8> {
        let header = ethernet::Header { destination, source: [4; 6], vlan, ethertype };
        let mut bytes = vec![0; 64];
        header.emit(&mut bytes);
        bytes
    }

    #[test]
    fn frames_are_taken_by_address_and_tag() {
        let (own, other) = ([2, 0, 0, 0, 0, 1], [2, 0, 0, 0, 0, 2]);
        let accept = |port_vlan, mac, vlan, kind| {
            let (port, frame) = (port(port_vlan), frame(mac, vlan, kind));
            let (accepted, at) = (port.accept(&frame), port.gate.ipv4(&frame).map(|(at, _)| at));
            assert!(at.is_none_or(|at| accepted == Ok(Carried::Ipv4(at))));
            assert!(
                at.is_some() || vlan == Some(0) || !matches!(accepted, Ok(Carried::Ipv4(_))),
                "the long way"
            );
            accepted
        };
        assert_eq!(accept(None, own, None, 0x0800), Ok(Carried::Ipv4(14)));
        assert_eq!(accept(Some(5), own, Some(5), 0x0800), Ok(Carried::Ipv4(18)));
        assert_eq!(accept(None, own, Some(0), 0x0800), Ok(Carried::Ipv4(18)));
        assert_eq!(accept(None, own, Some(5), 0x0800), Err(DropReason::VlanUnknown));
        assert_eq!(accept(Some(5), own, None, 0x0800), Err(DropReason::VlanUnknown));
        assert_eq!(accept(None, other, None, 0x0800), Err(DropReason::NotForUs));
        assert_eq!(accept(None, own, None, 0x86dd), Err(DropReason::EthertypeUnknown));
        assert_eq!(accept(None, [0xff; 6], None, 0x0806), Ok(Carried::Arp(14)));
        assert_eq!(accept(None, [0xff; 6], None, 0x0800), Err(DropReason::Broadcast));
        assert_eq!(accept(None, [1, 0, 0x5e, 0, 0, 1], None, 0x0800), Err(DropReason::Multicast));
        assert_eq!(port(None).accept(&[0; 13]), Err(DropReason::Truncated));
    }

    #[test]
    fn networks_and_broadcasts_follow_the_prefix() {
        let port = port(None);
        for (source, taken) in [(0x0a00_00ff, true), (0x0a00_0100, false)] {
            assert_eq!((port.takes_from(source), port.gate.takes_from(source)), (taken, taken));
        }
        assert!(
            port.is_broadcast(0x0a00_00ff) && port.is_broadcast(u32::MAX) && !port.is_broadcast(0x0a00_00fe)
        );
        assert!([0x0000_0001, 0x7f00_0001, 0xe000_0001, u32::MAX].into_iter().all(martian));
        assert!(!martian(0x0a00_0001));
    }
}
