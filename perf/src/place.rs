//! The machine a run was made on, as it goes into its report: no names, no paths.

use serde::Serialize;
use std::fs;

/// The machine.
#[derive(Clone, Debug, Serialize)]
pub struct Machine {
    /// The processor's model.
    pub cpu: String,
    /// Its family, model and stepping.
    pub cpu_id: String,
    /// Cores that this process may use.
    pub cores: usize,
    /// Whether it is a virtual machine, as the processor tells.
    pub virtual_machine: bool,
    /// Memory in MiB.
    pub memory_mib: u64,
    /// Rate of the time-stamp counter in MHz.
    pub counter_mhz: u64,
    /// Sizes of the caches, level by level.
    pub caches: String,
    /// The kernel's release.
    pub kernel: String,
    /// Huge pages of 2 MiB that are reserved, in MiB.
    pub huge_pages_mib: u64,
    /// The setting of transparent huge pages.
    pub transparent_huge_pages: String,
    /// Runnable processes a minute's average, at the start.
    pub load: String,
}

impl Machine {
    /// This one.
    pub fn here() -> Self {
        let cpu = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let memory = fs::read_to_string("/proc/meminfo").unwrap_or_default();
        let thp = fs::read_to_string("/sys/kernel/mm/transparent_hugepage/enabled").unwrap_or_default();
        let load = fs::read_to_string("/proc/loadavg").unwrap_or_default();
        Self {
            cpu: value(&cpu, "model name"),
            cpu_id: ["cpu family", "model", "stepping"].map(|name| value(&cpu, name)).join("/"),
            cores: machine::usable_cores().map_or(0, |cores| cores.len()),
            virtual_machine: value(&cpu, "flags").split(' ').any(|flag| flag == "hypervisor"),
            memory_mib: value(&memory, "MemTotal").trim_end_matches(" kB").parse::<u64>().unwrap_or(0) >> 10,
            counter_mhz: machine::cycles_per_second() / 1_000_000,
            caches: caches(),
            kernel: fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default().trim().to_owned(),
            huge_pages_mib: value(&memory, "HugePages_Total").parse::<u64>().unwrap_or(0) * 2,
            transparent_huge_pages: thp
                .split_once('[')
                .and_then(|(_, rest)| rest.split_once(']'))
                .map_or_else(String::new, |(chosen, _)| chosen.to_owned()),
            load: load.split(' ').next().unwrap_or_default().to_owned(),
        }
    }
}

/// The first value of a "name : value" file.
fn value(text: &str, name: &str) -> String {
    text.lines()
        .filter_map(|line| line.split_once(':'))
        .find(|(key, _)| key.trim() == name)
        .map_or_else(String::new, |(_, value)| value.trim().to_owned())
}

fn caches() -> String {
    let mut found = Vec::new();
    for index in 0..8 {
        let read = |file: &str| {
            fs::read_to_string(format!("/sys/devices/system/cpu/cpu0/cache/index{index}/{file}"))
                .map(|text| text.trim().to_owned())
        };
        let (Ok(level), Ok(kind), Ok(size)) = (read("level"), read("type"), read("size")) else { break };
        let kind = match kind.as_str() {
            "Data" => "d",
            "Instruction" => "i",
            _ => "",
        };
        found.push(format!("L{level}{kind} {size}"));
    }
    found.join(" ")
}

/// Pins the calling thread: to `core`, or to the last one that it may use. Which it was.
pub fn pin(core: Option<usize>) -> Result<usize, String> {
    let usable = machine::usable_cores().map_err(|error| format!("cannot tell the usable cores: {error}"))?;
    let core = match core {
        Some(core) if usable.contains(&core) => core,
        Some(core) => return Err(format!("core {core} is not usable; these are: {usable:?}")),
        None => *usable.last().ok_or("no core is usable")?,
    };
    machine::pin_to_core(core).map_err(|error| format!("cannot stay on core {core}: {error}"))?;
    Ok(core)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_found_by_their_whole_name() {
        let text = "model\t\t: 167\nmodel name\t: A processor\n";
        assert_eq!(value(text, "model name"), "A processor");
        assert_eq!(value(text, "model"), "167");
        assert_eq!(value(text, "absent"), "");
    }
}
