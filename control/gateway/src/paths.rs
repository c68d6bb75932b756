//! How wide the way to a peer is, and by which next hop it begins: what the workers are told of a tunnel besides what was
//! agreed on. It is learnt anew by each process.

use crate::Nanos;
use crate::probes::Probes;
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
    /// As much as probes have shown it to carry, where that is less.
    shown: Option<u16>,
}

impl Path {
    /// Path MTU of the outer packet, in bytes.
    fn width(&self) -> u16 {
        self.shown.map_or(self.mtu, |shown| shown.min(self.mtu))
    }
}

/// The ways of all tunnels in use.
pub(crate) struct Paths {
    /// The MTU of our own port, in bytes.
    full: u16,
    paths: BTreeMap<TunnelId, Path>,
    probes: Probes,
}

impl Paths {
    pub(crate) fn new(full: u16) -> Self {
        Self { full, paths: BTreeMap::new(), probes: Probes::default() }
    }

    /// A tunnel comes into use. `said` is what a person has said of its MTU.
    pub(crate) fn insert(&mut self, id: TunnelId, neighbour: HopId, said: Option<u16>, now: Nanos) {
        let full = self.full_of(said);
        self.paths.insert(id, Path { neighbour, full, mtu: full, narrow_until: None, shown: None });
        self.probes.start(id, now);
    }

    /// A person says something else of a tunnel's MTU; true if that is new.
    pub(crate) fn say(&mut self, id: TunnelId, said: Option<u16>, now: Nanos) -> bool {
        let full = self.full_of(said);
        let Some(path) = self.paths.get_mut(&id).filter(|path| path.full != full) else { return false };
        (path.full, path.mtu, path.narrow_until, path.shown) = (full, full, None, None);
        self.probes.start(id, now);
        true
    }

    fn full_of(&self, said: Option<u16>) -> u16 {
        said.map_or(self.full, |said| said.min(self.full))
    }

    /// A tunnel goes out of use; the next hop that it held.
    pub(crate) fn remove(&mut self, id: TunnelId) -> Option<HopId> {
        self.probes.stop(id);
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
            mtu: path.width(),
        })
    }

    /// Path MTU of a tunnel's outer packet, in bytes.
    pub(crate) fn mtu(&self, id: TunnelId) -> u16 {
        self.paths.get(&id).map_or(self.full, Path::width)
    }

    /// A path is narrower than thought; false if that was known.
    pub(crate) fn narrow(&mut self, id: TunnelId, mtu: u16, now: Nanos) -> bool {
        let Some(path) = self.paths.get_mut(&id).filter(|path| mtu < path.mtu) else { return false };
        path.mtu = mtu;
        path.narrow_until = Some(now + NARROW_NS);
        true
    }

    /// A tunnel whose path is to be probed.
    pub(crate) fn take_due(&mut self, now: Nanos) -> Option<TunnelId> {
        self.probes.take_due(now)
    }

    /// The next probe of its path: see [`Probes::probe`].
    pub(crate) fn probe(&mut self, id: TunnelId, fresh: u32, now: Nanos) -> Option<(u16, u32)> {
        let width = self.paths.get(&id)?.mtu;
        self.probes.probe(id, width, fresh, now)
    }

    /// A probe was answered; false if it was none of this tunnel's.
    pub(crate) fn answered(&mut self, id: TunnelId, token: u32, now: Nanos) -> bool {
        let Some(shown) = self.probes.answered(id, token, now) else { return false };
        if let Some(path) = self.paths.get_mut(&id) {
            path.shown = shown;
        }
        true
    }

    /// When the first path is to be probed.
    pub(crate) fn next_probe(&self) -> Option<Nanos> {
        self.probes.next()
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
        paths.insert(id, HopId(1), None, 0);
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
        paths.insert(id, HopId(1), Some(1400), 0);
        assert!(!paths.narrow(id, 1450, 0) && paths.narrow(id, 1300, 0));
        paths.widen(NARROW_NS);
        assert_eq!((paths.mtu(id), paths.say(id, Some(1400), 0)), (1400, false));
        assert_eq!(
            (paths.say(id, Some(9000), 0), paths.mtu(id), paths.say(id, None, 0)),
            (true, 1500, false)
        );
        assert_eq!((paths.say(id, Some(1280), 0), paths.mtu(id)), (true, 1280));
    }

    #[test]
    fn p12_what_probes_show_limits_a_path_and_is_no_full_width() {
        let mut paths = Paths::new(1500);
        let id = TunnelId(3);
        paths.insert(id, HopId(1), None, 0);
        let mut now = 0;
        // A path of 1,400 that says nothing.
        while let Some(at) = paths.next_probe().filter(|at| *at < NARROW_NS) {
            now = at;
            while paths.take_due(now).is_some() {
                let Some((size, token)) = paths.probe(id, size_token(now), now) else { continue };
                assert!(size > 1400 || paths.answered(id, token, now));
            }
        }
        assert!((1393..=1400).contains(&paths.mtu(id)) && !paths.answered(id, 0, now));
        assert!(paths.narrow(id, 1300, now) && paths.mtu(id) == 1300);
        paths.widen(now + NARROW_NS);
        assert!(paths.mtu(id) > 1300 && paths.mtu(id) <= 1400, "what probes have shown stays");
        assert!(paths.say(id, Some(1350), now) && paths.mtu(id) == 1350, "a person knows better");
    }

    fn size_token(now: Nanos) -> u32 {
        1 + (now / 1_000_000) as u32
    }
}
