//! Tunnels towards peers: one for each peer, pair of locators, encapsulation and pair of ids, shared by its sessions.

use super::session::TunnelKey;
use ces_dataplane::msg::TunnelId;
use rustc_hash::FxHashMap;

/// A tunnel in use.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct TunnelInUse {
    pub(crate) key: TunnelKey,
    pub(crate) bindings: u32,
}

/// All tunnels in use, under the ids that the workers know them by.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct TunnelsInUse {
    max: u16,
    entries: Vec<Option<TunnelInUse>>,
    free: Vec<u16>,
    by_key: FxHashMap<TunnelKey, u16>,
}

impl TunnelsInUse {
    pub(super) fn new(max: u16) -> Self {
        Self { max, entries: Vec::new(), free: Vec::new(), by_key: FxHashMap::default() }
    }

    /// Whether there is room for that tunnel, or it is there.
    pub(crate) fn has_room(&self, key: &TunnelKey) -> bool {
        self.by_key.contains_key(key) || !self.free.is_empty() || self.entries.len() < self.max as usize
    }

    /// The tunnel of that key, with one more binding, and whether it is new; `None` if the table is full.
    pub(super) fn share(&mut self, key: &TunnelKey) -> Option<(TunnelId, bool)> {
        if let Some(id) = self.by_key.get(key) {
            self.entries[*id as usize].as_mut()?.bindings += 1;
            return Some((TunnelId(*id), false));
        }
        let id = match self.free.pop() {
            Some(id) => id,
            None if self.entries.len() < self.max as usize => {
                self.entries.push(None);
                (self.entries.len() - 1) as u16
            }
            None => return None,
        };
        self.entries[id as usize] = Some(TunnelInUse { key: key.clone(), bindings: 1 });
        self.by_key.insert(key.clone(), id);
        Some((TunnelId(id), true))
    }

    /// One binding less; the id if that was the last one.
    pub(super) fn release(&mut self, key: &TunnelKey) -> Option<TunnelId> {
        let id = *self.by_key.get(key)?;
        let slot = self.entries.get_mut(id as usize)?;
        let entry = slot.as_mut()?;
        entry.bindings -= 1;
        if entry.bindings > 0 {
            return None;
        }
        *slot = None;
        self.by_key.remove(key);
        self.free.push(id);
        Some(TunnelId(id))
    }

    pub(crate) fn id(&self, key: &TunnelKey) -> Option<TunnelId> {
        self.by_key.get(key).map(|id| TunnelId(*id))
    }

    pub(crate) fn get(&self, id: TunnelId) -> Option<&TunnelInUse> {
        self.entries.get(id.0 as usize)?.as_ref()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (TunnelId, &TunnelInUse)> {
        (0u16..).map(TunnelId).zip(&self.entries).filter_map(|(id, entry)| Some((id, entry.as_ref()?)))
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
    use ces_dataplane::msg::Encapsulation;

    fn key(peer: &str, id_out: u32) -> TunnelKey {
        TunnelKey {
            peer: peer.into(),
            encapsulation: Encapsulation::Vxlan,
            local: [192, 0, 2, 1].into(),
            remote: [192, 0, 2, 2].into(),
            id_in: 1,
            id_out,
        }
    }

    #[test]
    fn bindings_share_a_tunnel_until_the_last_is_gone() {
        let mut tunnels = TunnelsInUse::new(8);
        let (id, is_new) = tunnels.share(&key("b.", 2)).unwrap();
        assert!(is_new);
        assert_eq!(tunnels.share(&key("b.", 2)), Some((id, false)));
        assert!(tunnels.share(&key("b.", 3)).unwrap().1, "another id is another tunnel");
        assert!(tunnels.release(&key("b.", 2)).is_none());
        assert_eq!(tunnels.release(&key("b.", 2)), Some(id));
        assert!(tunnels.release(&key("b.", 2)).is_none());
        assert_eq!((tunnels.id(&key("b.", 2)), tunnels.used()), (None, 1));
    }

    #[test]
    fn a_full_table_refuses_until_an_id_is_free() {
        let mut tunnels = TunnelsInUse::new(1);
        let (id, _) = tunnels.share(&key("b.", 2)).unwrap();
        assert!(tunnels.share(&key("c.", 2)).is_none() && !tunnels.has_room(&key("c.", 2)));
        tunnels.release(&key("b.", 2));
        assert_eq!(tunnels.share(&key("c.", 2)).unwrap().0, id);
    }
}
