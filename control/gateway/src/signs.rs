//! Whether anything comes on sessions of which nobody knows whether their peer still has them: their workers are asked for what
//! they have carried, and more than the first time is a sign.

use rustc_hash::FxHashMap;
use std::sync::Arc;

/// What is known of one peer's.
#[derive(Debug)]
struct Looked {
    ces_id: Arc<str>,
    /// Tags that are yet to be asked for.
    owed: std::vec::IntoIter<u32>,
    /// Packets from the peer by then, by tag.
    first: FxHashMap<u32, u64>,
}

/// All peers that are looked at.
#[derive(Debug, Default)]
pub(crate) struct Signs(Vec<Looked>);

impl Signs {
    /// Looks at a peer's sessions once more, unless they are being gone through; whether it is looked at for the first time.
    pub(crate) fn look(&mut self, ces_id: &Arc<str>, tags: impl FnOnce() -> Vec<u32>) -> bool {
        match self.of(ces_id) {
            Some(looked) if looked.owed.len() > 0 => false,
            Some(looked) => {
                looked.owed = tags().into_iter();
                false
            }
            None => {
                let owed = tags().into_iter();
                self.0.push(Looked { ces_id: Arc::clone(ces_id), owed, first: FxHashMap::default() });
                true
            }
        }
    }

    /// Whether workers are to be asked.
    pub(crate) fn is_owed(&self) -> bool {
        self.0.iter().any(|looked| looked.owed.len() > 0)
    }

    /// The next tags to ask for.
    pub(crate) fn take(&mut self, most: usize) -> Vec<u32> {
        self.0.iter_mut().flat_map(|looked| &mut looked.owed).take(most).collect()
    }

    /// So many packets have come from the peer on a session; whether that is a sign.
    pub(crate) fn read(&mut self, ces_id: &str, tag: u32, packets: u64) -> bool {
        self.of(ces_id).is_some_and(|looked| packets > *looked.first.entry(tag).or_insert(packets))
    }

    /// A peer need not be looked at any more, or what was seen of it shows nothing. False if it was not looked at.
    pub(crate) fn over(&mut self, ces_id: &str) -> bool {
        let before = self.0.len();
        self.0.retain(|looked| *looked.ces_id != *ces_id);
        self.0.len() < before
    }

    fn of(&mut self, ces_id: &str) -> Option<&mut Looked> {
        self.0.iter_mut().find(|looked| *looked.ces_id == *ces_id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn c13_what_comes_after_the_first_look_is_a_sign() {
        let mut signs = Signs::default();
        let ces_id: Arc<str> = "gwb.demo.".into();
        assert!(!signs.read(&ces_id, 1, 7) && !signs.is_owed());
        assert!(signs.look(&ces_id, || vec![1, 2, 3]));
        assert!(!signs.look(&ces_id, || panic!("they are being gone through")));
        assert_eq!((signs.take(2), signs.take(2), signs.is_owed()), (vec![1, 2], vec![3], false));
        assert!(!signs.read(&ces_id, 1, 7) && !signs.read(&ces_id, 1, 7) && !signs.read(&ces_id, 2, 0));
        assert!(!signs.look(&ces_id, || vec![1, 2]));
        assert!(signs.is_owed() && signs.read(&ces_id, 1, 8));
        assert!(signs.over(&ces_id) && !signs.over(&ces_id));
        assert!(!signs.is_owed() && !signs.read(&ces_id, 1, 9));
    }
}
