//! A capture: its 5-tuples are flows, its lengths the sizes of their packets.

use super::model::Protocol;
use super::size::FCS;
use crate::frame::ends::Ends;
use ces_dataplane::io::pcap;
use std::collections::HashMap;
use std::path::Path;

/// A flow of a capture.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Captured {
    /// Its addresses and ports.
    pub ends: Ends,
    /// UDP or TCP.
    pub protocol: Protocol,
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
        let Some((ends, protocol)) = Ends::of(&packet.data) else { continue };
        let size = u16::try_from(packet.length).unwrap_or(u16::MAX).saturating_add(FCS);
        let at = *known.entry((ends, protocol)).or_insert(flows.len());
        if at == flows.len() {
            flows.push(Captured { ends, protocol, sizes: Vec::new() });
        }
        flows[at].sizes.push(size);
    }
    flows
}

#[cfg(test)]
mod tests {
    use super::*;
    use ces_dataplane::wire::{Wire, ipv4};

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
        assert_eq!((found[0].ends.source_port, found[0].sizes.as_slice()), (10, [64, 1004].as_slice()));
        assert_eq!((found[1].ends.source_port, found[1].sizes.as_slice()), (11, [74].as_slice()));
        assert!(read(Path::new("/nowhere.pcap")).unwrap_err().contains("/nowhere.pcap"));
    }
}
