//! Tells what a mode found: as text, as JSON, as a page that is the text with plots.

mod data;
pub mod file;
mod plot;
mod text;

use data::result;
pub use data::{RunReport, VERSION};
use serde_json::json;

impl RunReport {
    /// For a terminal.
    pub fn text(&self) -> String {
        text::written(self)
    }

    /// One JSON object, full enough to draw everything again.
    pub fn json(&self) -> String {
        let object = json!({
            "cesload": VERSION,
            "mode": self.mode,
            "commit": self.commit,
            "started": self.started,
            "seconds": self.seconds,
            "command": self.command,
            "machine": self.machine,
            "profile": { "path": self.profile_path, "text": self.profile },
            "verdict": self.ended.verdict,
            "result": result(&self.ended.findings),
            "trials": self.trials,
            "notes": self.notes(),
        });
        format!("{object:#}\n")
    }

    /// A page: no script, nothing from elsewhere.
    pub fn html(&self) -> String {
        let title = escaped(&format!("cesload {}: {}", self.mode, text::headline(self)));
        let picture = |plot: &plot::Plot| {
            format!(
                "<figure>\n<figcaption>{}</figcaption>\n{}\n</figure>\n",
                escaped(&plot.title),
                plot.svg()
            )
        };
        format!(
            "<!DOCTYPE html>\n<html lang=\"en\">\n<meta charset=\"utf-8\">\n<title>{title}</title>\n<h1>{title}</h1>\n\
             <pre>{}</pre>\n{}<h2>{}</h2>\n<pre>{}</pre>\n</html>\n",
            escaped(&self.text()),
            plot::of(self).iter().map(picture).collect::<String>(),
            escaped(&self.profile_path),
            escaped(&self.profile)
        )
    }
}

/// Text in a page.
fn escaped(text: &str) -> String {
    let escaped = |letter: char| match letter {
        '&' => "&amp;".to_owned(),
        '<' => "&lt;".to_owned(),
        '>' => "&gt;".to_owned(),
        letter if letter.is_control() && letter != '\n' && letter != '\t' => '\u{fffd}'.to_string(),
        letter => letter.to_string(),
    };
    text.chars().map(escaped).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mode::tests::{Device, Notebook, trial};
    use crate::mode::{Ended, Findings, Verdict, ladder, rate, reconfig, throughput};
    use crate::observer::Planned;
    use crate::search::{Goal, SearchPlan};
    use crate::trial::Unit;
    use ces_perf::place::Machine;
    use std::time::Duration;

    fn planned(label: &str) -> Planned {
        Planned { label: label.to_owned(), per_second: Some(1000.0), duration: Duration::from_secs(10) }
    }

    fn report(mode: &str, ended: Ended<Findings>) -> RunReport {
        let trials = ["search", "search", "rate"];
        RunReport {
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
                .map(|label| planned(label).became(trial(Unit::Packets, 1000.0, 10.0, 0.01)))
                .collect(),
        }
    }

    fn reports() -> Vec<RunReport> {
        let mut device = Device::with_capacity(5e5);
        let mut notebook = Notebook::default();
        let wanted = throughput::Wanted {
            plan: SearchPlan {
                goals: vec![Goal::ndr(), Goal::pdr()],
                min_per_second: 100.0,
                max_per_second: None,
                total: Duration::from_mins(10),
            },
            repeat: 2,
            latency: Some(Duration::from_secs(1)),
        };
        let planned = planned("rate");
        let rate = rate::run(&mut device, &planned, None, &mut notebook);
        let soak = rate::run(&mut device, &planned, Some(0.5), &mut notebook);
        let ndr = throughput::run(&mut device, &wanted, &mut notebook, &mut || Duration::ZERO);
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
                steps: vec![ladder::RungStep {
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
            findings: Findings::Rate(None),
            verdict: Verdict::Error("port a: <gone>".to_owned()),
            notes: Vec::new(),
        };
        [
            ("rate", rate.told(Findings::Rate)),
            ("ndr", ndr.told(Findings::Throughput)),
            ("soak", soak.told(Findings::Rate)),
            ("reconfig", reconfig.told(Findings::Reconfig)),
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
        let texts: Vec<String> = reports().iter().map(RunReport::text).collect();
        for (text, expected) in texts.iter().zip([
            "10,000 sent",
            "NDR",
            "PASSED",
            "blocked",
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
