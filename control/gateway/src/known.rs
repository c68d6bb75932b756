//! What earlier questions have told about far names, beyond what the resolver's cache and the journal hold.
//!
//! A name whose server keeps silent about CES records is not waited for at every query; a host that was refused by a name is
//! told so by other types, too.

use crate::Nanos;
use rustc_hash::FxSeededState;
use std::collections::HashMap;
use std::sync::Arc;

/// How long silence is remembered: RFC 9520 §3.2 lets a failure be remembered for 300 s.
const SILENT_NS: Nanos = 300 * crate::SECOND;
/// How long it is remembered that a host was refused, as long as a filter of CETP holds.
const REFUSED_NS: Nanos = 30 * crate::SECOND;
/// Names that are remembered: some 100 octets each, 6.5 MB.
const NAMES: usize = 65_536;

/// Names whose servers say nothing when asked for CES records, and who is refused by which.
pub(crate) struct Known {
    silent: HashMap<Arc<str>, Nanos, FxSeededState>,
    refused: HashMap<(u32, Arc<str>), Nanos, FxSeededState>,
}

impl Known {
    pub(crate) fn new(seed: u64) -> Self {
        let hasher = FxSeededState::with_seed(seed as usize);
        Self { silent: HashMap::with_hasher(hasher.clone()), refused: HashMap::with_hasher(hasher) }
    }

    /// Whether nothing was heard about a name of late.
    pub(crate) fn is_silent(&self, name: &str, now: Nanos) -> bool {
        self.silent.get(name).is_some_and(|until| *until > now)
    }

    /// Nothing was heard about a name.
    pub(crate) fn silent(&mut self, name: &Arc<str>, now: Nanos) {
        if self.silent.len() >= NAMES && !self.silent.contains_key(name) {
            self.silent.retain(|_, until| *until > now);
            // Full of what still holds: any of them gives way.
            if self.silent.len() >= NAMES
                && let Some(name) = self.silent.keys().next().cloned()
            {
                self.silent.remove(&name);
            }
        }
        self.silent.insert(Arc::clone(name), now + SILENT_NS);
    }

    /// Something was heard about a name.
    pub(crate) fn heard(&mut self, name: &str) {
        self.silent.remove(name);
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
        known.silent(&name, 5);
        assert!(known.is_silent(&name, 6) && !known.is_silent(&name, 5 + SILENT_NS));
        known.heard(&name);
        assert!(!known.is_silent(&name, 6));
        for n in 0..NAMES + 100 {
            known.silent(&format!("n{n}.").into(), 5);
            known.refused(n as u32, &name, 5);
        }
        assert_eq!((known.silent.len(), known.refused.len()), (NAMES, NAMES));
        known.refused(u32::MAX, &name, 5 + REFUSED_NS);
        assert!(known.is_refused(u32::MAX, &name, 6 + REFUSED_NS) && known.refused.len() == 1);
        known.reached(u32::MAX, &name);
        assert!(!known.is_refused(u32::MAX, &name, 6 + REFUSED_NS));
    }
}
