//! What there is to say of some bindings beyond their entry: a line each, fetched as soon as the binding is there. A plain
//! binding has none and pays for none, one comparison aside.
//!
//! A binding in which a control channel of an ALG was opened gets one then. With that the line is full: a mark, a class to leave
//! in and a filter's verdict would find their seats in the bits of [`Limit`] that no packet has.

use super::fragments::Fragments;
use super::limits::Limit;
use super::stage::Heading;
use crate::Nanos;
use crate::meter::Fine;
use crate::msg::BindingLimits;
use crate::packet::Packet;
use crate::reason::DropReason;
use crate::settings::SettingsError;
use crate::wire::ipv4;
use machine::table::HugeSlice;

/// One line.
#[derive(Clone, Copy, Debug, Default)]
#[repr(C, align(64))]
struct Annex {
    limit: Limit,
    /// Ports of which packets are read, up to four; 0: none.
    heard: u64,
}

const _: () = assert!(size_of::<Annex>() == 64 && size_of::<Limit>() == 56);

impl Annex {
    /// Whether one of these ports is one of which packets are read.
    #[inline(always)]
    const fn hears(&self, ports: u32) -> bool {
        self.heard != 0 && has_port(self.heard, ports)
    }
}

/// Whether one of these two ports is in one of four lanes.
#[inline(always)]
const fn has_port(lanes: u64, ports: u32) -> bool {
    const ONES: u64 = 0x0001_0001_0001_0001;
    const TOPS: u64 = 0x8000_8000_8000_8000;
    const fn has_zero(lanes: u64) -> bool {
        lanes.wrapping_sub(ONES) & !lanes & TOPS != 0
    }
    has_zero(lanes ^ ((ports >> 16) as u64 * ONES)) || has_zero(lanes ^ ((ports & 0xffff) as u64 * ONES))
}

/// The table.
#[derive(Debug)]
pub struct Annexes {
    lines: HugeSlice<Annex>,
    /// Free lines for limits, of which the control thread knows how many there are, and behind them those for control channels of
    /// bindings without limits, which take none of the others (P15).
    free: [Vec<u32>; 2],
    /// How many lines are for limits.
    limited: u32,
    /// What a rate's bucket holds.
    burst_ms: u32,
    fragments: Fragments,
}

impl Annexes {
    /// A table of so many free lines for limits, and so many for control channels.
    pub fn new(limited: u32, channels: u32, burst_ms: u32) -> Result<Self, SettingsError> {
        let count = limited + channels;
        let lines = HugeSlice::new(count as usize).map_err(|_| SettingsError::Memory("limits"))?;
        let free = [(0..limited).rev().collect(), (limited..count).rev().collect()];
        Ok(Self { lines, free, limited, burst_ms, fragments: Fragments::default() })
    }

    /// A line for these limits: its place plus 1; 0 if there is nothing to say; `None` if the table is full.
    #[inline]
    pub(super) fn allocate(&mut self, limited: &BindingLimits) -> Option<u32> {
        if limited.protocol.is_none() && limited.port.is_none() && limited.rate_bps.is_none() {
            return Some(0);
        }
        let place = self.free[0].pop()?;
        self.lines[place as usize] = Annex { limit: Limit::new(limited, self.burst_ms), heard: 0 };
        Some(place + 1)
    }

    /// From now on packets of TCP with this port are read, of the binding with this line, or of one that has none yet: the place
    /// of its line plus 1. `None`, with nothing changed, if there is no room.
    pub(super) fn hear(&mut self, annex: Option<u32>, port: u16) -> Option<u32> {
        let annex = if let Some(annex) = annex {
            annex
        } else {
            let place = self.free[1].pop()?;
            self.lines[place as usize] = Annex::default();
            place + 1
        };
        let line = self.line_mut(annex)?;
        if !has_port(line.heard, u32::from(port) << 16 | u32::from(port)) {
            let lane = (0..4).find(|lane| (line.heard >> (16 * lane)) as u16 == 0)?;
            line.heard |= u64::from(port) << (16 * lane);
        }
        Some(annex)
    }

    /// Whether a packet may be one that is read, of the binding with this line.
    pub fn hears(&self, annex: u32, packet: &Packet) -> bool {
        packet.protocol == ipv4::TCP && self.line(annex).is_some_and(|line| line.hears(packet.ports))
    }

    /// Whether the binding with this line carries less than everything.
    pub fn is_restricted(&self, annex: u32) -> bool {
        self.line(annex).is_some_and(|line| line.limit.is_narrow())
    }

    /// Gives a line back.
    #[inline]
    pub(super) fn release(&mut self, annex: u32) {
        if let Some(place) = annex.checked_sub(1) {
            self.free[usize::from(place >= self.limited)].push(place);
        }
    }

    #[inline(always)]
    fn line(&self, annex: u32) -> Option<&Annex> {
        self.lines.get((annex as usize).wrapping_sub(1))
    }

    #[inline(always)]
    fn line_mut(&mut self, annex: u32) -> Option<&mut Annex> {
        self.lines.get_mut((annex as usize).wrapping_sub(1))
    }

    /// Starts to fetch a line, if there is one.
    #[inline(always)]
    pub fn prefetch(&self, annex: u32) {
        if let Some(line) = self.line(annex) {
            machine::prefetch_write(line);
        }
    }

    /// The short way: whether the binding with this line certainly carries the packet, which is nothing [`SPECIAL`]; then its
    /// rate is charged. If not, nothing is changed, and [`Annexes::check`] has to say.
    ///
    /// [`SPECIAL`]: crate::packet::SPECIAL
    #[inline(always)]
    pub fn admit(&mut self, annex: u32, direction: Heading, packet: &Packet, now: Fine) -> bool {
        self.line_mut(annex)
            .is_some_and(|line| !line.hears(packet.ports) && line.limit.admit(direction, packet, now))
    }

    /// The long way: whether the binding with this line carries the packet.
    pub fn check(
        &mut self,
        annex: u32,
        direction: Heading,
        packet: &Packet,
        now: Nanos,
    ) -> Result<(), DropReason> {
        let Self { lines, fragments, .. } = self;
        let line = lines.get_mut((annex as usize).wrapping_sub(1));
        line.map_or(Ok(()), |line| line.limit.check(direction, packet, fragments, now))
    }

    /// The same for a packet of a connection that was announced: only the rate is asked.
    pub fn charge(
        &mut self,
        annex: u32,
        direction: Heading,
        packet: &Packet,
        now: Nanos,
    ) -> Result<(), DropReason> {
        self.line_mut(annex).map_or(Ok(()), |line| line.limit.charge(direction, packet, now))
    }

    /// Whether the first fragment of this packet was carried.
    pub(super) fn knows(&self, packet: &Packet, now: Nanos) -> bool {
        self.fragments.recall(packet, now).is_some()
    }

    /// This first fragment is carried.
    pub(super) fn remember(&mut self, packet: &Packet, now: Nanos) {
        self.fragments.remember(packet, now);
    }

    /// The [number](super::fragments::number) of a first fragment that came since this was asked last.
    pub fn take_came(&mut self) -> Option<u32> {
        self.fragments.take_came()
    }

    /// Undoes what [`Annexes::admit`] or [`Annexes::check`] took from the rate for a packet that will be checked once more.
    #[cold]
    pub fn give_back(&mut self, annex: u32, direction: Heading, packet: &Packet) {
        if let Some(line) = self.line_mut(annex) {
            line.limit.give_back(direction, packet);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::packet::{FRAGMENT, LATER};
    use proptest::prelude::*;

    fn limited() -> impl Strategy<Value = BindingLimits> {
        let protocol = proptest::option::of(prop_oneof![Just(6u8), Just(17), Just(1), Just(0)]);
        let port = proptest::option::of(prop_oneof![Just(0u16), Just(53), Just(80)]);
        let rate = proptest::option::of(prop_oneof![Just(0u64), Just(80_000), Just(1_000_000_000)]);
        (protocol, port, any::<bool>(), rate).prop_map(|(protocol, port, port_is_inside, rate_bps)| {
            BindingLimits { protocol, port, port_is_inside, rate_bps }
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
    fn carries(limited: &BindingLimits, direction: Heading, packet: &Packet) -> bool {
        let (source, destination) = ((packet.ports >> 16) as u16, packet.ports as u16);
        let serving = match (direction, limited.port_is_inside) {
            (Heading::Out, true) | (Heading::In, false) => source,
            (Heading::Out, false) | (Heading::In, true) => destination,
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
            let direction = if out { Heading::Out } else { Heading::In };
            let (mut short, mut long) = (Annexes::new(2, 0, 100).unwrap(), Annexes::new(2, 0, 100).unwrap());
            let other = BindingLimits { protocol: Some(99), ..limited };
            prop_assert_eq!(short.allocate(&other), long.allocate(&other));
            let entry = short.allocate(&limited).unwrap();
            prop_assert_eq!(long.allocate(&limited), Some(entry));
            let mut now = 0;
            for (packet, step) in packets {
                now += step;
                let admitted = entry != 0 && short.admit(entry, direction, &packet, Fine::of(now));
                let said = long.check(entry, direction, &packet, now);
                if admitted {
                    prop_assert_eq!(said, Ok(()));
                } else {
                    prop_assert!(said.is_err() || entry == 0 || packet.is_fragment() || limited.port == Some(0));
                    prop_assert_eq!(short.check(entry, direction, &packet, now), said);
                }
                if entry != 0 {
                    let place = entry as usize - 1;
                    prop_assert_eq!(short.lines[place].limit.levels(), long.lines[place].limit.levels());
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
    fn p15_control_channels_take_no_line_that_limits_may_want() {
        let mut annexes = Annexes::new(1, 2, 100).unwrap();
        let slow = BindingLimits { rate_bps: Some(8), ..BindingLimits::default() };
        assert_eq!([21; 3].map(|port| annexes.hear(None, port)), [Some(2), Some(3), None]);
        assert_eq!([annexes.allocate(&slow), annexes.allocate(&slow)], [Some(1), None]);
        assert_eq!(annexes.hear(Some(1), 21), Some(1), "what is restricted has its line");
        annexes.release(2);
        assert_eq!((annexes.allocate(&slow), annexes.hear(None, 21)), (None, Some(2)));
        annexes.release(1);
        assert_eq!((annexes.hear(None, 21), annexes.allocate(&slow)), (None, Some(1)));
    }

    #[test]
    fn an_entry_that_comes_back_begins_anew() {
        let mut annexes = Annexes::new(1, 0, 100).unwrap();
        let slow = BindingLimits { rate_bps: Some(8), ..BindingLimits::default() };
        let packet = Packet { total: 3000, ..Packet::NOTHING };
        for _ in 0..2 {
            let entry = annexes.allocate(&slow).unwrap();
            assert_eq!(annexes.allocate(&slow), None);
            assert_eq!(annexes.allocate(&BindingLimits::default()), Some(0));
            assert_eq!(annexes.check(entry, Heading::In, &packet, 0), Ok(()));
            assert_eq!(annexes.check(entry, Heading::In, &packet, 0), Err(DropReason::RateLimited));
            assert_eq!(annexes.check(entry, Heading::Out, &packet, 0), Ok(()), "each direction by itself");
            annexes.release(entry);
        }
    }
}
