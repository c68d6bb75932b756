//! Which rule is the first that fits.
//!
//! Most rules look at five things: the kind (zones and protocol), source, destination, and their ports. Each of these is an
//! [`Axis`], and for each interval of an axis there are the rules that fit it, a bit each. The rules that fit a packet are
//! those whose bits are set on all axes.
//!
//! Most rules do not look at everything, and so most bits would say nothing. Therefore the bits do not stand in the order of
//! the rules: rules that look at the same things stand in the same blocks of 64, and among these by addresses. A block whose
//! rules do not look at an axis is not kept there. Of an interval only those blocks are kept that are not empty, behind a
//! summary with a bit for each block: the summaries of all axes together leave the few blocks that have to be looked at. Of
//! the rules that are found then the first in order decides. What few rules ask beside, a member of a large set or something of
//! the packet itself, is asked of those alone that fit otherwise.

use crate::asked::{Asked, KIND_BITS};
use crate::axis::Axis;
use crate::condition::Condition;
use crate::ranges::Ranges;
use crate::rule::{Action, End, Protocols, Rule, Who, ZonePairs};
use crate::set::AddressSet;
use rustc_hash::FxHashMap;

/// How many things a rule looks at.
const AXES: usize = 5;
/// The numbers on each axis have so many bits, of which so many are left for pages.
const BITS: [(u32, u32); AXES] = [(KIND_BITS, 0), (32, 16), (32, 16), (16, 8), (16, 8)];
/// Rules of a block: the bits of a word.
const BLOCK: usize = 64;
/// No rule.
const NONE: u32 = u32::MAX;
/// The rule asks for more than its bits say.
const ASKS: u32 = 1 << 31;
/// The most that all bits may take: 256 MiB.
const WORDS: usize = 1 << 25;

/// The rules cut the addresses into too many pieces.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooLarge;

/// The rules, ready to be asked.
#[derive(Clone, Debug)]
pub struct Classifier {
    axes: [Axis; AXES],
    /// What the axes lead to: of an interval the summary, and then a word for each bit that is set in it.
    words: Vec<u64>,
    /// By word of the summary: the blocks that do not look at each axis.
    blind: Vec<[u64; AXES]>,
    /// By place: the rule that stands there.
    rules: Vec<u32>,
    /// By rule: what it asks more.
    more: Vec<More>,
    /// The conditions that rules ask for, each with whether the rule allows.
    conditions: Vec<(Condition, bool)>,
    sets: Vec<AddressSet>,
}

/// What a rule asks beside its bits: the sets that source and destination must be in, and its condition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct More {
    source: u32,
    destination: u32,
    condition: u32,
}

impl More {
    const NOTHING: Self = Self { source: NONE, destination: NONE, condition: NONE };

    /// What a rule asks; its condition is put behind those of other rules.
    fn of(rule: &Rule, conditions: &mut Vec<(Condition, bool)>) -> Self {
        let member = |end: &End| if let Who::Member(set) = end.who { set as u32 } else { NONE };
        let condition = if rule.condition == Condition::ANY {
            NONE
        } else {
            conditions.push((rule.condition, rule.action == Action::Allow));
            conditions.len() as u32 - 1
        };
        Self { source: member(&rule.source), destination: member(&rule.destination), condition }
    }
}

/// The kinds of packets that rules are about: many are about the same.
#[derive(Default)]
struct Kinds(FxHashMap<(ZonePairs, Protocols), Option<Ranges>>);

impl Kinds {
    fn of(&mut self, rule: &Rule) -> Option<Ranges> {
        self.0.entry((rule.zones, rule.protocols)).or_insert_with(|| rule.kinds()).clone()
    }
}

/// The axes that a rule looks at, a bit each, with what it accepts there.
struct Look {
    axes: [Option<Ranges>; AXES],
    shape: u32,
}

impl Look {
    fn new(rule: &Rule, kinds: &mut Kinds) -> Self {
        let who = |end: &End| match &end.who {
            Who::Among(ranges) => Some(ranges.clone()),
            Who::Anybody | Who::Member(_) => None,
        };
        let (source, destination) = (&rule.source, &rule.destination);
        let axes =
            [kinds.of(rule), who(source), who(destination), source.ports.clone(), destination.ports.clone()];
        let shape = (0..AXES).filter(|&axis| axes[axis].is_some()).map(|axis| 1 << axis).sum();
        Self { axes, shape }
    }

    /// Rules with near keys stand in the same block: what they have in common is told by one word.
    fn key(&self) -> (u32, [u32; AXES]) {
        let first = |axis: usize| self.axes[axis].as_ref().and_then(|ranges| Some(ranges.iter().next()?.0));
        (self.shape, [2, 1, 4, 3, 0].map(|axis| first(axis).unwrap_or(0)))
    }
}

impl Classifier {
    /// Of these rules, in their order, with the large sets that they name.
    pub fn new(rules: &[Rule], sets: Vec<AddressSet>) -> Result<Self, TooLarge> {
        let mut kinds = Kinds::default();
        let looks: Vec<_> = rules.iter().map(|rule| Look::new(rule, &mut kinds)).collect();
        let mut order: Vec<u32> = (0..rules.len() as u32).collect();
        order.sort_by_cached_key(|&rule| (looks[rule as usize].key(), rule));
        let places = places(&order, &looks);
        let blocks = places.len() / BLOCK;
        let summaries = blocks.div_ceil(64);
        let mut blind = vec![[0; AXES]; summaries];
        for (place, &rule) in places.iter().enumerate().filter(|&(_, &rule)| rule != NONE) {
            let block = place / BLOCK;
            for (axis, blind) in blind[block / 64].iter_mut().enumerate() {
                *blind |= u64::from(looks[rule as usize].shape >> axis & 1 == 0) << (block % 64);
            }
        }
        let mut kept = Kept { words: Vec::new(), known: FxHashMap::default(), summaries };
        let mut axes = Vec::with_capacity(AXES);
        for (axis, bits) in BITS.into_iter().enumerate() {
            axes.push(kept.axis(bits, changes(&places, &looks, axis), blocks)?);
        }
        let mut conditions = Vec::new();
        let more: Vec<_> = rules.iter().map(|rule| More::of(rule, &mut conditions)).collect();
        let marked = |rule: u32| match more.get(rule as usize) {
            Some(&More::NOTHING) | None => rule,
            Some(_) => rule | ASKS,
        };
        Ok(Self {
            axes: axes.try_into().map_err(|_| TooLarge)?,
            words: kept.words,
            blind,
            rules: places.iter().map(|&rule| marked(rule)).collect(),
            more,
            conditions,
            sets,
        })
    }

    /// The first rule that fits.
    pub fn find(&self, asked: &Asked) -> Option<usize> {
        let numbers = [
            asked.kind(),
            asked.source,
            asked.destination,
            u32::from(asked.source_port),
            u32::from(asked.destination_port),
        ];
        let told: [&[u64]; AXES] = std::array::from_fn(|axis| {
            self.words.get(self.axes[axis].find(numbers[axis]) as usize..).unwrap_or_default()
        });
        let mut best = NONE;
        for (at, blind) in self.blind.iter().enumerate() {
            let summary: [u64; AXES] = std::array::from_fn(|axis| told[axis].get(at).copied().unwrap_or(0));
            let mut blocks = (0..AXES).fold(u64::MAX, |blocks, axis| blocks & (summary[axis] | blind[axis]));
            if blocks == 0 {
                continue;
            }
            let behind = told.map(|words| self.behind(words, at));
            while blocks != 0 {
                let block = blocks.trailing_zeros();
                blocks &= blocks - 1;
                let fit = (0..AXES).fold(u64::MAX, |fit, axis| {
                    let below = summary[axis] & ((1 << block) - 1);
                    let word = told[axis].get(behind[axis] + below.count_ones() as usize);
                    // All bits where this axis is not looked at.
                    fit & (word.copied().unwrap_or(0) | (summary[axis] >> block & 1).wrapping_sub(1))
                });
                best = best.min(self.first(at * 64 + block as usize, fit, asked));
            }
        }
        (best != NONE).then_some(best as usize)
    }

    /// Where the words of the blocks of a summary's word begin.
    #[inline]
    fn behind(&self, words: &[u64], at: usize) -> usize {
        let before: u32 = words.iter().take(at).map(|summary| summary.count_ones()).sum();
        self.blind.len() + before as usize
    }

    /// The first rule of a block whose bit is set.
    #[inline]
    fn first(&self, block: usize, mut fit: u64, asked: &Asked) -> u32 {
        while fit != 0 {
            let rule = self.rules[block * BLOCK + fit.trailing_zeros() as usize];
            // Behind the last rule of a block that looks at nothing there is none.
            if rule & ASKS == 0 || rule == NONE {
                return rule;
            }
            let rule = rule & !ASKS;
            if self.has_more(self.more[rule as usize], asked) {
                return rule;
            }
            fit &= fit - 1;
        }
        NONE
    }

    fn has_more(&self, more: More, asked: &Asked) -> bool {
        let is_in = |set: u32, address| set == NONE || self.sets[set as usize].contains(address);
        let holds = || {
            let condition = self.conditions.get(more.condition as usize);
            condition.is_none_or(|(condition, allows)| condition.fits(asked, *allows))
        };
        is_in(more.source, asked.source) && is_in(more.destination, asked.destination) && holds()
    }

    /// Bytes of memory.
    pub fn bytes(&self) -> usize {
        self.axes.iter().map(Axis::bytes).sum::<usize>()
            + self.words.len() * size_of::<u64>()
            + self.sets.iter().map(AddressSet::bytes).sum::<usize>()
            + self.rules.len() * size_of::<u32>()
    }
}

/// The rules by place: those that look at the same things begin a new block.
fn places(order: &[u32], looks: &[Look]) -> Vec<u32> {
    let mut places: Vec<u32> = Vec::with_capacity(order.len() + BLOCK);
    let mut shape = None;
    for &rule in order {
        if shape.replace(looks[rule as usize].shape) != Some(looks[rule as usize].shape) {
            places.resize(places.len().next_multiple_of(BLOCK), NONE);
        }
        places.push(rule);
    }
    places.resize(places.len().next_multiple_of(BLOCK), NONE);
    // Within a block the first that fits decides.
    places.chunks_mut(BLOCK).for_each(<[u32]>::sort_unstable);
    places
}

/// The numbers on an axis at which a place's bit changes.
fn changes(places: &[u32], looks: &[Look], axis: usize) -> Vec<(u32, u32)> {
    let looking = places
        .iter()
        .enumerate()
        .filter_map(|(place, &rule)| Some((place as u32, looks.get(rule as usize)?.axes[axis].as_ref()?)));
    let mut changes: Vec<_> = looking
        .flat_map(|(place, ranges)| {
            ranges
                .iter()
                .flat_map(move |(first, last)| [Some(first), last.checked_add(1)].map(|at| (at, place)))
        })
        .filter_map(|(at, place)| Some((at?, place)))
        .collect();
    changes.sort_unstable();
    changes
}

/// The bits of intervals, each kept once.
struct Kept {
    words: Vec<u64>,
    known: FxHashMap<Box<[u64]>, u32>,
    summaries: usize,
}

impl Kept {
    /// An axis of numbers of so many bits on which places change there.
    fn axis(
        &mut self,
        (bits, below): (u32, u32),
        changes: Vec<(u32, u32)>,
        blocks: usize,
    ) -> Result<Axis, TooLarge> {
        let mut fit = vec![0u64; blocks];
        let mut summary = vec![0u64; self.summaries];
        let mut intervals = Vec::with_capacity(changes.len() + 1);
        let mut changes = changes.into_iter().peekable();
        let mut at = 0;
        loop {
            while let Some((_, place)) = changes.next_if(|change| change.0 == at) {
                let (block, bit) = (place as usize / BLOCK, place as usize % BLOCK);
                fit[block] ^= 1 << bit;
                let bit = 1 << (block % 64);
                summary[block / 64] = summary[block / 64] & !bit | if fit[block] == 0 { 0 } else { bit };
            }
            intervals.push([at, self.keep(&summary, &fit)?]);
            match changes.peek() {
                Some(&(next, _)) if next >> (bits - 1) <= 1 => at = next,
                _ => return Ok(Axis::new(bits, below, intervals)),
            }
        }
    }

    fn keep(&mut self, summary: &[u64], fit: &[u64]) -> Result<u32, TooLarge> {
        let mut record = summary.to_vec();
        for (at, &summary) in summary.iter().enumerate() {
            let mut blocks = summary;
            while blocks != 0 {
                record.push(fit[at * 64 + blocks.trailing_zeros() as usize]);
                blocks &= blocks - 1;
            }
        }
        if let Some(&known) = self.known.get(&record[..]) {
            return Ok(known);
        }
        let place = self.words.len();
        if place + record.len() > WORDS {
            return Err(TooLarge);
        }
        self.words.extend_from_slice(&record);
        self.known.insert(record.into(), place as u32);
        Ok(place as u32)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::asked::{Seen, Zone};
    use crate::rule::OpeningRates;
    use proptest::prelude::*;

    /// What the rules say, read as a person reads them.
    fn first(rules: &[Rule], sets: &[Ranges], asked: &Asked) -> Option<usize> {
        let among =
            |ranges: &Option<Ranges>, number: u16| ranges.as_ref().is_none_or(|r| r.contains(number.into()));
        let is = |who: &Who, address| match who {
            Who::Anybody => true,
            Who::Among(ranges) => ranges.contains(address),
            Who::Member(set) => sets[*set].contains(address),
        };
        rules.iter().position(|rule| {
            let kinds = rule.kinds();
            kinds.is_none_or(|kinds| kinds.contains(asked.kind()))
                && is(&rule.source.who, asked.source)
                && is(&rule.destination.who, asked.destination)
                && among(&rule.source.ports, asked.source_port)
                && among(&rule.destination.ports, asked.destination_port)
                && rule.condition.fits(asked, rule.action == Action::Allow)
        })
    }

    fn address() -> impl Strategy<Value = u32> {
        prop_oneof![0u32..12, 0x0a00_0000u32..0x0a00_0010, Just(u32::MAX), Just(0xc000_0201)]
    }

    fn ranges() -> impl Strategy<Value = Ranges> {
        let range = (address(), prop_oneof![Just(0u32), 0u32..9, Just(u32::MAX)]);
        proptest::collection::vec(range, 0..3).prop_map(|all| {
            Ranges::new(all.into_iter().map(|(at, more)| (at, at.saturating_add(more))).collect())
        })
    }

    fn end() -> impl Strategy<Value = End> {
        let who = prop_oneof![
            2 => Just(Who::Anybody), 4 => ranges().prop_map(Who::Among), 1 => (0usize..2).prop_map(Who::Member)
        ];
        let port = prop_oneof![0u32..6, Just(65_535)];
        let ports = proptest::option::of(
            (port, 0u32..4).prop_map(|(first, more)| Ranges::new(vec![(first, (first + more).min(65_535))])),
        );
        (who, ports).prop_map(|(who, ports)| End { who, ports })
    }

    fn rule() -> impl Strategy<Value = Rule> {
        let zones = prop_oneof![
            Just(ZonePairs::all()),
            Just(ZonePairs::new(&[Zone::Inside], &[Zone::Outside])),
            Just(ZonePairs::new(&[Zone::Outside], &Zone::ALL)),
        ];
        let protocols = prop_oneof![
            Just(Protocols::ALL),
            proptest::collection::vec(0u8..4, 0..3).prop_map(|all| {
                let mut protocols = Protocols::NONE;
                for protocol in all {
                    protocols.add(protocol);
                }
                protocols
            })
        ];
        let condition = prop_oneof![
            4 => Just(Condition::ANY),
            1 => (0u8..4, 0u64..4).prop_map(|(flags_set, dscps)| Condition { flags_set, dscps, ..Condition::ANY }),
            1 => (0u16..9).prop_map(|most| Condition { length: (2, most), ..Condition::ANY }),
        ];
        let action = prop_oneof![Just(Action::Allow), Just(Action::Deny)];
        (action, zones, protocols, end(), end(), condition).prop_map(
            |(action, zones, protocols, source, destination, condition)| Rule {
                action,
                log: false,
                limits: OpeningRates::NONE,
                zones,
                protocols,
                source,
                destination,
                condition,
            },
        )
    }

    fn asked() -> impl Strategy<Value = Asked> {
        let zone = || prop_oneof![Just(Zone::Inside), Just(Zone::Outside)];
        let port = || prop_oneof![0u16..12, Just(65_535u16)];
        let seen = (0u8..4, 0u8..2, 0u16..9).prop_map(|(mark, dscp, length)| Seen {
            mark,
            dscp,
            is_fragment: false,
            length,
        });
        (zone(), zone(), 0u8..4, address(), address(), port(), port(), seen).prop_map(
            |(from, to, protocol, source, destination, source_port, destination_port, seen)| Asked {
                from,
                to,
                protocol,
                source,
                destination,
                source_port,
                destination_port,
                comes_by: 0,
                goes_by: 1,
                seen,
            },
        )
    }

    proptest! {
        #[test]
        fn the_first_rule_that_fits_decides(
            rules in prop_oneof![
                20 => proptest::collection::vec(rule(), 0..20),
                1 => proptest::collection::vec(rule(), 4200..4300).no_shrink(),
            ],
            sets in proptest::array::uniform2(ranges()),
            packets in proptest::collection::vec(asked(), 40),
        ) {
            let large = sets.iter().map(AddressSet::new).collect();
            let classifier = Classifier::new(&rules, large).unwrap();
            for asked in packets {
                prop_assert_eq!(classifier.find(&asked), first(&rules, &sets, &asked), "{:?}", asked);
            }
        }
    }
}
