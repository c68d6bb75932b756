//! ARP (RFC 826): the gateway's MAC address is asked for before a trial, and requests are answered at any time.

use crate::profile::Mac;
use ces_dataplane::frame::Frame;
use ces_dataplane::wire::{Wire, arp, ethernet, ipv4};
use std::net::Ipv4Addr;

/// For which addresses a port answers.
#[derive(Clone, Debug, Default)]
pub struct Answers {
    /// The MAC address of the answers.
    pub mac: [u8; 6],
    /// Networks and their prefix lengths.
    pub networks: Vec<(u32, u8)>,
    /// The address among them that is another's: the gateway's.
    pub except: Option<u32>,
}

impl Answers {
    fn hold(&self, address: u32) -> bool {
        self.except != Some(address)
            && self.networks.iter().any(|&(network, prefix)| ipv4::within(address, network, prefix))
    }

    /// Turns a request for one of the addresses, whose message begins at `start`, into its answer. `false` for anything
    /// else. A tag stays as it is.
    #[cold]
    pub fn answer<F: Frame>(&self, frame: &mut F, start: usize) -> bool {
        let Some(request) = frame.data().get(start..).and_then(|bytes| arp::Message::parse(bytes).ok())
        else {
            return false;
        };
        // RFC 5227 §2.1.1: a probe has the sender 0; who probes for an address of ours shall hear of it.
        if request.operation != arp::REQUEST || !self.hold(request.target) || request.sender == request.target
        {
            return false;
        }
        let reply = arp::Message {
            operation: arp::REPLY,
            sender_mac: self.mac,
            sender: request.target,
            target_mac: request.sender_mac,
            target: request.sender,
        };
        let data = frame.data_mut();
        reply.emit(&mut data[start..]);
        data[0..6].copy_from_slice(&request.sender_mac);
        data[6..12].copy_from_slice(&self.mac);
        true
    }
}

/// A request for `target`, as a whole frame of the shortest length.
pub fn request(mac: [u8; 6], vlan: Option<u16>, sender: Ipv4Addr, target: Ipv4Addr) -> [u8; 60] {
    let mut frame = [0; 60];
    let link =
        ethernet::Header { destination: ethernet::BROADCAST, source: mac, vlan, ethertype: ethernet::ARP };
    link.emit(&mut frame);
    let message = arp::Message {
        operation: arp::REQUEST,
        sender_mac: mac,
        sender: sender.to_bits(),
        target_mac: [0; 6],
        target: target.to_bits(),
    };
    message.emit(&mut frame[link.length()..]);
    frame
}

/// The MAC address of `address`, if the message at `start` tells it.
pub fn told(frame: &[u8], start: usize, address: Ipv4Addr) -> Option<Mac> {
    let message = arp::Message::parse(frame.get(start..)?).ok()?;
    (message.operation == arp::REPLY && message.sender == address.to_bits())
        .then_some(Mac(message.sender_mac))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::signature::{Found, find};
    use ces_dataplane::frame::MemoryFrame;

    const ASKER: [u8; 6] = [2, 0, 0, 0, 0, 1];
    const OURS: [u8; 6] = [2, 0, 0, 0, 0, 2];

    #[test]
    fn a_request_for_our_addresses_is_answered_with_its_tag() {
        let answers = Answers { mac: OURS, networks: vec![(0xc000_0200, 24)], except: Some(0xc000_0209) };
        let (asker, target) = (Ipv4Addr::new(192, 0, 2, 1), Ipv4Addr::new(192, 0, 2, 77));
        for (vlan, start) in [(None, 14), (Some(7), 18)] {
            let mut frame = MemoryFrame::new(&request(ASKER, vlan, asker, target));
            assert_eq!(find(frame.data()), Found::Arp(start));
            assert!(answers.answer(&mut frame, start));
            let link = ethernet::Header::parse(frame.data()).unwrap();
            assert_eq!((link.destination, link.source, link.vlan), (ASKER, OURS, vlan));
            assert_eq!(told(frame.data(), start, target), Some(Mac(OURS)));
            assert_eq!(told(frame.data(), start, asker), None);
            assert!(!answers.answer(&mut frame, start), "an answer is not answered");
        }
        let mut other = MemoryFrame::new(&request(ASKER, None, asker, Ipv4Addr::new(192, 0, 3, 1)));
        assert!(!answers.answer(&mut other, 14));
        let mut gateways = MemoryFrame::new(&request(ASKER, None, asker, Ipv4Addr::new(192, 0, 2, 9)));
        assert!(!answers.answer(&mut gateways, 14));
        let mut announcement = MemoryFrame::new(&request(ASKER, None, asker, asker));
        assert!(!answers.answer(&mut announcement, 14), "a gratuitous request is no question (RFC 5227 §3)");
    }
}
