//! What the gateway says to the sender of a packet that it drops, back by the port of its arrival.

use super::icmp::{Error, write_error};
use super::own::Desk;
use crate::egress::Egress;
use crate::frame::Frame;
use crate::packet::{EXPIRED, Packet};
use crate::reason::DropReason;
use crate::verdict::{Arrival, Verdict};
use crate::wire::{Wire, ethernet, icmp};

/// Drops a packet from inside that goes no further, and tells its sender where a router does: no way there, nobody there,
/// or not allowed (RFC 1812 §5.2.7.1). Its time to live comes first.
#[cold]
pub(super) fn refuse<F: Frame>(
    desk: &mut Desk<'_>,
    frame: &mut F,
    packet: &Packet,
    reason: DropReason,
    arrival: Arrival,
) -> Verdict {
    let code = match reason {
        DropReason::NoRoute => icmp::NET_UNREACHABLE,
        DropReason::NoBinding => icmp::HOST_UNREACHABLE,
        DropReason::PolicyProtocol
        | DropReason::NatHostLimit
        | DropReason::NatPortsFull
        | DropReason::NatFull
        | DropReason::NatNoAddress
        | DropReason::NatTaken
        | DropReason::NatNoSession => icmp::PROHIBITED,
        DropReason::TtlExceeded => 0,
        _ => return Verdict::Drop(reason),
    };
    let (what, reason) = if packet.flags & EXPIRED != 0 {
        ((icmp::TIME_EXCEEDED, icmp::IN_TRANSIT, 0), DropReason::TtlExceeded)
    } else {
        ((icmp::UNREACHABLE, code, 0), reason)
    };
    let source = desk.port(arrival).ok().and_then(|port| desk.premises.own_address(port));
    answer(desk, frame, packet, source, what, reason, arrival)
}

/// Drops a packet, and turns its frame into an ICMP error to its sender where that is allowed. `what` is
/// type, code and second word.
pub(super) fn answer<F: Frame>(
    desk: &mut Desk<'_>,
    frame: &mut F,
    packet: &Packet,
    source: Option<u32>,
    what: (u8, u8, u32),
    reason: DropReason,
    arrival: Arrival,
) -> Verdict {
    let sender =
        frame.data().get(ethernet::SOURCE..ethernet::TYPE).and_then(|mac| mac.first_chunk().copied());
    let (Some(source), Some(sender)) = (source, sender) else {
        return Verdict::Drop(reason);
    };
    if !desk.may_answer(packet, arrival) {
        return Verdict::Drop(reason);
    }
    let Ok(port) = desk.port(arrival) else { return Verdict::Drop(reason) };
    let (kind, code, rest) = what;
    let error = Error { kind, code, rest, source, destination: packet.source() };
    let header = port.header_to(sender);
    let (l3, quoted) = (usize::from(packet.l3), usize::from(packet.total));
    if write_error(frame, l3, quoted, header.length(), &error).is_none() {
        return Verdict::Drop(reason);
    }
    header.emit(frame.data_mut());
    Verdict::Reply(Egress::by(arrival.port), reason)
}
