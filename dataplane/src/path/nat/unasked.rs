//! What nobody has asked for, at an address under which hosts are seen.

use super::flows::begins;
use crate::frame::Frame;
use crate::narrow::Number24;
use crate::packet::{LATER, Packet};
use crate::path::answer::answer;
use crate::path::ground::Ground;
use crate::reason::DropReason;
use crate::verdict::{Attempt, Verdict};
use crate::wire::{icmp, ipv4};

/// What becomes of a packet that nobody asked for. RFC 5382 §4.3, REQ-4: a SYN to where hosts are seen is not answered for six
/// seconds, in which its host may open the same connection from its side; then its sender is told that nobody is there.
#[cold]
pub(in crate::path) fn unasked<F: Frame>(ground: &mut Ground<'_>, frame: &mut F, packet: &Packet) -> Verdict {
    let opens = packet.protocol == ipv4::TCP && packet.flags & LATER == 0 && begins(frame, packet);
    let may_tell = ground.desk.premises.nat.tell_unasked && ground.is_external(packet.destination());
    match ground.arrival.attempt {
        Attempt::First if opens && may_tell => Verdict::HoldUnasked(number(packet)),
        Attempt::Unasked => {
            let what = (icmp::UNREACHABLE, icmp::PORT_UNREACHABLE, 0);
            let source = Some(packet.destination());
            answer(&mut ground.desk, frame, packet, source, what, DropReason::Unasked, ground.arrival)
        }
        _ => Verdict::Drop(DropReason::Unasked),
    }
}

/// What stands for a connection among those that are kept.
const fn number(packet: &Packet) -> Number24 {
    let addresses = packet.source() ^ packet.destination().rotate_left(8);
    let mixed = (addresses ^ packet.ports.rotate_left(4)).wrapping_mul(0x9e37_79b1);
    Number24::new(mixed >> 9)
}
