//! How wide a path is where nobody says so: probes of its width, as RFC 8899 describes them for a path that swallows what is
//! too large without a word.
//!
//! A probe is an ICMP echo request to the peer's locator that must not be fragmented, as long as the outer packets may be:
//! tunnels have no answer of their own, and a gateway answers echo requests. Only the difference between two lengths says
//! anything: where [`BASE`] is answered and the whole width is not, the path is narrower, and the width in between is sought.
//! Who answers nothing may be silent for any reason, and nothing is concluded.

use crate::{Nanos, SECOND};
use ces_dataplane::msg::TunnelId;
use std::collections::{BTreeMap, BTreeSet};

/// The widest packet that a path carries, where that is less than its link does.
type Limit = Option<u16>;

/// What every path carries that is of use: RFC 8899 §5.1.2 has 1,200 octets and what is around them; RFC 8200 §5 has this.
const BASE: u16 = 1280;
/// The longest probe: what fits a frame that the control thread sends. A wider path is not looked at beyond.
const MOST: u16 = 2000;
/// Probes of one length before its silence counts (RFC 8899 §5.1.2, MAX_PROBES).
const TRIES: u8 = 3;
/// How long each has to be answered (RFC 8899 §5.1.1, PROBE_TIMER: more than the round trip).
const WAIT_NS: Nanos = SECOND / 2;
/// A search ends when no more is left to find.
const GRAIN: u16 = 8;
/// A width that was answered is confirmed so often, so that a path that becomes narrower is noticed (RFC 8899 §5.1.1).
const CONFIRM_NS: Nanos = 60 * SECOND;
/// A width that was not is tried again so often (RFC 8899 §5.1.1, PMTU_RAISE_TIMER).
const RAISE_NS: Nanos = 600 * SECOND;

/// What is being asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// Whether the path is as wide as it is thought to be.
    Top,
    /// Whether it answers at all.
    Base,
    /// How wide it is, between what was answered and what was not.
    Search { low: u16, high: u16 },
}

#[derive(Clone, Copy, Debug)]
struct Probe {
    stage: Stage,
    /// As wide as it is thought to be.
    top: u16,
    size: u16,
    tries: u8,
    token: u32,
    due: Nanos,
}

impl Probe {
    fn begin(&mut self, stage: Stage, size: u16) {
        (self.stage, self.size, self.tries) = (stage, size, 0);
    }

    /// Goes on between two widths, or begins at the top after a rest; how long that is.
    fn search(&mut self, low: u16, high: u16) -> Nanos {
        if high - low <= GRAIN {
            self.begin(Stage::Top, self.top);
            return RAISE_NS;
        }
        self.begin(Stage::Search { low, high }, low.midpoint(high));
        0
    }

    /// Nothing of this size has been answered; how long to rest.
    fn silent(&mut self) -> Nanos {
        match self.stage {
            Stage::Top if self.top > BASE => {
                self.begin(Stage::Base, BASE);
                0
            }
            Stage::Top | Stage::Base => {
                self.begin(Stage::Top, self.top);
                RAISE_NS
            }
            Stage::Search { low, .. } => self.search(low, self.size),
        }
    }
}

/// The probes of all tunnels.
#[derive(Default)]
pub(crate) struct Probes {
    probes: BTreeMap<TunnelId, Probe>,
    /// When each has to be seen to.
    due: BTreeSet<(Nanos, TunnelId)>,
}

impl Probes {
    /// A tunnel comes into use.
    pub(crate) fn start(&mut self, id: TunnelId, now: Nanos) {
        self.stop(id);
        let probe = Probe { stage: Stage::Top, top: 0, size: 0, tries: 0, token: 0, due: now };
        self.probes.insert(id, probe);
        self.due.insert((now, id));
    }

    /// A tunnel goes out of use.
    pub(crate) fn stop(&mut self, id: TunnelId) {
        if let Some(probe) = self.probes.remove(&id) {
            self.due.remove(&(probe.due, id));
        }
    }

    /// When the next one has to be seen to.
    pub(crate) fn next(&self) -> Option<Nanos> {
        self.due.first().map(|(at, _)| *at)
    }

    /// A tunnel that has to be seen to.
    pub(crate) fn take_due(&mut self, now: Nanos) -> Option<TunnelId> {
        let (_, id) = *self.due.first().filter(|(at, _)| *at <= now)?;
        self.due.pop_first();
        Some(id)
    }

    /// The next probe of a tunnel that was [taken](Probes::take_due): its length and its token, which is `fresh` for each new
    /// length. `None`: it rests for a while. `width` is how wide the path is thought to be.
    pub(crate) fn probe(&mut self, id: TunnelId, width: u16, fresh: u32, now: Nanos) -> Option<(u16, u32)> {
        let probe = self.probes.get_mut(&id)?;
        let rest = if probe.tries == TRIES { probe.silent() } else { 0 };
        let asks = rest == 0;
        if asks {
            if probe.tries == 0 {
                probe.token = fresh;
                if probe.stage == Stage::Top {
                    probe.top = width.min(MOST);
                    probe.size = probe.top;
                }
            }
            probe.tries += 1;
        }
        probe.due = now + if asks { WAIT_NS } else { rest };
        self.due.insert((probe.due, id));
        asks.then_some((probe.size, probe.token))
    }

    /// A probe was answered. What is known now of the tunnel's width: nothing that limits it, or as much as was answered.
    pub(crate) fn answered(&mut self, id: TunnelId, token: u32, now: Nanos) -> Option<Limit> {
        let probe = self.probes.get_mut(&id).filter(|probe| probe.tries > 0 && probe.token == token)?;
        let size = probe.size;
        let (rest, known) = match probe.stage {
            Stage::Top => {
                probe.begin(Stage::Top, size);
                (CONFIRM_NS, None)
            }
            Stage::Base => (probe.search(size, probe.top), Some(size)),
            Stage::Search { high, .. } => (probe.search(size, high), Some(size)),
        };
        self.due.remove(&(probe.due, id));
        probe.due = now + rest;
        self.due.insert((probe.due, id));
        Some(known)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const ID: TunnelId = TunnelId(3);

    /// Runs probes until `until` over a path of this width that answers (`None`: nothing); what is known at the end, and how
    /// many probes it took.
    fn run(probes: &mut Probes, width: Option<u16>, thought: u16, until: Nanos) -> (Option<Limit>, usize) {
        let (mut known, mut sent, mut token) = (None, 0, 0);
        while let Some(at) = probes.next().filter(|at| *at <= until) {
            while probes.take_due(at).is_some() {
                token += 1;
                let Some((size, token)) = probes.probe(ID, thought, token, at) else { continue };
                sent += 1;
                if width.is_some_and(|width| size <= width) {
                    known = probes.answered(ID, token, at).or(known);
                }
            }
        }
        (known, sent)
    }

    proptest! {
        /// Whatever the width, it is found from below within a few bytes and within a minute; below the base nothing is
        /// concluded.
        #[test]
        fn p12_a_width_is_found_from_below(width in 500u16..1600, thought in 1281u16..1501) {
            let mut probes = Probes::default();
            probes.start(ID, 0);
            let (known, sent) = run(&mut probes, Some(width), thought, 50 * SECOND);
            if width >= thought {
                prop_assert_eq!((known, sent), (Some(None), 1));
            } else if width < BASE {
                prop_assert_eq!((known, sent), (None, 6));
            } else {
                let found = known.flatten().unwrap();
                prop_assert!(found <= width && width - found < GRAIN, "{} of {}", found, width);
                prop_assert!(sent < 3 + 1 + 3 * 8);
            }
        }
    }

    #[test]
    fn p12_a_width_is_confirmed_and_tried_again() {
        let mut probes = Probes::default();
        probes.start(ID, 0);
        assert_eq!(run(&mut probes, Some(1500), 1500, 59 * SECOND), (Some(None), 1));
        // It becomes narrower: noticed at the next confirmation.
        let (known, _) = run(&mut probes, Some(1400), 1500, 119 * SECOND);
        assert!(known.flatten().is_some_and(|found| (1393..=1400).contains(&found)));
        // And wide again: tried after ten minutes, once.
        assert_eq!(run(&mut probes, Some(1500), 1500, 600 * SECOND).1, 0);
        assert_eq!(run(&mut probes, Some(1500), 1500, 720 * SECOND).0, Some(None));
    }

    #[test]
    fn p12_who_answers_nothing_is_asked_six_times_in_ten_minutes() {
        let mut probes = Probes::default();
        probes.start(ID, 0);
        assert_eq!(run(&mut probes, None, 1500, 599 * SECOND), (None, 6));
        assert_eq!(run(&mut probes, None, 1500, 1200 * SECOND), (None, 6));
        probes.stop(ID);
        assert_eq!((probes.next(), probes.answered(ID, 1, 0)), (None, None));
    }

    #[test]
    fn p12_an_answer_is_of_what_was_asked_last() {
        let mut probes = Probes::default();
        probes.start(ID, 0);
        assert_eq!(probes.answered(ID, 0, 0), None, "nothing was asked yet");
        assert_eq!(probes.take_due(0), Some(ID));
        assert_eq!(probes.probe(ID, 9000, 7, 0), Some((MOST, 7)));
        assert_eq!((probes.answered(ID, 8, 1), probes.answered(TunnelId(4), 7, 1)), (None, None));
        assert_eq!(probes.answered(ID, 7, 1), Some(None));
        assert_eq!(probes.answered(ID, 7, 1), None, "once");
    }
}
