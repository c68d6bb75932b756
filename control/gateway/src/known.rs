//! What earlier questions have told about far names, beyond what the resolver's cache holds.
//!
//! A name that has had CES records does not fall back to its ordinary address because one question about them went
//! unanswered; and one whose server keeps silent about them is not waited for at every query.

use crate::Nanos;
use rustc_hash::FxSeededState;
use std::collections::HashMap;
use std::sync::Arc;

/// What is known of a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Standing {
    /// It has CES records.
    Ces,
    /// Its server says nothing when asked for them.
    Silent,
}

impl Standing {
    /// For how long that is believed: a day covers an outage; RFC 9520 §3.2 lets a failure be remembered for 300 s.
    const fn lasts(self) -> Nanos {
        match self {
            Self::Ces => 86_400 * crate::SECOND,
            Self::Silent => 300 * crate::SECOND,
        }
    }
}

/// How long it is remembered that a host was refused, as long as a filter of CETP holds.
const REFUSED_NS: Nanos = 30 * crate::SECOND;
/// Names that are remembered: some 100 octets each, 6.5 MB.
const NAMES: usize = 65_536;

/// Names, and who is refused by which.
pub(crate) struct Known {
    names: HashMap<Arc<str>, (Standing, Nanos), FxSeededState>,
    refused: HashMap<(u32, Arc<str>), Nanos, FxSeededState>,
}

impl Known {
    pub(crate) fn new(seed: u64) -> Self {
        let hasher = FxSeededState::with_seed(seed as usize);
        Self { names: HashMap::with_hasher(hasher.clone()), refused: HashMap::with_hasher(hasher) }
    }

    /// Whether a name is known so.
    pub(crate) fn is(&self, name: &str, standing: Standing, now: Nanos) -> bool {
        self.names.get(name).is_some_and(|(own, until)| *own == standing && *until > now)
    }

    /// Something was told about a name.
    pub(crate) fn learn(&mut self, name: &Arc<str>, standing: Standing, now: Nanos) {
        if self.names.len() >= NAMES && !self.names.contains_key(name) {
            self.names.retain(|_, (_, until)| *until > now);
            // Full of what still holds: any of them gives way.
            if self.names.len() >= NAMES
                && let Some(name) = self.names.keys().next().cloned()
            {
                self.names.remove(&name);
            }
        }
        self.names.insert(Arc::clone(name), (standing, now + standing.lasts()));
    }

    /// A name has no CES records: what was known of it is over.
    pub(crate) fn forget(&mut self, name: &str) {
        self.names.remove(name);
    }

    /// Whether a host was refused by a name a moment ago.
    pub(crate) fn is_refused(&self, host: u32, name: &Arc<str>, now: Nanos) -> bool {
        self.refused.get(&(host, Arc::clone(name))).is_some_and(|until| *until > now)
    }

    /// A host was refused by a name.
    pub(crate) fn refused(&mut self, host: u32, name: &Arc<str>, now: Nanos) {
        if self.refused.len() >= NAMES {
            self.refused.retain(|_, until| *until > now);
        }
        if self.refused.len() < NAMES {
            self.refused.insert((host, Arc::clone(name)), now + REFUSED_NS);
        }
    }

    /// A host reached a name.
    pub(crate) fn reached(&mut self, host: u32, name: &Arc<str>) {
        self.refused.remove(&(host, Arc::clone(name)));
    }

    /// Policies may have changed.
    pub(crate) fn forget_refusals(&mut self) {
        self.refused.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_known_ends_and_is_bounded() {
        let mut known = Known::new(7);
        let name: Arc<str> = "www.b.demo.".into();
        known.learn(&name, Standing::Silent, 5);
        assert!(known.is(&name, Standing::Silent, 6) && !known.is(&name, Standing::Ces, 6));
        assert!(!known.is(&name, Standing::Silent, 5 + 300 * crate::SECOND));
        known.learn(&name, Standing::Ces, 5);
        known.forget(&name);
        assert!(!known.is(&name, Standing::Ces, 6));
        for n in 0..NAMES + 100 {
            known.learn(&format!("n{n}.").into(), Standing::Ces, 5);
            known.refused(n as u32, &name, 5);
        }
        assert_eq!((known.names.len(), known.refused.len()), (NAMES, NAMES));
        known.refused(u32::MAX, &name, 5 + REFUSED_NS);
        assert!(known.is_refused(u32::MAX, &name, 6 + REFUSED_NS) && known.refused.len() == 1);
        known.reached(u32::MAX, &name);
        assert!(!known.is_refused(u32::MAX, &name, 6 + REFUSED_NS));
    }
}
