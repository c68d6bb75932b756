//! What is written anew may be longer than what came.

use crate::alg::shift::GROWTH;
use crate::frame::Frame;
use crate::packet::Packet;
use crate::path::ground::Ground;
use crate::path::segment::clamp_segment;
use crate::table::session::Heading;
use crate::way::Way;

/// What goes with this heading must fit when it has grown: who receives it is made to ask for less.
pub(super) fn make_way<F: Frame>(
    ground: &Ground<'_>,
    frame: &mut F,
    packet: &Packet,
    (slot, heading): (u32, Heading),
) {
    let hop = ground.sessions.get(slot).map(|session| session.hop(heading));
    let mtu = hop.map_or(0, |hop| ground.ways.mtu(Way::Realm(hop)));
    // Of a way that is not known yet, what every link carries of the Internet's (RFC 1122 §3.3.3).
    let mtu = if mtu == 0 { 1500 } else { mtu };
    leave_room(&mut frame.data_mut()[usize::from(packet.l3)..], packet, mtu);
}

/// What the receiver of this SYN sends must fit this MTU when it has grown.
pub(super) fn leave_room(ip: &mut [u8], packet: &Packet, mtu: u16) {
    clamp_segment(ip, packet, mtu.saturating_sub(GROWTH));
}
