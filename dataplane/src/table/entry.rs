//! A binding's line: one cache line each, counters included.
//!
//! What many bindings share stands elsewhere once: the outer header in the table of tunnels, the MAC address in that of next
//! hops, what there is to say of some alone in that of annexes.

use crate::msg::{BindingStats, EndReason};
use crate::narrow::{Count48, Count56, Pair24};
use crate::table::session::Heading;
use crate::way::Way;
use crate::wire::checksum::{Delta, Sum};
use crate::wire::{Pair, ethernet};

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
/// What its host sends must come from the host's MAC address.
const PINNED: u8 = 4;
/// There is more to say of the binding: it has an annex.
const ANNEX: u8 = 0x80;

/// Beside the life of a binding that a TCP connection will make last longer.
const PATIENT: u8 = 0x80;

/// One slot: what packets need. When it ends is in its term ([`super::term`]). What stands beside the counters is in the bits
/// that they leave.
#[derive(Clone, Copy, Debug, Default)]
#[repr(C, align(64))]
pub struct BindingEntry {
    /// The inside host and the address that stands for the far host: what the host's packets carry, and the key of the
    /// egress index.
    near: Pair,
    /// What they carry beyond: the local tag, or the proxy address under which the other host knows this one; and the
    /// remote tag, or the other host.
    far: Pair,
    /// Bytes from the host; beside them what kind of way they leave by: [`TUNNEL`] or [`REALM`], 0 in a slot that is not
    /// live; and [`PINNED`] and [`ANNEX`].
    out_bytes: Count56,
    /// Bytes to the host; beside them its [`Life`].
    in_bytes: Count56,
    /// Packets from the host; beside them the tunnel.
    out_packets: Count48,
    /// Packets to the host; beside them the first two bytes of the host's MAC address.
    in_packets: Count48,
    /// When the last packet passed, in whole seconds of the worker's clock.
    last_seen_s: u32,
    /// The last four bytes of the host's MAC address, as they are loaded from a frame.
    mac: u32,
    /// The next hop of packets that leave into the realm; the place of its annex, plus 1, 0 = it has none; and
    /// beside them what the new addresses do to the checksums of what the host sends, and back, to those of what it gets.
    more: Pair24,
}

const _: () = assert!(size_of::<BindingEntry>() == 64);

impl BindingEntry {
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

    /// The same, last seen then.
    #[inline(always)]
    pub(super) fn seen(mut self, now_s: u32) -> Self {
        self.last_seen_s = now_s;
        self
    }

    /// The same, which a TCP connection makes last longer.
    #[inline(always)]
    pub(super) fn patient(mut self) -> Self {
        self.in_bytes.set_beside(self.in_bytes.beside() | PATIENT);
        self
    }

    /// Whether a TCP connection makes it last longer.
    pub const fn is_patient(&self) -> bool {
        self.in_bytes.beside() & PATIENT != 0
    }

    /// From now on its host's packets must come from this MAC address; `None` = from any. Nothing changes where it is not live.
    #[inline(always)]
    pub(super) fn pin(&mut self, mac: Option<[u8; 6]>) {
        let kind = self.out_bytes.beside() & !PINNED;
        let [a, b, rest @ ..] = mac.unwrap_or_default();
        self.in_packets.set_beside(u16::from_le_bytes([a, b]));
        self.mac = u32::from_le_bytes(rest);
        self.out_bytes.set_beside(if mac.is_some() && kind != 0 { kind | PINNED } else { kind });
    }

    /// Whether a frame comes from the MAC address that its host's packets must come from, if it is [pinned](BindingEntry::pin).
    #[inline(always)]
    pub fn is_from_host(&self, frame: &[u8]) -> bool {
        let Some(begin) = frame.first_chunk::<{ ethernet::TYPE }>() else { return false };
        let [a, b, c, d, e, f] = begin[ethernet::SOURCE..] else { return false };
        u32::from_le_bytes([c, d, e, f]) == self.mac && u16::from_le_bytes([a, b]) == self.in_packets.beside()
    }

    /// Whether what its host sends must come from the host's MAC address.
    #[inline(always)]
    pub const fn is_pinned(&self) -> bool {
        self.out_bytes.beside() & PINNED != 0
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
    pub const fn change(&self) -> Delta {
        Delta::of_bits(self.more.beside())
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

    /// The same, but that what its host sends must come from the host's MAC address.
    #[inline(always)]
    pub const fn is_pinned_tunnel(&self) -> bool {
        self.out_bytes.beside() == TUNNEL | PINNED
    }

    /// Whether it is a live binding through a tunnel.
    #[inline(always)]
    pub const fn is_tunnel(&self) -> bool {
        self.out_bytes.beside() & TUNNEL != 0
    }

    /// The tunnel, if it [is one through a tunnel](BindingEntry::is_tunnel).
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

    /// The way by which packets of this heading leave.
    pub fn way(&self, heading: Heading) -> Way {
        match heading {
            Heading::Out => self.way_out(),
            Heading::In => self.way_in(),
        }
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

    /// When the last packet passed.
    #[inline]
    pub(super) const fn last_seen_s(&self) -> u32 {
        self.last_seen_s
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
    fn p10_a_pinned_binding_knows_all_48_bits_of_its_hosts_mac() {
        let mac = [2, 0x11, 0x22, 0x33, 0x44, 0x55];
        let mut entry = BindingEntry::new(Pair::of(1), Pair::of(2), Way::Tunnel(3), 4);
        assert!(!entry.is_pinned() && entry.is_plain_tunnel());
        entry.pin(Some(mac));
        assert!(
            entry.is_pinned() && entry.is_pinned_tunnel() && !entry.is_plain_tunnel() && entry.is_tunnel()
        );
        let frame = |mac: [u8; 6]| [[9; 6].as_slice(), &mac, &[8, 0, 0x45]].concat();
        entry.count_in(7, 1);
        assert!(entry.is_from_host(&frame(mac)) && !entry.is_from_host(&frame(mac)[..11]));
        for bit in 0..48 {
            let mut other = mac;
            other[bit / 8] ^= 1 << (bit % 8);
            assert!(!entry.is_from_host(&frame(other)), "bit {bit}");
        }
        entry.pin(None);
        assert!(!entry.is_pinned() && entry.is_plain_tunnel() && entry.stats(1).in_packets == 1);
        entry.end(EndReason::Idle);
        entry.pin(Some(mac));
        assert!(!entry.is_pinned() && !entry.is_tunnel(), "what is over stays over");
    }

    #[test]
    fn a_way_is_that_of_a_live_slot() {
        let through = BindingEntry::new(Pair::of(1), Pair::of(2), Way::Tunnel(300), 0x01_0203);
        assert!(through.is_tunnel() && through.is_plain_tunnel() && through.annex().is_none());
        assert_eq!((through.way_out(), through.way_in()), (Way::Tunnel(300), Way::Realm(0x01_0203)));
        let near = BindingEntry::new(Pair::of(1), Pair::of(2), Way::Realm(7), 7);
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
        assert_eq!(BindingEntry::default().life(), Life::Free);
    }
}
