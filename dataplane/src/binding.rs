//! The slab of bindings: one cache line each, counters included.
//!
//! What many bindings share stands elsewhere once: the outer header in the tunnel table, the MAC address in the
//! neighbour table, what a binding may carry in the limits table.
//!
//! A slot goes free → live → ending → free. It is ending while the event that says so waits for room in the queue: until
//! the control thread has been told, the slot is not used again.

use crate::msg::{BindingStats, EndReason};
use crate::wire::checksum::Change;

/// Where a slot stands in its life.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(u8)]
pub enum Life {
    /// Not in use.
    #[default]
    Free,
    /// A binding whose packets leave through a tunnel.
    Tunnel,
    /// A binding whose packets turn back into the realm.
    Local,
    /// Over by idleness; the control thread is not told yet.
    EndingIdle,
    /// Over by age; the control thread is not told yet.
    EndingHard,
    /// Removed; the control thread is not told yet.
    EndingRemoved,
}

impl Life {
    /// The reason that the control thread is still to be told.
    pub const fn ending(self) -> Option<EndReason> {
        match self {
            Life::EndingIdle => Some(EndReason::Idle),
            Life::EndingHard => Some(EndReason::Hard),
            Life::EndingRemoved => Some(EndReason::Removed),
            Life::Free | Life::Tunnel | Life::Local => None,
        }
    }

    /// Whether it carries packets.
    #[inline(always)]
    pub const fn live(self) -> bool {
        matches!(self, Life::Tunnel | Life::Local)
    }
}

/// A packet counter of 48 bits, in the six bytes that the entry has for it: 2.8 · 10¹⁴ packets, 32 days at 100 million a
/// second.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C, packed(2))]
pub struct Count48 {
    low: u32,
    high: u16,
}

impl Count48 {
    /// Counts one.
    #[inline(always)]
    pub fn increment(&mut self) {
        let low = self.low.wrapping_add(1);
        self.low = low;
        if low == 0 {
            self.high = self.high.wrapping_add(1);
        }
    }

    /// The count.
    pub fn value(self) -> u64 {
        u64::from(self.high) << 32 | u64::from(self.low)
    }
}

/// The number of a next hop in the three bytes that the entry has for it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Neighbour24([u8; 3]);

/// A table of next hops has at most so many, so that the last number of 24 bits is none of them.
pub const NEIGHBOURS_MOST: u32 = 0x00ff_ffff;

impl Neighbour24 {
    /// This next hop; what is beyond any table stays beyond it.
    pub const fn new(id: u32) -> Self {
        let [a, b, c, _] = if id < NEIGHBOURS_MOST { id } else { NEIGHBOURS_MOST }.to_le_bytes();
        Self([a, b, c])
    }

    /// Its number.
    #[inline(always)]
    pub const fn number(self) -> u32 {
        let [a, b, c] = self.0;
        u32::from_le_bytes([a, b, c, 0])
    }
}

/// One slot. Times are in whole seconds of the worker's clock.
#[derive(Clone, Copy, Debug, Default)]
#[repr(C, align(64))]
pub struct Entry {
    /// The inside host and the address that stands for the far host: what the host's packets carry, and the key of the
    /// egress index.
    pub near: u64,
    /// What they carry beyond: the local tag, or the proxy address under which the other host knows this one; and the
    /// remote tag, or the other host.
    pub far: u64,
    /// Bytes from the host.
    pub out_bytes: u64,
    /// Bytes to the host.
    pub in_bytes: u64,
    /// Packets from the host.
    pub out_packets: Count48,
    /// Packets to the host.
    pub in_packets: Count48,
    /// When the last packet passed.
    pub last_seen_s: u32,
    /// When it ends at the latest; 0 = never.
    pub deadline_s: u32,
    /// The tunnel.
    pub tunnel: u16,
    /// Ends after so long without a packet; 0 = never.
    pub idle_s: u16,
    /// Its place in the limits table, plus 1; 0 = unrestricted.
    pub limits: u16,
    /// What the new addresses do to the checksums of what the host sends; and back, to those of what it gets.
    pub change: Change,
    /// The next hop of packets that leave into the realm.
    pub neighbour: Neighbour24,
    /// Where it stands in its life.
    pub life: Life,
}

const _: () = assert!(size_of::<Entry>() == 64 && size_of::<Count48>() == 6);

impl Entry {
    /// The inside host.
    pub const fn host(&self) -> u32 {
        (self.near >> 32) as u32
    }

    /// The address that stands for the far host.
    pub const fn proxy(&self) -> u32 {
        self.near as u32
    }

    /// The new source of what the host sends.
    pub const fn source(&self) -> u32 {
        (self.far >> 32) as u32
    }

    /// The new destination of what the host sends.
    pub const fn destination(&self) -> u32 {
        self.far as u32
    }

    /// Its counters.
    pub fn stats(&self, now_s: u32) -> BindingStats {
        BindingStats {
            out_packets: self.out_packets.value(),
            out_bytes: self.out_bytes,
            in_packets: self.in_packets.value(),
            in_bytes: self.in_bytes,
            idle_s: now_s.saturating_sub(self.last_seen_s),
        }
    }

    /// Why it is over by now, if it is.
    #[inline]
    pub fn over(&self, now_s: u32) -> Option<Life> {
        if self.deadline_s != 0 && now_s >= self.deadline_s {
            Some(Life::EndingHard)
        } else if self.idle_s != 0 && now_s.saturating_sub(self.last_seen_s) >= u32::from(self.idle_s) {
            Some(Life::EndingIdle)
        } else {
            None
        }
    }

    /// Notes a packet from the host.
    #[inline(always)]
    pub fn count_out(&mut self, bytes: u16, now_s: u32) {
        self.out_packets.increment();
        self.out_bytes += u64::from(bytes);
        self.last_seen_s = now_s;
    }

    /// Notes a packet to the host.
    #[inline(always)]
    pub fn count_in(&mut self, bytes: u16, now_s: u32) {
        self.in_packets.increment();
        self.in_bytes += u64::from(bytes);
        self.last_seen_s = now_s;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_counter_carries_into_its_upper_half() {
        let mut count = Count48 { low: u32::MAX, high: 2 };
        count.increment();
        assert_eq!(count.value(), 3 << 32);
    }

    #[test]
    fn next_hops_keep_their_number_or_stay_beyond_any_table() {
        for id in [0, 5, NEIGHBOURS_MOST - 1] {
            assert_eq!(Neighbour24::new(id).number(), id);
        }
        for id in [NEIGHBOURS_MOST, NEIGHBOURS_MOST + 6, u32::MAX] {
            assert_eq!(Neighbour24::new(id).number(), NEIGHBOURS_MOST);
        }
    }

    #[test]
    fn deadlines_come_before_idleness_and_zero_is_never() {
        let mut entry = Entry { last_seen_s: 10, ..Entry::default() };
        assert_eq!(entry.over(1_000_000), None);
        entry.idle_s = 5;
        assert_eq!((entry.over(14), entry.over(15)), (None, Some(Life::EndingIdle)));
        entry.deadline_s = 15;
        assert_eq!(entry.over(15), Some(Life::EndingHard));
    }
}
