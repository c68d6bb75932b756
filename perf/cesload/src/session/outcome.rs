//! What a phase of work comes to as a trial, in the words that searches and reports share.

use crate::crew::TrialStage;
use crate::session::phases::Tallied;
use crate::session::plan::{Destination, Plan};
use crate::session::server::Served;
use crate::session::tally::{Cause, Tally};
use crate::trial::{Counts, Interval, Trial, Unit};
use hdrhistogram::Histogram;

/// What was seen beside a generator at work.
#[derive(Debug, Default)]
pub struct SeenTrial {
    /// Each of its stages in slices.
    pub intervals: [Vec<Interval>; TrialStage::COUNT],
    /// Packets that the ports say they dropped at the generator.
    pub missed: u64,
    /// Why a port could not go on, if one could not.
    pub fault: Option<String>,
}

/// Makes trials of phases.
pub struct Outcome<'a> {
    /// What the sessions are.
    pub plan: &'a Plan,
    /// What was seen beside the work.
    pub watched: &'a SeenTrial,
    /// What was asked for, a second.
    pub asked_per_second: Option<f64>,
}

impl Outcome<'_> {
    /// What a phase comes to as a trial of sessions: begun, and by `done` at their end.
    pub fn sessions(&self, phase: &Tallied, done: impl Fn(&Tally) -> u64) -> Trial {
        let mut trial = self.trial_of(Unit::Sessions, TrialStage::Begin, phase);
        let (plan, tally, mut streams) = (self.plan, &phase.tally, Vec::new());
        trial.counts = counts_of(tally, tally.begun, done(tally));
        let mut stream = |what: &str, sent, received, latency: &Histogram<u64>| {
            let counts = Counts { sent, received, ..Counts::default() };
            streams.push((format!("{} {what}", plan.name), counts, latency.clone()));
        };
        let mut tried = tally.begun;
        if matches!(plan.target, Destination::Named { .. }) {
            stream("dns", tally.begun, tally.resolved, &tally.dns_ns);
            tried = tally.resolved;
        }
        if !plan.only_asks() {
            stream("set-up", tried, tally.set_up, &tally.set_up_ns);
        }
        // Only a server of ours tells; what it told was received.
        let told = tally.first_packet_ns.len();
        if told > 0 {
            stream("first packet", told, told, &tally.first_packet_ns);
        }
        if tally.requests > 0 {
            stream("response", tally.requests, tally.responses, &tally.response_ns);
        }
        trial.tell_streams(streams);
        trial
    }

    /// What a phase comes to as a trial of requests and their responses.
    pub fn requests(&self, phase: &Tallied) -> Trial {
        let mut trial = self.trial_of(Unit::Packets, TrialStage::Hold, phase);
        trial.counts = counts_of(&phase.tally, phase.tally.requests, phase.tally.responses);
        let name = format!("{} response", self.plan.name);
        trial.tell_streams(vec![(name, trial.counts, phase.tally.response_ns.clone())]);
        trial
    }

    fn trial_of(&self, unit: Unit, stage: TrialStage, phase: &Tallied) -> Trial {
        let mut notes = Vec::new();
        tell(&mut notes, &self.plan.name, &phase.tally, &phase.served);
        if phase.full > 0 {
            notes.push(format!(
                "{} sessions were due and not begun, because every client address and port was in use: there are {}.",
                phase.full,
                self.plan.capacity()
            ));
        }
        if phase.handed_over > 0 {
            notes.push(format!(
                "{} packets came to another thread than their session's, because the device spreads packets over queues in its \
                 own way, and were handed over.",
                phase.handed_over
            ));
        }
        if phase.stopped {
            notes.push("The trial was stopped before its end.".to_owned());
        }
        let intervals = self.watched.intervals[stage as usize].clone();
        Trial {
            foreign: phase.foreign,
            late: phase.tally.late + phase.served.late,
            // What the ports dropped is not told by phase.
            missed_by_generator: if stage == TrialStage::Begin { self.watched.missed } else { 0 },
            notes,
            ..Trial::new(unit, self.asked_per_second, phase.seconds, intervals)
        }
    }
}

fn counts_of(tally: &Tally, sent: u64, received: u64) -> Counts {
    Counts {
        sent,
        sent_bytes: tally.sent_bytes,
        received,
        received_bytes: tally.received_bytes,
        duplicated: tally.duplicated,
        misplaced: tally.misplaced,
        ..Counts::default()
    }
}

/// A sentence for everything that was not as it should be.
pub fn tell(notes: &mut Vec<String>, name: &str, tally: &Tally, served: &Served) {
    for cause in Cause::ALL {
        let failed = tally.failed[cause as usize];
        if failed > 0 {
            notes.push(format!("{name}: {failed} sessions failed: {}.", cause.text()));
        }
    }
    for (count, what) in [
        (tally.again, "packets were sent again after a timeout"),
        (tally.unsent, "packets of clients found no buffer or no room in the port's queue"),
        (served.unsent, "packets of the server found no buffer or no room in the port's queue"),
        (tally.damaged, "packets had a wrong checksum or length"),
        (tally.misplaced, "packets for clients fitted no session's state"),
        (
            served.wrong_acknowledgements,
            "segments acknowledged what the server had not sent to these addresses and ports",
        ),
        (served.resets, "resets arrived at the server"),
        (served.misplaced, "requests had another length than they should have, or no signature"),
    ] {
        if count > 0 {
            notes.push(format!("{name}: {count} {what}."));
        }
    }
}
