//! A port as the path sees it: whom it belongs to, which sources it takes, how its frames begin.

use crate::reason::DropReason;
use crate::settings::{PortSettings, Side};
use crate::wire::{Wire, ethernet, ipv4};

/// One port.
#[derive(Clone, Debug)]
pub struct Port {
    /// The side it faces.
    pub side: Side,
    /// Its MAC address.
    pub mac: [u8; 6],
    /// Its VLAN.
    pub vlan: Option<u16>,
    /// The largest IP packet that it sends.
    pub mtu: u16,
    /// The gateway's first own address on it.
    pub address: Option<u32>,
    /// Networks and masks from which packets are taken; empty = any.
    networks: Vec<(u32, u32)>,
    /// The directed broadcast addresses of its subnets.
    broadcasts: Vec<u32>,
}

/// What an accepted frame carries, and where that begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Link {
    /// An IPv4 packet at this offset.
    Ipv4(usize),
    /// An ARP message at this offset.
    Arp(usize),
}

impl Port {
    /// A port with these settings.
    pub fn new(settings: &PortSettings) -> Self {
        let network = |&(address, prefix): &(std::net::Ipv4Addr, u8)| {
            let mask = ipv4::mask(prefix);
            (address.to_bits() & mask, mask)
        };
        Self {
            side: settings.side,
            mac: settings.mac,
            vlan: settings.vlan,
            mtu: settings.mtu,
            address: settings.addresses.first().map(|&(address, _)| address.to_bits()),
            networks: settings.networks.iter().map(network).collect(),
            // RFC 3021: a /31 has no broadcast address, nor has a /32.
            broadcasts: settings
                .addresses
                .iter()
                .filter(|&&(_, prefix)| prefix < 31)
                .map(|entry| network(entry).0 | !network(entry).1)
                .collect(),
        }
    }

    /// Whether this port takes the frame, and what it carries.
    #[inline(always)]
    pub fn accept(&self, frame: &[u8]) -> Result<Link, DropReason> {
        let header = ethernet::Header::parse(frame)?;
        // A tag with VLAN 0 carries a priority and no VLAN (IEEE 802.1Q §6.9.1).
        if header.vlan != self.vlan && (header.vlan, self.vlan) != (Some(0), None) {
            return Err(DropReason::VlanUnknown);
        }
        if header.destination != self.mac {
            return accept_other(&header);
        }
        match header.ethertype {
            ethernet::IPV4 => Ok(Link::Ipv4(header.length())),
            ethernet::ARP => Ok(Link::Arp(header.length())),
            _ => Err(DropReason::EthertypeUnknown),
        }
    }

    /// Whether a packet with this source may come in here.
    #[inline(always)]
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
fn accept_other(header: &ethernet::Header) -> Result<Link, DropReason> {
    if !header.to_group() {
        return Err(DropReason::NotForUs);
    }
    match header.ethertype {
        ethernet::ARP => Ok(Link::Arp(header.length())),
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

    fn port(vlan: Option<u16>) -> Port {
        Port::new(&PortSettings {
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
        let accept = |port_vlan, mac, vlan, kind| port(port_vlan).accept(&frame(mac, vlan, kind));
        assert_eq!(accept(None, own, None, 0x0800), Ok(Link::Ipv4(14)));
        assert_eq!(accept(Some(5), own, Some(5), 0x0800), Ok(Link::Ipv4(18)));
        assert_eq!(accept(None, own, Some(0), 0x0800), Ok(Link::Ipv4(18)));
        assert_eq!(accept(None, own, Some(5), 0x0800), Err(DropReason::VlanUnknown));
        assert_eq!(accept(Some(5), own, None, 0x0800), Err(DropReason::VlanUnknown));
        assert_eq!(accept(None, other, None, 0x0800), Err(DropReason::NotForUs));
        assert_eq!(accept(None, own, None, 0x86dd), Err(DropReason::EthertypeUnknown));
        assert_eq!(accept(None, [0xff; 6], None, 0x0806), Ok(Link::Arp(14)));
        assert_eq!(accept(None, [0xff; 6], None, 0x0800), Err(DropReason::Broadcast));
        assert_eq!(accept(None, [1, 0, 0x5e, 0, 0, 1], None, 0x0800), Err(DropReason::Multicast));
        assert_eq!(port(None).accept(&[0; 13]), Err(DropReason::Truncated));
    }

    #[test]
    fn networks_and_broadcasts_follow_the_prefix() {
        let port = port(None);
        assert!(port.takes_from(0x0a00_00ff) && !port.takes_from(0x0a00_0100));
        assert!(
            port.is_broadcast(0x0a00_00ff) && port.is_broadcast(u32::MAX) && !port.is_broadcast(0x0a00_00fe)
        );
        assert!([0x0000_0001, 0x7f00_0001, 0xe000_0001, u32::MAX].into_iter().all(martian));
        assert!(!martian(0x0a00_0001));
    }
}
