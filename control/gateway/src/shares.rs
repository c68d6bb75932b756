//! Shares in what all hosts have together: nobody who asks without end takes it away from those who ask little.

use ces_meter::{Level, Nanos, Rate, SECOND, seconds};

/// Negotiations that one host's queries have started lately.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Started {
    second: u64,
    count: u32,
}

/// The negotiations that the queries of all hosts may start a second: each host has its share of them, as many hosts as
/// have asked for some in this second or the last.
#[derive(Default)]
pub(crate) struct Negotiations {
    all: Level,
    second: u64,
    hosts: u32,
    hosts_before: u32,
}

impl Negotiations {
    /// Takes one for a host; false if there is none left for it. A rate of 0 is no limit.
    pub(crate) fn take(&mut self, host: &mut Started, per_second: u32, now: Nanos) -> bool {
        if per_second == 0 {
            return true;
        }
        // The first second has number 1: a host that has never asked is of second 0.
        let second = u64::from(seconds(now)) + 1;
        if self.second != second {
            self.hosts_before = if self.second + 1 == second { self.hosts } else { 0 };
            (self.second, self.hosts) = (second, 0);
        }
        if host.second != second {
            *host = Started { second, count: 0 };
            self.hosts += 1;
        }
        // Several leave a quarter to those who have not asked yet; and who asks little may go beyond what is there.
        let sharing = self.hosts.max(self.hosts_before);
        let share = if sharing > 1 { per_second / 4 * 3 / sharing } else { per_second }.max(1);
        let is_light = host.count < share.div_ceil(8);
        let depth = if is_light { u64::from(per_second) * 5 / 4 } else { u64::from(per_second) };
        let rate = Rate::new(per_second.into(), SECOND, depth.max(1));
        let allowed = host.count < share && self.all.take(rate, now);
        host.count += u32::from(allowed);
        allowed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn n18_hosts_that_ask_without_end_leave_the_others_their_share() {
        for greedy in [1, 4, 20, 100] {
            let (mut all, mut light) = (Negotiations::default(), Started::default());
            let mut others = vec![Started::default(); greedy];
            let (mut taken, mut refused) = (0, 0);
            for ms in 0..10_000u64 {
                let now = ms * 1_000_000;
                for other in &mut others {
                    taken += u32::from(all.take(other, 800, now));
                }
                // Four a second, and nothing for seconds on end.
                if ms % 250 == 249 && ms / 1_000 % 3 != 1 {
                    refused += u32::from(!all.take(&mut light, 800, now));
                }
            }
            assert_eq!(refused, 0, "beside {greedy} who ask without end");
            assert!((2_500..=8_800).contains(&taken), "{taken} of {greedy} in 10 s");
        }
    }

    #[test]
    fn one_host_alone_has_all_negotiations() {
        let (mut all, mut host) = (Negotiations::default(), Started::default());
        assert_eq!((0..20).filter(|_| all.take(&mut host, 10, 5)).count(), 10);
        assert!((0..1_000).all(|_| all.take(&mut host, 0, 5)));
    }
}
