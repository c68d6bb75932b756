//! What the control thread does, in pieces: between two of them others have their turn, so the longest one says how long a
//! question may wait.

use serde::Serialize;

/// No piece should take longer, in nanoseconds.
const LONG_NS: u64 = 5_000_000;

/// The pieces of one cause.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Pieces {
    /// Who causes them.
    pub(super) by: &'static str,
    /// How many there were.
    pub(super) count: u64,
    /// How long the longest took, in nanoseconds.
    pub(super) longest_ns: u64,
    /// How many took more than 5 ms.
    pub(super) long: u64,
}

/// All pieces of work, by cause.
#[derive(Clone, Debug, Default)]
pub(super) struct Load {
    pieces: Vec<Pieces>,
    turns: u64,
    sleeps: u64,
}

impl Load {
    /// A piece of work has been done.
    pub(super) fn did(&mut self, by: &'static str, took_ns: u64) {
        let place = self.pieces.iter().position(|pieces| pieces.by == by).unwrap_or_else(|| {
            self.pieces.push(Pieces { by, count: 0, longest_ns: 0, long: 0 });
            self.pieces.len() - 1
        });
        let pieces = &mut self.pieces[place];
        pieces.count += 1;
        pieces.longest_ns = pieces.longest_ns.max(took_ns);
        pieces.long += u64::from(took_ns > LONG_NS);
    }

    /// A piece of work of several in a row has been done, and the next begins.
    pub(super) fn lap(&mut self, by: &'static str, began: u64, now: u64) -> u64 {
        self.did(by, now.saturating_sub(began));
        now
    }

    pub(super) fn turned(&mut self) {
        self.turns += 1;
    }

    pub(super) fn slept(&mut self) {
        self.sleeps += 1;
    }

    /// Those whose longest is the longest come first.
    pub(super) fn pieces(&self) -> Vec<Pieces> {
        let mut pieces = self.pieces.clone();
        pieces.sort_by_key(|pieces| std::cmp::Reverse(pieces.longest_ns));
        pieces
    }

    /// Turns of the loop, and how many of them slept.
    pub(super) fn turns(&self) -> (u64, u64) {
        (self.turns, self.sleeps)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_piece_is_kept_with_its_cause() {
        let mut load = Load::default();
        for (by, took_ns) in [("punts", 10), ("reload", LONG_NS + 1), ("punts", 30), ("reload", LONG_NS)] {
            load.did(by, took_ns);
        }
        let expected = [
            Pieces { by: "reload", count: 2, longest_ns: LONG_NS + 1, long: 1 },
            Pieces { by: "punts", count: 2, longest_ns: 30, long: 0 },
        ];
        assert_eq!(load.pieces(), expected);
    }
}
