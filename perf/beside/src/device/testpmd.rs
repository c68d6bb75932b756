//! `dpdk-testpmd`: what the ports can carry when a program does next to nothing (`io`) or touches each packet (`macswap`).

use super::memif::{self, End};
use super::{Device, Own, Reach, Setting, Wire};
use crate::memory;
use crate::process::{Line, Place, Process};
use crate::stats;
use dpdk::Memory;
use std::time::Duration;

const START_WAIT: Duration = Duration::from_secs(20);
const ANSWER_WAIT: Duration = Duration::from_secs(2);
/// What ends each of its answers.
const PROMPT: &str = "testpmd> ";

/// The forwarding thread.
const POLLING: &str = "rte-worker";

struct Testpmd {
    process: Process,
    reach: Reach,
}

/// Starts it in a forwarding mode.
pub fn start(mode: &str, setting: Setting) -> Result<impl Device + use<>, String> {
    if setting.wire != Wire::Memif {
        return Err("testpmd runs over memif only".to_owned());
    }
    let core = setting.core;
    if Line::new(&Place::default(), "which").args(["dpdk-testpmd"]).output(ANSWER_WAIT).is_err() {
        return Err("dpdk-testpmd is not there (Debian's package dpdk-dev)".to_owned());
    }
    // The first of them reads commands and sleeps, the second forwards.
    let mut arguments =
        vec![format!("--lcores=0@{core},1@{core}"), "--no-pci".to_owned(), "--no-telemetry".to_owned()];
    match memory::choose(setting.pages) {
        Memory::HugePages => arguments.push("--in-memory".to_owned()),
        Memory::Ordinary { mib } => {
            arguments.extend(["--no-shconf".into(), "--no-huge".into(), "-m".into(), mib.to_string()]);
        }
    }
    arguments.extend(memif::devices(setting.scratch, End::Device).map(|device| format!("--vdev={device}")));
    arguments.extend(["--", "-i", "--nb-cores=1", "--rxd=1024", "--txd=1024"].map(String::from));
    arguments.extend([format!("--forward-mode={mode}"), format!("--total-num-mbufs={MBUFS}")]);
    arguments.push("--record-core-cycles".to_owned());
    let place = Place { core: Some(core), namespace: None };
    let mut process = Line::new(&place, "stdbuf")
        .args(["-oL", "dpdk-testpmd"])
        .args(arguments)
        .start(setting.scratch, "testpmd")?;
    process.hear(START_WAIT, |text| text.ends_with(PROMPT))?;
    process.say("start")?;
    process.hear(ANSWER_WAIT, |text| text.contains("packet forwarding") && text.ends_with(PROMPT))?;
    memif::separate(&process, setting.generator_core)?;
    Ok(Testpmd { process, reach: Reach::memif(&setting) })
}

/// As many as the gateway's pool has for the same queues.
const MBUFS: u32 = 8192;

impl Device for Testpmd {
    fn reach(&self) -> &Reach {
        &self.reach
    }

    fn process(&mut self) -> Option<&mut Process> {
        Some(&mut self.process)
    }

    fn part(&mut self, generator: Process) -> Result<(), String> {
        memif::part(&self.process, POLLING, generator)
    }

    /// Its packets are those of the driver, which begins anew with each peer.
    fn forgets(&self) -> bool {
        true
    }

    fn own(&mut self) -> Result<Own, String> {
        self.process.say("show fwd stats all")?;
        let whole = |text: &str| text.contains("Accumulated forward statistics") && text.ends_with(PROMPT);
        let text = self.process.hear(ANSWER_WAIT, whole)?;
        // Before the first packet it has nothing to say of cycles.
        Ok(stats::testpmd(&text).unwrap_or_default())
    }
}
