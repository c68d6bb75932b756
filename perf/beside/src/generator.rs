//! The generator: `cesload` with a profile for the case, and what its report says.

use crate::device::Reach;
use crate::frame::Task;
use crate::process::{Line, Process};
use clap::ValueEnum;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// What is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Measure {
    /// Maximum receive rate: what comes out when as much is offered as goes.
    Mrr,
    /// The rate at which at most 0.5 % are lost.
    Pdr,
    /// The rate at which none is lost.
    Ndr,
}

impl Measure {
    /// As it stands in the table.
    pub fn label(self) -> &'static str {
        match self {
            Self::Mrr => "maximum receive rate",
            Self::Pdr => "rate at no more than 0.5 % loss",
            Self::Ndr => "rate without loss",
        }
    }

    /// Trials that it takes, at most.
    pub fn trials(self) -> f64 {
        if self == Self::Mrr { 1.0 } else { SEARCH_TRIALS }
    }
}

/// What the generator is told.
#[derive(Clone, Debug)]
pub struct Load<'a> {
    /// The program.
    pub program: &'a Path,
    /// What is measured.
    pub measure: Measure,
    /// Seconds of a trial.
    pub trial_seconds: f64,
    /// Bytes of each frame with its FCS, without the tunnel's headers.
    pub size: u16,
    /// The bindings, or a capture of their hosts' packets, as a file.
    pub flows: &'a Path,
    /// Queue pairs of each port.
    pub queues: u16,
    /// Whether packet memory comes from huge pages.
    pub huge_pages: bool,
}

/// What it measured.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Rate {
    /// Packets a second: received (MRR), or the rate that was found.
    pub pps: f64,
    /// Packets a second that were sent meanwhile.
    pub sent_pps: f64,
    /// Lost of sent.
    pub loss_ratio: f64,
}

/// MAC addresses of the generator's and the device's ports, inside and outside.
#[derive(Clone, Copy, Debug)]
pub struct Macs<'a> {
    /// The host that packets come from: all of them, to keep them alike.
    pub generator: [&'a str; 2],
    /// The device's.
    pub device: [&'a str; 2],
}

/// The profile.
pub fn profile(load: &Load, task: Task, ports: &[String; 2], macs: Macs, core: usize) -> String {
    let (from, to) = task.ports();
    let [from, to] = [from, to].map(|port| ["inside", "outside"][port]);
    let flows = load.flows.display().to_string();
    let flows = match task {
        Task::Egress | Task::Ingress => {
            format!(
                "size = {}\n\n[stream.ces]\nbindings = {flows:?}\ndirection = {:?}\n",
                load.size,
                task.label()
            )
        }
        _ => format!("pcap = {flows:?}\n"),
    };
    let port = |number: usize, name: &str| {
        format!(
            "[[port]]\nname = {name:?}\ndevice = {:?}\nmac = {:?}\npeer_mac = {:?}\n\n",
            ports[number], macs.generator[number], macs.device[number]
        )
    };
    format!(
        "[memory]\nhuge_pages = {}\nmib = {MEMORY_MIB}\n\n[generator]\ncores = [{core}]\nqueues = {}\n\n{}{}[[stream]]\nname = {:?}\n\
         from = {from:?}\nto = {to:?}\nprobes_per_second = 0\n{flows}",
        load.huge_pages,
        load.queues,
        port(0, "inside"),
        port(1, "outside"),
        task.label(),
    )
}

/// Packet memory without huge pages.
const MEMORY_MIB: u32 = 512;
/// What a run may take beyond its trials.
const SPARE: Duration = Duration::from_secs(30);
/// Trials of a search: from full speed down to the width it halves some seven times for each of the two goals that are found
/// together, with three trials at each load that is decided, and some to spare for the time between trials.
const SEARCH_TRIALS: f64 = 60.0;
/// How close the bounds shall be: rates of different rounds differ by more.
const SEARCH_WIDTH: &str = "1%";

/// A generator under way; it keeps its ports until it is let go.
#[derive(Debug)]
pub struct Guest {
    process: Process,
    report: PathBuf,
    measure: Measure,
    most: Duration,
}

/// Starts it.
pub fn start(load: &Load, task: Task, reach: &Reach, macs: Macs, scratch: &Path) -> Result<Guest, String> {
    let core = reach.place.core.unwrap_or(0);
    let (file, report) = (scratch.join("profile.toml"), scratch.join("report.json"));
    std::fs::write(&file, profile(load, task, &reach.ports, macs, core))
        .map_err(|error| format!("{}: {error}", file.display()))?;
    let _ = std::fs::remove_file(&report);
    let text = |path: &PathBuf| path.display().to_string();
    let seconds = load.trial_seconds.to_string();
    let line = Line::new(&reach.place, load.program);
    let most = load.trial_seconds * load.measure.trials();
    let line = match load.measure {
        Measure::Mrr => {
            line.args(["rate".into(), text(&file), "--rate=max".into(), format!("--seconds={seconds}")])
        }
        Measure::Pdr | Measure::Ndr => {
            let mode = if load.measure == Measure::Pdr { "pdr" } else { "ndr" };
            line.args([
                mode.into(),
                text(&file),
                format!("--trial-seconds={seconds}"),
                format!("--total-seconds={most}"),
                format!("--width={SEARCH_WIDTH}"),
                "--latency-seconds=0".to_owned(),
            ])
        }
    };
    let line = line.args(["--quiet".to_owned(), "--stay".to_owned(), format!("--json={}", text(&report))]);
    let process = line.start(scratch, "generator")?;
    Ok(Guest { process, report, measure: load.measure, most: Duration::from_secs_f64(most) + SPARE })
}

impl Guest {
    /// Waits for what it measured.
    pub fn rate(&mut self) -> Result<Rate, String> {
        let report = &self.report;
        self.process.hear(self.most, |_| report.exists())?;
        let bytes = std::fs::read(report).map_err(|error| format!("{}: {error}", report.display()))?;
        let value: Value =
            serde_json::from_slice(&bytes).map_err(|error| format!("the generator's report: {error}"))?;
        read(&value, self.measure)
    }

    /// Its process, which waits to be let go.
    pub fn process(self) -> Process {
        self.process
    }
}

/// Reads its report.
pub fn read(report: &Value, measure: Measure) -> Result<Rate, String> {
    let result = &report["result"];
    let number = |key: &str| {
        result[key].as_f64().ok_or_else(|| format!("the generator's report: result.{key} is no number"))
    };
    match measure {
        Measure::Mrr => {
            let (sent, received, sent_pps) = (number("sent")?, number("received")?, number("rate_sent_pps")?);
            if sent == 0.0 || received == 0.0 {
                return Err(format!("the generator sent {sent} packets and received {received}"));
            }
            let share = received / sent;
            Ok(Rate { pps: sent_pps * share, sent_pps, loss_ratio: 1.0 - share })
        }
        Measure::Pdr | Measure::Ndr => {
            let Some(pps) = result["rate_pps"].as_f64() else {
                let notes = report["notes"].as_array().into_iter().flatten();
                let said = [&report["verdict"]["why"]].into_iter().chain(notes).filter_map(Value::as_str);
                let said: Vec<_> = said.map(|text| text.trim_end_matches('.')).collect();
                return Err(format!("the search found no rate: {}", said.join("; ")));
            };
            Ok(Rate { pps, sent_pps: pps, loss_ratio: number("loss_ratio").unwrap_or(0.0) })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn received_is_the_share_of_sent() {
        let report =
            json!({"result": {"sent": 2000, "received": 1500, "rate_sent_pps": 4e6, "rate_pps": 7.0}});
        let rate = read(&report, Measure::Mrr).unwrap();
        assert_eq!((rate.pps, rate.loss_ratio), (3e6, 0.25));
        assert_eq!(Some(read(&report, Measure::Pdr).unwrap().pps), Some(7.0));
        let nothing = json!({"result": {"sent": 2000, "received": 0, "rate_sent_pps": 4e6}});
        assert!(read(&nothing, Measure::Mrr).is_err());
        let report = json!({
            "verdict": {"verdict": "failed", "why": "no rate meets NDR"},
            "notes": ["Its time was over."], "result": {"rate_pps": null},
        });
        let error = read(&report, Measure::Ndr).unwrap_err();
        assert_eq!(error, "the search found no rate: no rate meets NDR; Its time was over");
    }

    #[test]
    fn the_profile_sends_from_the_side_where_packets_come_from() {
        let load = Load {
            program: Path::new("cesload"),
            measure: Measure::Mrr,
            trial_seconds: 1.0,
            size: 64,
            flows: Path::new("/tmp/flows"),
            queues: 2,
            huge_pages: false,
        };
        let macs = Macs { generator: ["a", "b"], device: ["c", "d"] };
        let ports = ["net_null0".to_owned(), "net_null1".to_owned()];
        let text = profile(&load, Task::Ingress, &ports, macs, 3);
        assert!(
            text.contains("from = \"outside\"\nto = \"inside\"") && text.contains("cores = [3]"),
            "{text}"
        );
        assert!(text.contains("direction = \"ingress\""));
        let text = profile(&load, Task::Nat, &ports, macs, 3);
        assert!(text.contains("from = \"inside\"") && text.contains("pcap = \"/tmp/flows\""), "{text}");
    }
}
