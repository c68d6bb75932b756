//! The gateway: `dut` with the gateway's own worker loop.

use super::memif::{self, End};
use super::veth::{self, Veth};
use super::{Device, Own, Reach, Setting, Wire};
use crate::dut::Counted;
use crate::process::{Line, Place, Process};
use clap::ValueEnum;
use std::time::Duration;

/// It inserts a million bindings a second.
const START_WAIT: Duration = Duration::from_secs(20);
const ANSWER_WAIT: Duration = Duration::from_secs(2);

struct Gateway {
    process: Process,
    reach: Reach,
    // Last: the interfaces outlive who uses them.
    _veth: Option<Veth>,
}

/// Starts it.
pub fn start(setting: Setting) -> Result<impl Device + use<>, String> {
    let veth = match setting.wire {
        Wire::Memif => None,
        Wire::Veth => {
            let veth = Veth::new(&setting)?;
            veth::leave_polling(&veth.device_namespace())?;
            Some(veth)
        }
    };
    let (devices, reach) = match &veth {
        None => (memif::devices(setting.scratch, End::Device), Reach::memif(&setting)),
        Some(veth) => (veth::device_ports(), Reach::veth(&setting, veth)),
    };
    let namespace = veth.as_ref().map(Veth::device_namespace);
    let core = Some(setting.core);
    let pages =
        setting.pages.to_possible_value().map_or_else(String::new, |value| value.get_name().to_owned());
    let line = Line::new(&Place { core, namespace }, setting.programs.join("dut")).args([
        format!("--inside={}", devices[0]),
        format!("--outside={}", devices[1]),
        format!("--bindings={}", setting.realm.len()),
        format!("--peers={}", setting.peers),
        format!("--core={}", setting.core),
        format!("--pages={pages}"),
    ]);
    let line = if setting.realm.is_local() { line.args(["--local"]) } else { line };
    let mut process = line.start(setting.scratch, "dut")?;
    process.hear(START_WAIT, |text| text.lines().any(|line| line == "ready"))?;
    Ok(Gateway { process, reach, _veth: veth })
}

impl Device for Gateway {
    fn reach(&self) -> &Reach {
        &self.reach
    }

    fn process(&mut self) -> Option<&mut Process> {
        Some(&mut self.process)
    }

    fn own(&mut self) -> Result<Own, String> {
        self.process.say("stats")?;
        let text = self.process.hear(ANSWER_WAIT, |text| text.ends_with("}\n"))?;
        let line = text.lines().last().unwrap_or_default();
        let counted: Counted = serde_json::from_str(line).map_err(|error| format!("dut: {error}: {line}"))?;
        Ok(Own { cycles: counted.busy_cycles as f64, packets: counted.packets() as f64, core: None })
    }
}
