//! How wide the way to a peer is, and by which next hop it begins: what the workers are told of a tunnel besides what was
//! agreed on. It is learnt anew by each process.

use crate::Nanos;
use crate::sessions::TunnelKey;
use ces_dataplane::msg::{HopId, Tunnel, TunnelId};
use std::collections::BTreeMap;

/// How long a narrower path is believed in before the full width is tried again: RFC 1191 §6.3 recommends 10 minutes.
const NARROW_NS: Nanos = 600 * crate::SECOND;

/// The way of one tunnel.
#[derive(Clone, Copy, Debug)]
struct Path {
    neighbour: HopId,
    /// Its MTU where nothing better is known, in bytes.
    full: u16,
    mtu: u16,
    /// Until when a narrower path is believed in.
    narrow_until: Option<Nanos>,
}

/// The ways of all tunnels in use.
pub(crate) struct Paths {
    /// The MTU of our own port, in bytes.
    full: u16,
    paths: BTreeMap<TunnelId, Path>,
}

impl Paths {
    pub(crate) fn new(full: u16) -> Self {
        Self { full, paths: BTreeMap::new() }
    }

    /// A tunnel comes into use. `said` is what a person has said of its MTU.
    pub(crate) fn insert(&mut self, id: TunnelId, neighbour: HopId, said: Option<u16>) {
        let full = self.full_of(said);
        self.paths.insert(id, Path { neighbour, full, mtu: full, narrow_until: None });
    }

    /// A person says something else of a tunnel's MTU; true if that is new.
    pub(crate) fn say(&mut self, id: TunnelId, said: Option<u16>) -> bool {
        let full = self.full_of(said);
        let Some(path) = self.paths.get_mut(&id).filter(|path| path.full != full) else { return false };
        (path.full, path.mtu, path.narrow_until) = (full, full, None);
        true
    }

    fn full_of(&self, said: Option<u16>) -> u16 {
        said.map_or(self.full, |said| said.min(self.full))
    }

    /// A tunnel goes out of use; the next hop that it held.
    pub(crate) fn remove(&mut self, id: TunnelId) -> Option<HopId> {
        self.paths.remove(&id).map(|path| path.neighbour)
    }

    /// As the workers are told.
    pub(crate) fn tunnel(&self, id: TunnelId, key: &TunnelKey) -> Option<Tunnel> {
        self.paths.get(&id).map(|path| Tunnel {
            encapsulation: key.encapsulation,
            local: key.local.v4(),
            remote: key.remote.v4(),
            id_in: key.id_in,
            id_out: key.id_out,
            neighbour: path.neighbour,
            mtu: path.mtu,
        })
    }

    /// Path MTU of a tunnel's outer packet, in bytes.
    pub(crate) fn mtu(&self, id: TunnelId) -> u16 {
        self.paths.get(&id).map_or(self.full, |path| path.mtu)
    }

    /// A path is narrower than thought; false if that was known.
    pub(crate) fn narrow(&mut self, id: TunnelId, mtu: u16, now: Nanos) -> bool {
        let Some(path) = self.paths.get_mut(&id).filter(|path| mtu < path.mtu) else { return false };
        path.mtu = mtu;
        path.narrow_until = Some(now + NARROW_NS);
        true
    }

    /// When the first narrow path is to be tried at full width again.
    pub(crate) fn next_widening(&self) -> Option<Nanos> {
        self.paths.values().filter_map(|path| path.narrow_until).min()
    }

    /// Tunnels whose path is tried at full width again.
    pub(crate) fn widen(&mut self, now: Nanos) -> Vec<TunnelId> {
        let mut widened = Vec::new();
        for (id, path) in &mut self.paths {
            if path.narrow_until.is_some_and(|until| until <= now) {
                path.narrow_until = None;
                path.mtu = path.full;
                widened.push(*id);
            }
        }
        widened
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_narrow_path_is_tried_at_full_width_after_ten_minutes() {
        let mut paths = Paths::new(1500);
        let id = TunnelId(3);
        paths.insert(id, HopId(1), None);
        assert!(paths.narrow(id, 1400, 0) && !paths.narrow(id, 1450, 0));
        assert_eq!((paths.mtu(id), paths.next_widening()), (1400, Some(NARROW_NS)));
        assert_eq!(paths.widen(NARROW_NS - 1), []);
        assert_eq!(paths.widen(NARROW_NS), [id]);
        assert_eq!((paths.mtu(id), paths.next_widening()), (1500, None));
        assert_eq!((paths.remove(id), paths.remove(id)), (Some(HopId(1)), None));
    }

    #[test]
    fn p12_what_a_person_says_is_full_and_no_wider_than_our_port() {
        let mut paths = Paths::new(1500);
        let id = TunnelId(3);
        paths.insert(id, HopId(1), Some(1400));
        assert!(!paths.narrow(id, 1450, 0) && paths.narrow(id, 1300, 0));
        paths.widen(NARROW_NS);
        assert_eq!((paths.mtu(id), paths.say(id, Some(1400))), (1400, false));
        assert_eq!((paths.say(id, Some(9000)), paths.mtu(id), paths.say(id, None)), (true, 1500, false));
        assert_eq!((paths.say(id, Some(1280)), paths.mtu(id)), (true, 1280));
    }
}
