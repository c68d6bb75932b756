//! The workers' cores: there, alone, and at their full speed.

use super::finding::Finding;
use super::machine::{Machine, listed};
use crate::config::Config;

const CPU: &str = "/sys/devices/system/cpu";

pub(super) fn examine(machine: &Machine, config: &Config) -> Vec<Finding> {
    let cores = &config.worker.cores;
    let mut findings: Vec<_> = cores.iter().map(|&core| worker(machine, core, cores)).collect();
    findings.push(control(machine, config));
    findings
}

fn worker(machine: &Machine, core: usize, workers: &[usize]) -> Finding {
    let what = format!("worker's core {core}");
    if !machine.usable_cores().contains(&core) {
        let usable = machine.usable_cores().iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
        let mend = "name others in worker.cores, or let this process use it (AllowedCPUs=, taskset)";
        return Finding::wrong(what, format!("not for this process, which may use {usable}"), mend);
    }
    let siblings = machine.text(format!("{CPU}/cpu{core}/topology/thread_siblings_list")).unwrap_or_default();
    if let Some(other) = listed(&siblings).into_iter().find(|other| *other < core && workers.contains(other))
    {
        let mend = "name one core of each pair in worker.cores (lscpu --extended)";
        return Finding::poor(
            what,
            format!("half of a processor whose other half is worker's core {other}"),
            mend,
        );
    }
    let isolated = machine.text(format!("{CPU}/isolated")).unwrap_or_default();
    if !listed(&isolated).contains(&core) {
        let list = workers.iter().map(ToString::to_string).collect::<Vec<_>>().join(",");
        let mend = format!(
            "add isolcpus={list} nohz_full={list} rcu_nocbs={list} to the kernel's command line (GRUB_CMDLINE_LINUX, \
             update-grub)"
        );
        return Finding::poor(what, "everybody's: the scheduler puts other work on it", mend);
    }
    match machine.text(format!("{CPU}/cpu{core}/cpufreq/scaling_governor")) {
        Some(governor) if governor != "performance" => {
            let mend = format!("echo performance >{CPU}/cpu{core}/cpufreq/scaling_governor");
            Finding::poor(what, format!("its speed follows its load (governor {governor})"), mend)
        }
        _ => Finding::good(what, "its own"),
    }
}

fn control(machine: &Machine, config: &Config) -> Finding {
    let is_free = |core: &usize| machine.usable_cores().contains(core) && !config.worker.cores.contains(core);
    let found = match config.control.core {
        Some(core) => Some(core).filter(is_free),
        None => machine.usable_cores().iter().copied().find(is_free),
    };
    match found {
        Some(core) => Finding::good("control thread's core", format!("core {core}")),
        None => Finding::poor(
            "control thread's core",
            "a worker's: names and signalling wait for packets",
            "leave one core out of worker.cores, or give the machine one more",
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::super::finding::Fitness;
    use super::super::machine::made::{Made, config};
    use super::*;

    fn found(made: &Made, cores: &str) -> Vec<(Fitness, String)> {
        let config = config(&format!("port = []\n[worker]\ncores = {cores}"));
        examine(&made.0, &config).into_iter().map(|finding| (finding.fitness, finding.found)).collect()
    }

    #[test]
    fn cores_are_there_alone_and_fast() {
        let made = Made::new(
            "cores",
            &[0, 1, 2, 3],
            &[
                ("/sys/devices/system/cpu/isolated", "1-3\n"),
                ("/sys/devices/system/cpu/cpu1/topology/thread_siblings_list", "1,3\n"),
                ("/sys/devices/system/cpu/cpu3/topology/thread_siblings_list", "1,3\n"),
                ("/sys/devices/system/cpu/cpu2/cpufreq/scaling_governor", "schedutil\n"),
            ],
        );
        let good = |found: &str| (Fitness::Good, found.to_owned());
        assert_eq!(found(&made, "[1]"), [good("its own"), good("core 0")]);
        let all = found(&made, "[0, 1, 2, 3]");
        let standings: Vec<_> = all.iter().map(|(standing, _)| *standing).collect();
        use Fitness::{Good, Poor};
        assert_eq!(standings, [Poor, Good, Poor, Poor, Poor], "{all:?}");
        assert_eq!(found(&made, "[9]")[0].0, Fitness::Wrong);
    }
}
