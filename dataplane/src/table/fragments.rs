//! The first fragments that were carried, and their ports, so that later ones are known, which have none.
//!
//! A later fragment that overtook its first one is not known yet: the worker keeps it for a while ([`Verdict::HoldLater`]), and
//! is told which first ones came meanwhile.
//!
//! [`Verdict::HoldLater`]: crate::verdict::Verdict::HoldLater

use crate::Nanos;
use crate::meter::SECOND;
use crate::narrow::Number24;
use crate::packet::{BURST, Packet};
use crate::wire::Pair;

/// Sets of the table.
const SETS: usize = 256;
/// Fragmented packets in a set. 1,024 at once in all: at 30 s each, 34 a second before the oldest is forgotten.
const WAYS: usize = 4;
/// How long later fragments are awaited; reassembly at the host takes as long (RFC 1122 §3.3.2: 60 to 120 s is the
/// host's, on today's paths fragments arrive together).
const FRAGMENT_NS: Nanos = 30 * SECOND;

#[derive(Clone, Copy, Debug, Default)]
struct Fragmented {
    addresses: Pair,
    id: u32,
    ports: u32,
    until: Nanos,
}

/// The table.
#[derive(Debug)]
pub(super) struct Fragments {
    sets: Box<[[Fragmented; WAYS]]>,
    /// Numbers of first fragments that came of late, which the worker asks for while anything waits.
    came: Vec<u32>,
}

/// Bits of a fragmented packet's number that say which it is of its pair of addresses; those above say which pair.
pub const NUMBER_BITS: u32 = 12;

/// A number that all fragments of a packet have, and hardly another one at the time.
pub fn number(packet: &Packet) -> Number24 {
    let whose = mix(packet.source() ^ packet.destination().rotate_left(16));
    let which = mix(u32::from(packet.id) << 8 | u32::from(packet.protocol));
    let bits = |mixed: u32| mixed >> (u32::BITS - NUMBER_BITS);
    Number24::new(bits(whose) << NUMBER_BITS | bits(which))
}

const fn mix(word: u32) -> u32 {
    word.wrapping_mul(0x9e37_79b1)
}

impl Default for Fragments {
    fn default() -> Self {
        let sets = vec![[Fragmented::default(); WAYS]; SETS].into_boxed_slice();
        Self { sets, came: Vec::with_capacity(BURST) }
    }
}

impl Fragments {
    /// The ports of the first fragment of this packet, if that was carried.
    pub(super) fn recall(&self, packet: &Packet, now: Nanos) -> Option<u32> {
        let (id, set) = identity(packet);
        let known = self.sets[set]
            .iter()
            .find(|known| (known.addresses, known.id) == (packet.addresses, id) && now < known.until)?;
        Some(known.ports)
    }

    /// This first fragment is carried.
    pub(super) fn remember(&mut self, packet: &Packet, now: Nanos) {
        let (id, set) = identity(packet);
        if let Some(oldest) = self.sets[set].iter_mut().min_by_key(|known| known.until) {
            *oldest =
                Fragmented { addresses: packet.addresses, id, ports: packet.ports, until: now + FRAGMENT_NS };
        }
        // Nobody has waited for those before.
        if self.came.len() == self.came.capacity() {
            self.came.clear();
        }
        self.came.push(number(packet).number());
    }

    /// The number of a first fragment that came since this was asked last.
    pub(super) fn take_came(&mut self) -> Option<u32> {
        self.came.pop()
    }
}

fn identity(packet: &Packet) -> (u32, usize) {
    let id = u32::from(packet.id) << 8 | u32::from(packet.protocol);
    let mixed = (packet.source() ^ packet.destination().rotate_left(16) ^ id).wrapping_mul(0x9e37_79b1);
    (id, mixed as usize >> 16 & (SETS - 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_carried_is_known_for_a_while() {
        let mut fragments = Fragments::default();
        let packet = Packet { addresses: Pair::of(7), id: 9, ports: 3, ..Packet::NOTHING };
        assert_eq!(fragments.recall(&packet, 0), None);
        fragments.remember(&packet, 5);
        assert_eq!(fragments.recall(&packet, 5 + FRAGMENT_NS - 1), Some(3));
        for (other, now) in [
            (packet, 5 + FRAGMENT_NS),
            (Packet { id: 8, ..packet }, 5),
            (Packet { addresses: Pair::of(8), ..packet }, 5),
        ] {
            assert_eq!(fragments.recall(&other, now), None);
        }
    }
}
