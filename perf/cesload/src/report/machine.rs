//! The machine that measures, as far as it can be told without asking more than files.

use serde::Serialize;
use std::fs;

/// What a figure depends on beside the programs.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Machine {
    /// The processor's name.
    pub cpu: String,
    /// How many cores the kernel sees.
    pub cores: usize,
    /// The kernel's release.
    pub kernel: String,
    /// Memory in kB.
    pub memory_kb: u64,
    /// Huge pages that are reserved.
    pub huge_pages: u64,
    /// Their size in kB.
    pub huge_page_kb: u64,
}

impl Machine {
    /// This one.
    pub fn here() -> Machine {
        let read = |path| fs::read_to_string(path).unwrap_or_default();
        Machine::of(&read("/proc/cpuinfo"), &read("/proc/meminfo"), &read("/proc/sys/kernel/osrelease"))
    }

    fn of(cpuinfo: &str, meminfo: &str, release: &str) -> Machine {
        let value = |text: &str, key: &str| {
            let line =
                text.lines().find(|line| line.split(':').next().is_some_and(|name| name.trim() == key))?;
            Some(line.split_once(':')?.1.trim().to_owned())
        };
        let number = |key| {
            let text = value(meminfo, key).unwrap_or_default();
            text.trim_end_matches(" kB").parse().unwrap_or(0)
        };
        Machine {
            cpu: value(cpuinfo, "model name").unwrap_or_else(|| "unknown".to_owned()),
            cores: cpuinfo.lines().filter(|line| line.starts_with("processor")).count(),
            kernel: release.trim().to_owned(),
            memory_kb: number("MemTotal"),
            huge_pages: number("HugePages_Total"),
            huge_page_kb: number("Hugepagesize"),
        }
    }

    /// In one line.
    pub fn line(&self) -> String {
        let Machine { cpu, cores, kernel, memory_kb, huge_pages, huge_page_kb } = self;
        // 1 GiB = 1024 × 1024 kB
        let gib = *memory_kb as f64 / (1024.0 * 1024.0);
        format!(
            "{cpu}, {cores} cores, {gib:.0} GiB, {huge_pages} huge pages of {} MiB, Linux {kernel}",
            huge_page_kb / 1024
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_files_are_read() {
        let machine = Machine::of(
            "processor\t: 0\nmodel name\t: Some CPU @ 2.10GHz\nprocessor\t: 1\nmodel name\t: Some CPU @ 2.10GHz\n",
            "MemTotal:       25165824 kB\nHugePages_Total:     512\nHugepagesize:       2048 kB\n",
            "6.1.0\n",
        );
        assert_eq!(
            machine.line(),
            "Some CPU @ 2.10GHz, 2 cores, 24 GiB, 512 huge pages of 2 MiB, Linux 6.1.0"
        );
        assert_eq!(Machine::of("", "", "").cpu, "unknown");
    }
}
