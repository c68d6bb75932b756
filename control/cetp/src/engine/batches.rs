//! Sessions of one peer that are to end together: said in a moment, worked off a piece at a time.
//!
//! What a peer has when its sessions are to end is one batch; what is made from then on belongs to the next. So a session that
//! is to end is known as one at once, however many there are, and one that is made meanwhile is not among them.

use super::reason::DownReason;
use rustc_hash::FxHashSet;
use std::collections::{VecDeque, hash_set};

/// How sessions end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cause {
    /// We end them, and the peer has been told of all at once.
    Told,
    /// We end them, and each is told.
    Each,
    /// We end C2C when all of them are ended and told.
    Leaving,
    /// The peer ended them.
    ByPeer,
}

impl Cause {
    pub(super) const fn why(self) -> DownReason {
        match self {
            Self::Told | Self::Each | Self::Leaving => DownReason::ByUs,
            Self::ByPeer => DownReason::ByPeer,
        }
    }

    /// Whether the peer knows of the ends, and needs to be told of none.
    pub(super) const fn is_known(self) -> bool {
        matches!(self, Self::Told | Self::ByPeer)
    }
}

/// The next step in working off what is to end.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// This one ends, if it is of that batch.
    End(u32, Cause, u32),
    /// All that end so have ended.
    Done(Cause),
}

/// One peer's batches.
#[derive(Debug, Default)]
pub(super) struct Batches {
    /// The number of the one that lives. Those that end are the ones right before it.
    living: u32,
    ending: VecDeque<(Cause, hash_set::IntoIter<u32>)>,
}

impl Batches {
    /// The one that a new session belongs to.
    pub(super) const fn living(&self) -> u32 {
        self.living
    }

    /// Whether nothing is to end.
    pub(super) fn is_empty(&self) -> bool {
        self.ending.is_empty()
    }

    /// These, which are all that live, are to end.
    pub(super) fn end(&mut self, cause: Cause, tags: FxHashSet<u32>) {
        self.ending.push_back((cause, tags.into_iter()));
        self.living = self.living.wrapping_add(1);
    }

    /// How sessions of a batch end; `None` if they live.
    pub(super) fn cause(&self, batch: u32) -> Option<Cause> {
        let before = self.living.wrapping_sub(batch) as usize;
        let place = self.ending.len().checked_sub(before)?;
        self.ending.get(place).map(|(cause, _)| *cause)
    }

    /// What is to be done next.
    pub(super) fn next(&mut self) -> Option<Step> {
        let batch = self.living.wrapping_sub(self.ending.len() as u32);
        let (cause, tags) = self.ending.front_mut()?;
        let cause = *cause;
        if let Some(tag) = tags.next() {
            return Some(Step::End(tag, cause, batch));
        }
        self.ending.pop_front();
        Some(Step::Done(cause))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn r2_what_is_made_meanwhile_is_not_of_what_ends() {
        let mut batches = Batches::default();
        assert_eq!((batches.cause(0), batches.next()), (None, None));
        batches.end(Cause::ByPeer, [7].into_iter().collect());
        assert_eq!((batches.cause(0), batches.cause(batches.living())), (Some(Cause::ByPeer), None));
        batches.end(Cause::Told, [8].into_iter().collect());
        assert_eq!(
            (batches.cause(0), batches.cause(1), batches.cause(2)),
            (Some(Cause::ByPeer), Some(Cause::Told), None)
        );
        let steps: Vec<Step> = std::iter::from_fn(|| batches.next()).collect();
        let expected = [
            Step::End(7, Cause::ByPeer, 0),
            Step::Done(Cause::ByPeer),
            Step::End(8, Cause::Told, 1),
            Step::Done(Cause::Told),
        ];
        assert_eq!(steps, expected);
        assert_eq!((batches.cause(0), batches.cause(1), batches.living()), (None, None, 2));
    }
}
