//! Next hops: the Ethernet header of what is sent to them, prepared.

use crate::msg::{HopId, Neighbour, PortId};
use crate::port::PathPort;
use crate::settings::SettingsError;
use crate::table::index::{Hasher, Index};
use crate::wire::{Wire, ethernet};
use machine::table::HugeSlice;

/// A next hop, half a cache line.
#[derive(Clone, Copy, Debug, Default)]
#[repr(C, align(32))]
pub struct Hop {
    /// The Ethernet header, ready to be written.
    pub header: [u8; ethernet::LENGTH_TAGGED],
    /// How much of it there is: 14, or 18 with a tag.
    pub length: u8,
    /// The port it is behind.
    pub port: PortId,
    /// The largest packet that can be sent to it; 0 = none, it is unknown or unresolved.
    pub mtu: u16,
    /// When the control thread was last asked for its MAC address, in seconds plus 1; 0 = never.
    wanted_s: u32,
    /// Whether the control thread has named it.
    pub known: bool,
    /// Whether what comes from there must come from the MAC address in its header.
    pinned: bool,
}

impl Hop {
    /// Whether a frame comes from the MAC address that it must come from, if there is one (P10).
    #[inline(always)]
    pub fn may_send(&self, frame: &[u8]) -> bool {
        !self.pinned || frame.get(ethernet::SOURCE..ethernet::TYPE) == self.header.get(..ethernet::SOURCE)
    }
}

/// Places for addresses that were asked for of late.
const ASKED: usize = 256;

/// What cannot be sent to.
static NOWHERE: Hop = Hop {
    header: [0; ethernet::LENGTH_TAGGED],
    length: 0,
    port: 0,
    mtu: 0,
    wanted_s: 0,
    known: false,
    pinned: false,
};

/// The table.
#[derive(Debug)]
pub struct Hops {
    hops: HugeSlice<Hop>,
    /// The destination that each next hop was named for, where that is on a link.
    addresses: HugeSlice<u32>,
    by_address: Index,
    hasher: Hasher,
    /// Addresses that were asked for of late, by a part of their hash, and when.
    asked: Vec<(u32, u32)>,
}

impl Hops {
    /// A table of unknown next hops.
    pub fn new(count: u32, hasher: Hasher) -> Result<Self, SettingsError> {
        let memory = |_| SettingsError::Memory("next hops");
        Ok(Self {
            hops: HugeSlice::new(count as usize).map_err(memory)?,
            addresses: HugeSlice::new(count as usize).map_err(memory)?,
            by_address: Index::new(count)?,
            hasher,
            asked: vec![(0, 0); ASKED],
        })
    }

    fn hash(&self, address: u32) -> u64 {
        self.hasher.hash(u64::from(address))
    }

    /// The next hop of an address on a link.
    pub fn of(&self, address: u32) -> Option<u32> {
        self.by_address.find(self.hash(address), |id| self.addresses[id as usize] == address)
    }

    /// An address on a link is the destination of this next hop.
    pub fn reach(&mut self, address: u32, id: HopId) {
        self.unreach(address);
        if let Some(&before) = self.addresses.get(id.0 as usize) {
            if self.of(before) == Some(id.0) {
                self.unreach(before);
            }
            if self.by_address.insert(self.hash(address), id.0) {
                self.addresses[id.0 as usize] = address;
            }
        }
    }

    /// It no longer is.
    pub fn unreach(&mut self, address: u32) {
        if let Some(id) = self.of(address) {
            self.by_address.remove(self.hash(address), id);
            self.addresses[id as usize] = 0;
        }
    }

    /// Whether the control thread should be asked for this address now: at most once a second. Then it counts as asked.
    pub fn asks(&mut self, address: u32, now_s: u32) -> bool {
        let place = self.hash(address) as usize % ASKED;
        let asks = self.asked[place] != (address, now_s);
        self.asked[place] = (address, now_s);
        asks
    }

    /// A next hop; one that cannot be sent to, if there is none.
    #[inline(always)]
    pub fn at(&self, id: u32) -> &Hop {
        self.hops.get(id as usize).unwrap_or(&NOWHERE)
    }

    /// Starts to fetch a next hop.
    #[inline(always)]
    pub fn prefetch(&self, id: u32) {
        if let Some(hop) = self.hops.get(id as usize) {
            machine::prefetch(hop);
        }
    }

    /// Creates or replaces a next hop, which is behind `port`.
    pub fn set(&mut self, id: HopId, neighbour: &Neighbour, port: &PathPort) {
        let Some(hop) = self.hops.get_mut(id.0 as usize) else {
            return; // packets for it are dropped as for any unresolved one
        };
        let Neighbour { port: number, mac, pin } = *neighbour;
        *hop = Hop { port: number, known: true, pinned: pin.is_some(), ..Hop::default() };
        // A host that nothing can be sent to yet is known by its address all the same.
        if let Some(address) = pin.or(mac) {
            let header = port.header_to(address);
            header.emit(&mut hop.header);
            hop.length = header.length() as u8;
            hop.mtu = if mac.is_some() { port.mtu } else { 0 };
        }
    }

    /// Whether the control thread should be asked for this next hop now: at most once a second for each (RFC 1122
    /// §2.3.2.1).
    pub fn wanted(&self, id: u32, now_s: u32) -> bool {
        self.hops.get(id as usize).is_some_and(|hop| hop.wanted_s != now_s.wrapping_add(1))
    }

    /// The control thread is asked for this next hop.
    pub fn ask(&mut self, id: u32, now_s: u32) {
        if let Some(hop) = self.hops.get_mut(id as usize) {
            hop.wanted_s = now_s.wrapping_add(1);
        }
    }
}
