//! What the gateway says to the sender of a packet that it drops, back by the port of its arrival.

use super::icmp::{Error, write_error};
use super::own::{DNS, Desk};
use super::reset::write_reset;
use crate::egress::Egress;
use crate::frame::Frame;
use crate::packet::{EXPIRED, Packet};
use crate::reason::DropReason;
use crate::verdict::{Arrival, Verdict};
use crate::wire::{Wire, ethernet, icmp, ipv4, tcp};

/// Drops a packet from inside that goes no further, and tells its sender where a router does: no way there, nobody there,
/// or not allowed (RFC 1812 §5.2.7.1). Its time to live comes first, but for what has arrived.
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
        DropReason::NoBinding
        | DropReason::PoolUnreserved
        | DropReason::PoolAgain
        | DropReason::PoolForeign => icmp::HOST_UNREACHABLE,
        DropReason::Unasked => return closed(desk, frame, packet, arrival),
        DropReason::PolicyProtocol
        | DropReason::NatHostLimit
        | DropReason::NatShare
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
    tell(desk, frame, packet, what, reason, arrival)
}

/// Drops a packet from inside to an own address at which nobody takes it, and tells its sender as a host does (RFC 1122
/// §3.2.2.1): who opens a connection, or sends a datagram. A segment of no connection hears nothing: it asks which ports
/// are open.
fn closed<F: Frame>(desk: &mut Desk<'_>, frame: &mut F, packet: &Packet, arrival: Arrival) -> Verdict {
    // Nor does what looks like an answer of DNS: none of ours is said to be awaited or not.
    let is_answer = packet.protocol == ipv4::UDP && packet.ports >> 16 == DNS;
    let code = match packet.protocol {
        _ if is_answer || packet.is_fragment() => return Verdict::Drop(DropReason::Unasked),
        ipv4::UDP | ipv4::DCCP | ipv4::UDP_LITE => icmp::PORT_UNREACHABLE,
        ipv4::TCP if packet.opens_tcp(true) && !packet.opens_tcp(false) => icmp::PORT_UNREACHABLE,
        ipv4::TCP | ipv4::ICMP => return Verdict::Drop(DropReason::Unasked),
        _ => icmp::PROTOCOL_UNREACHABLE,
    };
    tell(desk, frame, packet, (icmp::UNREACHABLE, code, 0), DropReason::Unasked, arrival)
}

/// Drops a packet of something that is not to be opened, and tells its sender: a connection is reset, anything else is
/// prohibited (RFC 1812 §5.2.7.1).
#[cold]
pub(super) fn reject<F: Frame>(
    desk: &mut Desk<'_>,
    frame: &mut F,
    packet: &Packet,
    reason: DropReason,
    arrival: Arrival,
) -> Verdict {
    if packet.protocol == ipv4::TCP {
        return reset(desk, frame, packet, reason, arrival);
    }
    tell(desk, frame, packet, (icmp::UNREACHABLE, icmp::PROHIBITED, 0), reason, arrival)
}

/// Drops a segment, and turns its frame into the reset that its receiver would send.
fn reset<F: Frame>(
    desk: &mut Desk<'_>,
    frame: &mut F,
    packet: &Packet,
    reason: DropReason,
    arrival: Arrival,
) -> Verdict {
    let Some(sender) = sender(frame) else { return Verdict::Drop(reason) };
    // RFC 9293 §3.5.2: a reset is never answered by one.
    if packet.tcp_flags & tcp::RST != 0 || !desk.may_answer(packet, arrival) {
        return Verdict::Drop(reason);
    }
    let Ok(port) = desk.port(arrival) else { return Verdict::Drop(reason) };
    let header = port.header_to(sender);
    if write_reset(frame, packet, header.length()).is_none() {
        return Verdict::Drop(reason);
    }
    header.emit(frame.data_mut());
    Verdict::Reply(Egress::by(arrival.port), reason)
}

/// The MAC address that a frame comes from.
pub(super) fn sender<F: Frame>(frame: &F) -> Option<[u8; 6]> {
    frame.data().get(ethernet::SOURCE..ethernet::TYPE).and_then(|mac| mac.first_chunk().copied())
}

/// Drops a packet, and tells its sender in the gateway's own name, whichever side that is on: see [`answer`].
#[cold]
pub(super) fn tell<F: Frame>(
    desk: &mut Desk<'_>,
    frame: &mut F,
    packet: &Packet,
    what: (u8, u8, u32),
    reason: DropReason,
    arrival: Arrival,
) -> Verdict {
    let source = desk.speaks_from(arrival);
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
    let (Some(source), Some(sender)) = (source, sender(frame)) else {
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
