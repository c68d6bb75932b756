//! A binding's line: one cache line each, counters included.
//!
//! What many bindings share stands elsewhere once: the outer header in the table of tunnels, the MAC address in that of next
//! hops, what there is to say of some alone in that of annexes.

use crate::msg::{BindingStats, EndReason, Patience, TCP_IDLE_S};
use crate::narrow::{Count48, Count56, Pair24};
use crate::packet::Packet;
use crate::way::Way;
use crate::wire::Pair;
use crate::wire::checksum::{Change, Sum};

/// Where a slot stands in its life: free, live, ending, and free again.
///
/// It is ending while the event that says so waits for room in the queue: until the control thread has been told, the slot is
/// not used again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Life {
    /// Not in use.
    Free,
    /// A binding that carries packets.
    Live,
    /// Over for this reason; the control thread is not told yet.
    Ending(EndReason),
}

impl Life {
    /// As it stands in the entry; a free slot is all zeros.
    const fn byte(self) -> u8 {
        match self {
            Life::Free => 0,
            Life::Live => 1,
            Life::Ending(EndReason::Idle) => 2,
            Life::Ending(EndReason::Hard) => 3,
            Life::Ending(EndReason::Removed) => 4,
        }
    }

    const fn of(byte: u8) -> Self {
        match byte & !PATIENT {
            0 => Life::Free,
            1 => Life::Live,
            2 => Life::Ending(EndReason::Idle),
            3 => Life::Ending(EndReason::Hard),
            _ => Life::Ending(EndReason::Removed),
        }
    }
}

/// A bit each. The way is a tunnel.
const TUNNEL: u8 = 1;
/// The way leads back into the realm.
const REALM: u8 = 2;
/// There is more to say of the binding: it has an annex.
const ANNEX: u8 = 0x80;

/// Beside the life of a binding that a TCP connection will make last longer.
const PATIENT: u8 = 0x80;

/// One slot. Times are in whole seconds of the worker's clock. What stands beside the counters is in the bits that they
/// leave.
#[derive(Clone, Copy, Debug, Default)]
#[repr(C, align(64))]
pub struct Entry {
    /// The inside host and the address that stands for the far host: what the host's packets carry, and the key of the
    /// egress index.
    near: Pair,
    /// What they carry beyond: the local tag, or the proxy address under which the other host knows this one; and the
    /// remote tag, or the other host.
    far: Pair,
    /// Bytes from the host; beside them what kind of way they leave by: [`TUNNEL`] or [`REALM`], 0 in a slot that is not
    /// live; and [`ANNEX`].
    out_bytes: Count56,
    /// Bytes to the host; beside them its [`Life`].
    in_bytes: Count56,
    /// Packets from the host; beside them the tunnel.
    out_packets: Count48,
    /// Packets to the host; beside them after how many seconds without a packet it ends; 0 = never.
    in_packets: Count48,
    /// When the last packet passed.
    last_seen_s: u32,
    /// When it ends at the latest; 0 = never.
    deadline_s: u32,
    /// The next hop of packets that leave into the realm; the place of its annex, plus 1, 0 = it has none; and
    /// beside them what the new addresses do to the checksums of what the host sends, and back, to those of what it gets.
    more: Pair24,
}

const _: () = assert!(size_of::<Entry>() == 64);

impl Entry {
    /// A live binding between these pairs. What its host sends leaves by `way`; what leaves into the realm, whichever
    /// direction that is, goes to `neighbour`.
    #[inline(always)]
    pub fn new(near: Pair, far: Pair, way: Way, neighbour: u32) -> Self {
        let change = Sum::default().replace_pair(near, far).change();
        let (kind, tunnel) = match way {
            Way::Tunnel(id) => (TUNNEL, id),
            Way::Realm(_) => (REALM, 0),
        };
        Self {
            near,
            far,
            out_packets: Count48::new(tunnel),
            out_bytes: Count56::new(kind),
            in_bytes: Count56::new(Life::Live.byte()),
            more: Pair24::new(neighbour, 0, change.bits()),
            ..Self::default()
        }
    }

    /// The same with a life that ends by itself: so many seconds after the last packet, 0 = never; so many after `now_s`, 0 =
    /// never.
    #[inline(always)]
    pub(super) fn lasting(mut self, idle_s: u16, hard_s: u32, now_s: u32) -> Self {
        self.in_packets = Count48::new(idle_s);
        self.last_seen_s = now_s;
        // 0 means never, so a deadline is at least 1.
        self.deadline_s = if hard_s == 0 { 0 } else { now_s.saturating_add(hard_s).max(1) };
        self
    }

    /// The same that lasts longer for TCP, or not.
    #[inline(always)]
    pub(super) fn patient(mut self, patience: Patience) -> Self {
        if patience != Patience::None {
            self.in_bytes.set_beside(self.in_bytes.beside() | PATIENT);
        }
        if patience == Patience::Now {
            self.outlast_tcp();
        }
        self
    }

    fn outlast_tcp(&mut self) {
        let idle_s = self.in_packets.beside();
        if self.in_bytes.beside() & PATIENT != 0 && idle_s != 0 {
            self.in_packets.set_beside(idle_s.max(TCP_IDLE_S));
        }
    }

    /// Notes a packet that opens a TCP connection: the answer to the first one; within the realm the first one, too, since each
    /// half of a pair sees what its own host sends alone.
    #[inline]
    pub fn opened(&mut self, packet: &Packet) {
        if packet.opens_tcp(!self.is_tunnel()) {
            self.outlast_tcp();
        }
    }

    /// The same with an annex, which may be none.
    #[inline(always)]
    pub(super) fn with_annex(mut self, annex: u32) -> Self {
        self.more = self.more.with_second(annex);
        if annex != 0 {
            self.out_bytes.set_beside(self.out_bytes.beside() | ANNEX);
        }
        self
    }

    /// It is over: no packet is its own any more.
    pub(super) fn end(&mut self, reason: EndReason) {
        self.in_bytes.set_beside(Life::Ending(reason).byte());
        self.out_bytes.set_beside(0);
    }

    /// Whether the slot is not in use.
    #[inline(always)]
    pub const fn is_free(&self) -> bool {
        self.in_bytes.beside() == Life::Free.byte()
    }

    /// Whether it is a binding that carries packets.
    #[inline(always)]
    pub const fn is_live(&self) -> bool {
        self.in_bytes.beside() & !PATIENT == Life::Live.byte()
    }

    /// Where the slot stands in its life.
    pub const fn life(&self) -> Life {
        Life::of(self.in_bytes.beside())
    }

    /// What the host's packets carry: the host, and the address that stands for the far host.
    #[inline(always)]
    pub const fn near(&self) -> Pair {
        self.near
    }

    /// What they carry beyond.
    #[inline(always)]
    pub const fn far(&self) -> Pair {
        self.far
    }

    /// What packets to the host carry: the near pair the other way round.
    #[inline(always)]
    pub const fn near_reversed(&self) -> Pair {
        self.near.reversed()
    }

    /// What the new addresses do to the checksums of what the host sends.
    #[inline(always)]
    pub const fn change(&self) -> Change {
        Change::of_bits(self.more.beside())
    }

    /// The inside host.
    pub const fn host(&self) -> u32 {
        self.near.source()
    }

    /// The address that stands for the far host.
    pub const fn proxy(&self) -> u32 {
        self.near.destination()
    }

    /// The new source of what the host sends.
    pub const fn source(&self) -> u32 {
        self.far.source()
    }

    /// The new destination of what the host sends.
    pub const fn destination(&self) -> u32 {
        self.far.destination()
    }

    /// Whether it is a live binding through a tunnel, and there is nothing more to say of it.
    #[inline(always)]
    pub const fn is_plain_tunnel(&self) -> bool {
        self.out_bytes.beside() == TUNNEL
    }

    /// Whether it is a live binding through a tunnel.
    #[inline(always)]
    pub const fn is_tunnel(&self) -> bool {
        self.out_bytes.beside() & TUNNEL != 0
    }

    /// The tunnel, if it [is one through a tunnel](Entry::is_tunnel).
    #[inline(always)]
    pub const fn tunnel(&self) -> u16 {
        self.out_packets.beside()
    }

    /// The way by which a live binding's packets from the host leave.
    pub fn way_out(&self) -> Way {
        self.by_way_out(|way| way)
    }

    /// What `by` makes of this way. For the straight lines: each kind of way gets its own copy of `by`, in which the kind is a
    /// constant.
    #[inline(always)]
    pub fn by_way_out<T>(&self, mut by: impl FnMut(Way) -> T) -> T {
        if self.out_bytes.beside() & REALM != 0 {
            by(Way::Realm(self.more.first()))
        } else {
            by(Way::Tunnel(self.tunnel()))
        }
    }

    /// The way by which packets to the host leave.
    #[inline(always)]
    pub const fn way_in(&self) -> Way {
        Way::Realm(self.more.first())
    }

    /// The place of its annex, plus 1, if it has one.
    #[inline(always)]
    pub const fn annex(&self) -> Option<u32> {
        if self.out_bytes.beside() & ANNEX == 0 { None } else { Some(self.more.second()) }
    }

    /// The place of its annex, plus 1, whether it is live or not; 0 = it has none.
    pub(super) const fn annex_held(&self) -> u32 {
        self.more.second()
    }

    /// Its counters.
    pub fn stats(&self, now_s: u32) -> BindingStats {
        BindingStats {
            out_packets: self.out_packets.count(),
            out_bytes: self.out_bytes.count(),
            in_packets: self.in_packets.count(),
            in_bytes: self.in_bytes.count(),
            idle_s: now_s.saturating_sub(self.last_seen_s),
        }
    }

    /// Why it is over by now, if it is.
    #[inline]
    pub fn over(&self, now_s: u32) -> Option<EndReason> {
        let idle_s = u32::from(self.in_packets.beside());
        if self.deadline_s != 0 && now_s >= self.deadline_s {
            Some(EndReason::Hard)
        } else if idle_s != 0 && now_s.saturating_sub(self.last_seen_s) >= idle_s {
            Some(EndReason::Idle)
        } else {
            None
        }
    }

    /// Notes a packet from the host.
    #[inline(always)]
    pub fn count_out(&mut self, bytes: u16, now_s: u32) {
        self.out_packets.increment();
        self.out_bytes.add(bytes);
        self.last_seen_s = now_s;
    }

    /// Notes a packet to the host.
    #[inline(always)]
    pub fn count_in(&mut self, bytes: u16, now_s: u32) {
        self.in_packets.increment();
        self.in_bytes.add(bytes);
        self.last_seen_s = now_s;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn deadlines_come_before_idleness_and_zero_is_never() {
        let entry = Entry::new(Pair::of(1), Pair::of(2), Way::Tunnel(3), 4);
        assert_eq!(entry.lasting(0, 0, 10).over(1_000_000), None);
        let idle = entry.lasting(5, 0, 10);
        assert_eq!((idle.over(14), idle.over(15)), (None, Some(EndReason::Idle)));
        assert_eq!(entry.lasting(5, 5, 10).over(15), Some(EndReason::Hard));
        assert_eq!(entry.lasting(0, 1, u32::MAX).over(u32::MAX), Some(EndReason::Hard));
    }

    #[test]
    fn p1_an_established_connection_makes_a_binding_last() {
        use crate::wire::tcp;
        let opening = Packet { tcp_flags: tcp::SYN, ..Packet::NOTHING };
        let answer = Packet { tcp_flags: tcp::SYN | tcp::ACK, ..Packet::NOTHING };
        for (way, patience, packet, idle_s) in [
            (Way::Tunnel(1), Patience::WithTcp, answer, TCP_IDLE_S),
            (Way::Tunnel(1), Patience::WithTcp, opening, 300),
            (Way::Realm(1), Patience::WithTcp, opening, TCP_IDLE_S),
            (Way::Tunnel(1), Patience::None, answer, 300),
            (Way::Tunnel(1), Patience::Now, Packet::NOTHING, TCP_IDLE_S),
            (Way::Tunnel(1), Patience::WithTcp, Packet::NOTHING, 300),
        ] {
            let mut entry =
                Entry::new(Pair::of(1), Pair::of(2), way, 1).lasting(300, 0, 10).patient(patience);
            assert!(entry.is_live() && entry.life() == Life::Live);
            entry.opened(&packet);
            let end = 10 + u32::from(idle_s);
            assert_eq!(
                (entry.over(end - 1), entry.over(end)),
                (None, Some(EndReason::Idle)),
                "{way:?} {patience:?}"
            );
            entry.end(EndReason::Idle);
            assert_eq!(entry.life(), Life::Ending(EndReason::Idle));
        }
        let mut never =
            Entry::new(Pair::of(1), Pair::of(2), Way::Tunnel(1), 1).lasting(0, 0, 10).patient(Patience::Now);
        never.opened(&answer);
        assert_eq!(never.over(u32::MAX), None);
    }

    #[test]
    fn a_way_is_that_of_a_live_slot() {
        let through = Entry::new(Pair::of(1), Pair::of(2), Way::Tunnel(300), 0x01_0203);
        assert!(through.is_tunnel() && through.is_plain_tunnel() && through.annex().is_none());
        assert_eq!((through.way_out(), through.way_in()), (Way::Tunnel(300), Way::Realm(0x01_0203)));
        let near = Entry::new(Pair::of(1), Pair::of(2), Way::Realm(7), 7);
        assert!(!near.is_tunnel());
        assert_eq!((near.way_out(), near.way_in()), (Way::Realm(7), Way::Realm(7)));
        for entry in [through, near] {
            let mut entry = entry.with_annex(70_000);
            assert_eq!((entry.is_plain_tunnel(), entry.annex()), (false, Some(70_000)));
            assert_eq!((entry.is_tunnel(), entry.life()), (entry.tunnel() == 300, Life::Live));
            entry.count_out(100, 1);
            entry.count_in(200, 2);
            for reason in [EndReason::Idle, EndReason::Hard, EndReason::Removed] {
                entry.end(reason);
                assert!(!entry.is_tunnel() && entry.annex().is_none());
                assert_eq!(entry.life(), Life::Ending(reason));
            }
            let stats = entry.stats(5);
            assert_eq!((stats.out_packets, stats.out_bytes), (1, 100));
            assert_eq!((stats.in_packets, stats.in_bytes, stats.idle_s), (1, 200, 3));
            assert_eq!(entry.annex_held(), 70_000, "to be given back");
        }
        assert_eq!(Entry::default().life(), Life::Free);
    }
}
