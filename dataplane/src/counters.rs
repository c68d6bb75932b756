//! What a worker counts, and how others see it.
//!
//! The worker counts in a plain [`Counters`] and copies it now and then (once a burst or rarer) into a [`Published`] block
//! of relaxed atomics of which it is the only writer. Readers take a [`Published::snapshot`]: each number is right,
//! the numbers of one snapshot may be a turn apart.

use crate::msg::{PortId, PuntClass};
use crate::queue::QueueFigures;
use crate::reason::DropReason;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

pub use crate::msg::PORTS;

/// Buckets of the burst-size histogram: empty, 1, 2–3, 4–7, 8–15, 16–31, 32–63, 64 and more.
pub const BURSTS: usize = 8;

/// The family of what application layer gateways met with.
pub const ALG_EVENTS: &str = "ces_alg_events_total";
/// The family of what the one of SIP met with.
pub const SIP_EVENTS: &str = "ces_alg_sip_events_total";

/// The family of what the one of RTSP met with.
pub const RTSP_EVENTS: &str = "ces_alg_rtsp_events_total";

/// Where a number stands.
pub type Count = fn(&Counters) -> u64;

/// Counters that make one family of metrics.
#[derive(Clone, Copy, Debug)]
pub struct CounterFamily {
    /// The family's name.
    pub name: &'static str,
    /// What it is, for a person.
    pub help: &'static str,
    /// Whether it only ever grows; otherwise it is a level.
    pub grows: bool,
    /// Whether it is told worker by worker, or of all workers together.
    pub by_worker: bool,
    /// The label that tells its counters apart; empty if there is only one.
    pub label: &'static str,
    /// Its counters: the label's value, and where the number stands.
    pub members: &'static [(&'static str, Count)],
}

macro_rules! counters {
    (
        arrays { $($(#[doc = $adoc:literal])+ $array:ident: [$length:expr],)+ }
        families { $(
            $family:literal, $help:literal, $kind:ident $of:ident $($label:literal)?
            { $($(#[doc = $doc:literal])+ $name:ident $(= $value:literal)?,)+ }
        )+ }
        others { $($(#[doc = $odoc:literal])+ $other:ident,)+ }
    ) => {
        /// A worker's counters.
        #[derive(Clone, Debug, PartialEq, Eq)]
        pub struct Counters {
            $($(#[doc = $adoc])+ pub $array: [u64; $length],)+
            $($($(#[doc = $doc])+ pub $name: u64,)+)+
            $($(#[doc = $odoc])+ pub $other: u64,)+
        }

        /// The families of metrics that are made of single counters.
        pub const FAMILIES: &[CounterFamily] = &[$(CounterFamily {
            name: $family,
            help: $help,
            grows: counters!(@kind $kind),
            by_worker: counters!(@of $of),
            label: concat!($($label)?),
            members: &[$((concat!($($value)?), |counters| counters.$name)),+],
        }),+];

        impl Default for Counters {
            fn default() -> Self {
                Self { $($array: [0; $length],)+ $($($name: 0,)+)+ $($other: 0,)+ }
            }
        }

        impl std::ops::AddAssign<&Counters> for Counters {
            fn add_assign(&mut self, other: &Counters) {
                $(for (sum, more) in self.$array.iter_mut().zip(&other.$array) { *sum += more; })+
                $($(self.$name += other.$name;)+)+
                $(self.$other += other.$other;)+
            }
        }

        /// A worker's counters as other threads see them. The worker is the only writer.
        #[derive(Debug)]
        #[repr(align(128))] // two lines, as the hardware fetches them: no sharing with another worker's block
        pub struct Published {
            /// What shaped ports tell of their queues.
            pub queues: QueueFigures,
            $($array: [AtomicU64; $length],)+
            $($($name: AtomicU64,)+)+
            $($other: AtomicU64,)+
        }

        impl Default for Published {
            fn default() -> Self {
                Self {
                    queues: QueueFigures::default(),
                    $($array: [const { AtomicU64::new(0) }; $length],)+
                    $($($name: AtomicU64::new(0),)+)+
                    $($other: AtomicU64::new(0),)+
                }
            }
        }

        impl Published {
            /// Makes the worker's numbers visible.
            pub fn publish(&self, counters: &Counters) {
                $(for (to, from) in self.$array.iter().zip(&counters.$array) { to.store(*from, Relaxed); })+
                $($(self.$name.store(counters.$name, Relaxed);)+)+
                $(self.$other.store(counters.$other, Relaxed);)+
            }

            /// The numbers as last published.
            pub fn snapshot(&self) -> Counters {
                Counters {
                    $($array: std::array::from_fn(|i| self.$array[i].load(Relaxed)),)+
                    $($($name: self.$name.load(Relaxed),)+)+
                    $($other: self.$other.load(Relaxed),)+
                }
            }
        }
    };
    (@kind counter) => { true };
    (@kind gauge) => { false };
    (@of worker) => { true };
    (@of all) => { false };
}

// A counter stands here alone: its field, and the family of metrics in which it is told.
counters! {
    arrays {
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
        punts: [PuntClass::COUNT],
        /// Receive bursts, by size: see [`BURSTS`].
        bursts: [BURSTS],
    }
    families {
        "ces_handoffs_total", "Packets between workers.", counter worker "direction" {
            /// Packets handed to other workers.
            handed_off = "out",
            /// Packets taken over from other workers.
            taken_over = "in",
        }
        "ces_injected_total", "Frames of the control thread that were sent.", counter worker {
            /// Frames of the control thread sent.
            injected,
        }
        "ces_icmp_errors_absorbed_total", "ICMP errors about tunnels that were taken in.", counter all {
            /// ICMP errors about tunnels that the gateway took in.
            absorbed,
        }
        "ces_icmp_errors_made_total", "ICMP errors made by the workers.", counter all {
            /// ICMP errors made here.
            icmp_generated,
        }
        "ces_icmp_errors_suppressed_total", "ICMP errors not made because of their rate.", counter all {
            /// ICMP errors not made because of their rate limit.
            icmp_suppressed,
        }
        "ces_tunnel_sealed_packets_total", "Packets of encrypted tunnels, sealed for peers and opened.",
        counter worker "direction" {
            /// Packets sealed for peers.
            packets_sealed = "out",
            /// Packets from peers that were opened and taken.
            packets_opened = "in",
        }
        "ces_fragments_made_total", "Fragments made, beyond the first of each packet.", counter all {
            /// Fragments made here, beyond the first of each packet.
            fragments_made,
        }
        "ces_held_total",
        "Packets kept until the MAC address of their next hop was known, and those of them that were sent.",
        counter worker "event" {
            /// Packets kept until the MAC address of their next hop was known.
            held = "held",
            /// Those of them that were sent.
            held_sent = "sent",
        }
        "ces_held_fragments_total",
        "Fragments kept until the first one of their packet came, and those of them that were sent.",
        counter worker "event" {
            /// Later fragments kept until the first one of their packet came.
            later_held = "held",
            /// Those of them that were sent.
            later_sent = "sent",
        }
        "ces_nat_unasked_total",
        "SYNs to hosts that nobody asked for: those kept for six seconds, and those whose senders were told then.",
        counter worker "event" {
            /// SYNs that nobody had asked for, kept for six seconds.
            unasked_held = "held",
            /// Those of them whose senders were told then.
            unasked_told = "told",
        }
        "ces_held_packets", "Packets that are kept so now.", gauge worker {
            /// Packets that are kept until the MAC address of their next hop is known, now.
            held_now,
        }
        "ces_bindings", "Bindings that stand.", gauge all {
            /// Bindings now.
            bindings_live,
        }
        "ces_bindings_inserted_total", "Bindings inserted.", counter all {
            /// Bindings inserted.
            bindings_inserted,
        }
        "ces_bindings_insert_failed_total", "Bindings that could not be inserted.", counter all {
            /// Bindings that could not be inserted.
            insert_failed,
        }
        "ces_nat_sessions", "Sessions of NAT44 that stand.", gauge all {
            /// Sessions now.
            sessions_live,
        }
        "ces_nat_mappings", "Mappings of NAT44 that stand.", gauge all {
            /// Mappings now.
            mappings_live,
        }
        "ces_nat_hosts", "Inside hosts that have sessions of NAT44.", gauge all {
            /// Hosts with sessions now.
            nat_hosts,
        }
        "ces_nat_ports", "External ports that are taken, or rest before they are given out again.", gauge all {
            /// External ports taken or at rest now.
            nat_ports,
        }
        "ces_nat_port_blocks", "Blocks of external ports that hosts have.", gauge all {
            /// Blocks of external ports that hosts have now.
            nat_blocks,
        }
        "ces_nat_full_percent",
        "How much of the room for sessions of NAT44 is taken, and of an address's external ports where most are given.",
        gauge worker "of" {
            /// Hundredths of the sessions that there is room for.
            sessions_percent = "sessions",
            /// Hundredths of the external ports, or of the blocks of them, of the address with the most.
            ports_percent = "ports",
        }
        "ces_nat_sessions_displaced_total", "Sessions of NAT44 that gave way to others.", counter all {
            /// Sessions that gave way to others.
            sessions_displaced,
        }
        "ces_nat_records_total", "Records of NAT44, told to the control thread or lost in the worker.",
        counter worker "outcome" {
            /// Records told.
            records_told = "told",
            /// Records for which there was no room.
            records_lost = "lost",
        }
        "ces_nat_sessions_opened_total", "Sessions of NAT44 that were opened.", counter all {
            /// Sessions opened.
            sessions_opened,
        }
        "ces_filter_sessions_ended_total", "Sessions that ended because a rule forbids them now.", counter all {
            /// Sessions that ended because a rule forbids them now.
            sessions_forbidden,
        }
        "ces_filter_logged_total", "Decisions of rules that are to be logged, by whether they were told.",
        counter all "outcome" {
            /// Decisions told to the control thread.
            decisions_told = "told",
            /// Those that were too many to be told.
            decisions_suppressed = "suppressed",
        }
        "ces_nat_sessions_ended_total", "Sessions of NAT44 whose time was over.", counter all {
            /// Sessions whose time was over.
            sessions_ended,
        }
        "ces_nat_static_sessions", "Sessions of static mappings that stand.", gauge all {
            /// Sessions of static mappings now.
            sessions_configured,
        }
        "ces_nat_sessions_changed_total",
        "Sessions that ended because static mappings are others.",
        counter all {
            /// Sessions that ended because static mappings are others.
            sessions_changed,
        }
        "ces_nat_sessions_kept", "Sessions of NAT44 of the process before, by what became of them.", gauge all "fate" {
            /// Sessions of the process before that go on.
            sessions_adopted = "adopted",
            /// Sessions of the process before that do not fit any more.
            sessions_forgotten = "forgotten",
        }
        "ces_alg_channels", "Control channels of ALGs.", gauge all {
            /// Control channels now.
            alg_channels,
        }
        "ces_alg_awaited", "Connections that were announced in control channels and have not come yet.", gauge all {
            /// Announced connections that have not come, now.
            alg_awaited,
        }
        "ces_sip_calls", "Calls of SIP that are followed.", gauge all {
            /// Calls that are followed, now.
            sip_live,
        }
        "ces_rtsp_sessions", "Connections of RTSP with streams that are followed.", gauge all {
            /// Connections with streams that are followed, now.
            rtsp_live,
        }
        "ces_alg_sip_events_total", "What the application layer gateway of SIP met with.", counter all "event" {
            /// Messages that were read.
            sip_messages = "message",
            /// Messages that were written anew.
            sip_rewritten = "rewritten",
            /// Places that would have been written anew if that were not only shown.
            sip_would_rewrite = "would_rewrite",
            /// Streams and ports that were announced.
            sip_announced = "announced",
            /// Announcements of privileged ports.
            sip_refused = "refused",
            /// What there was no external port, or no room, for.
            sip_full = "full",
            /// Messages, and descriptions of media, that could not be read.
            sip_garbled = "garbled",
            /// Fragments of messages, which are not read.
            sip_fragmented = "fragmented",
            /// Messages that became too long for their way, and were cut there.
            sip_grown = "grown",
            /// Hosts that have registered.
            sip_registered = "registered",
            /// Calls that began.
            sip_calls = "call",
            /// Calls that ended.
            sip_ended = "ended",
        }
        "ces_alg_rtsp_events_total", "What the application layer gateway of RTSP met with.", counter all "event" {
            /// Messages that were read.
            rtsp_messages = "message",
            /// Messages that were written anew.
            rtsp_rewritten = "rewritten",
            /// Places that would have been written anew if that were not only shown.
            rtsp_would_rewrite = "would_rewrite",
            /// Streams that were announced.
            rtsp_announced = "announced",
            /// Announcements of what is not the host's own to announce: another address, or a privileged port.
            rtsp_refused = "refused",
            /// What there was no external pair of ports, or no room, for.
            rtsp_full = "full",
            /// Messages, transports and descriptions that could not be read, and connections in which something else is said.
            rtsp_garbled = "garbled",
            /// Requests that ended streams.
            rtsp_ended = "ended",
        }
        "ces_alg_events_total", "What application layer gateways met with.", counter all "event" {
            /// Control channels that were opened and are attended to.
            alg_attended = "attended",
            /// Control channels for which there was no room.
            alg_unattended = "unattended",
            /// Connections that were announced.
            alg_announced = "announced",
            /// Announced connections that came.
            alg_came = "came",
            /// Announcements of what is not the host's own to announce: another address, or a privileged port.
            alg_refused = "refused",
            /// Announcements for which there was no external port or no room.
            alg_full = "full",
            /// Lines that begin as announcements and could not be read.
            alg_garbled = "garbled",
            /// Control channels that were encrypted.
            alg_encrypted = "encrypted",
            /// Segments that were written anew.
            alg_rewritten = "rewritten",
            /// Places that would have been written anew if that were not only shown.
            alg_would_rewrite = "would_rewrite",
        }
        "ces_worker_turns_total", "Turns of a worker's loop, busy and idle.", counter worker "state" {
            /// Turns of the loop in which there was something to do.
            busy_turns = "busy",
            /// Turns of the loop in which there was nothing to do.
            idle_turns = "idle",
        }
        "ces_worker_cycles_total", "Cycles of a worker, busy and idle.", counter worker "state" {
            /// Cycles spent in busy turns.
            busy_cycles = "busy",
            /// Cycles spent in idle turns, asleep included.
            idle_cycles = "idle",
        }
    }
    others {
        /// Traced packets that found no room in their queue.
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
    }
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
    fn families_tell_their_counters_under_names_of_their_own() {
        let counters = Counters { handed_off: 3, taken_over: 4, ..Counters::default() };
        let family = FAMILIES.iter().find(|family| family.name == "ces_handoffs_total").unwrap();
        let told: Vec<_> = family.members.iter().map(|(value, count)| (*value, count(&counters))).collect();
        assert_eq!((family.label, told), ("direction", vec![("out", 3), ("in", 4)]));
        for family in FAMILIES {
            assert_eq!(family.grows, family.name.ends_with("_total"), "{}", family.name);
            assert_eq!(family.label.is_empty(), family.members.len() == 1, "{}", family.name);
            assert_eq!(FAMILIES.iter().filter(|other| other.name == family.name).count(), 1);
        }
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
