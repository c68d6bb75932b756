//! Whether there is little left of what NAT44 gives to hosts (RFC 6888 §3, REQ-11 c: who manages it is told).

use crate::admin::view::HolderRow;
use ces_dataplane::counters::Counters;
use ces_dataplane::msg::HostView;

/// From so many hundredths on there is little left.
const SHORT_PERCENT: u64 = 80;
/// Below so many there is enough again.
const ENOUGH_PERCENT: u64 = 70;
/// Hosts that are named.
pub(super) const NAMED: usize = 10;

/// What there may be little left of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Of {
    /// Sessions of a worker.
    Sessions,
    /// External ports of an address.
    Ports,
}

impl Of {
    /// Both.
    pub(super) const ALL: [Self; 2] = [Self::Sessions, Self::Ports];

    /// The metric label.
    pub(super) const fn label(self) -> &'static str {
        match self {
            Self::Sessions => "sessions",
            Self::Ports => "ports",
        }
    }

    const fn percent(self, counters: &Counters) -> u64 {
        match self {
            Self::Sessions => counters.sessions_percent,
            Self::Ports => counters.ports_percent,
        }
    }
}

/// What there is little left of.
#[derive(Debug, Default)]
pub(super) struct Shortage {
    short: [bool; Of::ALL.len()],
}

impl Shortage {
    /// Whether there is little left of that.
    pub(super) fn is_of(&self, of: Of) -> bool {
        self.short[of as usize]
    }

    /// Looks at all workers. What has become short is returned, for whoever says so with the hosts that hold most of it.
    pub(super) fn look(&mut self, workers: &[Counters]) -> Vec<Of> {
        let mut become_short = Vec::new();
        for of in Of::ALL {
            let percent = workers.iter().map(|counters| of.percent(counters)).max().unwrap_or(0);
            if !self.crosses(of, percent) {
                continue;
            }
            if self.is_of(of) {
                become_short.push(of);
            } else {
                tracing::info!(kind = "nat", "NAT44: there are enough {} again", of.label());
            }
        }
        become_short
    }

    /// Looks how full it is where it is fullest; whether that has crossed a line since it was looked at last.
    fn crosses(&mut self, of: Of, percent: u64) -> bool {
        let short = &mut self.short[of as usize];
        let line = if *short { ENOUGH_PERCENT } else { SHORT_PERCENT };
        let crosses = (percent >= line) != *short;
        *short ^= crosses;
        crosses
    }
}

/// The hosts that hold most, of all that are told.
#[derive(Debug, Default)]
pub(super) struct Holders(Vec<HostView>);

impl Holders {
    /// One more, be it among the first or not.
    pub(super) fn add(&mut self, host: HostView) {
        let more = |host: &HostView| std::cmp::Reverse(host.sessions.max(host.ports));
        let place = self.0.partition_point(|other| more(other) <= more(&host));
        if place < NAMED {
            self.0.insert(place, host);
            self.0.truncate(NAMED);
        }
    }

    /// Whether none was told.
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// As a list shows them.
    pub(super) fn rows(&self) -> Vec<HolderRow> {
        let row = |host: &HostView| {
            let HostView { host, external, sessions, ports } = *host;
            HolderRow { host, external, sessions, ports }
        };
        self.0.iter().map(row).collect()
    }

    /// Says of what there is little left, and who has it.
    pub(super) fn log(&self, of: Of) {
        let has =
            |host: &HostView| format!("{} ({} sessions, {} ports)", host.host, host.sessions, host.ports);
        let who: Vec<_> = self.0.iter().map(has).collect();
        let who = who.join(", ");
        tracing::warn!(
            kind = "nat",
            "NAT44: {SHORT_PERCENT} % of the {} are taken; most have {who}",
            of.label()
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::Ipv4Addr;

    #[test]
    fn a_shortage_is_said_once_until_there_is_enough_again() {
        let mut shortage = Shortage::default();
        let said = [79, 80, 99, 75, 81, 70, 69, 79, 80].map(|percent| shortage.crosses(Of::Ports, percent));
        assert_eq!(said, [false, true, false, false, false, false, true, false, true]);
        assert!(shortage.is_of(Of::Ports) && !shortage.is_of(Of::Sessions));
    }

    #[test]
    fn the_hosts_that_hold_most_come_first_and_no_more_than_that() {
        let mut holders = Holders::default();
        for number in 0..100u32 {
            let sessions = number * 37 % 100;
            holders.add(HostView {
                host: Ipv4Addr::from(number),
                external: None,
                sessions,
                ports: 99 - sessions / 2,
            });
        }
        let held: Vec<_> = holders.rows().iter().map(|row| row.sessions.max(row.ports)).collect();
        assert_eq!(held, [99, 99, 99, 98, 98, 98, 97, 97, 97, 96]);
    }
}
