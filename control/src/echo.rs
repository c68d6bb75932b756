//! Echo requests and their answers as frames: probes of how wide the path to a peer is.

use ces_dataplane::settings::PortSettings;
use ces_gateway::Mac;
use ces_wire::{Wire, checksum, ethernet, icmp, ipv4, write16};
use std::net::Ipv4Addr;

/// Writes the frame with an echo request of `size` bytes that must not be fragmented; its length, or 0 if it does not fit.
pub fn request(
    port: &PortSettings,
    mac: Mac,
    (from, to): (Ipv4Addr, Ipv4Addr),
    size: u16,
    token: u32,
    frame: &mut [u8],
) -> usize {
    let link =
        ethernet::Header { destination: mac, source: port.mac, vlan: port.vlan, ethertype: ethernet::IPV4 };
    let length = link.length() + usize::from(size);
    if usize::from(size) < ipv4::LENGTH + icmp::LENGTH || length > frame.len() {
        return 0;
    }
    let frame = &mut frame[..length];
    frame.fill(0);
    link.emit(frame);
    let (ip, message) = frame[link.length()..].split_at_mut(ipv4::LENGTH);
    ipv4::Header::new(ipv4::ICMP, from.to_bits(), to.to_bits(), size).emit(ip);
    icmp::Header { kind: icmp::ECHO, code: 0, checksum: 0, rest: token }.emit(message);
    let sum = checksum::checksum(message);
    write16(message, icmp::CHECKSUM, sum);
    length
}

/// Who answers an echo request, and its token, if the frame is an answer or the first part of one.
pub fn answer(frame: &[u8]) -> Option<(Ipv4Addr, u32)> {
    let link = ethernet::Header::parse(frame).ok().filter(|link| link.ethertype == ethernet::IPV4)?;
    let packet = &frame[link.length()..];
    let ip = ipv4::Header::parse(packet).ok()?;
    if ip.protocol != ipv4::ICMP || ip.fragment_offset != 0 {
        return None;
    }
    let message = icmp::Header::parse(packet.get(ip.length()..)?).ok()?;
    (message.kind == icmp::ECHO_REPLY).then(|| (Ipv4Addr::from_bits(ip.source), message.rest))
}

#[cfg(test)]
mod tests {
    use super::*;
    use ces_dataplane::settings::Side;

    #[test]
    fn p12_a_probe_is_a_sound_echo_request_and_its_answer_is_known() {
        let mut port = PortSettings {
            side: Side::Outside,
            mac: [2; 6],
            addresses: vec![],
            networks: vec![],
            vlan: None,
            mtu: 1500,
        };
        let ends: (Ipv4Addr, Ipv4Addr) = ([192, 0, 2, 1].into(), [198, 51, 100, 1].into());
        for vlan in [None, Some(9)] {
            port.vlan = vlan;
            let mut frame = [7; 2040];
            let length = request(&port, [4; 6], ends, 1500, 0xdead_beef, &mut frame);
            let link = ethernet::Header::parse(&frame).unwrap();
            assert_eq!((length, link.destination, link.vlan), (link.length() + 1500, [4; 6], vlan));
            let ip = ipv4::Header::parse(&frame[link.length()..length]).unwrap();
            assert!(
                ip.dont_fragment
                    && ip.total_length == 1500
                    && checksum::valid(&frame[link.length() + 20..length])
            );
            assert_eq!(answer(&frame[..length]), None, "a request is no answer");
            frame[link.length() + 20] = icmp::ECHO_REPLY;
            assert_eq!(answer(&frame[..length]), Some((ends.0, 0xdead_beef)));
            assert!((0..link.length() + 28).all(|cut| answer(&frame[..cut]).is_none()));
        }
        assert_eq!(request(&port, [4; 6], ends, 2040, 1, &mut [0; 2040]), 0);
    }
}
