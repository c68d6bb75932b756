//! Tunnels towards peers: one for each peer, pair of locators, encapsulation and pair of ids, shared by its bindings.

use crate::Nanos;
use ces_dataplane::msg::{Encapsulation, NeighbourId, Tunnel, TunnelId};
use rustc_hash::FxHashMap;
use std::net::Ipv4Addr;
use std::sync::Arc;

/// What makes a tunnel another one.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Key {
    pub(crate) peer: Arc<str>,
    pub(crate) encapsulation: Encapsulation,
    pub(crate) local: Ipv4Addr,
    pub(crate) remote: Ipv4Addr,
    pub(crate) id_in: u32,
    pub(crate) id_out: u32,
}

/// A tunnel in use.
#[derive(Debug)]
pub(crate) struct Entry {
    pub(crate) key: Key,
    pub(crate) neighbour: NeighbourId,
    pub(crate) mtu: u16,
    /// Until when a narrower path is believed in.
    pub(crate) narrow_until: Option<Nanos>,
    pub(crate) bindings: u32,
}

impl Entry {
    /// As the workers are told.
    pub(crate) fn tunnel(&self) -> Tunnel {
        Tunnel {
            encapsulation: self.key.encapsulation,
            local: self.key.local,
            remote: self.key.remote,
            id_in: self.key.id_in,
            id_out: self.key.id_out,
            neighbour: self.neighbour,
            mtu: self.mtu,
        }
    }
}

/// All tunnels in use.
pub(crate) struct Tunnels {
    max: u16,
    entries: Vec<Option<Entry>>,
    free: Vec<u16>,
    by_key: FxHashMap<Key, u16>,
}

impl Tunnels {
    pub(crate) fn new(max: u16) -> Self {
        Self { max, entries: Vec::new(), free: Vec::new(), by_key: FxHashMap::default() }
    }

    /// The tunnel of that key, with one more binding.
    pub(crate) fn share(&mut self, key: &Key) -> Option<TunnelId> {
        let id = *self.by_key.get(key)?;
        self.entries[id as usize].as_mut()?.bindings += 1;
        Some(TunnelId(id))
    }

    /// Whether a tunnel more can be made.
    pub(crate) fn has_room(&self) -> bool {
        !self.free.is_empty() || self.entries.len() < self.max as usize
    }

    /// A new tunnel with one binding; `None` if the table is full.
    pub(crate) fn insert(
        &mut self,
        key: Key,
        neighbour: NeighbourId,
        mtu: u16,
    ) -> Option<(TunnelId, Tunnel)> {
        let id = match self.free.pop() {
            Some(id) => id,
            None if self.entries.len() < self.max as usize => {
                self.entries.push(None);
                (self.entries.len() - 1) as u16
            }
            None => return None,
        };
        let entry = Entry { key: key.clone(), neighbour, mtu, narrow_until: None, bindings: 1 };
        let tunnel = entry.tunnel();
        self.entries[id as usize] = Some(entry);
        self.by_key.insert(key, id);
        Some((TunnelId(id), tunnel))
    }

    /// One binding less; the entry if that was the last one.
    pub(crate) fn release(&mut self, id: TunnelId) -> Option<Entry> {
        let slot = self.entries.get_mut(id.0 as usize)?;
        let entry = slot.as_mut()?;
        entry.bindings -= 1;
        if entry.bindings > 0 {
            return None;
        }
        let entry = slot.take()?;
        self.by_key.remove(&entry.key);
        self.free.push(id.0);
        Some(entry)
    }

    pub(crate) fn get(&self, id: TunnelId) -> Option<&Entry> {
        self.entries.get(id.0 as usize)?.as_ref()
    }

    pub(crate) fn get_mut(&mut self, id: TunnelId) -> Option<&mut Entry> {
        self.entries.get_mut(id.0 as usize)?.as_mut()
    }

    /// When the first narrow path is to be tried at full width again.
    pub(crate) fn next_widening(&self) -> Option<Nanos> {
        self.iter().filter_map(|entry| entry.narrow_until).min()
    }

    /// Tunnels whose path is to be tried at full width again.
    pub(crate) fn widen(&mut self, mtu: u16, now: Nanos) -> Vec<(TunnelId, Tunnel)> {
        let mut widened = Vec::new();
        for (id, slot) in self.entries.iter_mut().enumerate() {
            if let Some(entry) = slot.as_mut().filter(|e| e.narrow_until.is_some_and(|until| until <= now)) {
                entry.narrow_until = None;
                entry.mtu = mtu;
                widened.push((TunnelId(id as u16), entry.tunnel()));
            }
        }
        widened
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Entry> {
        self.entries.iter().flatten()
    }

    pub(crate) fn used(&self) -> u32 {
        self.by_key.len() as u32
    }

    pub(crate) fn max(&self) -> u32 {
        u32::from(self.max)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(peer: &str, id_out: u32) -> Key {
        Key {
            peer: peer.into(),
            encapsulation: Encapsulation::Vxlan,
            local: Ipv4Addr::new(192, 0, 2, 1),
            remote: Ipv4Addr::new(192, 0, 2, 2),
            id_in: 1,
            id_out,
        }
    }

    #[test]
    fn bindings_share_a_tunnel_until_the_last_is_gone() {
        let mut tunnels = Tunnels::new(8);
        let (id, _) = tunnels.insert(key("b.", 2), NeighbourId(0), 1500).unwrap();
        assert_eq!(tunnels.share(&key("b.", 2)), Some(id));
        assert_eq!(tunnels.share(&key("b.", 3)), None);
        assert!(tunnels.release(id).is_none());
        assert!(tunnels.release(id).is_some());
        assert!(tunnels.release(id).is_none());
        assert_eq!((tunnels.share(&key("b.", 2)), tunnels.used()), (None, 0));
    }

    #[test]
    fn a_full_table_refuses_until_an_id_is_free() {
        let mut tunnels = Tunnels::new(1);
        let (id, _) = tunnels.insert(key("b.", 2), NeighbourId(0), 1500).unwrap();
        assert!(tunnels.insert(key("c.", 2), NeighbourId(0), 1500).is_none());
        tunnels.release(id);
        assert_eq!(tunnels.insert(key("c.", 2), NeighbourId(0), 1500).unwrap().0, id);
    }
}
