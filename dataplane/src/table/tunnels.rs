//! Tunnels: the outer header of what is sent through them, prepared, and the pair and id that what arrives must have.
//!
//! An entry is two cache lines, shared by all bindings to a peer and so nearly always in the cache.

use super::hops::Hops;
use super::index::{Hasher, Index};
use crate::msg::{Encapsulation, PortId, Tunnel, TunnelId};
use crate::seal::slot_of;
use crate::settings::SettingsError;
use crate::wire::checksum::Delta;
use crate::wire::{Outer, Pair};
use machine::table::HugeSlice;
use std::num::NonZeroU16;

/// The largest outer header: Ethernet with a tag 18, IPv4 20, UDP 8, VXLAN or GENEVE 8, inner Ethernet 14.
pub const HEADER: usize = 68;
/// The commonest outer header: the same without a tag. One cache line.
pub const HEADER_PLAIN: usize = 64;
/// The smallest path MTU that is believed (RFC 791: every host takes 576 bytes). Below, an attacker could make the
/// tunnel useless by forged ICMP.
pub const MTU_FLOOR: u16 = 576;
/// The same of who proves nothing: what every path of IPv6 carries (RFC 8200 §5), so that a tunnel is hardly narrower anywhere.
const MTU_FLOOR_UNPROVEN: u16 = 1280;

/// What who says that a path is narrow has shown to know of the tunnel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Knowledge {
    /// Nothing that could not be guessed.
    None,
    /// The tunnel's id, which only its two ends and the path know.
    Id,
}

impl Knowledge {
    /// The smallest path MTU that is believed.
    const fn floor(self) -> u16 {
        match self {
            Self::None => MTU_FLOOR_UNPROVEN,
            Self::Id => MTU_FLOOR,
        }
    }
}

/// A tunnel.
#[derive(Clone, Copy, Debug)]
#[repr(C, align(64))]
pub struct TunnelEntry {
    /// The outer header, ready to be written but for its length, identification, TOS, checksum and source port.
    pub header: [u8; HEADER],
    /// The sum of the outer IPv4 header without these.
    pub sum: Delta,
    /// How much of `header` there is.
    pub length: u8,
    /// How much of that is Ethernet.
    pub link_length: u8,
    /// The port towards the peer.
    pub port: PortId,
    /// The encapsulation; `None` = there is no such tunnel.
    pub encapsulation: Option<Encapsulation>,
    /// The largest inner packet that fits; 0 = none: there is no tunnel, or its next hop is unresolved.
    pub inner_mtu: u16,
    /// Path MTU of the outer packet.
    pub mtu: u16,
    /// The outer addresses of what arrives: the peer's locator and ours.
    pub outer: Pair,
    /// Encapsulation and id of what arrives: see [`inbound`]; 0 = there is no such tunnel.
    pub inbound: u64,
    /// The id on what is sent.
    pub id_out: u32,
    /// The next hop towards the peer.
    pub neighbour: u32,
    /// Whose keys what is sent is sealed under; `None`: it is sent in clear.
    pub seal: Option<NonZeroU16>,
}

const _: () = assert!(size_of::<TunnelEntry>() == 128);

impl Default for TunnelEntry {
    fn default() -> Self {
        Self {
            header: [0; HEADER],
            sum: Delta::default(),
            length: 0,
            link_length: 0,
            port: 0,
            encapsulation: None,
            inner_mtu: 0,
            mtu: 0,
            outer: Pair::NONE,
            inbound: 0,
            id_out: 0,
            neighbour: 0,
            seal: None,
        }
    }
}

/// Encapsulation and id of a tunnel packet in one word, never 0.
#[inline(always)]
pub const fn inbound(encapsulation: Encapsulation, id: u32) -> u64 {
    (encapsulation as u64 + 1) << 32 | id as u64
}

/// One more than the slot of the keys that a tunnel is sealed under.
fn seal_of(tunnel: &Tunnel) -> Option<NonZeroU16> {
    let is_sealed = tunnel.encapsulation == Encapsulation::Psp;
    NonZeroU16::new(slot_of(tunnel.id_in) + 1).filter(|_| is_sealed)
}

/// The table.
#[derive(Debug)]
pub struct Tunnels {
    entries: HugeSlice<TunnelEntry>,
    /// Entries beyond the highest that was ever set are not looked at.
    used: usize,
    /// Which tunnels there are between a pair of locators: to tell the reason of a drop, and for ICMP errors.
    pairs: Index,
    hasher: Hasher,
}

impl Tunnels {
    /// A table without tunnels.
    pub fn new(count: u16, hasher: Hasher) -> Result<Self, SettingsError> {
        let entries = HugeSlice::new(usize::from(count)).map_err(|_| SettingsError::Memory("tunnels"))?;
        Ok(Self { entries, used: 0, pairs: Index::new(u32::from(count))?, hasher })
    }

    /// A tunnel, if its id is within the table.
    #[inline(always)]
    pub fn at(&self, id: u16) -> Option<&TunnelEntry> {
        self.entries.get(usize::from(id))
    }

    /// Starts to fetch a tunnel, both lines.
    #[inline(always)]
    pub fn prefetch(&self, id: u16) {
        if let Some(entry) = self.entries.get(usize::from(id)) {
            machine::prefetch(entry);
            machine::prefetch(&entry.length);
        }
    }

    /// Starts to fetch the line of a tunnel that says what arrives through it.
    #[inline(always)]
    pub fn prefetch_arrival(&self, id: u16) {
        if let Some(entry) = self.entries.get(usize::from(id)) {
            machine::prefetch(&entry.outer);
        }
    }

    /// Creates or replaces a tunnel.
    pub fn set(&mut self, id: TunnelId, tunnel: &Tunnel, hops: &Hops) {
        self.remove(id);
        let Some(entry) = self.entries.get_mut(usize::from(id.0)) else {
            return; // packets of its bindings are dropped
        };
        *entry = TunnelEntry {
            encapsulation: Some(tunnel.encapsulation),
            mtu: tunnel.mtu.max(MTU_FLOOR),
            outer: Pair::new(tunnel.remote.to_bits(), tunnel.local.to_bits()),
            inbound: inbound(tunnel.encapsulation, tunnel.id_in),
            id_out: tunnel.id_out,
            neighbour: tunnel.neighbour.0,
            seal: seal_of(tunnel),
            ..TunnelEntry::default()
        };
        entry.prepare(hops);
        self.used = self.used.max(usize::from(id.0) + 1);
        let hash = self.hasher.hash(entry.outer.bits());
        // Without room (more than 16 tunnels between one pair) only the reason of some drops is told less exactly.
        self.pairs.insert(hash, u32::from(id.0));
    }

    /// Forgets a tunnel.
    pub fn remove(&mut self, id: TunnelId) {
        if let Some(entry) = self.entries.get_mut(usize::from(id.0))
            && entry.encapsulation.is_some()
        {
            self.pairs.remove(self.hasher.hash(entry.outer.bits()), u32::from(id.0));
            *entry = TunnelEntry::default();
        }
    }

    /// Prepares anew the headers of all tunnels over a next hop that changed.
    pub fn hop_changed(&mut self, neighbour: u32, hops: &Hops) {
        for entry in &mut self.entries[..self.used] {
            if entry.encapsulation.is_some() && entry.neighbour == neighbour {
                entry.prepare(hops);
            }
        }
    }

    /// The tunnel whose packets arrive with these outer addresses and for which `is` holds.
    pub fn find(&self, outer: Pair, mut is: impl FnMut(&TunnelEntry) -> bool) -> Option<TunnelId> {
        let slot = self.pairs.find(self.hasher.hash(outer.bits()), |slot| {
            self.entries.get(slot as usize).is_some_and(|entry| entry.outer == outer && is(entry))
        })?;
        Some(TunnelId(slot as u16))
    }

    /// Sets the path MTU back to what it was.
    pub fn widen(&mut self, id: TunnelId, mtu: u16) {
        if let Some(entry) = self.entries.get_mut(usize::from(id.0)) {
            entry.mtu = mtu;
            entry.limit_inner();
        }
    }

    /// Lowers the path MTU as far as who says so is believed; the new one, if that changed anything.
    pub fn narrow(&mut self, id: TunnelId, mtu: u16, proof: Knowledge) -> Option<u16> {
        let entry = self.entries.get_mut(usize::from(id.0))?;
        let mtu = mtu.max(proof.floor());
        // A tunnel without next hop learns nothing: it sends nothing.
        let narrower = entry.inner_mtu != 0 && mtu < entry.mtu;
        if narrower {
            entry.mtu = mtu;
            entry.limit_inner();
        }
        narrower.then_some(mtu)
    }
}

impl TunnelEntry {
    /// Writes the header anew, as the next hop is now.
    fn prepare(&mut self, hops: &Hops) {
        let hop = hops.at(self.neighbour);
        let Some(encapsulation) = self.encapsulation.filter(|_| hop.mtu != 0) else {
            self.inner_mtu = 0;
            return;
        };
        let link = usize::from(hop.length);
        let outer = Outer::new(encapsulation, self.outer.destination(), self.outer.source(), self.id_out);
        let mut header = [0; HEADER];
        header[..link].copy_from_slice(&hop.header[..link]);
        self.sum = outer.emit_open(&mut header[link..]).change();
        self.header = header;
        self.length = (link + outer.length()) as u8;
        self.link_length = hop.length;
        self.port = hop.port;
        self.mtu = self.mtu.min(hop.mtu);
        self.limit_inner();
    }

    /// Whose keys what is sent is sealed under.
    #[inline(always)]
    pub fn seal_slot(&self) -> Option<u16> {
        self.seal.map(|seal| seal.get() - 1)
    }

    fn limit_inner(&mut self) {
        if let Some(encapsulation) = self.encapsulation {
            self.inner_mtu = self.mtu.saturating_sub(encapsulation.overhead());
        }
    }
}
