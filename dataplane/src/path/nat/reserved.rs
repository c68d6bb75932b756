//! What comes from outside to an address of the circular pool: a client who has asked for a host's name, or somebody whom nobody
//! has asked for.

use super::flows::{begins, icmp_type, lacks_port};
use crate::frame::Frame;
use crate::packet::{LATER, Packet};
use crate::path::ground::Ground;
use crate::reason::DropReason;
use crate::table::session::Flow;
use crate::table::sessions::{Opening, Reserved};
use crate::verdict::Settled;
use crate::wire::{ipv4, read32, tcp};

/// What a packet to an external address may open: what the port there takes, or a reservation lets.
pub(super) fn takes<F: Frame>(
    ground: &mut Ground<'_>,
    frame: &F,
    packet: &Packet,
    flow: Flow,
) -> Settled<Option<Opening>> {
    match ground.sessions.takes(flow, &ground.desk.premises.nat, ground.arrival.now) {
        Some(opening) => Ok(Some(opening)),
        None => reserved(ground, frame, packet, flow),
    }
}

/// The session that a packet may open because of a reservation; `None`: it is for no address of the pool, or opens
/// nothing.
fn reserved<F: Frame>(
    ground: &mut Ground<'_>,
    frame: &F,
    packet: &Packet,
    arriving: Flow,
) -> Settled<Option<Opening>> {
    if !ground.sessions.is_of_pool(arriving.addresses.destination()) || !asks(frame, packet) {
        return Ok(None);
    }
    let print = print(frame, packet, arriving);
    match ground.sessions.reserved(arriving, print, ground.arrival.now) {
        Reserved::Opens(opening) => Ok(Some(opening)),
        Reserved::Foreign => Err(DropReason::PoolForeign.into()),
        Reserved::Again => Err(DropReason::PoolAgain.into()),
        Reserved::No => Err(DropReason::PoolUnreserved.into()),
    }
}

/// Whether a packet is one that a client begins with.
fn asks<F: Frame>(frame: &F, packet: &Packet) -> bool {
    packet.flags & LATER == 0 && begins(frame, packet) && !lacks_port(packet)
}

/// What stays the same when its sender tries again: addresses, protocol, ports, with TCP the sequence number, with
/// ICMP type, code and identifier.
fn print<F: Frame>(frame: &F, packet: &Packet, arriving: Flow) -> [u64; 3] {
    let l4 = usize::from(packet.l3) + usize::from(packet.l4);
    let more = match packet.protocol {
        ipv4::TCP => read32(frame.data(), l4 + tcp::SEQUENCE),
        ipv4::ICMP => u32::from(icmp_type(frame, packet)),
        _ => 0,
    };
    let ports = u64::from(arriving.protocol) << 32 | u64::from(arriving.ports);
    [arriving.addresses.bits(), ports, u64::from(more)]
}
