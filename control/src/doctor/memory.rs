//! Memory for packet buffers and tables.

use super::finding::Finding;
use super::machine::Machine;
use crate::config::Config;
use std::path::Path;

/// Sizes of huge pages that DPDK takes, in MiB, and where the kernel tells of them.
const HUGE: [(u64, &str); 2] = [
    (2, "/sys/kernel/mm/hugepages/hugepages-2048kB"),
    (1024, "/sys/kernel/mm/hugepages/hugepages-1048576kB"),
];
/// Less is little for packet buffers beside the smallest tables, in MiB: README's own number is twice that.
const HUGE_AT_LEAST: u64 = 1024;

pub(super) fn examine(machine: &Machine, config: &Config) -> Vec<Finding> {
    let mut findings = Vec::new();
    if config.memory.huge_pages {
        findings.push(huge_pages(machine));
    } else {
        findings.push(ordinary(machine, config));
    }
    if let Some(memory) = config.state.as_ref().and_then(|state| state.memory.as_deref()) {
        findings.push(kept(machine, memory));
    }
    findings
}

fn huge_pages(machine: &Machine) -> Finding {
    let number = |path: &str, name: &str| machine.number(format!("{path}/{name}"));
    let of_size = |(mib, path): (u64, &str)| {
        Some(
            [number(path, "free_hugepages")?, number(path, "nr_hugepages")?]
                .map(|pages| pages.saturating_mul(mib)),
        )
    };
    let sizes = HUGE.into_iter().filter_map(of_size);
    let Some([free, all]) = sizes.reduce(|one, other| [0, 1].map(|of| one[of].saturating_add(other[of])))
    else {
        return Finding::wrong(
            "huge pages",
            "none in this kernel",
            "set memory.huge_pages = false, or take Debian's kernel",
        );
    };
    let found = format!("{free} of {all} MiB are free");
    let mend = "scripts/hugepages 1024, soon after boot (or vm.nr_hugepages=1024 in /etc/sysctl.d)";
    match free {
        0 => Finding::wrong("huge pages", found, mend),
        few if few < HUGE_AT_LEAST => Finding::poor("huge pages", found, mend),
        _ => Finding::good("huge pages", found),
    }
}

fn ordinary(machine: &Machine, config: &Config) -> Finding {
    let available = machine.text("/proc/meminfo").and_then(|text| {
        let line = text.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
        line.trim().strip_suffix(" kB")?.parse::<u64>().ok()
    });
    let wanted = u64::from(config.memory.mib);
    match available.map(|kib| kib / 1024) {
        None => Finding::poor("memory", "not known", "read /proc/meminfo as another user"),
        Some(mib) if mib < wanted => Finding::wrong(
            "memory",
            format!("{mib} MiB available of memory.mib = {wanted}"),
            "lower memory.mib, or give the machine more",
        ),
        Some(mib) => Finding::good("memory", format!("{mib} MiB available, memory.mib = {wanted}")),
    }
}

/// Where sessions of NAT44 outlive the process.
fn kept(machine: &Machine, directory: &Path) -> Finding {
    let what = "state.memory";
    if machine.is_there(directory) {
        return Finding::good(what, directory.display().to_string());
    }
    let mend = format!("mkdir -p {0} && mount -t tmpfs nodev {0}", directory.display());
    Finding::poor(what, format!("{} is not there: sessions end with the process", directory.display()), mend)
}

#[cfg(test)]
mod tests {
    use super::super::finding::Fitness;
    use super::super::machine::made::{Made, config};
    use super::*;

    fn standings(made: &Made, memory: &str) -> Vec<Fitness> {
        let config = config(&format!("port = []\n[worker]\ncores = []\n[memory]\n{memory}"));
        examine(&made.0, &config).iter().map(|finding| finding.fitness).collect()
    }

    #[test]
    fn memory_is_there() {
        use Fitness::{Good, Poor, Wrong};
        let made =
            Made::new("memory", &[], &[("/proc/meminfo", "MemTotal: 1 kB\nMemAvailable:  524288 kB\n")]);
        assert_eq!(standings(&made, "mib = 512"), [Good]);
        assert_eq!(standings(&made, "mib = 513"), [Wrong]);
        assert_eq!(standings(&made, "huge_pages = true"), [Wrong]);
        let [(_, small), (_, large)] = HUGE;
        made.write(&format!("{small}/nr_hugepages"), "512\n");
        for (free, standing) in [("0\n", Wrong), ("511\n", Poor), ("512\n", Good)] {
            made.write(&format!("{small}/free_hugepages"), free);
            assert_eq!(standings(&made, "huge_pages = true"), [standing], "{free}");
        }
        // Pages of 1 GiB alone; nothing has to be mounted, the EAL keeps no files there.
        made.write(&format!("{small}/free_hugepages"), "0\n");
        for (free, standing) in [("0\n", Wrong), ("1\n", Good)] {
            made.write(&format!("{large}/nr_hugepages"), "1\n");
            made.write(&format!("{large}/free_hugepages"), free);
            assert_eq!(standings(&made, "huge_pages = true"), [standing], "{free} of 1 GiB");
        }
    }
}
