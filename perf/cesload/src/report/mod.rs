//! Tells what a mode found: as text, as JSON, as a page with plots.

mod document;
pub mod file;
mod html;
mod json;
mod machine;
mod sections;
mod svg;
mod text;

pub use machine::Machine;

use crate::mode::Ended;
use crate::record::TrialRecord;
use crate::search::{FULL_SPEED, SEARCH};

/// All that a report tells.
#[derive(Clone, Debug)]
pub struct Report {
    /// The mode's name.
    pub mode: String,
    /// Of the sources, if it was told.
    pub commit: Option<String>,
    /// When it began (RFC 3339).
    pub started: String,
    /// How long it took, in seconds.
    pub seconds: f64,
    /// The command line.
    pub command: Vec<String>,
    /// Where it ran.
    pub machine: Machine,
    /// The profile's name.
    pub profile_path: String,
    /// Its text.
    pub profile: String,
    /// The findings.
    pub ended: Ended,
    /// All trials, in the order of time.
    pub trials: Vec<TrialRecord>,
}

/// This program's version.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

impl Report {
    /// For a terminal.
    pub fn text(&self) -> String {
        text::written(self)
    }

    /// For programs: one object.
    pub fn json(&self) -> String {
        format!("{:#}\n", json::object(self))
    }

    /// For a browser: one file that needs no other.
    pub fn html(&self) -> String {
        html::page(self)
    }

    /// Notes of the findings and of the trials, each once. Those of a search's trials are left out: that a load was too much is
    /// what it is searching for.
    fn notes(&self) -> Vec<String> {
        let mut notes = self.ended.notes.clone();
        let told = self.trials.iter().filter(|trial| trial.label != SEARCH && trial.label != FULL_SPEED);
        for note in told.flat_map(|trial| &trial.notes) {
            if !notes.contains(note) {
                notes.push(note.clone());
            }
        }
        notes
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mode::fixture::{Device, Notebook, trial};
    use crate::mode::{Findings, Verdict, ladder, rate, reconfig, soak, throughput};
    use crate::observer::Planned;
    use crate::search::{Goal, Plan};
    use crate::trial::Unit;
    use std::time::Duration;

    fn report(mode: &str, ended: Ended) -> Report {
        let planned = |label: &str| Planned {
            label: label.to_owned(),
            per_second: Some(1000.0),
            duration: Duration::from_secs(10),
        };
        let trials = ["search", "search", "rate"];
        Report {
            mode: mode.to_owned(),
            commit: Some("abc1234".to_owned()),
            started: "2026-11-21T03:00:00Z".to_owned(),
            seconds: 12.5,
            command: vec!["cesload".to_owned(), mode.to_owned(), "<profile>.toml".to_owned()],
            machine: Machine::here(),
            profile_path: "<profile>.toml".to_owned(),
            profile: "[[port]]\nname = \"a & b\"\n".to_owned(),
            ended,
            trials: trials
                .iter()
                .map(|label| TrialRecord::of(&planned(label), &trial(Unit::Packets, 1000.0, 10.0, 0.01)))
                .collect(),
        }
    }

    fn reports() -> Vec<Report> {
        let mut device = Device::with_capacity(5e5);
        let mut notebook = Notebook::default();
        let wanted = throughput::Wanted {
            plan: Plan {
                goals: vec![Goal::ndr(), Goal::pdr()],
                min_per_second: 100.0,
                max_per_second: None,
                total: Duration::from_mins(10),
            },
            repeat: 2,
            latency: Some(Duration::from_secs(1)),
        };
        let rate = rate::run(&mut device, Some(1000.0), Duration::from_secs(10), &mut notebook);
        let ndr = throughput::run(&mut device, &wanted, &mut notebook, &mut || Duration::ZERO);
        let soaked = soak::Wanted {
            per_second: Some(1000.0),
            duration: Duration::from_hours(1),
            line_every: Duration::from_mins(1),
        };
        let soak = soak::run(&mut device, &soaked, &mut Vec::new(), &mut notebook);
        let reloaded = reconfig::Wanted {
            per_second: Some(1000.0),
            duration: Duration::from_secs(3),
            command: "echo '<reloaded>'".to_owned(),
            repeat: 2,
        };
        let reconfig = reconfig::run(&mut device, &reloaded, &mut notebook);
        let ladder = Ended {
            findings: Findings::Ladder(ladder::Findings {
                held: Some(64_512),
                sessions_max: 100_000,
                beyond_profile: vec![258_048],
                not_tried: Vec::new(),
                steps: vec![ladder::Step {
                    wanted: 64_512,
                    opened: 64_512,
                    alive: 64_512,
                    opened_per_second: 1e5,
                    packets_per_second: Some(1e6),
                    loss_ratio: Some(0.0),
                    fails: None,
                }],
            }),
            verdict: Verdict::Done,
            notes: Vec::new(),
        };
        let nothing = Ended {
            findings: Findings::Rate(rate::Findings { trial: None }),
            verdict: Verdict::Error("port a: <gone>".to_owned()),
            notes: Vec::new(),
        };
        [
            ("rate", rate),
            ("ndr", ndr),
            ("soak", soak),
            ("reconfig", reconfig),
            ("sessions", ladder),
            ("rate", nothing),
        ]
        .map(|(mode, ended)| report(mode, ended))
        .into()
    }

    #[test]
    fn json_has_the_keys_that_others_read() {
        let objects: Vec<serde_json::Value> =
            reports().iter().map(|report| serde_json::from_str(&report.json()).unwrap()).collect();
        for object in &objects {
            for key in
                ["cesload", "mode", "commit", "started", "machine", "profile", "result", "trials", "notes"]
            {
                assert!(object.get(key).is_some(), "{key}");
            }
            assert!(object["trials"][0]["latency_us"]["percentiles"].is_array());
        }
        for key in
            ["rate_offered_pps", "rate_sent_pps", "sent", "received", "lost", "duplicated", "reordered"]
        {
            assert!(objects[0]["result"][key].is_number(), "{key}");
        }
        for key in ["min", "p50", "p90", "p99", "p999", "max"] {
            assert!(objects[0]["result"]["latency_us"][key].is_number(), "{key}");
        }
        assert_eq!(objects[0]["result"]["streams"][0]["name"], "up <&>");
        for key in ["rate_pps", "rate_upper_pps", "width", "loss_ratio", "trials"] {
            assert!(objects[1]["result"][key].is_number(), "{key}");
        }
        assert_eq!(objects[1]["result"]["goals"][1]["goal"]["name"], "PDR");
        assert_eq!(objects[5]["verdict"], serde_json::json!({"verdict": "error", "why": "port a: <gone>"}));
    }

    #[test]
    fn a_page_is_whole_and_holds_no_foreign_text() {
        for report in reports() {
            let page = report.html();
            assert!(page.starts_with("<!DOCTYPE html>") && page.trim_end().ends_with("</html>"));
            for outside in [
                "http://",
                "https://",
                "<script",
                "src=",
                "@import",
                "<profile>",
                "<gone>",
                "<reloaded>",
                "up <&>",
            ] {
                assert!(!page.contains(outside), "{outside} in {}", report.mode);
            }
            assert!(page.contains("&lt;profile&gt;.toml") && page.contains("a &amp; b"));
        }
    }

    #[test]
    fn text_tells_each_modes_result() {
        let texts: Vec<String> = reports().iter().map(Report::text).collect();
        for (text, expected) in texts.iter().zip([
            "10,000 sent",
            "NDR",
            "PASSED",
            "Blocked",
            "64,512 sessions",
            "error: port a: <gone>",
        ]) {
            assert!(text.contains(expected), "{expected} in\n{text}");
            assert!(text.lines().all(|line| line == line.trim_end()), "no space at a line's end:\n{text}");
        }
    }

    #[test]
    #[ignore = "writes pages to look at into the directory named by CESLOAD_PAGES"]
    fn pages_to_look_at() {
        let directory = std::env::var("CESLOAD_PAGES").expect("CESLOAD_PAGES names a directory");
        for (number, report) in reports().iter().enumerate() {
            let path = std::path::Path::new(&directory).join(format!("{number}-{}.html", report.mode));
            file::write(&path, &report.html()).unwrap();
        }
    }
}
