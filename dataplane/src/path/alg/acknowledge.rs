//! What the gateway answers to a segment itself, as who is at the other end would: the acknowledgement of what it keeps, and more
//! of what it has kept.

use super::stream::resize;
use crate::egress::Egress;
use crate::frame::Frame;
use crate::packet::Packet;
use crate::path::answer::sender;
use crate::path::own::Desk;
use crate::reason::DropReason;
use crate::verdict::{Arrival, Verdict};
use crate::way::write::set_front;
use crate::way::{Front, Way, Ways};
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
    say(desk, frame, packet, (header, next, window), &[], arrival)
}

/// The same, with these bytes: the next of what the sender of the segment awaits.
pub(super) fn say<F: Frame>(
    desk: &mut Desk<'_>,
    frame: &mut F,
    packet: &Packet,
    about: (&tcp::Header, u32, u16),
    bytes: &[u8],
    arrival: Arrival,
) -> Verdict {
    let (Some(to), Ok(port)) = (sender(frame), desk.port(arrival)) else { return DropReason::AlgRoom.into() };
    let link = port.header_to(to);
    let written = write_answer(frame, packet, about, bytes, link.length());
    if written.is_none() {
        return DropReason::AlgRoom.into();
    }
    link.emit(frame.data_mut());
    Verdict::Forward(Egress::by(arrival.port))
}

/// The same to who is beyond a tunnel, by the way there.
pub(super) fn say_through<F: Frame>(
    (ways, way): (&mut Ways, Way),
    frame: &mut F,
    packet: &Packet,
    about: (&tcp::Header, u32, u16),
    bytes: &[u8],
) -> Verdict {
    // What stood before the inner packet is as long as what comes before it again.
    let sent = write_answer(frame, packet, about, bytes, 0).and_then(|total| {
        let front = Front { l3: 0, total, tos: 0 };
        ways.wrap(way, frame, front, packet.entropy())
    });
    sent.map_or(DropReason::AlgRoom.into(), Verdict::Forward)
}

/// How long it is.
fn write_answer<F: Frame>(
    frame: &mut F,
    packet: &Packet,
    (header, next, window): (&tcp::Header, u32, u16),
    bytes: &[u8],
    front: usize,
) -> Option<u16> {
    let (l3, l4) = (usize::from(packet.l3), usize::from(packet.l3) + usize::from(packet.l4));
    let stamps = tcp::stamps(frame.data().get(l4..l4 + header.length())?);
    let headers = tcp::LENGTH + if stamps.is_some() { STAMPS } else { 0 };
    let length = headers + bytes.len();
    let total = ipv4::LENGTH + length;
    if !resize(frame, l3 + total) {
        return None;
    }
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
        header_length: headers as u8,
        flags: if bytes.is_empty() { tcp::ACK } else { tcp::ACK | tcp::PSH },
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
    segment.get_mut(headers..length)?.copy_from_slice(bytes);
    let sum =
        pseudo(addresses.source(), addresses.destination(), ipv4::TCP, length).bytes(segment).checksum();
    write16(segment, tcp::CHECKSUM, sum);
    Some(total as u16)
}
