//! What comes from the DMZ: a side whose hosts are hosts towards the world, and the world towards the realm.
//!
//! A session between realm and DMZ has its host in the realm, so what is for the realm arrives at one; all else is of the host in
//! the DMZ. There are no bindings here: names of other gateways are for the realm.

use super::ground::Ground;
use super::inside::parse_hosts;
use super::nat;
use super::own::settle;
use super::stagger::Phases;
use crate::frame::{Buffers, Frame};
use crate::meter::seconds;
use crate::packet::{INWARD, Packet, ROUTED, SETTLED};
use crate::port::QuickLook;
use crate::reason::DropReason;
use crate::table::session::{Flow, Heading};
use crate::tag::Share;
use crate::verdict::{Settled, Verdict};

/// The phases. `SEVERAL`: there are other workers, to whom a packet may belong.
pub(super) struct Dmz<'s, const SEVERAL: bool> {
    ground: Ground<'s>,
    share: &'s Share,
    gate: &'s QuickLook,
    now_s: u32,
}

impl<'s, const SEVERAL: bool> Dmz<'s, SEVERAL> {
    pub(super) fn new(ground: Ground<'s>, share: &'s Share, gate: &'s QuickLook) -> Self {
        let now_s = seconds(ground.arrival.now);
        Self { ground, share, gate, now_s }
    }
}

/// Which way a packet goes: to a host of the realm, or from one of the DMZ.
#[inline(always)]
const fn heading(packet: &Packet) -> Heading {
    if packet.flags & INWARD != 0 { Heading::In } else { Heading::Out }
}

impl<F: Frame, B: Buffers<F>, const SEVERAL: bool> Phases<F, B> for Dmz<'_, SEVERAL> {
    const LOOKS_UP: bool = true;

    /// A packet with the hash of its flow, or what became of it.
    #[inline(always)]
    fn parse(&mut self, frame: &mut F, packet: &mut Packet) -> Settled<()> {
        let Self { ground, share, gate, .. } = self;
        let frame = frame.data();
        let plain = gate
            .ipv4(frame)
            .is_some_and(|(l3, ip)| packet.parse_plain(ip, l3) && gate.takes_from(packet.source()));
        if !plain {
            parse_hosts(&mut ground.desk.again(), frame, packet, ground.arrival)?;
        }
        let premises = ground.desk.premises;
        packet.flags |= ROUTED;
        if premises.belongs_inside(packet.destination()) && !premises.is_ours(packet.destination()) {
            packet.flags |= INWARD;
        }
        packet.hash = ground.sessions.hash(Flow::of(packet));
        if SEVERAL && let Some(worker) = owner(ground, share, packet) {
            return Err(Verdict::HandOff(worker));
        }
        Ok(())
    }

    #[inline(always)]
    fn fetch(&self, packet: &Packet) {
        self.ground.sessions.prefetch_candidate(heading(packet), packet.hash);
    }

    #[inline(always)]
    fn look_up(&self, packet: &mut Packet) {
        nat::look_up(&self.ground, heading(packet), packet);
    }

    #[inline(always)]
    fn fetch_more(&self, packet: &Packet, _: &F) {
        nat::fetch_hop(&self.ground, heading(packet), packet);
    }

    #[inline(always)]
    fn act(&mut self, frame: &mut F, packet: &Packet, verdict: &mut Verdict, buffers: &mut B) {
        if packet.flags & SETTLED != 0 {
            return;
        }
        let Self { ground, now_s, .. } = self;
        *verdict = match nat::plain(ground, heading(packet), frame, packet, *now_s) {
            Some(egress) => Verdict::Forward(egress),
            None => match any(&mut ground.again(), frame, packet, buffers) {
                Ok(verdict) => verdict,
                Err(verdict) => settle(ground.desk.counters, verdict),
            },
        };
    }

    #[inline(always)]
    fn settle(&mut self, verdict: Verdict) -> Verdict {
        settle(self.ground.desk.counters, verdict)
    }
}

/// Phase 3 with everything that can be unusual.
#[inline(never)]
fn any<F: Frame, B: Buffers<F>>(
    ground: &mut Ground<'_>,
    frame: &mut F,
    packet: &Packet,
    buffers: &mut B,
) -> Settled<Verdict> {
    match heading(packet) {
        Heading::Out => nat::outward(ground, frame, packet, buffers),
        // What no host of the realm takes nobody asked for.
        Heading::In => nat::inward(ground, frame, packet, buffers)?.ok_or(DropReason::Unasked.into()),
    }
}

/// The other worker that owns the host, unless the packet is for the gateway itself.
#[inline(always)]
fn owner(ground: &Ground<'_>, share: &Share, packet: &Packet) -> Option<u8> {
    let host = match heading(packet) {
        Heading::In => packet.destination(),
        Heading::Out => packet.key.source(),
    };
    share.host_elsewhere(host).filter(|_| !ground.desk.premises.is_ours(packet.destination()))
}
