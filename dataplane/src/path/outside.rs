//! What comes from outside. One look at protocol and port tells, before anything is parsed, what comes through a tunnel from
//! what does not; the one is unwrapped, the other parsed as it is, each once.

use super::alg::between;
use super::ground::Ground;
use super::nat;
use super::outer::outer_error;
use super::own::settle;
use super::sealed::unseal;
use super::stagger::Phases;
use super::tunnel;
use super::unwrap::{Looks, look, tag_of, unwrap, unwrap_plain, unwrap_plain_other};
use crate::frame::{Buffers, Frame};
use crate::meter::{Fine, seconds};
use crate::packet::{ERROR, Packet, ROUTED, SETTLED};
use crate::port::{Carried, QuickLook};
use crate::reason::DropReason;
use crate::settings::Side;
use crate::table::session::{Flow, Heading};
use crate::tag::{Share, Tag};
use crate::verdict::{Settled, Verdict};

/// The phases. There is no phase 2 for tunnels: a session tag leads to the binding itself (`tag.rs`). `SEVERAL`: there are other
/// workers, to whom a packet may belong. `NAT`: what comes through no tunnel may be one of a session.
pub(super) struct Outside<'s, const SEVERAL: bool, const NAT: bool> {
    ground: Ground<'s>,
    share: &'s Share,
    gate: &'s QuickLook,
    now_s: u32,
    fine: Fine,
}

impl<'s, const SEVERAL: bool, const NAT: bool> Outside<'s, SEVERAL, NAT> {
    pub(super) fn new(ground: Ground<'s>, share: &'s Share, gate: &'s QuickLook) -> Self {
        let now = ground.arrival.now;
        Self { ground, share, gate, now_s: seconds(now), fine: Fine::of(now) }
    }
}

impl<F: Frame, B: Buffers<F>, const SEVERAL: bool, const NAT: bool> Phases<F, B>
    for Outside<'_, SEVERAL, NAT>
{
    const LOOKS_UP: bool = NAT;

    /// The inner packet with the slot that its tag names, or what became of it.
    #[inline(always)]
    fn parse(&mut self, frame: &mut F, packet: &mut Packet) -> Settled<()> {
        let Self { ground, share, gate, .. } = self;
        // What is handed over is parsed once, by its owner; if there is anything wrong with it, it is the owner that drops it.
        let known = gate.ipv4(frame.data());
        let mut steered = None;
        if SEVERAL && let Some(tag) = known.and_then(|(_, ip)| tag_of(ip)) {
            let handle = share.handle(tag);
            if let Some(worker) = share.owner_elsewhere(handle) {
                return Err(Verdict::HandOff(worker));
            }
            steered = Some(handle);
        }
        let unwrapped = known.is_some_and(|(l3, ip)| {
            unwrap_plain(ip, l3, packet) || (look(ip) == Looks::Tunnel && unwrap_plain_other(ip, l3, packet))
        });
        if !unwrapped {
            if NAT {
                if known.is_none_or(|(l3, ip)| look(ip) == Looks::Tunnel || !packet.parse_plain(ip, l3)) {
                    parse_any(&mut ground.again(), share, frame, packet, true)?;
                } else {
                    packet.flags |= ROUTED;
                }
                if packet.flags & ROUTED != 0 {
                    packet.hash = ground.sessions.hash(Flow::of(packet));
                    if SEVERAL && let Some(worker) = nat::owner(ground, share, frame, packet) {
                        return Err(Verdict::HandOff(worker));
                    }
                    return Ok(());
                }
            } else {
                parse_other(&mut ground.again(), share, gate, frame, packet)?;
            }
        }
        let handle = if let Some(handle) = steered {
            handle
        } else {
            let handle = share.handle(Tag(packet.destination()));
            if SEVERAL && let Some(worker) = share.owner_elsewhere(handle) {
                return Err(Verdict::HandOff(worker));
            }
            handle
        };
        packet.slot = share.slot(handle);
        if gate.may_read(packet.ports) {
            between::look(ground.desk.premises, packet);
        }
        Ok(())
    }

    /// The binding, or the bucket of its flow.
    #[inline(always)]
    fn fetch(&self, packet: &Packet) {
        if NAT && packet.flags & ROUTED != 0 {
            self.ground.sessions.prefetch_candidate(Heading::In, packet.hash);
        } else {
            self.ground.bindings.prefetch(packet.slot);
        }
    }

    #[inline(always)]
    fn look_up(&self, packet: &mut Packet) {
        if NAT && packet.flags & ROUTED != 0 {
            nat::look_up(&self.ground, Heading::In, packet);
        }
    }

    #[inline(always)]
    fn fetch_more(&self, packet: &Packet, _: &F) {
        if NAT && packet.flags & ROUTED != 0 {
            nat::fetch_hop(&self.ground, Heading::In, packet);
            return;
        }
        let Ground { bindings, ways, .. } = &self.ground;
        if let Some(entry) = bindings.entry(packet.slot) {
            if let Some(annex) = entry.annex() {
                bindings.annexes().prefetch(annex);
            }
            ways.tunnels().prefetch_arrival(entry.tunnel());
            ways.prefetch(entry.way_in());
        }
    }

    #[inline(always)]
    fn act(&mut self, frame: &mut F, packet: &Packet, verdict: &mut Verdict, buffers: &mut B) {
        let Self { ground, share, now_s, fine, .. } = self;
        if NAT && packet.flags & ROUTED != 0 {
            *verdict = match nat::plain(ground, Heading::In, frame, packet, *now_s) {
                Some(egress) => Verdict::Forward(egress),
                None => match nat::inward(&mut ground.again(), frame, packet, buffers) {
                    Ok(Some(verdict)) => verdict,
                    Ok(None) => {
                        let verdict = no_tunnel(&mut ground.again(), share, frame, packet);
                        settle(ground.desk.counters, verdict)
                    }
                    Err(verdict) => settle(ground.desk.counters, verdict),
                },
            };
        } else if let Some(egress) = tunnel::plain(ground.bindings, ground.ways, frame, packet, *now_s, *fine)
        {
            *verdict = Verdict::Forward(egress);
        } else if packet.flags & SETTLED == 0 {
            *verdict = match tunnel::any(&mut ground.again(), frame, packet, buffers) {
                Ok(verdict) => verdict,
                Err(verdict) => settle(ground.desk.counters, verdict),
            };
        }
    }

    #[inline(always)]
    fn settle(&mut self, verdict: Verdict) -> Verdict {
        settle(self.ground.desk.counters, verdict)
    }
}

/// What no short way unwraps: what came through no tunnel, or anything unusual. `Ok` with the inner packet of a tunnel.
#[inline(never)]
fn parse_other<F: Frame>(
    ground: &mut Ground<'_>,
    share: &Share,
    gate: &QuickLook,
    frame: &mut F,
    packet: &mut Packet,
) -> Settled<()> {
    if let Some((l3, ip)) = gate.ipv4(frame.data())
        && look(ip) == Looks::Other
        && packet.parse_plain(ip, l3)
    {
        return Err(no_tunnel(ground, share, frame, packet));
    }
    parse_any(ground, share, frame, packet, false)
}

/// The long way to parse. What came through no tunnel is settled, or, where it `may_pass`, said to be [`ROUTED`].
#[cold]
#[inline(never)]
fn parse_any<F: Frame>(
    ground: &mut Ground<'_>,
    share: &Share,
    frame: &mut F,
    packet: &mut Packet,
    may_pass: bool,
) -> Settled<()> {
    let data = frame.data();
    let l3 = match ground.desk.port(ground.arrival)?.accept(data)? {
        Carried::Ipv4(l3) => l3,
        Carried::Arp(l3) => return Err(ground.desk.arp(data, l3, ground.arrival)),
    };
    if may_pass && nat::is_passing(ground, data.get(l3..).unwrap_or_default()) {
        packet.parse(data, l3)?;
        packet.flags |= ROUTED;
        return Ok(());
    }
    let Some(unwrapped) = unwrap(data, l3)? else {
        if unseal(ground, share, frame, l3, packet)? {
            return Ok(());
        }
        packet.parse(frame.data(), l3)?;
        if may_pass {
            packet.flags |= ROUTED;
            return Ok(());
        }
        return Err(no_tunnel(ground, share, frame, packet));
    };
    // What follows the outer packet in the frame is padding, and no part of the inner one.
    let (data, at) = (data.get(..unwrapped.end).ok_or(DropReason::IpTotalLength)?, unwrapped.inner);
    if !data.get(at..).is_some_and(|inner| packet.parse_plain(inner, at)) {
        packet.parse(data, at)?;
    }
    packet.outer = unwrapped.outer;
    packet.outer_tos = unwrapped.tos;
    packet.inbound = unwrapped.inbound;
    Ok(())
}

/// What comes through no tunnel: it is for the gateway itself, or for nobody.
#[inline(never)]
fn no_tunnel<F: Frame>(ground: &mut Ground<'_>, share: &Share, frame: &mut F, packet: &Packet) -> Verdict {
    match for_us(ground, share, frame, packet) {
        Verdict::Drop(DropReason::Unasked) => nat::unasked(ground, frame, packet),
        verdict => verdict,
    }
}

fn for_us<F: Frame>(ground: &mut Ground<'_>, share: &Share, frame: &mut F, packet: &Packet) -> Verdict {
    if let Some(reason) = ground.desk.outside_refused(packet, ground.arrival) {
        return Verdict::Drop(reason);
    }
    if packet.flags & ERROR != 0
        && let Some(verdict) = outer_error(ground, share, frame, packet)
    {
        return verdict;
    }
    let verdict = ground.desk.addressed_to_us(Side::Outside, frame, packet, ground.arrival);
    if packet.is_fragment() && !packet.is_later_fragment() && matches!(verdict, Verdict::Punt(_)) {
        nat::remember(ground, frame, packet);
    }
    verdict
}
