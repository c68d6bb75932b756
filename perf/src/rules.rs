//! What the rules of the filter cost: to ask which one decides, and to compile them.
//!
//! The rules are a mixture: of the first of 16 kinds some say source, destination and port, others one or two of these.
//! Packets fit one rule each, drawn at random, and so touch what all rules stand in.

use crate::measure::{Burst, Case, Done, timed};
use crate::random::{Random, shuffled};
use ces_dataplane::filter::{
    Action, Asked, Condition, End, OpeningRates, Protocols, Ranges, Rule, Rules, Seen, Who, Zone, ZonePairs,
};
use std::hint::black_box;

/// TCP and UDP.
const PROTOCOLS: [u8; 2] = [6, 17];
/// Packets that take turns.
const ASKED: usize = 1 << 16;

/// A network with one of these prefixes, with the bits of `within` set.
fn network(random: &mut Random, within: u32, prefixes: &[u32]) -> Who {
    let bits = prefixes[random.below(prefixes.len() as u32) as usize];
    let host = u32::MAX.checked_shr(bits).unwrap_or(0);
    let first = (within | random.below(u32::MAX) & (u32::MAX >> within.leading_ones().max(1))) & !host;
    Who::Among(Ranges::new(vec![(first, first | host)]))
}

fn ports(random: &mut Random) -> Ranges {
    let below = if random.below(2) == 0 { 1024 } else { 65_000 };
    let first = 1 + random.below(below);
    let more = if random.below(4) == 0 { random.below(100) } else { 0 };
    Ranges::new(vec![(first, first + more)])
}

/// So many rules.
fn rules(count: u32) -> Vec<Rule> {
    let mut random = Random::new(7);
    let rule = |_| {
        let kind = random.below(16);
        let (source, destination) = (!(6..=9).contains(&kind), kind < 10 || kind == 12);
        let protocol = (kind != 13).then(|| PROTOCOLS[usize::from(kind > 9)]);
        let mut protocols = protocol.map_or(Protocols::ALL, |_| Protocols::NONE);
        if let Some(protocol) = protocol {
            protocols.add(protocol);
        }
        Rule {
            action: Action::Allow,
            log: false,
            limits: OpeningRates::NONE,
            condition: Condition::ANY,
            zones: ZonePairs::new(&[Zone::Inside], &[Zone::Outside]),
            protocols,
            source: End {
                who: if source {
                    network(&mut random, 0x0a00_0000, &[16, 20, 24, 24, 28, 32])
                } else {
                    Who::Anybody
                },
                ports: None,
            },
            destination: End {
                who: if destination { network(&mut random, 0, &[16, 24, 32, 32]) } else { Who::Anybody },
                ports: protocol.map(|_| ports(&mut random)),
            },
        }
    };
    (0..count).map(rule).collect()
}

/// A packet that fits a rule.
fn fitting(rule: &Rule, random: &mut Random) -> Asked {
    let mut within = |ranges: Option<&Ranges>| match ranges.and_then(|ranges| ranges.iter().next()) {
        Some((first, last)) => first + random.below((last - first).max(1)),
        None => random.below(u32::MAX),
    };
    let address = |who: &Who| if let Who::Among(ranges) = who { Some(ranges.clone()) } else { None };
    Asked {
        from: Zone::Inside,
        to: Zone::Outside,
        protocol: PROTOCOLS[usize::from(!rule.protocols.has(PROTOCOLS[0]))],
        source: within(address(&rule.source.who).as_ref()),
        destination: within(address(&rule.destination.who).as_ref()),
        source_port: within(None) as u16,
        destination_port: within(rule.destination.ports.as_ref()) as u16,
        comes_by: 0,
        goes_by: 1,
        seen: Seen { mark: 2, dscp: 0, is_fragment: false, length: 60 },
    }
}

/// Which rule decides.
pub struct Classify {
    rules: Rules,
    count: u32,
    asked: Vec<Asked>,
    next: usize,
    burst: usize,
    done: Done,
}

impl Classify {
    /// Of so many rules, asked in bursts.
    pub fn new(count: u32, burst: usize) -> Result<Self, String> {
        let written = rules(count);
        let mut random = Random::new(11);
        let order = shuffled(count, 5);
        let asked = (0..ASKED.next_multiple_of(burst))
            .map(|number| fitting(&written[order[number % order.len()] as usize], &mut random));
        let asked = asked.collect();
        let rules = Rules::new(&written, Vec::new()).map_err(|_| format!("{count} rules are too many"))?;
        Ok(Self { rules, count, asked, next: 0, burst, done: Done::default() })
    }
}

impl Case for Classify {
    fn burst(&mut self) -> Burst {
        let asked = &self.asked[self.next..self.next + self.burst];
        self.next = (self.next + self.burst) % self.asked.len();
        self.done.burst(self.burst, || timed(|| measured_classify(&self.rules, asked)))
    }

    fn done(&self) -> Done {
        self.done
    }

    fn table(&self) -> Option<(f64, usize)> {
        Some((self.rules.bytes() as f64 / f64::from(self.count), 4096))
    }
}

#[inline(never)]
fn measured_classify(rules: &Rules, asked: &[Asked]) -> usize {
    black_box(asked.iter().filter(|asked| rules.find(asked).is_some()).count())
}

/// Rules are compiled; "packets" are rules.
pub struct Build {
    written: Vec<Rule>,
    done: Done,
}

impl Build {
    /// So many rules.
    pub fn new(count: u32) -> Self {
        Self { written: rules(count), done: Done::default() }
    }
}

impl Case for Build {
    fn burst(&mut self) -> Burst {
        let Self { written, done } = self;
        done.burst(written.len(), || {
            let (cycles, built) = timed(|| measured_build(written));
            (cycles, if black_box(built).is_some() { written.len() } else { 0 })
        })
    }

    fn done(&self) -> Done {
        self.done
    }

    /// A second.
    fn limit_ns(&self) -> u64 {
        1_000_000_000
    }
}

#[inline(never)]
fn measured_build(rules: &[Rule]) -> Option<Rules> {
    Rules::new(rules, Vec::new()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_packet_fits_a_rule() {
        let mut classify = Classify::new(1000, 64).unwrap();
        for _ in 0..200 {
            assert_eq!(classify.burst().packets, 64);
        }
        classify.check().unwrap();
        assert_eq!(Build::new(100).burst().packets, 100);
    }
}
