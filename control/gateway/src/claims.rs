//! What peers' words for the names of their hosts are worth (C17): a name is its gateway's if its own CES records say so.

use crate::Nanos;
use ces_meter::{Level, Rate};
use rustc_hash::{FxHashMap, FxHashSet, FxSeededState};
use std::collections::HashMap;
use std::sync::Arc;

/// Words that are remembered, some 200 octets each.
const KEPT: usize = 16_384;
/// Names that are looked up at a time, in all and for one peer: a realm whose hosts all begin at once must not be refused.
const ASKED: usize = 8192;
const ASKED_OF_PEER: usize = 2048;
/// Look-ups a second: as many as new sessions, and more than a resolver near by minds.
const RATE: u32 = 4000;

/// How often it is looked for words that are over, when there is no room: each look is at all of them.
const PURGE_NS: Nanos = crate::SECOND;

/// What a look-up told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ClaimWord {
    /// The name leads to that peer.
    True,
    /// It leads elsewhere, or nowhere.
    False,
    /// Nobody could say.
    Unheard,
}

impl ClaimWord {
    /// For how long it is remembered: what failed is asked again soon.
    const fn lasts(self) -> Nanos {
        match self {
            Self::True => 300 * crate::SECOND,
            Self::False => 30 * crate::SECOND,
            Self::Unheard => 5 * crate::SECOND,
        }
    }
}

/// A peer, and the name of a host that it says is behind it.
type Key = (Arc<str>, Arc<str>);

/// All words, and those that are being looked up.
pub(crate) struct Claims {
    known: HashMap<Key, (ClaimWord, Nanos), FxSeededState>,
    /// By peer.
    asked: FxHashMap<Arc<str>, FxHashSet<Arc<str>>>,
    /// How many that are.
    under_way: usize,
    rate: Level,
    /// When it was last looked for words that are over.
    purged: Nanos,
}

impl Claims {
    pub(crate) fn new(seed: u64) -> Self {
        let known = HashMap::with_hasher(FxSeededState::with_seed(seed as usize));
        Self { known, asked: FxHashMap::default(), under_way: 0, rate: Level::default(), purged: 0 }
    }

    /// What is known of a peer's word.
    pub(crate) fn known(&self, peer: &str, name: &str, now: Nanos) -> Option<ClaimWord> {
        let key = (Arc::from(peer), Arc::from(name));
        self.known.get(&key).filter(|(_, until)| *until > now).map(|(word, _)| *word)
    }

    /// Whether a word is to be looked up from here on. If it is not, it is being looked up, or nothing is known of it for a
    /// while.
    pub(crate) fn ask(&mut self, peer: &Arc<str>, name: &Arc<str>, now: Nanos) -> bool {
        if self.is_asked(peer, name) {
            return false;
        }
        let of_peer = self.asked.get(peer).map_or(0, FxHashSet::len);
        let may = self.under_way < ASKED && of_peer < ASKED_OF_PEER;
        let may = may && self.rate.take(Rate::per_second(RATE), now);
        if may {
            self.asked.entry(Arc::clone(peer)).or_default().insert(Arc::clone(name));
            self.under_way += 1;
        } else {
            self.learn(peer, name, ClaimWord::Unheard, now);
        }
        may
    }

    /// Whether a word is being looked up.
    pub(crate) fn is_asked(&self, peer: &Arc<str>, name: &Arc<str>) -> bool {
        self.asked.get(peer).is_some_and(|names| names.contains(name))
    }

    /// A look-up has ended.
    pub(crate) fn learn(&mut self, peer: &Arc<str>, name: &Arc<str>, word: ClaimWord, now: Nanos) {
        let key = (Arc::clone(peer), Arc::clone(name));
        if let Some(names) = self.asked.get_mut(peer) {
            self.under_way -= usize::from(names.remove(name));
            if names.is_empty() {
                self.asked.remove(peer);
            }
        }
        if self.known.len() >= KEPT && !self.known.contains_key(&key) {
            if now.saturating_sub(self.purged) >= PURGE_NS {
                self.purged = now;
                self.known.retain(|_, (_, until)| *until > now);
            }
            if self.known.len() >= KEPT
                && let Some(other) = self.known.keys().next().cloned()
            {
                self.known.remove(&other);
            }
        }
        self.known.insert(key, (word, now + word.lasts()));
    }

    /// Zones and peers may be others.
    pub(crate) fn forget(&mut self) {
        self.known.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn c17_what_is_looked_up_and_what_is_known_is_bounded() {
        let mut claims = Claims::new(3);
        let (one, other): (Arc<str>, Arc<str>) = ("gwa.".into(), "gwb.".into());
        let name = |n: usize| Arc::<str>::from(format!("h{n}.a."));
        assert!(claims.ask(&one, &name(0), 5) && !claims.ask(&one, &name(0), 5));
        assert_eq!((1..3000).filter(|n| claims.ask(&one, &name(*n), 5)).count(), ASKED_OF_PEER - 1);
        assert!(claims.ask(&other, &name(0), 5));
        assert_eq!(claims.known(&one, &name(2999), 6), Some(ClaimWord::Unheard));
        claims.learn(&one, &name(0), ClaimWord::True, 5);
        assert_eq!(claims.known(&one, &name(0), 6), Some(ClaimWord::True));
        assert_eq!((claims.known(&other, &name(0), 6), claims.is_asked(&one, &name(0))), (None, false));
        assert_eq!(claims.known(&one, &name(0), 6 + ClaimWord::True.lasts()), None);
        for n in 0..KEPT + 100 {
            claims.learn(&one, &name(n), ClaimWord::False, 5);
        }
        assert_eq!(claims.known.len(), KEPT);
    }
}
