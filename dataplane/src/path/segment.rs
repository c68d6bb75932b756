//! The maximum segment size that a SYN announces: no larger than fits the way back.

use crate::packet::Packet;
use crate::way::write;
use crate::wire::{Wire, ipv4, tcp};

/// Bytes of IPv4 and TCP headers without options: what a segment is smaller than its packet (RFC 9293 §3.7.1).
pub(super) const SEGMENT_HEADERS: u16 = (ipv4::LENGTH + tcp::LENGTH) as u16;

/// Lowers the maximum segment size of a SYN so that the segments of the other side fit packets of `mtu` bytes.
pub(super) fn clamp_segment(ip: &mut [u8], packet: &Packet, mtu: u16) {
    let l4 = usize::from(packet.l4);
    let most = mtu.saturating_sub(SEGMENT_HEADERS);
    let Some(segment) = ip.get_mut(l4..usize::from(packet.total)) else {
        return;
    };
    let Ok(header) = tcp::Header::parse(segment) else {
        return;
    };
    if let Some((at, size)) = tcp::maximum_segment(&segment[..header.length()])
        && most > 0
        && size > most
    {
        write::replace_covered(segment, at, most, tcp::CHECKSUM);
    }
}
