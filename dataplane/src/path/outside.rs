//! What comes from outside. One look at protocol and port tells, before anything is parsed, what comes through a tunnel from
//! what does not; the one is unwrapped, the other parsed as it is, each once.

use super::ground::Ground;
use super::outer::outer_error;
use super::own::settle;
use super::stagger::Phases;
use super::tunnel;
use super::unwrap::{Looks, look, tag_of, unwrap, unwrap_plain, unwrap_plain_other};
use crate::frame::{Buffers, Frame};
use crate::meter::{Fine, seconds};
use crate::packet::{ERROR, Packet, SETTLED};
use crate::port::{Gate, Link};
use crate::reason::DropReason;
use crate::settings::Side;
use crate::tag::{Share, Tag};
use crate::verdict::{Settled, Verdict};

/// The phases. There is no phase 2: a session tag leads to the binding itself (`tag.rs`). `SEVERAL`: there are other
/// workers, to whom a packet may belong.
pub(super) struct Outside<'s, const SEVERAL: bool> {
    ground: Ground<'s>,
    share: &'s Share,
    gate: &'s Gate,
    now_s: u32,
    fine: Fine,
}

impl<'s, const SEVERAL: bool> Outside<'s, SEVERAL> {
    pub(super) fn new(ground: Ground<'s>, share: &'s Share, gate: &'s Gate) -> Self {
        let now = ground.arrival.now;
        Self { ground, share, gate, now_s: seconds(now), fine: Fine::of(now) }
    }
}

impl<F: Frame, B: Buffers<F>, const SEVERAL: bool> Phases<F, B> for Outside<'_, SEVERAL> {
    const LOOKS_UP: bool = false;

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
            parse_other(&mut ground.again(), share, gate, frame, packet)?;
        }
        if let Some(handle) = steered {
            packet.slot = share.slot(handle);
            return Ok(());
        }
        let handle = share.handle(Tag(packet.destination()));
        packet.slot = share.slot(handle);
        match share.owner_elsewhere(handle) {
            Some(worker) if SEVERAL => Err(Verdict::HandOff(worker)),
            _ => Ok(()),
        }
    }

    /// The binding.
    #[inline(always)]
    fn fetch(&self, packet: &Packet) {
        self.ground.bindings.prefetch(packet.slot);
    }

    #[inline(always)]
    fn look_up(&self, _: &mut Packet) {}

    #[inline(always)]
    fn fetch_more(&self, packet: &Packet, _: &F) {
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
        let Self { ground, now_s, fine, .. } = self;
        if let Some(egress) = tunnel::plain(ground.bindings, ground.ways, frame, packet, *now_s, *fine) {
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
    gate: &Gate,
    frame: &mut F,
    packet: &mut Packet,
) -> Settled<()> {
    if let Some((l3, ip)) = gate.ipv4(frame.data())
        && look(ip) == Looks::Other
        && packet.parse_plain(ip, l3)
    {
        return Err(no_tunnel(ground, share, frame, packet));
    }
    parse_any(ground, share, frame, packet)
}

/// The long way to parse.
#[cold]
#[inline(never)]
fn parse_any<F: Frame>(
    ground: &mut Ground<'_>,
    share: &Share,
    frame: &mut F,
    packet: &mut Packet,
) -> Settled<()> {
    let data = frame.data();
    let l3 = match ground.desk.port(ground.arrival)?.accept(data)? {
        Link::Ipv4(l3) => l3,
        Link::Arp(l3) => return Err(ground.desk.arp(data, l3, ground.arrival)),
    };
    let Some(unwrapped) = unwrap(data, l3)? else {
        packet.parse(data, l3)?;
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

/// What comes through no tunnel: today it is for the gateway itself, or for nobody.
#[inline(never)]
fn no_tunnel<F: Frame>(ground: &mut Ground<'_>, share: &Share, frame: &mut F, packet: &Packet) -> Verdict {
    if let Some(reason) = ground.desk.outside_refused(packet, ground.arrival) {
        return Verdict::Drop(reason);
    }
    if packet.flags & ERROR != 0
        && let Some(verdict) = outer_error(ground, share, frame, packet)
    {
        return verdict;
    }
    ground.desk.addressed_to_us(Side::Outside, frame, packet, ground.arrival)
}
