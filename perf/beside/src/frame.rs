//! One packet of each binding, and what every device has to make of it.
//!
//! Before a device is measured it is sent one packet of each binding, and what it sends is compared field by field, so that
//! no device is fast at something else.

use crate::realm::{Pair, Realm};
use ces_dataplane::wire::outer::SOURCE_PORTS;
use ces_dataplane::wire::{Encapsulation, Outer, Wire, checksum, ethernet, ipv4, udp, vxlan, write16};
use ces_perf::realm::Way;
use serde::{Deserialize, Serialize};
use std::net::Ipv4Addr;

/// What a device does with packets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Task {
    /// Sends them on, whatever they are.
    Pass,
    /// Forwards plain packets: the time to live goes down by one.
    Forward,
    /// Replaces the source by the address outside, and perhaps the port.
    Nat,
    /// From a host into a tunnel, as a binding says.
    Egress,
    /// From a tunnel to a host, as a binding says.
    Ingress,
    /// From a host to another one, as a binding says.
    Local,
}

impl Task {
    /// Which way the packets go: only ingress begins outside, only what is local ends inside, too.
    pub fn way(self) -> Way {
        match self {
            Self::Ingress => Way::Ingress,
            Self::Local => Way::Local,
            _ => Way::Egress,
        }
    }

    /// The ports where its packets begin and end: 0 is inside, 1 outside.
    pub fn ports(self) -> (usize, usize) {
        match self.way() {
            Way::Egress => (0, 1),
            Way::Ingress => (1, 0),
            Way::Local => (0, 0),
        }
    }

    /// Whether there is a tunnel on one side.
    pub fn is_tunnelled(self) -> bool {
        matches!(self, Self::Egress | Self::Ingress)
    }

    /// As it stands in the table.
    pub fn label(self) -> &'static str {
        match self {
            Self::Pass => "pass",
            Self::Forward => "forward",
            Self::Nat => "nat",
            Self::Egress => "egress",
            Self::Ingress => "ingress",
            Self::Local => "local",
        }
    }
}

/// Bytes of UDP payload: with it a plain frame has 60 bytes, the shortest without its checksum.
const PAYLOAD: usize = 18;
/// Where a packet says that it is ours, before the number of its binding.
const MARK: u32 = 0x6265_7369; // "besi"
/// The port that packets are for.
const SERVICE: u16 = 9; // discard, RFC 863

/// The packet of binding number `entry`, as a device gets it.
pub fn packet(realm: &Realm, entry: u32, way: Way) -> Vec<u8> {
    let pair = realm.pair(entry);
    match way {
        Way::Egress | Way::Local => {
            link(pair.host_mac, realm.inside_mac(), &datagram(pair.host, pair.proxy, entry, PAYLOAD))
        }
        Way::Ingress => {
            let tunnel = realm.tunnels()[usize::from(pair.tunnel)];
            let inner = datagram(pair.remote_tag, pair.tag, entry, PAYLOAD);
            let (from, to) = (tunnel.remote.to_bits(), tunnel.local.to_bits());
            let headers = Outer::new(Encapsulation::Vxlan, from, to, tunnel.id_in);
            let mut outer = vec![0; headers.length()];
            headers.emit(&mut outer, inner.len() as u16, SOURCE_PORTS | entry as u16);
            outer.extend(inner);
            link(realm.router_mac(), realm.outside_mac(), &outer)
        }
    }
}

/// The packet of a host in a frame of this size, its FCS counted though it is not there.
pub fn sized(realm: &Realm, entry: u32, size: u16) -> Vec<u8> {
    let pair = realm.pair(entry);
    let headers = ethernet::LENGTH + ipv4::LENGTH + udp::LENGTH + FCS;
    let payload = usize::from(size).saturating_sub(headers).max(PAYLOAD);
    link(pair.host_mac, realm.inside_mac(), &datagram(pair.host, pair.proxy, entry, payload))
}

/// Bytes of the frame check sequence.
const FCS: usize = 4;

fn datagram(source: Ipv4Addr, destination: Ipv4Addr, entry: u32, length: usize) -> Vec<u8> {
    let mut payload = vec![0; length];
    payload[..4].copy_from_slice(&MARK.to_be_bytes());
    payload[4..8].copy_from_slice(&entry.to_be_bytes());
    // Spread, so that hashes over ports see what they would see of real hosts.
    let port = 1024 + (entry.wrapping_mul(0x9e37_79b1) >> 18) as u16;
    udp_packet(source, destination, port, &payload)
}

fn udp_packet(source: Ipv4Addr, destination: Ipv4Addr, source_port: u16, payload: &[u8]) -> Vec<u8> {
    let length = udp::LENGTH + payload.len();
    let total = (ipv4::LENGTH + length) as u16;
    let mut bytes = vec![0; ipv4::LENGTH + udp::LENGTH];
    ipv4::Header::new(ipv4::UDP, source.to_bits(), destination.to_bits(), total).emit(&mut bytes);
    let header =
        udp::Header { source_port, destination_port: SERVICE, datagram_length: length as u16, checksum: 0 };
    header.emit(&mut bytes[ipv4::LENGTH..]);
    bytes.extend_from_slice(payload);
    let sum = checksum::pseudo(source.to_bits(), destination.to_bits(), ipv4::UDP, length);
    let sum = sum.bytes(&bytes[ipv4::LENGTH..]).checksum_udp();
    write16(&mut bytes, ipv4::LENGTH + udp::CHECKSUM, sum);
    bytes
}

fn link(source: [u8; 6], destination: [u8; 6], packet: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0; ethernet::LENGTH];
    ethernet::Header { destination, source, vlan: None, ethertype: ethernet::IPV4 }.emit(&mut bytes);
    bytes.extend_from_slice(packet);
    bytes
}

/// What a frame that a device sent says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    /// The number of its binding.
    pub entry: u32,
    /// Destination of the frame.
    pub link: [u8; 6],
    /// Outer source and destination, and tunnel id.
    pub outer: Option<(Ipv4Addr, Ipv4Addr, u32)>,
    /// Inner (or only) source.
    pub source: Ipv4Addr,
    /// Inner (or only) destination.
    pub destination: Ipv4Addr,
    /// Inner (or only) time to live.
    pub ttl: u8,
}

/// Reads a frame; `None` = it is none of ours, an error = it is, and something in it is broken.
pub fn read(frame: &[u8]) -> Option<Result<Seen, String>> {
    let (link, ip, body, body_udp) = open(frame)?;
    let seen = |entry, outer, ip: &ipv4::Header| Seen {
        entry,
        link,
        outer,
        source: Ipv4Addr::from_bits(ip.source),
        destination: Ipv4Addr::from_bits(ip.destination),
        ttl: ip.ttl,
    };
    if body_udp.destination_port != vxlan::PORT {
        return marked(body).map(|entry| summed(&ip, body_udp, body).map(|()| seen(entry, None, &ip)));
    }
    let header = vxlan::Header::parse(body).ok()?;
    let (_, inner, payload, inner_udp) = open(&body[vxlan::LENGTH..])?;
    let outer = (Ipv4Addr::from_bits(ip.source), Ipv4Addr::from_bits(ip.destination), header.id);
    marked(payload).map(|entry| summed(&inner, inner_udp, payload).map(|()| seen(entry, Some(outer), &inner)))
}

/// Destination of a frame, its IPv4 and UDP headers and what UDP carries.
fn open(frame: &[u8]) -> Option<([u8; 6], ipv4::Header, &[u8], udp::Header)> {
    let link = ethernet::Header::parse(frame).ok().filter(|link| link.ethertype == ethernet::IPV4)?;
    let packet = &frame[link.length()..];
    // Also checks the header's checksum.
    let ip = ipv4::Header::parse(packet).ok().filter(|ip| ip.protocol == ipv4::UDP)?;
    let datagram = packet.get(usize::from(ip.header_length)..usize::from(ip.total_length))?;
    let header = udp::Header::parse(datagram).ok()?;
    Some((link.destination, ip, &datagram[udp::LENGTH..], header))
}

fn marked(payload: &[u8]) -> Option<u32> {
    let word = |at: usize| payload.get(at..at + 4)?.try_into().ok().map(u32::from_be_bytes);
    (word(0)? == MARK).then(|| word(4)).flatten()
}

fn summed(ip: &ipv4::Header, header: udp::Header, payload: &[u8]) -> Result<(), String> {
    let mut bytes = vec![0; udp::LENGTH];
    header.emit(&mut bytes);
    bytes.extend_from_slice(payload);
    let sum = checksum::pseudo(ip.source, ip.destination, ipv4::UDP, bytes.len()).bytes(&bytes);
    if header.checksum == 0 || sum.fold() == 0xffff {
        Ok(())
    } else {
        Err("its UDP checksum is wrong".into())
    }
}

/// Time to live of the packets that are sent.
const TTL: u8 = 64;

/// What a device with this task has to send for the packet of a binding. The destination of the frame is told only where
/// the binding says it: to the host.
pub fn expected(realm: &Realm, entry: u32, task: Task) -> Seen {
    let Pair { host, host_mac, proxy, tag, remote_tag, tunnel } = realm.pair(entry);
    let tunnel = realm.tunnels()[usize::from(tunnel)];
    let plain = |source, destination, link, ttl| Seen { entry, link, outer: None, source, destination, ttl };
    let router = realm.router_mac();
    match task {
        Task::Pass => plain(host, proxy, router, TTL),
        Task::Forward => plain(host, proxy, router, TTL - 1),
        Task::Nat => plain(tunnel.local, proxy, router, TTL - 1),
        Task::Egress => {
            let outer = Some((tunnel.local, tunnel.remote, tunnel.id_out));
            Seen { outer, ..plain(tag, remote_tag, router, TTL - 1) }
        }
        Task::Ingress => plain(proxy, host, host_mac, TTL - 1),
        Task::Local => plain(tag, remote_tag, host_mac, TTL - 1),
    }
}

/// What is wrong with what a device made of the packet of a binding.
pub fn compare(realm: &Realm, task: Task, seen: &Seen) -> Result<(), String> {
    if seen.entry >= realm.len() {
        return Err(format!("there is no binding {}", seen.entry));
    }
    let mut expected = expected(realm, seen.entry, task);
    if task == Task::Pass {
        expected.link = seen.link; // it may write there what it likes
    }
    if *seen == expected { Ok(()) } else { Err(format!("expected {expected:?}, saw {seen:?}")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn realm() -> Realm {
        Realm::new(100, 7, Encapsulation::Vxlan, false).unwrap()
    }

    #[test]
    fn packets_are_of_the_shortest_frame_and_read_as_they_were_written() {
        let realm = realm();
        let plain = packet(&realm, 17, Way::Egress);
        assert_eq!(plain.len(), 60);
        let seen = read(&plain).unwrap().unwrap();
        assert_eq!((seen.entry, seen.ttl, seen.link), (17, 64, realm.inside_mac()));
        let tunnelled = packet(&realm, 17, Way::Ingress);
        assert_eq!(tunnelled.len(), 60 + 50);
        let (pair, seen) = (realm.pair(17), read(&tunnelled).unwrap().unwrap());
        assert_eq!((seen.source, seen.destination), (pair.remote_tag, pair.tag));
        let tunnel = realm.tunnels()[usize::from(pair.tunnel)];
        assert_eq!(seen.outer, Some((tunnel.remote, tunnel.local, tunnel.id_in)));
    }

    #[test]
    fn sizes_count_the_fcs() {
        assert_eq!(sized(&realm(), 1, 64), packet(&realm(), 1, Way::Egress));
        assert_eq!(sized(&realm(), 1, 512).len(), 508);
        assert!(read(&sized(&realm(), 1, 512)).unwrap().is_ok());
    }

    #[test]
    fn a_device_that_does_something_else_is_found_out() {
        let realm = realm();
        let seen = read(&packet(&realm, 3, Way::Egress)).unwrap().unwrap();
        assert!(compare(&realm, Task::Pass, &seen).is_ok());
        for task in [Task::Forward, Task::Nat, Task::Egress, Task::Ingress] {
            assert!(compare(&realm, task, &seen).is_err(), "{task:?}");
        }
        assert!(compare(&realm, Task::Pass, &Seen { entry: 100, ..seen }).is_err());
    }

    #[test]
    fn a_wrong_checksum_and_foreign_frames_are_told_apart() {
        let mut frame = packet(&realm(), 3, Way::Egress);
        *frame.last_mut().unwrap() ^= 1;
        assert!(read(&frame).unwrap().is_err());
        assert!(read(&frame[..40]).is_none());
        let mut foreign = frame.clone();
        foreign[42] ^= 1;
        assert!(read(&foreign).is_none());
    }
}
