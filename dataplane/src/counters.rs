//! What a worker counts, and how others see it.
//!
//! The worker counts in a plain [`Counters`] and copies it now and then (once a burst or rarer) into a [`Published`] block
//! of relaxed atomics of which it is the only writer. Readers take a [`Published::snapshot`]: each number is right,
//! the numbers of one snapshot may be a turn apart.

use crate::msg::{PortId, PuntClass};
use crate::reason::DropReason;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// The most ports a worker serves.
pub const PORTS: usize = 16;

/// Buckets of the burst-size histogram: empty, 1, 2–3, 4–7, 8–15, 16–31, 32–63, 64 and more.
pub const BURSTS: usize = 8;

macro_rules! counters {
    ($($(#[doc = $doc:literal])+ $name:ident: [$length:expr]),+ ; $($(#[doc = $sdoc:literal])+ $scalar:ident),+ $(,)?) => {
        /// A worker's counters.
        #[derive(Clone, Debug, PartialEq, Eq)]
        pub struct Counters { $($(#[doc = $doc])+ pub $name: [u64; $length],)+ $($(#[doc = $sdoc])+ pub $scalar: u64),+ }

        impl Default for Counters {
            fn default() -> Self {
                Self { $($name: [0; $length],)+ $($scalar: 0),+ }
            }
        }

        impl std::ops::AddAssign<&Counters> for Counters {
            fn add_assign(&mut self, other: &Counters) {
                $(for (sum, more) in self.$name.iter_mut().zip(&other.$name) { *sum += more; })+
                $(self.$scalar += other.$scalar;)+
            }
        }

        /// A worker's counters as other threads see them. The worker is the only writer.
        #[derive(Debug)]
        #[repr(align(128))] // two lines, as the hardware fetches them: no sharing with another worker's block
        pub struct Published { $($name: [AtomicU64; $length],)+ $($scalar: AtomicU64),+ }

        impl Default for Published {
            fn default() -> Self {
                Self { $($name: [const { AtomicU64::new(0) }; $length],)+ $($scalar: AtomicU64::new(0)),+ }
            }
        }

        impl Published {
            /// Makes the worker's numbers visible.
            pub fn publish(&self, counters: &Counters) {
                $(for (to, from) in self.$name.iter().zip(&counters.$name) { to.store(*from, Relaxed); })+
                $(self.$scalar.store(counters.$scalar, Relaxed);)+
            }

            /// The numbers as last published.
            pub fn snapshot(&self) -> Counters {
                Counters {
                    $($name: std::array::from_fn(|i| self.$name[i].load(Relaxed)),)+
                    $($scalar: self.$scalar.load(Relaxed)),+
                }
            }
        }
    };
}

counters! {
    /// Packets received, by port.
    rx_packets: [PORTS],
    /// Bytes received, by port.
    rx_bytes: [PORTS],
    /// Packets sent, by port.
    tx_packets: [PORTS],
    /// Bytes sent, by port.
    tx_bytes: [PORTS],
    /// Packets dropped, by `DropReason`.
    drops: [DropReason::COUNT],
    /// Packets given to the control thread, by `PuntClass`.
    punts: [PuntClass::ALL.len()],
    /// Receive bursts, by size: see [`BURSTS`].
    bursts: [BURSTS];
    /// Packets handed to other workers.
    handed_off,
    /// Packets taken over from other workers.
    taken_over,
    /// Frames of the control thread sent.
    injected,
    /// ICMP errors about tunnels that the gateway took in.
    absorbed,
    /// ICMP errors made here.
    icmp_generated,
    /// ICMP errors not made because of their rate limit.
    icmp_suppressed,
    /// Fragments made here, beyond the first of each packet.
    fragments_made,
    /// Packets kept until the MAC address of their next hop was known.
    held,
    /// Those of them that were sent.
    held_sent,
    /// Those of them that are kept now.
    held_now,
    /// Bindings now.
    bindings_live,
    /// Bindings inserted.
    bindings_inserted,
    /// Bindings that could not be inserted.
    insert_failed,
    /// Traced packets that found no room in the event queue.
    traces_lost,
    /// Events that wait in the worker for room in their ring, now.
    events_waiting,
    /// Times the event ring was full.
    event_ring_full,
    /// Commands that wait in their ring, at the last turn.
    command_depth,
    /// Frames that wait in the inject ring, at the last turn.
    inject_depth,
    /// Frames that wait in the punt ring, at the last turn.
    punt_depth,
    /// Turns of the loop in which there was something to do.
    busy_turns,
    /// Turns of the loop in which there was nothing to do.
    idle_turns,
    /// Cycles spent in busy turns.
    busy_cycles,
    /// Cycles spent in idle turns, asleep included.
    idle_cycles,
}

impl Counters {
    /// Counts a drop.
    #[inline]
    pub fn drop(&mut self, reason: DropReason) {
        self.drops[reason as usize] += 1;
    }

    /// Counts a punted packet.
    #[inline]
    pub fn punt(&mut self, class: PuntClass) {
        self.punts[class as usize] += 1;
    }

    /// Counts packets received on a port.
    #[inline]
    pub fn rx(&mut self, port: PortId, packets: u64, bytes: u64) {
        self.rx_packets[port as usize % PORTS] += packets;
        self.rx_bytes[port as usize % PORTS] += bytes;
    }

    /// Counts packets sent out of a port.
    #[inline]
    pub fn tx(&mut self, port: PortId, packets: u64, bytes: u64) {
        self.tx_packets[port as usize % PORTS] += packets;
        self.tx_bytes[port as usize % PORTS] += bytes;
    }

    /// Counts a receive burst of this size.
    #[inline]
    pub fn burst(&mut self, size: usize) {
        self.bursts[((usize::BITS - size.leading_zeros()) as usize).min(BURSTS - 1)] += 1;
    }

    /// All drops together.
    pub fn dropped(&self) -> u64 {
        self.drops.iter().sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_published_is_what_a_snapshot_shows() {
        let published = Published::default();
        let mut counters = Counters::default();
        counters.drop(DropReason::NoBinding);
        counters.punt(PuntClass::Dns);
        counters.rx(1, 3, 180);
        counters.absorbed = 7;
        published.publish(&counters);
        assert_eq!(published.snapshot(), counters);
    }

    #[test]
    fn burst_sizes_fall_into_powers_of_two() {
        let mut counters = Counters::default();
        for size in [0, 1, 2, 3, 4, 31, 32, 63, 64, 256] {
            counters.burst(size);
        }
        assert_eq!(counters.bursts, [1, 1, 2, 1, 0, 1, 2, 2]);
    }
}
