//! What the control thread does, in pieces: between two of them others have their turn, so the longest one says how long a
//! question may wait.
//!
//! How long a piece took is one thing, how long it worked another: on a machine with few cores a piece may wait for one. The
//! processor's time is asked for once a turn and after a piece that took long, so that what such a piece worked is at most
//! what is said.

use rustix::time::{ClockId, clock_gettime};
use serde::Serialize;

/// No piece should work longer, in nanoseconds.
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
    /// How long one worked at most, in nanoseconds.
    pub(super) worked_ns: u64,
    /// How many worked for more than 5 ms.
    pub(super) long: u64,
}

/// All pieces of work, by cause.
#[derive(Clone, Debug, Default)]
pub(super) struct Load {
    pieces: Vec<Pieces>,
    /// The processor's time when it was last asked for.
    processor_ns: u64,
    turns: u64,
    sleeps: u64,
}

impl Load {
    /// A piece of work has been done.
    pub(super) fn did(&mut self, by: &'static str, took_ns: u64) {
        let worked_ns = if took_ns > LONG_NS { took_ns.min(self.worked()) } else { took_ns };
        self.note(by, took_ns, worked_ns);
    }

    /// What this thread has worked since this was last asked, in nanoseconds.
    fn worked(&mut self) -> u64 {
        let time = clock_gettime(ClockId::ThreadCPUTime);
        let now = (time.tv_sec as u64) * 1_000_000_000 + time.tv_nsec as u64;
        now.saturating_sub(std::mem::replace(&mut self.processor_ns, now))
    }

    fn note(&mut self, by: &'static str, took_ns: u64, worked_ns: u64) {
        let place = self.pieces.iter().position(|pieces| pieces.by == by).unwrap_or_else(|| {
            self.pieces.push(Pieces { by, count: 0, longest_ns: 0, worked_ns: 0, long: 0 });
            self.pieces.len() - 1
        });
        let pieces = &mut self.pieces[place];
        pieces.count += 1;
        pieces.longest_ns = pieces.longest_ns.max(took_ns);
        pieces.worked_ns = pieces.worked_ns.max(worked_ns);
        pieces.long += u64::from(worked_ns > LONG_NS);
    }

    /// A piece of work of several in a row has been done, and the next begins.
    pub(super) fn lap(&mut self, by: &'static str, began: u64, now: u64) -> u64 {
        self.did(by, now.saturating_sub(began));
        now
    }

    pub(super) fn turned(&mut self) {
        self.turns += 1;
        self.worked();
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
        let pieces = [
            ("punts", 10, 10),
            ("reload", LONG_NS + 1, LONG_NS + 1),
            ("punts", LONG_NS + 2, 30),
            ("reload", LONG_NS, LONG_NS),
        ];
        for (by, took_ns, worked_ns) in pieces {
            load.note(by, took_ns, worked_ns);
        }
        let expected = [
            Pieces { by: "punts", count: 2, longest_ns: LONG_NS + 2, worked_ns: 30, long: 0 },
            Pieces { by: "reload", count: 2, longest_ns: LONG_NS + 1, worked_ns: LONG_NS + 1, long: 1 },
        ];
        assert_eq!(load.pieces(), expected);
    }

    #[test]
    fn r2_who_waits_for_a_core_does_not_work() {
        let mut load = Load::default();
        load.turned();
        let began = std::time::Instant::now();
        std::thread::sleep(std::time::Duration::from_nanos(2 * LONG_NS));
        load.did("sweep", began.elapsed().as_nanos() as u64);
        let [sweep] = load.pieces()[..] else { panic!("one cause") };
        assert!(sweep.longest_ns >= 2 * LONG_NS && sweep.worked_ns < LONG_NS && sweep.long == 0, "{sweep:?}");
    }
}
