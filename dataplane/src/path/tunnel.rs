//! What comes through a tunnel: it goes to the host whose session tag it carries.

use super::alg::between;
use super::fragment;
use super::ground::Ground;
use super::icmp::{ERROR_TOS, Error, translate_quoted, write_error};
use super::own::refused;
use super::sealed::is_peers;
use super::segment::clamp_segment;
use crate::egress::Egress;
use crate::frame::{Buffers, Frame};
use crate::meter::{Fine, seconds};
use crate::packet::{DONT_FRAGMENT, ERROR, EXPIRED, Packet, SETTLED, SPECIAL, SYN};
use crate::reason::DropReason;
use crate::settings::Side;
use crate::table::bindings::Bindings;
use crate::table::entry::BindingEntry;
use crate::table::session::Heading;
use crate::table::tunnels;
use crate::verdict::{Settled, Verdict};
use crate::way::{Front, Ways, write};
use crate::wire::{Pair, icmp, ipv4};

/// The ECN field of a TOS (RFC 3168 §5).
const ECN: u8 = 3;
/// Congestion experienced.
const CE: u8 = 3;
/// ECN-capable transport 1.
const ECT1: u8 = 1;

/// Phase 3. The straight line: nothing unusual about the packet or its binding. `None`, with nothing changed, for all others.
#[inline(always)]
pub(super) fn plain<F: Frame>(
    bindings: &mut Bindings,
    ways: &mut Ways,
    frame: &mut F,
    packet: &Packet,
    now_s: u32,
    fine: Fine,
) -> Option<Egress> {
    let (entry, annexes) = bindings.entry_and_annexes(packet.slot)?;
    if !belongs(packet, entry, ways)
        || packet.flags & (SPECIAL | SETTLED) != 0
        || (packet.tos ^ packet.outer_tos) & ECN != 0
    {
        return None;
    }
    let (addresses, change) = (entry.near_reversed(), entry.change().reversed());
    // Written twice, so that the first one has nothing to remember of an annex.
    let egress = match entry.annex() {
        None => ways.send(entry.way_in(), frame, packet, addresses, change)?,
        Some(annex) => {
            if !annexes.admit(annex, Heading::In, packet, fine) {
                return None;
            }
            let Some(egress) = ways.send(entry.way_in(), frame, packet, addresses, change) else {
                annexes.give_back(annex, Heading::In, packet);
                return None;
            };
            egress
        }
    };
    entry.count_in(packet.total, now_s);
    Some(egress)
}

/// Phase 3 with everything that can be unusual.
#[inline(never)]
pub(super) fn any<F: Frame, B: Buffers<F>>(
    ground: &mut Ground<'_>,
    frame: &mut F,
    packet: &Packet,
    buffers: &mut B,
) -> Settled<Verdict> {
    let found = ground.bindings.entry(packet.slot).filter(|entry| belongs(packet, entry, ground.ways));
    let Some(entry) = found.copied() else {
        return Err(unknown(ground, packet));
    };
    special(ground, frame, packet, &entry)?;
    let packet = &between::treat(ground, frame, packet, (packet.slot, &entry, Heading::In))?;
    let way = entry.way_in();
    let verdict = if packet.total <= ground.ways.mtu(way) {
        let change = entry.change().reversed();
        let sent = ground.ways.send(way, frame, packet, entry.near_reversed(), change);
        Verdict::Forward(sent.ok_or_else(|| ground.ways.why_not(way))?)
    } else {
        blocked(ground, frame, packet, &entry, buffers)?
    };
    if let Some(entry) = ground.bindings.entry_mut(packet.slot) {
        entry.count_in(packet.total, seconds(ground.arrival.now));
    }
    ground.bindings.opened(packet.slot, packet);
    Ok(verdict)
}

/// Whether a packet from a tunnel is one of this binding's. It comes from the peer's tag to ours, the other way round than
/// what the host sends; the entry knows both, and its tunnel knows the outer pair, the encapsulation and the id.
#[inline(always)]
fn belongs(packet: &Packet, entry: &BindingEntry, ways: &Ways) -> bool {
    ways.tunnels().at(entry.tunnel()).is_some_and(|tunnel| {
        entry.far() == packet.addresses.reversed()
            && entry.is_tunnel()
            && tunnel.outer == packet.outer
            && tunnel.inbound == packet.inbound
    })
}

/// Why a tunnel packet matches no binding.
#[cold]
fn unknown(ground: &Ground<'_>, packet: &Packet) -> Verdict {
    let known = |by_id: bool| {
        // The encapsulation stands above the id.
        let of = |tunnel: &tunnels::TunnelEntry| {
            let differs = tunnel.inbound ^ packet.inbound;
            if by_id { differs == 0 } else { differs >> 32 == 0 }
        };
        ground.ways.tunnels().find(packet.outer, of).is_some()
    };
    let local = packet.outer.destination();
    Verdict::Drop(if !ground.desk.premises.is_own(Side::Outside, local) {
        DropReason::Unasked
    } else if !known(false) {
        // Else anybody could forge in clear.
        if is_peers(ground, packet.outer) { DropReason::TunnelClear } else { DropReason::TunnelOuterUnknown }
    } else if !known(true) {
        DropReason::TunnelIdUnknown
    } else {
        DropReason::TunnelTagUnknown
    })
}

/// What is unusual about the packet or its binding. `Ok`: go on.
#[cold]
fn special<F: Frame>(
    ground: &mut Ground<'_>,
    frame: &mut F,
    packet: &Packet,
    entry: &BindingEntry,
) -> Settled<()> {
    if packet.flags & EXPIRED != 0 {
        let what = (icmp::TIME_EXCEEDED, 0, 0);
        return Err(answer(ground, frame, packet, entry, what, DropReason::TtlExceeded));
    }
    let Ground { desk, bindings, ways, events, arrival, .. } = ground;
    if packet.flags & ERROR == 0 {
        let checked = bindings.check(entry, Heading::In, packet, arrival.now);
        desk.counters.alg_came += u64::from(checked.map_err(|reason| refused(packet, reason, *arrival))?);
    }
    let ip = &mut frame.data_mut()[usize::from(packet.l3)..];
    if (packet.tos ^ packet.outer_tos) & ECN != 0 {
        write::set_tos(ip, ecn_out(packet.tos, packet.outer_tos)?);
    }
    if packet.flags & ERROR != 0 {
        // It quotes what our host sent: from our tag to the peer's.
        let ours = |quoted: &ipv4::Header| Pair::new(quoted.source, quoted.destination) == entry.far();
        let quotes_ours = packet.quoted(ip).is_some_and(|(_, quoted)| ours(&quoted));
        // It must not be translated twice: not before its next hop is known.
        if quotes_ours && ways.mtu(entry.way_in()) == 0 {
            return Err(ways.hold(entry.way_in(), arrival.attempt, events, arrival.now));
        }
        if !quotes_ours || !translate_quoted(ip, packet, entry.host(), entry.proxy()) {
            return Err(Verdict::Drop(DropReason::IcmpErrorUnmatched));
        }
    }
    if packet.flags & SYN != 0 {
        clamp_segment(ip, packet, ways.mtu(entry.way_out()));
    }
    Ok(())
}

/// The way to the host is closed, or too narrow for the packet.
#[cold]
fn blocked<F: Frame, B: Buffers<F>>(
    ground: &mut Ground<'_>,
    frame: &mut F,
    packet: &Packet,
    entry: &BindingEntry,
    buffers: &mut B,
) -> Settled<Verdict> {
    let way = entry.way_in();
    let mtu = ground.ways.mtu(way);
    if mtu == 0 {
        let Ground { bindings, ways, events, arrival, .. } = ground;
        if let Some(annex) = entry.annex() {
            bindings.annexes_mut().give_back(annex, Heading::In, packet);
        }
        return Err(ways.hold(way, arrival.attempt, events, arrival.now));
    }
    if packet.flags & DONT_FRAGMENT != 0 {
        let what = (icmp::UNREACHABLE, icmp::FRAGMENTATION_NEEDED, u32::from(mtu));
        return Err(answer(ground, frame, packet, entry, what, DropReason::TooBig));
    }
    let ip = &mut frame.data_mut()[usize::from(packet.l3)..];
    write::translate(ip, packet, entry.near_reversed(), entry.change().reversed());
    let (egress, made) = fragment::send(ground.ways, way, frame, packet, buffers)?;
    ground.desk.counters.fragments_made += made;
    Ok(Verdict::Forward(egress))
}

/// Drops a packet from a tunnel, and turns its frame into an ICMP error that goes back through the tunnel with the
/// binding's tags where that is allowed: the far host sees it come from its proxy. `what` is type, code and second
/// word.
fn answer<F: Frame>(
    ground: &mut Ground<'_>,
    frame: &mut F,
    packet: &Packet,
    entry: &BindingEntry,
    what: (u8, u8, u32),
    reason: DropReason,
) -> Verdict {
    let way = entry.way_out();
    if ground.ways.mtu(way) == 0 || !ground.desk.may_answer(packet, ground.arrival) {
        return Verdict::Drop(reason);
    }
    let (kind, code, rest) = what;
    let error = Error { kind, code, rest, source: entry.source(), destination: entry.destination() };
    let (l3, quoted) = (usize::from(packet.l3), usize::from(packet.total));
    // The front of a tunnel packet is 56 bytes and more, so the error's headers find their room there.
    let sent = write_error(frame, l3, quoted, 0, &error).and_then(|total| {
        let front = Front { l3: 0, total, tos: ERROR_TOS };
        ground.ways.wrap(way, frame, front, packet.entropy())
    });
    sent.map_or(Verdict::Drop(reason), |egress| Verdict::Reply(egress, reason))
}

/// The TOS of a packet that leaves a tunnel (RFC 6040 §4.2, figure 4): its own DSCP; congestion that the outer header
/// met is carried on, and a packet that does not take part in ECN must not have met any.
fn ecn_out(inner: u8, outer: u8) -> Result<u8, DropReason> {
    let ecn = match (inner & ECN, outer & ECN) {
        (0, CE) => return Err(DropReason::EcnInvalid),
        (0, _) => 0,
        (_, CE) | (CE, _) => CE,
        (_, ECT1) => ECT1,
        (own, _) => own,
    };
    Ok(inner & !ECN | ecn)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rfc_6040_figure_4() {
        // Rows: inner Not-ECT, ECT(0), ECT(1), CE; columns: outer Not-ECT, ECT(0), ECT(1), CE.
        let expected = [
            (0, [Some(0), Some(0), Some(0), None]),
            (2, [Some(2), Some(2), Some(1), Some(3)]),
            (1, [Some(1), Some(1), Some(1), Some(3)]),
            (3, [Some(3), Some(3), Some(3), Some(3)]),
        ];
        for (inner, row) in expected {
            for (outer, want) in [0, 2, 1, 3].into_iter().zip(row) {
                let got = ecn_out(0xb8 | inner, outer).ok();
                assert_eq!(got, want.map(|ecn| 0xb8 | ecn), "inner {inner}, outer {outer}");
            }
        }
    }
}
