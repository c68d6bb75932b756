//! Datagrams that the host's own kernel did not send, and did not tell its sender of.
//!
//! A socket without IP_RECVERR hears nothing of ENOBUFS (`udp_send_skb` of Linux): no room in the kernel's table of
//! neighbours, or none in the interface's queue. The kernel counts it, for a network namespace.

use std::fs;

/// The counters of the network namespace by protocol: a line of names, then a line of numbers.
const COUNTERS: &str = "/proc/self/net/snmp";

/// Datagrams so far that were not sent; 0 if the kernel does not say.
pub fn so_far() -> u64 {
    fs::read_to_string(COUNTERS).ok().and_then(|table| counter(&table)).unwrap_or(0)
}

fn counter(table: &str) -> Option<u64> {
    let mut lines = table.lines().filter_map(|line| line.strip_prefix("Udp:"));
    let (names, numbers) = (lines.next()?, lines.next()?);
    let at = names.split_ascii_whitespace().position(|name| name == "SndbufErrors")?;
    numbers.split_ascii_whitespace().nth(at)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_counter_is_found_by_its_name() {
        let table = "Tcp: RtoMin SndbufErrors\nTcp: 1 2\nUdp: InDatagrams NoPorts SndbufErrors InCsumErrors\n\
                     Udp: 5 6 32 7\nUdpLite: InDatagrams SndbufErrors\nUdpLite: 8 9\n";
        assert_eq!(counter(table), Some(32));
        assert_eq!(counter("Udp: InDatagrams\nUdp: 5\n"), None);
        assert_eq!(counter("Udp: SndbufErrors\n"), None);
    }

    #[test]
    fn this_kernel_has_it() {
        assert!(counter(&fs::read_to_string(COUNTERS).unwrap()).is_some());
    }
}
