//! Whom a punted frame says it comes from, and the question to a host whether its address is still its own.

use ces_dataplane::settings::PortSettings;
use ces_gateway::{Evidence, Mac};
use ces_wire::{Wire, arp, ethernet, ipv4, read32};
use std::net::Ipv4Addr;

/// The address that a frame has as its sender's, the MAC address that it gives for it, and how. `None`: it names nobody.
pub fn of(frame: &[u8]) -> Option<(Ipv4Addr, Mac, Evidence)> {
    let link = ethernet::Header::parse(frame).ok()?;
    let rest = &frame[link.length()..];
    match link.ethertype {
        ethernet::IPV4 if rest.len() >= ipv4::LENGTH => {
            Some((Ipv4Addr::from_bits(read32(rest, ipv4::SOURCE)), link.source, Evidence::Packet))
        }
        // RFC 5227 §2.1.1: who asks whether an address is free has none yet.
        ethernet::ARP => {
            let said = arp::Message::parse(rest).ok().filter(|said| said.sender != 0)?;
            Some((Ipv4Addr::from_bits(said.sender), said.sender_mac, Evidence::Arp))
        }
        _ => None,
    }
}

/// Writes the frame that asks a station by ARP, and nobody else, whether it has an address (RFC 1122 §2.3.2.1 (2): unicast
/// poll). Its length; 0 if the port has no address to ask from.
pub fn ask(port: &PortSettings, address: Ipv4Addr, mac: Mac, frame: &mut [u8]) -> usize {
    let near =
        port.addresses.iter().find(|(own, prefix)| ipv4::within(address.to_bits(), own.to_bits(), *prefix));
    let Some((own, _)) = near.or(port.addresses.first()) else { return 0 };
    let link =
        ethernet::Header { destination: mac, source: port.mac, vlan: port.vlan, ethertype: ethernet::ARP };
    let question = arp::Message {
        operation: arp::REQUEST,
        sender_mac: port.mac,
        sender: own.to_bits(),
        target_mac: Mac::default(),
        target: address.to_bits(),
    };
    link.emit(frame);
    question.emit(&mut frame[link.length()..]);
    link.length() + question.length()
}

#[cfg(test)]
mod tests {
    use super::*;
    use ces_dataplane::settings::Side;

    const HOST: Mac = [2, 0, 0, 0, 1, 1];

    fn port(vlan: Option<u16>) -> PortSettings {
        let addresses = vec![([192, 168, 9, 1].into(), 24), ([10, 0, 0, 1].into(), 24)];
        PortSettings {
            side: Side::Inside,
            mac: [2, 0, 0, 0, 0, 1],
            addresses,
            networks: Vec::new(),
            vlan,
            mtu: 1500,
        }
    }

    #[test]
    fn p10_the_question_names_us_as_its_sender_and_goes_to_one_station() {
        for vlan in [None, Some(7)] {
            let mut frame = [0; 64];
            let length = ask(&port(vlan), [10, 0, 0, 5].into(), HOST, &mut frame);
            let frame = &frame[..length];
            assert_eq!(of(frame), Some(([10, 0, 0, 1].into(), [2, 0, 0, 0, 0, 1], Evidence::Arp)));
            let link = ethernet::Header::parse(frame).unwrap();
            assert_eq!((link.destination, link.vlan), (HOST, vlan));
            let said = arp::Message::parse(&frame[link.length()..]).unwrap();
            assert_eq!((said.operation, said.target), (arp::REQUEST, 0x0a00_0005));
            (0..length)
                .for_each(|cut| assert!(cut >= link.length() + arp::LENGTH || of(&frame[..cut]).is_none()));
        }
    }

    #[test]
    fn p10_arp_names_its_sender_by_itself_and_a_probe_nobody() {
        let link =
            ethernet::Header { destination: [0xff; 6], source: HOST, vlan: None, ethertype: ethernet::ARP };
        let mut said =
            arp::Message { operation: 1, sender_mac: [9; 6], sender: 5, target_mac: [0; 6], target: 6 };
        let mut frame = [0; 42];
        for sender in [5, 0] {
            said.sender = sender;
            link.emit(&mut frame);
            said.emit(&mut frame[link.length()..]);
            let named = (sender != 0).then_some((5.into(), [9; 6], Evidence::Arp));
            assert_eq!(of(&frame), named);
        }
    }
}
