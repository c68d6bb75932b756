//! Who may have a connection, where strangers ask for many: known peers and those who have said who they are have room of
//! their own, and a stranger who dawdles gives way to the next one.

use crate::slots::Key;
use rustc_hash::{FxHashMap, FxHashSet};
use std::collections::VecDeque;
use std::net::IpAddr;

/// The share of all connections that strangers may have who are still shaking hands.
const STRANGERS: usize = 8;
/// The share of those that one network may have, a /24 or a /48.
const ONE_NETWORK: usize = 8;
/// The share of all connections that is kept for our own, and the same again for known peers.
const KEPT: usize = 4;
/// Known addresses that are remembered: the latest.
const KNOWN: usize = 4096;

/// The network that an address is one of many in, as far as anybody can tell.
fn network(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(address) => u128::from(address.to_bits() >> 8),
        IpAddr::V6(address) => 1 << 127 | (address.to_bits() >> 80),
    }
}

/// What becomes of somebody who comes in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Admission {
    /// There is room.
    Open,
    /// There is room if this one goes, who has been shaking hands for longest.
    InsteadOf(Key),
    /// There is none.
    Full,
}

/// Connections that others opened, by how far they are.
#[derive(Debug, Default)]
pub struct Room {
    all: usize,
    per_address: usize,
    /// Strangers who are still shaking hands, the oldest first.
    strangers: VecDeque<(Key, IpAddr)>,
    of_network: FxHashMap<u128, usize>,
    of_address: FxHashMap<IpAddr, usize>,
    /// Everybody who came in, strangers too.
    inside: FxHashMap<Key, IpAddr>,
    known: FxHashSet<IpAddr>,
    known_order: VecDeque<IpAddr>,
}

fn less<K: std::hash::Hash + Eq>(counts: &mut FxHashMap<K, usize>, key: &K) {
    if let Some(count) = counts.get_mut(key) {
        *count -= 1;
        if *count == 0 {
            counts.remove(key);
        }
    }
}

impl Room {
    /// Room for so many connections, ours and others', and for so many of one address.
    pub fn new(all: usize, per_address: usize) -> Self {
        Self { all, per_address, ..Self::default() }
    }

    /// Room for another number from here on.
    pub fn resize(&mut self, all: usize, per_address: usize) {
        (self.all, self.per_address) = (all, per_address);
    }

    /// Whether one of ours finds room, beside so many in all.
    pub fn has_room_for_ours(&self, connections: usize) -> bool {
        connections < self.all
    }

    /// Whether somebody from there may come in, beside so many connections in all.
    pub fn entry(&self, address: IpAddr, connections: usize) -> Admission {
        let of_address = self.of_address.get(&address).copied().unwrap_or(0);
        // Of small limits at least one is left for each.
        let kept = (self.all / KEPT).min(self.all.saturating_sub(1));
        if of_address >= self.per_address || connections >= self.all {
            return Admission::Full;
        }
        if self.known.contains(&address) {
            return if self.inside.len() < self.all - kept { Admission::Open } else { Admission::Full };
        }
        let strangers = (self.all / STRANGERS).max(self.per_address.min(self.all));
        let one_network = (strangers / ONE_NETWORK).max(self.per_address);
        let net = network(address);
        if self.of_network.get(&net).copied().unwrap_or(0) >= one_network {
            // A network's own oldest gives way to its next.
            let own = self.strangers.iter().find(|(_, other)| network(*other) == net);
            return own.map_or(Admission::Full, |(key, _)| Admission::InsteadOf(*key));
        }
        let settled = self.inside.len() - self.strangers.len();
        if self.strangers.len() >= strangers {
            return self.strangers.front().map_or(Admission::Full, |(key, _)| Admission::InsteadOf(*key));
        }
        if settled + self.strangers.len() >= self.all - kept { Admission::Full } else { Admission::Open }
    }

    /// Somebody came in.
    pub fn enter(&mut self, key: Key, address: IpAddr) {
        self.inside.insert(key, address);
        *self.of_address.entry(address).or_default() += 1;
        if !self.known.contains(&address) {
            *self.of_network.entry(network(address)).or_default() += 1;
            self.strangers.push_back((key, address));
        }
    }

    /// Who came in has shown who it is: it is no stranger any more, and its address is known.
    pub fn settle(&mut self, key: Key) {
        if let Some(address) = self.inside.get(&key).copied() {
            self.leave_strangers(key);
            self.know(address);
        }
    }

    /// An address where a peer is: one of ours that came up, or who settled.
    pub fn know(&mut self, address: IpAddr) {
        if self.known.insert(address) {
            self.known_order.push_back(address);
            if self.known_order.len() > KNOWN
                && let Some(oldest) = self.known_order.pop_front()
            {
                self.known.remove(&oldest);
            }
        }
    }

    /// Whether a peer is or was at that address.
    pub fn knows(&self, address: IpAddr) -> bool {
        self.known.contains(&address)
    }

    /// A connection is gone; one of ours was never in.
    pub fn leave(&mut self, key: Key) {
        if let Some(address) = self.inside.remove(&key) {
            less(&mut self.of_address, &address);
            self.leave_strangers(key);
        }
    }

    fn leave_strangers(&mut self, key: Key) {
        if let Some(place) = self.strangers.iter().position(|(other, _)| *other == key)
            && let Some((_, address)) = self.strangers.remove(place)
        {
            less(&mut self.of_network, &network(address));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::slots::Slots;

    /// Lets somebody in, as the transport does; who went for it.
    fn come(room: &mut Room, slots: &mut Slots<()>, address: [u8; 4]) -> Result<Key, Admission> {
        let entry = room.entry(address.into(), slots.len());
        match entry {
            Admission::Full => return Err(entry),
            Admission::InsteadOf(key) => {
                room.leave(key);
                slots.remove(key);
            }
            Admission::Open => {}
        }
        let key = slots.insert(());
        room.enter(key, address.into());
        Ok(key)
    }

    #[test]
    fn c6_strangers_take_their_share_and_no_more() {
        let (mut room, mut slots) = (Room::new(4096, 16), Slots::default());
        // A peer of ours, and one that has been here before.
        room.know([192, 0, 2, 1].into());
        let peer = come(&mut room, &mut slots, [198, 51, 100, 7]).unwrap();
        room.settle(peer);
        // 350 addresses in networks of their own, 16 times each, and a thousand in one network.
        for number in 0..350u32 {
            for _ in 0..16 {
                let _ = come(&mut room, &mut slots, [11, (number >> 8) as u8, number as u8, 1]);
            }
        }
        for number in 0..1000u32 {
            let _ = come(&mut room, &mut slots, [12, 0, 0, (number % 250) as u8]);
        }
        assert!(slots.len() <= 4096 / STRANGERS + 1, "{}", slots.len());
        assert!(slots.get(peer).is_some(), "who has settled stays");
        assert!(room.has_room_for_ours(slots.len()));
        assert_eq!(room.entry([192, 0, 2, 1].into(), slots.len()), Admission::Open, "a known peer");
        // An honest stranger in the middle of it comes in, and stays while some hundred others come after it.
        let honest = come(&mut room, &mut slots, [203, 0, 113, 9]).unwrap();
        for number in 0..200u32 {
            let _ = come(&mut room, &mut slots, [13, (number >> 8) as u8, number as u8, 1]);
        }
        assert!(slots.get(honest).is_some());
        room.settle(honest);
        for number in 0..2000u32 {
            let _ = come(&mut room, &mut slots, [14, (number >> 8) as u8, number as u8, 1]);
        }
        assert!(slots.get(honest).is_some());
    }

    #[test]
    fn c6_one_network_pushes_out_its_own_and_one_address_has_its_limit() {
        let (mut room, mut slots) = (Room::new(4096, 16), Slots::default());
        let other = come(&mut room, &mut slots, [203, 0, 113, 9]).unwrap();
        for last in 0..250u8 {
            come(&mut room, &mut slots, [12, 0, 0, last]).unwrap();
        }
        assert_eq!(slots.len(), 1 + 4096 / STRANGERS / ONE_NETWORK);
        assert!(slots.get(other).is_some());
        for _ in 0..16 {
            come(&mut room, &mut slots, [15, 0, 0, 1]).unwrap();
        }
        assert_eq!(come(&mut room, &mut slots, [15, 0, 0, 1]), Err(Admission::Full));
    }

    #[test]
    fn c6_known_peers_leave_room_for_ours() {
        let (mut room, mut slots) = (Room::new(8, 8), Slots::default());
        room.know([192, 0, 2, 1].into());
        let came = (0..8).filter(|_| come(&mut room, &mut slots, [192, 0, 2, 1]).is_ok()).count();
        assert_eq!(came, 6);
        assert!(room.has_room_for_ours(slots.len()));
        for key in slots.keys_where(|()| true) {
            room.leave(key);
            slots.remove(key);
        }
        assert!(room.of_address.is_empty() && room.of_network.is_empty() && room.inside.is_empty());
    }
}
