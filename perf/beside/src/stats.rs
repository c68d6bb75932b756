//! What the others print about their own work.

use crate::device::Own;

/// `show fwd stats all` of testpmd with `--record-core-cycles`: cycles of turns that received something, and the packets.
///
/// It prints `CPU cycles/packet=27.44 (total cycles=14049 / total macswap packets=512) at 2100 MHz Clock`, with the name of
/// the forwarding mode.
pub fn testpmd(text: &str) -> Option<Own> {
    let line = text.lines().rfind(|line| line.contains("CPU cycles/packet="))?;
    let after = |key: &str| number(line.split_once(key)?.1);
    Some(Own { cycles: after("total cycles=")?, packets: after(" packets=")?, core: None })
}

/// `dpif-netdev/pmd-stats-show` of Open vSwitch: cycles of iterations that handled packets, and the packets, of all polling
/// threads.
///
/// It prints for each thread, its first line beginning with `pmd thread`:
/// `avg processing cycles per packet: 162.47 (16247/100)`. Threads without packets print no such line. The main thread,
/// which forwards nothing, is left out.
pub fn ovs(text: &str) -> Own {
    let mut sum = Own::default();
    let mut polls = false;
    for line in text.lines() {
        if line.starts_with("pmd thread") || line.starts_with("main thread") {
            polls = line.starts_with("pmd");
        }
        let counts = line.trim().strip_prefix("avg processing cycles per packet:").and_then(|rest| {
            let (cycles, packets) = rest.split_once('(')?.1.split_once('/')?;
            Some((number(cycles)?, number(packets)?))
        });
        if let Some((cycles, packets)) = counts.filter(|_| polls) {
            sum.cycles += cycles;
            sum.packets += packets;
        }
    }
    sum
}

/// The number at the beginning of a text.
fn number(text: &str) -> Option<f64> {
    let text = text.trim_start();
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    text[..end].parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cycles_of_testpmd_are_read() {
        let text = "\n  +++++++++++++++ Accumulated forward statistics for all ports+++++++++++++++\n  RX-packets: 512\n\n  \
            CPU cycles/packet=27.44 (total cycles=14049 / total io packets=512) at 2100 MHz Clock\ntestpmd> ";
        assert_eq!(testpmd(text), Some(Own { cycles: 14049.0, packets: 512.0, core: None }));
        assert_eq!(testpmd("testpmd> "), None);
        assert_eq!(testpmd("CPU cycles/packet=nonsense"), None);
    }

    #[test]
    fn cycles_of_polling_threads_are_added_up() {
        let text = "pmd thread numa_id 0 core_id 1:\n  packets received: 100\n  \
            avg cycles per packet: 1020.94 (102094/100)\n  avg processing cycles per packet: 162.47 (16247/100)\n\
            pmd thread numa_id 0 core_id 2:\n  packets received: 0\n  idle cycles: 12 (100.00%)\n\
            main thread:\n  packets received: 7\n  avg processing cycles per packet: 9.00 (63/7)\n";
        assert_eq!(ovs(text), Own { cycles: 16247.0, packets: 100.0, core: None });
        assert_eq!(ovs(""), Own::default());
    }
}
