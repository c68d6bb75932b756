//! The tables of ways, and the one function that sends a packet by one.

use super::kind::Way;
use super::write;
use crate::Nanos;
use crate::egress::Egress;
use crate::events::Events;
use crate::frame::Frame;
use crate::meter::seconds;
use crate::msg::{Event, HopId, Neighbour, PortId, Tunnel, TunnelId};
use crate::narrow::Number24;
use crate::packet::Packet;
use crate::premises::Premises;
use crate::reason::DropReason;
use crate::seal::Seals;
use crate::settings::{SettingsError, WorkerSettings};
use crate::table::fib::{Fib, Next};
use crate::table::hops::Hops;
use crate::table::index::Hasher;
use crate::table::tunnels::{Knowledge, TunnelEntry, Tunnels};
use crate::verdict::{Attempt, Verdict};
use crate::wire::checksum::Delta;
use crate::wire::{Pair, ipv4, psp, udp};
use std::net::Ipv4Addr;

/// A packet in its frame, as [`Ways::head`] finds it.
#[derive(Clone, Copy, Debug)]
pub struct Front {
    /// Where it begins.
    pub l3: usize,
    /// How long it is.
    pub total: u16,
    /// Its DSCP and ECN.
    pub tos: u8,
}

/// What a packet waits for whose next hop has no number yet.
pub const UNNAMED: Number24 = Number24::new(Number24::MOST);

/// Tunnels and next hops. The headers of tunnels follow those of their next hops.
#[derive(Debug)]
pub struct Ways {
    tunnels: Tunnels,
    hops: Hops,
    /// Identification of the last outer packet.
    outer_id: u16,
    /// The keys of tunnels that are encrypted.
    seals: Seals,
}

impl Ways {
    /// None yet.
    pub fn new(settings: &WorkerSettings, hasher: Hasher) -> Result<Self, SettingsError> {
        Ok(Self {
            tunnels: Tunnels::new(settings.tunnels, hasher)?,
            hops: Hops::new(settings.neighbours, hasher)?,
            outer_id: 0,
            seals: Seals::default(),
        })
    }

    /// Creates or replaces a tunnel.
    pub fn set_tunnel(&mut self, id: TunnelId, tunnel: &Tunnel) {
        self.tunnels.set(id, tunnel, &self.hops);
    }

    /// Forgets a tunnel.
    pub fn remove_tunnel(&mut self, id: TunnelId) {
        self.tunnels.remove(id);
    }

    /// Creates or replaces a next hop.
    pub fn set_hop(&mut self, id: HopId, neighbour: &Neighbour, premises: &Premises) {
        // Without such a port, packets for it are dropped as for any unresolved one.
        if let Some(port) = premises.port(neighbour.port) {
            self.hops.set(id, neighbour, port);
            self.tunnels.hop_changed(id.0, &self.hops);
        }
    }

    /// An address on a link is the destination of this next hop.
    pub fn reach(&mut self, address: Ipv4Addr, id: HopId) {
        self.hops.reach(address.to_bits(), id);
    }

    /// It no longer is.
    pub fn unreach(&mut self, address: Ipv4Addr) {
        self.hops.unreach(address.to_bits());
    }

    /// The next hop to an address, or what becomes of a packet to it meanwhile: it is kept until the control thread has named
    /// one.
    #[cold]
    pub fn lookup(
        &mut self,
        fib: &Fib,
        address: u32,
        attempt: Attempt,
        events: &mut Events,
        now: Nanos,
    ) -> Result<u32, Verdict> {
        match fib.find(address).ok_or(DropReason::NoRoute)? {
            Next::Via(id) => Ok(id.0),
            Next::OnLink(_) => {
                if let Some(id) = self.hops.of(address) {
                    Ok(id)
                } else {
                    if self.hops.asks(address, seconds(now)) {
                        events.offer(Event::Wanted(Ipv4Addr::from_bits(address)));
                    }
                    Err(if attempt.may_wait() {
                        Verdict::Hold(UNNAMED)
                    } else {
                        Verdict::Drop(DropReason::NeighbourUnresolved)
                    })
                }
            }
        }
    }

    /// Whether a frame may come from whoever is at a next hop: see [`Hop::may_send`](crate::table::hops::Hop::may_send).
    #[inline(always)]
    pub fn may_come_from(&self, hop: u32, frame: &[u8]) -> bool {
        self.hops.at(hop).may_send(frame)
    }

    /// The port that a next hop is behind.
    pub fn port_of(&self, hop: u32) -> PortId {
        self.hops.at(hop).port
    }

    /// The tunnels: what arrives must be of one of them.
    #[inline(always)]
    pub fn tunnels(&self) -> &Tunnels {
        &self.tunnels
    }

    /// The path to a peer is narrower than thought. Its MTU changes only together with the event, so that the control thread
    /// always knows it.
    pub fn narrow(&mut self, id: TunnelId, mtu: u16, proof: Knowledge, events: &mut Events) {
        if let Some(before) = self.tunnels.at(id.0).map(|entry| entry.mtu)
            && let Some(mtu) = self.tunnels.narrow(id, mtu, proof)
            && !events.offer(Event::TunnelMtu(id, mtu))
        {
            self.tunnels.widen(id, before);
        }
    }

    /// The largest packet that can be sent by a way; 0 = none: there is no such way, or its next hop is unresolved.
    #[inline(always)]
    pub fn mtu(&self, way: Way) -> u16 {
        match way {
            Way::Tunnel(id) => self.tunnels.at(id).map_or(0, |tunnel| tunnel.inner_mtu),
            Way::Realm(hop) => self.hops.at(hop).mtu,
        }
    }

    /// Whether there is such a way at all, be it open or not.
    pub fn exists(&self, way: Way) -> bool {
        match way {
            Way::Tunnel(id) => self.tunnels.at(id).is_some_and(|tunnel| tunnel.encapsulation.is_some()),
            Way::Realm(hop) => self.hops.at(hop).known,
        }
    }

    /// Starts to fetch what [`Ways::send`] will read.
    #[inline(always)]
    pub fn prefetch(&self, way: Way) {
        match way {
            Way::Tunnel(id) => self.tunnels.prefetch(id),
            Way::Realm(hop) => self.hops.prefetch(hop),
        }
    }

    /// Sends a packet: puts in front of it what this way wants, translates it ([`write::translate`]), and says where it
    /// leaves. `None`, with nothing changed, if the way is closed or too narrow, or there is no room in the frame.
    #[inline(always)]
    pub fn send<F: Frame>(
        &mut self,
        way: Way,
        frame: &mut F,
        packet: &Packet,
        addresses: Pair,
        change: Delta,
    ) -> Option<Egress> {
        let front = Front { l3: usize::from(packet.l3), total: packet.total, tos: packet.tos };
        let (egress, ip, is_sealed) = self.place(way, frame, front, packet.entropy())?;
        write::translate(ip, packet, addresses, change);
        if is_sealed {
            return self.seal(way, frame, egress);
        }
        Some(egress)
    }

    /// Sends a packet that is as it is to be carried: puts in front of it what this way wants, and says where it leaves. `None`
    /// as [`Ways::send`].
    pub fn wrap<F: Frame>(&mut self, way: Way, frame: &mut F, front: Front, entropy: u32) -> Option<Egress> {
        let (egress, _, is_sealed) = self.place(way, frame, front, entropy)?;
        if is_sealed { self.seal(way, frame, egress) } else { Some(egress) }
    }

    /// Seals the packet that stands behind the header of its tunnel.
    #[cold]
    #[inline(never)]
    fn seal<F: Frame>(&mut self, way: Way, frame: &mut F, egress: Egress) -> Option<Egress> {
        let Way::Tunnel(id) = way else { return None };
        let tunnel = self.tunnels.at(id)?;
        let (slot, at) = (tunnel.seal_slot()?, usize::from(tunnel.link_length) + ipv4::LENGTH + udp::LENGTH);
        // The room was there before the packet was cut to its length.
        let is_sealed = frame.extend(psp::TAG) && self.seals.seal(slot, frame.data_mut().get_mut(at..)?);
        is_sealed.then_some(egress)
    }

    /// Why a packet that fits a way that is open was not sent by it.
    #[cold]
    pub fn why_not(&self, way: Way) -> DropReason {
        let Way::Tunnel(id) = way else { return DropReason::NoHeadroom };
        match self.tunnels.at(id).and_then(TunnelEntry::seal_slot) {
            Some(slot) if !self.seals.is_ready(slot) => DropReason::TunnelUnkeyed,
            _ => DropReason::NoHeadroom,
        }
    }

    /// The keys of tunnels that are encrypted.
    pub fn seals(&self) -> &Seals {
        &self.seals
    }

    /// The same, to be changed.
    pub fn seals_mut(&mut self) -> &mut Seals {
        &mut self.seals
    }

    /// Puts in front of a packet what the way to a next hop wants, in the place of what stands there. Where it leaves and the
    /// packet in its new place, or `None` as [`Ways::send`].
    #[inline(always)]
    pub fn head<'f, F: Frame>(
        &mut self,
        hop: u32,
        frame: &'f mut F,
        front: Front,
    ) -> Option<(Egress, &'f mut [u8])> {
        let (egress, ip, _) = self.place(Way::Realm(hop), frame, front, 0)?;
        Some((egress, ip))
    }

    /// The same for any way, and whether the packet is to be sealed when it is translated.
    #[inline(always)]
    fn place<'f, F: Frame>(
        &mut self,
        way: Way,
        frame: &'f mut F,
        front: Front,
        entropy: u32,
    ) -> Option<(Egress, &'f mut [u8], bool)> {
        let Front { l3, total, tos } = front;
        match way {
            Way::Tunnel(id) => {
                let tunnel = self.tunnels.at(id)?;
                if total > tunnel.inner_mtu {
                    return None;
                }
                let id = self.outer_id.wrapping_add(1);
                let is_ready = |slot| self.seals.is_ready(slot);
                let (ip, is_sealed) = write::encap(frame, l3, total, tunnel, tos, entropy, id, is_ready)?;
                self.outer_id = id;
                Some((Egress::by(tunnel.port), ip, is_sealed))
            }
            Way::Realm(hop) => {
                let hop = self.hops.at(hop);
                if total > hop.mtu {
                    return None;
                }
                let ip = write::deliver(frame, l3, total, hop)?;
                Some((Egress::by(hop.port), ip, false))
            }
        }
    }

    /// What becomes of a packet whose way is closed because its next hop has no MAC address: it is kept until there is one,
    /// and the control thread is asked for it. What can never be resolved, and what was kept before, is dropped.
    ///
    /// The path comes here before it changes anything of a packet that must not be changed twice: kept packets go through it
    /// anew, so that whatever else has changed meanwhile (the route, the MTU, the binding) is heeded.
    #[cold]
    pub fn hold(&mut self, way: Way, attempt: Attempt, events: &mut Events, now: Nanos) -> Verdict {
        let neighbour = match way {
            Way::Tunnel(id) => self.tunnels.at(id).map_or(Number24::MOST, |tunnel| tunnel.neighbour),
            Way::Realm(hop) => hop,
        };
        if !attempt.may_wait() || !self.hops.at(neighbour).known {
            return Verdict::Drop(DropReason::NeighbourUnresolved);
        }
        let now_s = seconds(now);
        // Asked only together with the event: if there is no room for it, the next packet asks.
        if self.hops.wanted(neighbour, now_s) && events.offer(Event::HopWanted(HopId(neighbour))) {
            self.hops.ask(neighbour, now_s);
        }
        Verdict::Hold(Number24::new(neighbour))
    }
}
