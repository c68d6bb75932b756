//! What the kernel knows about the shadow TAPs' neighbours, kept for lookups.
//!
//! What a dump did not name is gone after it. So every entry carries the number of the dump that last saw it.

use super::message::Notice;
use ces_dataplane::msg::PortId;
use rustc_hash::FxHashMap;
use std::net::Ipv4Addr;

/// Neighbours kept at most: twice the kernel's own hard limit (gc_thresh3 = 1024) for each of 16 ports.
const NEIGHBOURS: usize = 32_768;

/// A port's TAP, as the kernel has to have it.
#[derive(Clone, Copy, Debug)]
pub struct Shadow {
    /// Its interface index.
    pub index: u32,
    /// The port's MAC address.
    pub mac: [u8; 6],
}

/// The ports' TAPs, in the order of the ports.
#[derive(Clone, Debug, Default)]
pub struct Shadows(Vec<Shadow>);

impl Shadows {
    /// Of these.
    pub const fn new(shadows: Vec<Shadow>) -> Self {
        Self(shadows)
    }

    /// All of them.
    pub fn all(&self) -> &[Shadow] {
        &self.0
    }

    /// The interface index of a port's TAP.
    pub fn index(&self, port: PortId) -> Option<u32> {
        self.0.get(usize::from(port)).map(|own| own.index)
    }

    /// The port whose TAP has this interface index.
    pub fn port(&self, index: u32) -> Option<PortId> {
        self.0.iter().position(|own| own.index == index).map(|at| at as PortId)
    }

    /// The TAP of this interface index, if it is one whose MAC address is to be another than this.
    pub fn astray(&self, index: u32, mac: [u8; 6]) -> Option<Shadow> {
        self.0.iter().find(|own| own.index == index && own.mac != mac).copied()
    }
}

#[cfg(test)]
impl Shadows {
    /// TAPs with these interface indices.
    pub(crate) fn at(indices: &[u32]) -> Self {
        Self(indices.iter().map(|&index| Shadow { index, mac: [2; 6] }).collect())
    }
}

/// Where packets to some address go first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct NextHop {
    /// Out of this port.
    pub port: PortId,
    /// To this neighbour.
    pub address: Ipv4Addr,
}

/// A neighbour's MAC address is known, or has changed, or is unknown again.
pub type NeighbourChange = (NextHop, Option<[u8; 6]>);

#[derive(Clone, Copy)]
struct Seen<T> {
    value: T,
    dump: u32,
}

/// Neighbours of the ports' TAPs.
#[derive(Default)]
pub struct NeighbourTable {
    shadows: Shadows,
    neighbours: FxHashMap<NextHop, Seen<[u8; 6]>>,
    dump: u32,
    overflows: u64,
}

impl NeighbourTable {
    /// A table for these TAPs.
    pub fn new(shadows: Shadows) -> Self {
        Self { shadows, ..Self::default() }
    }

    /// The TAPs.
    pub fn shadows(&self) -> &Shadows {
        &self.shadows
    }

    /// The neighbour's MAC address, if the kernel knows it.
    pub fn mac(&self, hop: NextHop) -> Option<[u8; 6]> {
        self.neighbours.get(&hop).map(|seen| seen.value)
    }

    /// How many neighbours there are, and how many did not fit.
    pub fn sizes(&self) -> (usize, u64) {
        (self.neighbours.len(), self.overflows)
    }

    /// All neighbours, in no order.
    pub fn neighbours(&self) -> impl Iterator<Item = (NextHop, [u8; 6])> + '_ {
        self.neighbours.iter().map(|(hop, seen)| (*hop, seen.value))
    }

    /// Takes in what the kernel said. The hop that is returned second is stale: have it confirmed.
    pub fn hear(&mut self, notice: Notice) -> (Option<NeighbourChange>, Option<NextHop>) {
        match notice {
            Notice::Neighbour { index, address, mac, stale } => {
                let Some(port) = self.shadows.port(index) else { return (None, None) };
                let hop = NextHop { port, address };
                (self.set_neighbour(hop, mac), stale.then_some(hop))
            }
            Notice::NeighbourGone { index, address } => {
                let Some(port) = self.shadows.port(index) else { return (None, None) };
                (self.set_neighbour(NextHop { port, address }, None), None)
            }
            _ => (None, None),
        }
    }

    fn set_neighbour(&mut self, hop: NextHop, mac: Option<[u8; 6]>) -> Option<NeighbourChange> {
        let before = match mac {
            Some(value) => {
                if self.neighbours.len() >= NEIGHBOURS && !self.neighbours.contains_key(&hop) {
                    self.overflows += 1;
                    return None;
                }
                self.neighbours.insert(hop, Seen { value, dump: self.dump })
            }
            None => self.neighbours.remove(&hop),
        };
        (before.map(|seen| seen.value) != mac).then_some((hop, mac))
    }

    /// A dump begins: what it does not name will be gone at [`NeighbourTable::end_dump`].
    pub fn begin_dump(&mut self) {
        self.dump = self.dump.wrapping_add(1);
    }

    /// The dump is complete.
    pub fn end_dump(&mut self) -> Vec<NeighbourChange> {
        let dump = self.dump;
        let mut changes = Vec::new();
        self.neighbours.retain(|hop, seen| {
            let keep = seen.dump == dump;
            if !keep {
                changes.push((*hop, None));
            }
            keep
        });
        changes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NINE: NextHop = NextHop { port: 0, address: Ipv4Addr::new(10, 0, 0, 9) };

    fn table() -> NeighbourTable {
        NeighbourTable::new(Shadows::at(&[10, 11]))
    }

    fn said(index: u32, mac: Option<[u8; 6]>, stale: bool) -> Notice {
        Notice::Neighbour { index, address: NINE.address, mac, stale }
    }

    #[test]
    fn neighbours_of_other_interfaces_are_ignored() {
        assert_eq!(table().hear(said(99, Some([1; 6]), false)), (None, None));
    }

    #[test]
    fn only_a_tap_with_another_address_is_astray() {
        let shadows = Shadows::at(&[10, 11]);
        assert!(shadows.astray(10, [2; 6]).is_none());
        assert_eq!(shadows.astray(11, [3; 6]).map(|own| (own.index, own.mac)), Some((11, [2; 6])));
        assert!(shadows.astray(99, [3; 6]).is_none());
    }

    #[test]
    fn only_a_difference_is_a_change() {
        let mut table = table();
        let mut hear = |mac, stale| table.hear(said(10, mac, stale));
        assert_eq!(hear(Some([1; 6]), false), (Some((NINE, Some([1; 6]))), None));
        assert_eq!(hear(Some([1; 6]), true), (None, Some(NINE)));
        assert_eq!(hear(None, false), (Some((NINE, None)), None));
        assert_eq!(hear(None, false), (None, None));
    }

    #[test]
    fn what_a_dump_does_not_name_is_gone() {
        let mut table = table();
        table.hear(said(10, Some([1; 6]), false));
        table.begin_dump();
        assert_eq!(table.end_dump(), vec![(NINE, None)]);
        assert_eq!(table.mac(NINE), None);
    }
}
