//! Two names and a peer: what sessions and negotiations are found by.

use super::api::{PeerId, Role};
use std::borrow::Borrow;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

/// What a session or negotiation is found by: the peer, which end we are, and both names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Pair {
    pub(super) peer: PeerId,
    pub(super) role: Role,
    pub(super) source: Arc<str>,
    pub(super) destination: Arc<str>,
}

/// The same by reference, so that a lookup makes no copy of the names.
pub(super) trait PairRef {
    fn parts(&self) -> (PeerId, Role, &str, &str);
}

impl PairRef for Pair {
    fn parts(&self) -> (PeerId, Role, &str, &str) {
        (self.peer, self.role, &self.source, &self.destination)
    }
}

impl PairRef for (PeerId, Role, &str, &str) {
    fn parts(&self) -> (PeerId, Role, &str, &str) {
        *self
    }
}

impl Hash for dyn PairRef + '_ {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.parts().hash(state);
    }
}

impl PartialEq for dyn PairRef + '_ {
    fn eq(&self, other: &Self) -> bool {
        self.parts() == other.parts()
    }
}

impl Eq for dyn PairRef + '_ {}

impl Hash for Pair {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.parts().hash(state);
    }
}

impl<'a> Borrow<dyn PairRef + 'a> for Pair {
    fn borrow(&self) -> &(dyn PairRef + 'a) {
        self
    }
}
