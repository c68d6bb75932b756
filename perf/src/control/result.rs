//! What `negotiate` says at the end.

use crate::control::load::Load;
use crate::measure::Spread;
use serde::Serialize;
use std::collections::BTreeMap;

/// Times from a host's query to its answer, in microseconds.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Times {
    /// Half are not above it.
    pub p50: f64,
    /// 90 % are not above it.
    pub p90: f64,
    /// 99 % are not above it.
    pub p99: f64,
    /// 99.9 % are not above it.
    pub p99_9: f64,
    /// The longest.
    pub max: f64,
}

impl Times {
    /// Of a load's answers.
    pub fn of(load: &Load) -> Self {
        let at = |quantile| load.times.value_at_quantile(quantile) as f64 / 1000.0;
        Self {
            p50: at(0.5),
            p90: at(0.9),
            p99: at(0.99),
            p99_9: at(0.999),
            max: load.times.max() as f64 / 1000.0,
        }
    }
}

/// What one gateway spent.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Spent {
    /// Cycles of the time-stamp counter in processor time of its thread, for each completed name.
    pub cycles: f64,
    /// Names a second that a whole core would complete at this side.
    pub per_core_second: f64,
}

impl Spent {
    /// Of so many cycles for so many names.
    pub fn of(cycles: f64, completed: u64) -> Self {
        let each = cycles / completed.max(1) as f64;
        let rate = machine::cycles_per_second() as f64;
        Self { cycles: each.round(), per_core_second: (rate / each.max(1.0)).round() }
    }
}

/// A result.
#[derive(Clone, Debug, Serialize)]
pub struct Outcome {
    /// What was done: `h2h`, `engine`, `connected`.
    pub mode: &'static str,
    /// `tls`, `tcp` or `none`.
    pub transport: &'static str,
    /// Hosts on each side.
    pub hosts: u32,
    /// Queries under way at a time.
    pub outstanding: usize,
    /// Round trips of a negotiation.
    pub round_trips: u8,
    /// Seconds by the clock.
    pub seconds: f64,
    /// Queries answered with a proxy address.
    pub completed: u64,
    /// Others, by DNS response code.
    pub failed: BTreeMap<String, u64>,
    /// Completed a second, by the clock.
    pub per_second: f64,
    /// Times from query to answer; none where there is no clock to look at.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub answer_us: Option<Times>,
    /// What the asking side spent.
    pub initiator: Spent,
    /// What the asked side spent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub responder: Option<Spent>,
    /// Cycles for each name over windows, both sides together.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cycles: Option<Spread>,
    /// Allocations for each name, both sides together, where they share a thread.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub allocations: Option<f64>,
    /// Bytes that a session keeps, both sides together, where they share a process and nothing else grows. The worker's
    /// tables are not in it: they are as large from the start.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bytes_per_session: Option<f64>,
}

/// The names of response codes (RFC 6895 §2.3), and 16 for no answer.
pub fn failures(load: &Load) -> BTreeMap<String, u64> {
    const NAMES: [&str; 6] = ["no_data", "form_err", "serv_fail", "nx_domain", "not_imp", "refused"];
    let name = |code: usize| match NAMES.get(code) {
        Some(name) => (*name).to_owned(),
        None if code == 16 => "no_answer".to_owned(),
        None => format!("rcode_{code}"),
    };
    let failed = load.failed.iter().enumerate().filter(|(_, count)| **count > 0);
    failed.map(|(code, count)| (name(code), *count)).collect()
}

/// What the Aalto reference implementation (Python) did on a machine of this kind: its data path stubbed, C2C up.
fn reference(outcome: &Outcome) -> Option<&'static str> {
    Some(match (outcome.mode, outcome.round_trips, outcome.outstanding) {
        ("connected", ..) => "1,514 answers/s one at a time, 1,995/s with 16 outstanding",
        (_, 1, 1) => "187/s, p50 4,900 us, p99 15,000 us",
        (_, 1, 64) => "432/s, p50 130,000 us, p99 257,000 us",
        (_, 2, 1) => "143/s, p50 6,200 us, p99 22,000 us",
        (_, 2, 64) => "316/s, p50 191,000 us, p99 435,000 us",
        _ => return None,
    })
}

impl Outcome {
    /// As lines.
    pub fn text(&self) -> String {
        let mut lines = vec![
            (
                "mode",
                format!(
                    "{} over {}, {} hosts on each side, {} outstanding, {} round trip{}",
                    self.mode,
                    self.transport,
                    self.hosts,
                    self.outstanding,
                    self.round_trips,
                    if self.round_trips == 1 { "" } else { "s" }
                ),
            ),
            (
                "completed",
                format!("{} in {:.2} s: {:.0} a second", self.completed, self.seconds, self.per_second),
            ),
            ("failed", if self.failed.is_empty() { "none".to_owned() } else { format!("{:?}", self.failed) }),
        ];
        if let Some(t) = &self.answer_us {
            let text = format!(
                "p50 {:.0}   p90 {:.0}   p99 {:.0}   p99.9 {:.0}   max {:.0} us from query to answer",
                t.p50, t.p90, t.p99, t.p99_9, t.max
            );
            lines.push(("answer", text));
        }
        let spent = |s: &Spent| {
            format!("{} cycles each: {} a second of its core's time", s.cycles, s.per_core_second)
        };
        lines.push(("initiator", spent(&self.initiator)));
        if let Some(responder) = &self.responder {
            lines.push(("responder", spent(responder)));
        }
        if let Some(s) = &self.cycles {
            lines.push(("cycles", format!("min {:.0}   median {:.0}   p90 {:.0}", s.min, s.median, s.p90)));
        }
        if let Some(allocations) = self.allocations {
            lines.push(("allocations", format!("{allocations:.1} each")));
        }
        if let Some(bytes) = self.bytes_per_session {
            lines.push(("memory", format!("{bytes:.0} bytes a session, both sides together")));
        }
        if let Some(reference) = reference(self) {
            lines.push(("reference", format!("the Aalto implementation on such a machine: {reference}")));
        }
        let lines: Vec<_> = lines.into_iter().map(|(name, value)| format!("{name:<12} {value}\n")).collect();
        lines.concat()
    }
}
