//! The acknowledgement of what the gateway keeps of a segment, as its receiver would send it.

use crate::egress::Egress;
use crate::frame::Frame;
use crate::packet::Packet;
use crate::path::answer::sender;
use crate::path::own::Desk;
use crate::reason::DropReason;
use crate::verdict::{Arrival, Verdict};
use crate::way::write::set_front;
use crate::wire::checksum::pseudo;
use crate::wire::{Wire, ipv4, tcp, write16, write32};

/// Bytes of the time stamps, with two options before them that say nothing (RFC 7323, appendix A).
const STAMPS: usize = 12;

/// Turns a segment's frame into its acknowledgement, up to `next`, with this window. Time stamps go back as they came: what
/// the sender has heard of last is what the receiver has said last.
pub(super) fn acknowledge<F: Frame>(
    desk: &mut Desk<'_>,
    frame: &mut F,
    packet: &Packet,
    (header, next, window): (&tcp::Header, u32, u16),
    arrival: Arrival,
) -> Verdict {
    let (Some(to), Ok(port)) = (sender(frame), desk.port(arrival)) else { return DropReason::AlgRoom.into() };
    let link = port.header_to(to);
    let written = write_acknowledgement(frame, packet, (header, next, window), link.length());
    if written.is_none() {
        return DropReason::AlgRoom.into();
    }
    link.emit(frame.data_mut());
    Verdict::Forward(Egress::by(arrival.port))
}

fn write_acknowledgement<F: Frame>(
    frame: &mut F,
    packet: &Packet,
    (header, next, window): (&tcp::Header, u32, u16),
    front: usize,
) -> Option<()> {
    let (l3, l4) = (usize::from(packet.l3), usize::from(packet.l3) + usize::from(packet.l4));
    let stamps = tcp::stamps(frame.data().get(l4..l4 + header.length())?);
    let length = tcp::LENGTH + if stamps.is_some() { STAMPS } else { 0 };
    let total = ipv4::LENGTH + length;
    // It is no longer than the segment, which has the same options and more to say.
    frame.truncate(l3 + total);
    if !set_front(frame, l3, front) {
        return None;
    }
    let ip = frame.data_mut().get_mut(front..front + total)?;
    let addresses = packet.addresses.reversed();
    ipv4::Header::new(ipv4::TCP, addresses.source(), addresses.destination(), total as u16).emit(ip);
    let segment = &mut ip[ipv4::LENGTH..];
    let acknowledgement = tcp::Header {
        source_port: header.destination_port,
        destination_port: header.source_port,
        sequence: header.acknowledgement,
        acknowledgement: next,
        header_length: length as u8,
        flags: tcp::ACK,
        window,
        checksum: 0,
        urgent: 0,
    };
    acknowledgement.emit(segment);
    if let Some((value, echo)) = stamps {
        write32(segment, tcp::LENGTH, 0x0101_080a);
        write32(segment, tcp::LENGTH + 4, echo);
        write32(segment, tcp::LENGTH + 8, value);
    }
    let sum =
        pseudo(addresses.source(), addresses.destination(), ipv4::TCP, length).bytes(segment).checksum();
    write16(segment, tcp::CHECKSUM, sum);
    Some(())
}
