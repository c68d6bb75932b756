//! What became of the packets of a flow, told apart by their sequence numbers.
//!
//! For each flow there is the next sequence number that is expected and a window over the last 128 before it, a bit each. That
//! is enough to tell loss, duplication and reordering exactly, as long as no packet is later than 128 others of its flow; and
//! one that is, is counted as such ([`Arrival::Stale`]), not guessed about.

/// Packets of a flow that a late one may be behind.
pub const WINDOW: u32 = 128;

/// What a packet turned out to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arrival {
    /// Later than all before it, in the order of sending.
    InOrder,
    /// After one that was sent later, and for the first time (RFC 4737 §3.3: s < `NextExp`).
    Reordered,
    /// Again.
    Duplicate,
    /// Further behind than the window reaches.
    Stale,
}

/// One flow, as its receiver sees it.
#[derive(Clone, Copy, Debug, Default)]
#[repr(C)]
pub struct FlowTrack {
    /// Bit *i* of both words together: whether `next - 1 - i` was received.
    seen: [u64; 2],
    /// The next expected sequence number: one more than the highest received.
    next: u32,
    /// The flow's stream.
    pub stream: u16,
    /// Bytes that its packets have on arrival beside the hosts' packet.
    pub overhead: u16,
}

// The memory that a profile is told to need.
const _: () = assert!(size_of::<FlowTrack>() as u64 == crate::profile::traffic::TRACKER_BYTES);

impl FlowTrack {
    /// A flow of which nothing was received.
    pub const fn new(stream: u16, overhead: u16) -> Self {
        Self { seen: [0; 2], next: 0, stream, overhead }
    }

    /// Forgets what was received.
    pub const fn reset(&mut self) {
        (self.seen, self.next) = ([0; 2], 0);
    }

    /// Whether anything was received.
    pub const fn touched(&self) -> bool {
        self.seen[0] | self.seen[1] != 0
    }

    /// A packet has come. Sequence numbers go round (RFC 1982): no flow has 2³¹ packets under way.
    #[inline(always)]
    pub fn arrive(&mut self, sequence: u32) -> Arrival {
        let ahead = sequence.wrapping_sub(self.next) as i32;
        if ahead >= 0 {
            self.advance(ahead as u32 + 1);
            self.next = sequence.wrapping_add(1);
            return Arrival::InOrder;
        }
        self.late(self.next.wrapping_sub(1).wrapping_sub(sequence))
    }

    /// Moves the window on and marks its newest packet.
    #[inline(always)]
    const fn advance(&mut self, by: u32) {
        let [low, high] = self.seen;
        self.seen = match by {
            1..64 => [low << by | 1, high << by | low >> (64 - by)],
            64 => [1, low],
            65..WINDOW => [1, low << (by - 64)],
            _ => [1, 0],
        };
    }

    /// A packet that is `behind` the newest.
    #[cold]
    fn late(&mut self, behind: u32) -> Arrival {
        if behind >= WINDOW {
            return Arrival::Stale;
        }
        let (word, bit) = (&mut self.seen[(behind / 64) as usize], 1u64 << (behind % 64));
        if *word & bit != 0 {
            return Arrival::Duplicate;
        }
        *word |= bit;
        Arrival::Reordered
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    /// The same by a set of all that was received.
    #[derive(Default)]
    struct Oracle {
        received: BTreeSet<u64>,
    }

    impl Oracle {
        fn arrive(&mut self, sequence: u64) -> Arrival {
            let next = self.received.last().map_or(0, |last| last + 1);
            if sequence >= next {
                self.received.insert(sequence);
                Arrival::InOrder
            } else if next - 1 - sequence >= u64::from(WINDOW) {
                Arrival::Stale
            } else if self.received.insert(sequence) {
                Arrival::Reordered
            } else {
                Arrival::Duplicate
            }
        }
    }

    proptest! {
        #[test]
        fn every_packet_is_what_a_set_of_all_says(
            start in prop_oneof![Just(0u32), Just(u32::MAX - 100), any::<u32>()],
            steps in proptest::collection::vec(prop_oneof![4 => 0i64..3, 2 => -70i64..70, 1 => -300i64..300], 0..400),
        ) {
            let (mut flow, mut oracle) = (FlowTrack { next: start, ..FlowTrack::default() }, Oracle::default());
            let mut at = 0i64;
            for step in steps {
                at = (at + step).max(0);
                let sequence = start.wrapping_add(at as u32);
                prop_assert_eq!(flow.arrive(sequence), oracle.arrive(at as u64), "packet {}", at);
            }
        }
    }

    #[test]
    fn a_fresh_flow_expects_its_first_packet() {
        let mut flow = FlowTrack::new(3, 50);
        assert!(!flow.touched());
        assert_eq!([0, 2, 1, 1, 2].map(|sequence| flow.arrive(sequence)), {
            use Arrival::{Duplicate, InOrder, Reordered};
            [InOrder, InOrder, Reordered, Duplicate, Duplicate]
        });
        assert!(flow.touched());
        flow.reset();
        assert_eq!((flow.touched(), flow.stream, flow.overhead), (false, 3, 50));
    }
}
