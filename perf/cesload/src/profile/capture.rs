//! A capture: its 5-tuples are flows, its lengths the sizes of their packets.

use super::model::Protocol;
use super::size::FCS;
use ces_dataplane::io::pcap;
use ces_dataplane::wire::{Wire, ethernet, ipv4};
use std::collections::HashMap;
use std::path::Path;

/// A flow of a capture.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Captured {
    /// Source address.
    pub source: u32,
    /// Destination address.
    pub destination: u32,
    /// UDP or TCP.
    pub protocol: Protocol,
    /// Source port.
    pub source_port: u16,
    /// Destination port.
    pub destination_port: u16,
    /// Bytes of its frames in their order, FCS included.
    pub sizes: Vec<u16>,
}

/// Reads the UDP and TCP flows of a capture, in the order of their first packets. Other packets are left out.
pub fn read(path: &Path) -> Result<Vec<Captured>, String> {
    let bytes = std::fs::read(path).map_err(|error| format!("{} cannot be read: {error}", path.display()))?;
    let packets = pcap::read(&bytes).map_err(|error| format!("{}: {error}", path.display()))?;
    let flows = flows(&packets);
    if flows.is_empty() {
        return Err(format!("{} has no whole UDP or TCP packets over IPv4", path.display()));
    }
    Ok(flows)
}

/// The flows of these packets.
pub fn flows(packets: &[pcap::CapturedFrame]) -> Vec<Captured> {
    let mut flows: Vec<Captured> = Vec::new();
    let mut known = HashMap::new();
    for packet in packets {
        let Some(mut flow) = parse(&packet.data) else { continue };
        let size = u16::try_from(packet.length).unwrap_or(u16::MAX).saturating_add(FCS);
        let key =
            (flow.source, flow.destination, flow.protocol.number(), flow.source_port, flow.destination_port);
        let at = *known.entry(key).or_insert(flows.len());
        flow.sizes.push(size);
        if let Some(flow) = flows.get_mut(at) {
            flow.sizes.push(size);
        } else {
            flows.push(flow);
        }
    }
    flows
}

/// The flow of a frame, whose end may be missing.
fn parse(frame: &[u8]) -> Option<Captured> {
    let link = ethernet::Header::parse(frame).ok().filter(|link| link.ethertype == ethernet::IPV4)?;
    let packet = frame.get(link.length()..)?;
    let header = ipv4::Header::parse_quoted(packet).ok().filter(|header| !header.is_fragment())?;
    let protocol = match header.protocol {
        ipv4::UDP => Protocol::Udp,
        ipv4::TCP => Protocol::Tcp,
        _ => return None,
    };
    let [s0, s1, d0, d1] = *packet.get(header.length()..)?.first_chunk::<4>()?;
    Some(Captured {
        source: header.source,
        destination: header.destination,
        protocol,
        source_port: u16::from_be_bytes([s0, s1]),
        destination_port: u16::from_be_bytes([d0, d1]),
        sizes: Vec::new(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packet(source: u32, port: u16, length: usize) -> pcap::CapturedFrame {
        let mut data = vec![0; length];
        data[12..14].copy_from_slice(&[8, 0]);
        ipv4::Header::new(ipv4::UDP, source, 2, (length - 14) as u16).emit(&mut data[14..]);
        data[34..36].copy_from_slice(&port.to_be_bytes());
        pcap::CapturedFrame { time_ns: 0, length: data.len() as u32, data }
    }

    #[test]
    fn tuples_become_flows_and_lengths_their_sizes() {
        let mut cut = packet(1, 10, 1000);
        cut.data.truncate(60);
        let mut arp = packet(1, 10, 60);
        arp.data[12..14].copy_from_slice(&[8, 6]);
        let found = flows(&[packet(1, 10, 60), packet(1, 11, 70), arp, cut]);
        assert_eq!(found.len(), 2);
        assert_eq!((found[0].source_port, found[0].sizes.as_slice()), (10, [64, 1004].as_slice()));
        assert_eq!((found[1].source_port, found[1].sizes.as_slice()), (11, [74].as_slice()));
        assert!(read(Path::new("/nowhere.pcap")).unwrap_err().contains("/nowhere.pcap"));
    }
}
