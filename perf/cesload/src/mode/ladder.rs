//! `sessions`: how many can be open at once. Rung by rung, each four times the one before, until one does not hold.

use super::verdict::{Ended, Verdict};
use crate::observer::{Observer, Planned};
use crate::trial::{Ascent, Failure, Ladder, Progress, Rung, Trial, Watch};
use crate::words::{grouped, percent};
use serde::Serialize;
use std::time::Duration;

/// The ladder that FD.io CSIT climbs: 63 hosts × 1,024 ports = 64,512 = 63 × 2¹⁰, and four times as many on each further
/// rung.
pub const RUNGS: [u64; 5] = [64_512, 258_048, 1_032_192, 4_128_768, 16_515_072];

/// Of the packets through open sessions so many may be lost on a rung that holds: what other work on a shared machine costs now
/// and then; a session that the device has forgotten loses all of its.
pub const LOSS_RATIO: f64 = 0.001;

/// What became of a rung.
#[derive(Clone, Debug, Serialize)]
pub struct RungStep {
    /// Sessions that should be open at once.
    pub wanted: u64,
    /// Sessions that were.
    pub opened: u64,
    /// Those that still answered at the end.
    pub alive: u64,
    /// Sessions opened a second.
    pub opened_per_second: f64,
    /// Packets a second through all of them.
    pub packets_per_second: Option<f64>,
    /// Lost of these packets.
    pub loss_ratio: Option<f64>,
    /// Why it does not hold; nothing if it does.
    pub fails: Option<String>,
}

/// How far it went.
#[derive(Clone, Debug, Serialize)]
pub struct Findings {
    /// The largest rung that held.
    pub held: Option<u64>,
    /// The most that the profile's addresses and ports allow.
    pub sessions_max: u64,
    /// Rungs beyond that, which were not tried.
    pub beyond_profile: Vec<u64>,
    /// Rungs above one that did not hold, which were not tried.
    pub not_tried: Vec<u64>,
    /// The rungs that were tried.
    pub steps: Vec<RungStep>,
}

/// Climbs these rungs until one does not hold, each like `ascent` but for its sessions.
pub fn run(
    ladder: &mut dyn Ladder,
    rungs: &[u64],
    ascent: &Ascent,
    observer: &mut dyn Observer,
) -> Ended<Findings> {
    let sessions_max = ladder.sessions_max();
    let (within, beyond): (Vec<u64>, Vec<u64>) = rungs.iter().partition(|&&rung| rung <= sessions_max);
    let mut findings = Findings {
        held: None,
        sessions_max,
        beyond_profile: beyond,
        not_tried: Vec::new(),
        steps: Vec::new(),
    };
    let mut verdict = Verdict::Done;
    let mut rungs = within.into_iter();
    for rung in rungs.by_ref() {
        match climb(ladder, &Ascent { sessions: rung, ..*ascent }, observer) {
            Ok(step) => {
                let fails = step.fails.clone();
                findings.steps.push(step);
                if let Some(why) = fails {
                    // The first rung at least should hold; above, the ladder has found what it was to find.
                    if findings.held.is_none() {
                        verdict = Verdict::Failed(format!(
                            "not even {} sessions hold: {why}",
                            grouped(rung as f64)
                        ));
                    }
                    break;
                }
                findings.held = Some(rung);
            }
            Err(stopped) => {
                verdict = stopped;
                break;
            }
        }
    }
    findings.not_tried = rungs.collect();
    if findings.steps.is_empty() && verdict == Verdict::Done {
        verdict = Verdict::Failed(format!(
            "no rung can be tried: the profile's addresses and ports allow {} sessions",
            grouped(sessions_max as f64)
        ));
    }
    Ended { findings, verdict, notes: Vec::new() }
}

fn climb(ladder: &mut dyn Ladder, ascent: &Ascent, observer: &mut dyn Observer) -> Result<RungStep, Verdict> {
    let sessions = grouped(ascent.sessions as f64);
    let time = |rate| Duration::from_secs_f64(ascent.sessions as f64 / rate);
    let planned = Planned {
        label: format!("open {sessions} sessions"),
        per_second: ascent.open_per_second,
        duration: ascent.open_per_second.map_or(Duration::ZERO, time),
    };
    observer.begins(&planned);
    let mut interrupted = false;
    let mut watch = |progress: Progress| {
        let wish = observer.watch(progress);
        interrupted |= wish == Watch::Stop;
        wish
    };
    match ladder.climb(ascent, &mut watch) {
        Ok(climbed) => {
            let step = step(&climbed);
            observer.ended(&planned.became(climbed.opening));
            if let Some(holding) = climbed.holding {
                let label = format!("use {sessions} sessions");
                let planned = Planned { label, per_second: None, duration: ascent.hold };
                observer.ended(&planned.became(holding));
            }
            if interrupted { Err(Verdict::Interrupted) } else { Ok(step) }
        }
        Err(Failure { why, partial }) => {
            if let Some(partial) = partial {
                observer.ended(&planned.became(*partial));
            }
            Err(Verdict::Error(why))
        }
    }
}

fn step(rung: &Rung) -> RungStep {
    let loss_ratio = rung.holding.as_ref().map(|holding| holding.counts.loss_ratio());
    let sessions = |number: u64| grouped(number as f64);
    let fails = if rung.opened < rung.wanted {
        Some(format!("only {} of {} could be opened", sessions(rung.opened), sessions(rung.wanted)))
    } else if rung.alive < rung.wanted {
        Some(format!("only {} of {} still answered at the end", sessions(rung.alive), sessions(rung.wanted)))
    } else {
        loss_ratio.filter(|ratio| *ratio > LOSS_RATIO).map(|ratio| {
            format!(
                "of the packets through them {} were lost, more than {}",
                percent(ratio),
                percent(LOSS_RATIO)
            )
        })
    };
    RungStep {
        wanted: rung.wanted,
        opened: rung.opened,
        alive: rung.alive,
        opened_per_second: rung.opening.received_per_second(),
        packets_per_second: rung.holding.as_ref().map(Trial::sent_per_second),
        loss_ratio,
        fails,
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{Notebook, trial};
    use super::*;
    use crate::trial::Unit;

    /// Holds up to so many sessions, and forgets some above.
    struct Stairs {
        holds: u64,
        fails_at: Option<u64>,
    }

    impl Ladder for Stairs {
        fn climb(
            &mut self,
            ascent: &Ascent,
            watch: &mut dyn FnMut(Progress) -> Watch,
        ) -> Result<Rung, Failure> {
            let sessions = ascent.sessions;
            let opening = trial(Unit::Sessions, sessions as f64, 1.0, 0.0);
            watch(Progress { elapsed_s: 1.0, total_s: 2.0, counts: opening.counts });
            if self.fails_at == Some(sessions) {
                return Err(Failure {
                    why: "no memory for flows".to_owned(),
                    partial: Some(Box::new(opening)),
                });
            }
            let alive = sessions.min(self.holds);
            let holding = Some(trial(Unit::Packets, 1e5, ascent.hold.as_secs_f64(), 0.0));
            Ok(Rung { wanted: sessions, opened: sessions, opening, holding, alive })
        }

        fn sessions_max(&self) -> u64 {
            5_000_000
        }
    }

    fn climbed(stairs: &mut Stairs, rungs: &[u64]) -> (Findings, Ended<Findings>) {
        let ascent = Ascent {
            sessions: 0,
            open_per_second: Some(1e5),
            use_per_second: Some(1e5),
            hold: Duration::from_secs(1),
            refresh: None,
        };
        let ended = run(stairs, rungs, &ascent, &mut Notebook::default());
        let findings = ended.findings.clone();
        (findings, ended)
    }

    #[test]
    fn the_first_rung_that_fails_is_the_last() {
        let (findings, ended) = climbed(&mut Stairs { holds: 300_000, fails_at: None }, &RUNGS);
        assert_eq!((findings.held, findings.steps.len()), (Some(258_048), 3));
        assert_eq!(findings.not_tried, [4_128_768]);
        assert_eq!(findings.beyond_profile, [16_515_072]);
        assert_eq!(ended.verdict, Verdict::Done);
        let why = "only 300,000 of 1,032,192 still answered at the end";
        assert_eq!(findings.steps[2].fails.as_deref(), Some(why));
    }

    #[test]
    fn a_ladder_without_a_rung_that_holds_fails() {
        let (findings, ended) = climbed(&mut Stairs { holds: 1000, fails_at: None }, &RUNGS);
        assert_eq!((findings.held, ended.verdict.exit_status()), (None, 3));
        let (_, ended) = climbed(&mut Stairs { holds: 1000, fails_at: None }, &[6_000_000]);
        assert_eq!(ended.verdict.exit_status(), 3);
    }

    #[test]
    fn a_failure_keeps_the_rungs_below() {
        let (findings, ended) = climbed(&mut Stairs { holds: u64::MAX, fails_at: Some(258_048) }, &RUNGS);
        assert_eq!(
            (findings.held, ended.verdict),
            (Some(64_512), Verdict::Error("no memory for flows".to_owned()))
        );
    }
}
