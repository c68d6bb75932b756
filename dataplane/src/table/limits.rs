//! What a restricted binding may carry: one protocol, one port, so many bits a second (`control.dp_proto`, `dp_port`,
//! `dp_ratelimit` of CETP). Only restricted bindings have an entry here.
//!
//! An entry is one cache line, fetched as soon as its binding is there, and the short way asks it a comparison under a mask
//! and what the packet costs of the rate.
//!
//! A later fragment has no port. It is carried if its first fragment was, which a small table remembers; a later
//! fragment that overtook its first one is dropped and counted (RFC 1858 and 3128 are the price of looking at ports).

use crate::Nanos;
use crate::meter::{Fine, Level, Rate, SECOND};
use crate::msg::Limits as Limited;
use crate::packet::Packet;
use crate::reason::DropReason;
use crate::settings::SettingsError;
use crate::wire::ipv4;
use machine::table::HugeSlice;

/// The least depth of a rate's bucket in bytes: 2 MTU.
const DEPTH_LEAST: u64 = 3000;
/// Sets of the fragment table.
const SETS: usize = 256;
/// Fragmented packets in a set. 1,024 at once in all: at 30 s each, 34 a second before the oldest is forgotten.
const WAYS: usize = 4;
/// How long later fragments are awaited; reassembly at the host takes as long (RFC 1122 §3.3.2: 60 to 120 s is the
/// host's, on today's paths fragments arrive together).
const FRAGMENT_NS: Nanos = 30 * SECOND;

/// Which way a packet goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// From the host.
    Out,
    /// To the host.
    In,
}

/// Both ports: the host's in the upper half, the far one in the lower.
const PORTS: u64 = 0xffff_ffff;
/// Where the protocol stands above the ports.
const PROTOCOL: u32 = 32;
/// A bit that no packet has.
const NEVER: u64 = 1 << 40;

/// One restricted binding: one cache line.
#[derive(Clone, Copy, Debug)]
#[repr(C, align(64))]
struct Limit {
    /// What the protocol and the port must be, as [`word`] has them.
    wanted: u64,
    /// The bits of it that count.
    mask: u64,
    rate: Rate,
    /// From the host, and to it.
    levels: [Level; 2],
}

const _: () = assert!(size_of::<Limit>() == 64);

impl Default for Limit {
    fn default() -> Self {
        Self { wanted: 0, mask: 0, rate: Rate::UNLIMITED, levels: [Level::default(); 2] }
    }
}

impl Limit {
    fn new(limited: &Limited, burst_ms: u32) -> Self {
        let mut limit = Self::default();
        if let Some(protocol) = limited.protocol {
            limit.wanted |= u64::from(protocol) << PROTOCOL;
            limit.mask |= 0xff << PROTOCOL;
        }
        if let Some(port) = limited.port {
            let shift = if limited.port_is_inside { 16 } else { 0 };
            limit.wanted |= u64::from(port) << shift;
            limit.mask |= 0xffff << shift;
            if port == 0 {
                // Packets without ports have 0 there: the long way tells them from the others.
                (limit.wanted, limit.mask) = (limit.wanted | NEVER, limit.mask | NEVER);
            }
        }
        if let Some(bps) = limited.rate_bps {
            limit.rate = rate(bps, burst_ms);
        }
        limit
    }
}

/// So many bits a second, in bytes, with a bucket of so many milliseconds.
pub const fn rate(bps: u64, burst_ms: u32) -> Rate {
    let depth = (bps as u128 * burst_ms as u128 / 8000) as u64;
    Rate::new(bps, 8 * SECOND, if depth < DEPTH_LEAST { DEPTH_LEAST } else { depth })
}

/// Protocol and ports of a packet, the host's port first whichever way it goes.
#[inline(always)]
fn word(packet: &Packet, direction: Direction) -> u64 {
    let ports = match direction {
        Direction::Out => packet.ports,
        Direction::In => packet.ports.rotate_left(16),
    };
    u64::from(packet.protocol) << PROTOCOL | u64::from(ports)
}

#[derive(Clone, Copy, Debug, Default)]
struct Fragmented {
    addresses: u64,
    id: u32,
    until: Nanos,
}

/// The table.
#[derive(Debug)]
pub struct Limits {
    entries: HugeSlice<Limit>,
    free: Vec<u32>,
    /// What a rate's bucket holds.
    burst_ms: u32,
    fragments: Box<[[Fragmented; WAYS]]>,
}

/// A packet that its binding carries, if it goes: what that leaves of the binding's rate.
#[derive(Debug)]
pub struct Admitted<'a> {
    level: &'a mut Level,
    then: Level,
}

impl Admitted<'_> {
    /// It went.
    #[inline(always)]
    pub fn charge(self) {
        *self.level = self.then;
    }
}

impl Limits {
    /// A table without entries.
    pub fn new(count: u32, burst_ms: u32) -> Result<Self, SettingsError> {
        let entries = HugeSlice::new(count as usize).map_err(|_| SettingsError::Memory("limits"))?;
        Ok(Self {
            entries,
            free: (0..count).rev().collect(),
            burst_ms,
            fragments: vec![[Fragmented::default(); WAYS]; SETS].into_boxed_slice(),
        })
    }

    /// An entry for these limits: its place plus 1; 0 for none at all; `None` if the table is full.
    #[inline]
    pub(super) fn allocate(&mut self, limited: &Limited) -> Option<u32> {
        if limited.protocol.is_none() && limited.port.is_none() && limited.rate_bps.is_none() {
            return Some(0);
        }
        let place = self.free.pop()?;
        self.entries[place as usize] = Limit::new(limited, self.burst_ms);
        Some(place + 1)
    }

    /// Gives an entry back.
    #[inline]
    pub(super) fn release(&mut self, limits: u32) {
        if let Some(place) = limits.checked_sub(1) {
            self.free.push(place);
        }
    }

    /// Starts to fetch an entry, if there is one.
    #[inline(always)]
    pub fn prefetch(&self, limits: u32) {
        if let Some(limit) = self.entries.get((limits as usize).wrapping_sub(1)) {
            machine::prefetch_write(limit);
        }
    }

    /// The short way: whether the binding with these limits certainly carries the packet, which is nothing [`SPECIAL`].
    /// `None`, with nothing changed: [`Limits::check`] has to say.
    ///
    /// [`SPECIAL`]: crate::packet::SPECIAL
    #[inline(always)]
    pub fn admit(
        &mut self,
        limits: u32,
        direction: Direction,
        packet: &Packet,
        now: Fine,
    ) -> Option<Admitted<'_>> {
        let limit = self.entries.get_mut((limits as usize).wrapping_sub(1))?;
        if (word(packet, direction) ^ limit.wanted) & limit.mask != 0 || packet.is_fragment() {
            return None;
        }
        let level = &mut limit.levels[direction as usize];
        let then = limit.rate.take(*level, u64::from(packet.total), now)?;
        Some(Admitted { level, then })
    }

    /// The long way: whether the binding with these limits carries the packet.
    pub fn check(
        &mut self,
        limits: u32,
        direction: Direction,
        packet: &Packet,
        now: Nanos,
    ) -> Result<(), DropReason> {
        let Some(limit) = self.entries.get_mut((limits as usize).wrapping_sub(1)) else {
            return Ok(());
        };
        let differs = (word(packet, direction) ^ limit.wanted) & limit.mask & !NEVER;
        if differs >> PROTOCOL != 0 {
            return Err(DropReason::PolicyProtocol);
        }
        if limit.mask & PORTS != 0 {
            if packet.is_later_fragment() {
                if !recall(&self.fragments, packet, now) {
                    return Err(DropReason::FragmentUnmatched);
                }
            } else {
                if !packet.has_ports() || differs != 0 {
                    return Err(DropReason::PolicyProtocol);
                }
                if packet.is_fragment() {
                    remember(&mut self.fragments, packet, now);
                }
            }
        }
        let level = &mut limit.levels[direction as usize];
        let then = limit.rate.take(*level, u64::from(packet.total), Fine::of(now));
        *level = then.ok_or(DropReason::RateLimited)?;
        Ok(())
    }

    /// Undoes what [`Limits::check`] took from the rate for a packet that will be checked once more.
    pub fn give_back(&mut self, limits: u32, direction: Direction, packet: &Packet) {
        if let Some(limit) = self.entries.get_mut((limits as usize).wrapping_sub(1)) {
            let level = &mut limit.levels[direction as usize];
            *level = limit.rate.give_back(*level, u64::from(packet.total));
        }
    }
}

fn identity(packet: &Packet) -> (u32, usize) {
    let id = u32::from(packet.id) << 8 | u32::from(packet.protocol);
    let mixed = (packet.source() ^ packet.destination().rotate_left(16) ^ id).wrapping_mul(0x9e37_79b1);
    (id, mixed as usize >> 16 & (SETS - 1))
}

fn recall(fragments: &[[Fragmented; WAYS]], packet: &Packet, now: Nanos) -> bool {
    let (id, set) = identity(packet);
    fragments[set]
        .iter()
        .any(|known| (known.addresses, known.id) == (packet.addresses, id) && now < known.until)
}

fn remember(fragments: &mut [[Fragmented; WAYS]], packet: &Packet, now: Nanos) {
    let (id, set) = identity(packet);
    if let Some(oldest) = fragments[set].iter_mut().min_by_key(|known| known.until) {
        *oldest = Fragmented { addresses: packet.addresses, id, until: now + FRAGMENT_NS };
    }
}

impl Packet {
    /// Whether its protocol has ports and they were seen.
    fn has_ports(&self) -> bool {
        matches!(self.protocol, ipv4::TCP | ipv4::UDP | ipv4::DCCP | ipv4::UDP_LITE)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::packet::{FRAGMENT, LATER};
    use proptest::prelude::*;

    fn limited() -> impl Strategy<Value = Limited> {
        let protocol = proptest::option::of(prop_oneof![Just(6u8), Just(17), Just(1), Just(0)]);
        let port = proptest::option::of(prop_oneof![Just(0u16), Just(53), Just(80)]);
        let rate = proptest::option::of(prop_oneof![Just(0u64), Just(80_000), Just(1_000_000_000)]);
        (protocol, port, any::<bool>(), rate).prop_map(|(protocol, port, port_is_inside, rate_bps)| Limited {
            protocol,
            port,
            port_is_inside,
            rate_bps,
        })
    }

    fn packet() -> impl Strategy<Value = Packet> {
        let protocol = prop_oneof![Just(6u8), Just(17), Just(1), Just(50), Just(136), Just(0)];
        let port = || prop_oneof![Just(0u32), Just(53), Just(80), Just(5000)];
        let flags = prop_oneof![6 => Just(0u16), 1 => Just(FRAGMENT), 1 => Just(FRAGMENT | LATER)];
        (protocol, port(), port(), flags, 28u16..9000).prop_map(
            |(protocol, source, destination, flags, total)| {
                let has_ports = matches!(protocol, 6 | 17 | 136) && flags & LATER == 0;
                let ports = if has_ports { source << 16 | destination } else { 0 };
                Packet { ports, total, flags, protocol, ..Packet::NOTHING }
            },
        )
    }

    /// What CETP's control items mean, written down as they are.
    fn carries(limited: &Limited, direction: Direction, packet: &Packet) -> bool {
        let (source, destination) = ((packet.ports >> 16) as u16, packet.ports as u16);
        let serving = match (direction, limited.port_is_inside) {
            (Direction::Out, true) | (Direction::In, false) => source,
            (Direction::Out, false) | (Direction::In, true) => destination,
        };
        limited.protocol.is_none_or(|protocol| protocol == packet.protocol)
            && limited.port.is_none_or(|port| packet.has_ports() && port == serving)
    }

    proptest! {
        /// The short way says yes where the long one does, with the same of the rate left, and for whole packets only there;
        /// the long one says what the limits mean.
        #[test]
        fn the_short_way_is_as_the_long_one(
            limited in limited(), out: bool,
            packets in proptest::collection::vec((packet(), 0u64..200_000_000), 1..40),
        ) {
            let direction = if out { Direction::Out } else { Direction::In };
            let (mut short, mut long) = (Limits::new(2, 100).unwrap(), Limits::new(2, 100).unwrap());
            let other = Limited { protocol: Some(99), ..limited };
            prop_assert_eq!(short.allocate(&other), long.allocate(&other));
            let entry = short.allocate(&limited).unwrap();
            prop_assert_eq!(long.allocate(&limited), Some(entry));
            let mut now = 0;
            for (packet, step) in packets {
                now += step;
                let admitted = entry != 0 && short.admit(entry, direction, &packet, Fine::of(now)).is_some();
                let said = long.check(entry, direction, &packet, now);
                if admitted {
                    prop_assert_eq!(said, Ok(()));
                    short.admit(entry, direction, &packet, Fine::of(now)).unwrap().charge();
                } else {
                    prop_assert!(said.is_err() || entry == 0 || packet.is_fragment() || limited.port == Some(0));
                    prop_assert_eq!(short.check(entry, direction, &packet, now), said);
                }
                if entry != 0 {
                    let place = entry as usize - 1;
                    prop_assert_eq!(short.entries[place].levels, long.entries[place].levels);
                }
                if !packet.is_later_fragment() && !carries(&limited, direction, &packet) {
                    prop_assert_eq!(said, Err(DropReason::PolicyProtocol));
                } else if !packet.is_later_fragment() && limited.rate_bps.is_none() {
                    prop_assert_eq!(said, Ok(()));
                }
            }
        }
    }

    #[test]
    fn an_entry_that_comes_back_begins_anew() {
        let mut limits = Limits::new(1, 100).unwrap();
        let slow = Limited { rate_bps: Some(8), ..Limited::default() };
        let packet = Packet { total: 3000, ..Packet::NOTHING };
        for _ in 0..2 {
            let entry = limits.allocate(&slow).unwrap();
            assert_eq!(limits.allocate(&slow), None);
            assert_eq!(limits.allocate(&Limited::default()), Some(0));
            assert_eq!(limits.check(entry, Direction::In, &packet, 0), Ok(()));
            assert_eq!(limits.check(entry, Direction::In, &packet, 0), Err(DropReason::RateLimited));
            assert_eq!(limits.check(entry, Direction::Out, &packet, 0), Ok(()), "each direction by itself");
            limits.release(entry);
        }
    }
}
