//! The reset that refuses a connection (RFC 9293 §3.5.2).

use crate::frame::Frame;
use crate::packet::Packet;
use crate::way::write::set_front;
use crate::wire::checksum;
use crate::wire::{Wire, ipv4, tcp, write16};

/// Bytes of it: two headers without options.
const TOTAL: usize = ipv4::LENGTH + tcp::LENGTH;

/// Writes the reset that a segment's receiver would send if nobody listened, so that its IPv4 header stands behind `front`
/// bytes. `None` without room, or without a header to answer.
pub(super) fn write_reset<F: Frame>(frame: &mut F, packet: &Packet, front: usize) -> Option<()> {
    let l4 = usize::from(packet.l3) + usize::from(packet.l4);
    let segment = tcp::Header::parse(frame.data().get(l4..)?).ok()?;
    let payload = usize::from(packet.total).checked_sub(usize::from(packet.l4) + segment.length())?;
    let spoken =
        payload as u32 + u32::from(segment.flags & tcp::SYN != 0) + u32::from(segment.flags & tcp::FIN != 0);
    // RFC 9293 §3.5.2, group 1: it takes its sequence number from what was acknowledged, or else acknowledges what came.
    let (sequence, acknowledgement, flags) = match segment.flags & tcp::ACK {
        0 => (0, segment.sequence.wrapping_add(spoken), tcp::RST | tcp::ACK),
        _ => (segment.acknowledgement, 0, tcp::RST),
    };
    let reset = tcp::Header {
        source_port: segment.destination_port,
        destination_port: segment.source_port,
        sequence,
        acknowledgement,
        header_length: tcp::LENGTH as u8,
        flags,
        window: 0,
        checksum: 0,
        urgent: 0,
    };
    // It is no longer than the segment.
    frame.truncate(usize::from(packet.l3) + TOTAL);
    if !set_front(frame, usize::from(packet.l3), front) {
        return None;
    }
    let ip = frame.data_mut().get_mut(front..front + TOTAL)?;
    let addresses = packet.addresses.reversed();
    ipv4::Header::new(ipv4::TCP, addresses.source(), addresses.destination(), TOTAL as u16).emit(ip);
    let message = &mut ip[ipv4::LENGTH..];
    reset.emit(message);
    let pseudo = checksum::pseudo(addresses.source(), addresses.destination(), ipv4::TCP, tcp::LENGTH);
    let sum = pseudo.bytes(message).checksum();
    write16(message, tcp::CHECKSUM, sum);
    Some(())
}
