//! Numbers, as ranges that neither overlap nor touch, in order.

/// The ranges: first and last of each.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Ranges(Vec<(u32, u32)>);

impl Ranges {
    /// All of these, in whatever order they come.
    pub fn new(mut ranges: Vec<(u32, u32)>) -> Self {
        ranges.sort_unstable();
        let mut merged: Vec<(u32, u32)> = Vec::with_capacity(ranges.len());
        for (first, last) in ranges {
            match merged.last_mut() {
                Some((_, end)) if first <= end.saturating_add(1) => *end = last.max(*end),
                _ => merged.push((first, last)),
            }
        }
        Self(merged)
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// How many ranges there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Each range, the lowest first.
    pub fn iter(&self) -> impl Iterator<Item = (u32, u32)> {
        self.0.iter().copied()
    }

    /// Whether a number is among them.
    pub fn contains(&self, number: u32) -> bool {
        let after = self.0.partition_point(|&(first, _)| first <= number);
        after > 0 && number <= self.0[after - 1].1
    }

    /// These without those.
    pub fn without(&self, others: &Self) -> Self {
        let mut left = Vec::with_capacity(self.len());
        let mut others = others.0.iter().peekable();
        for &(mut first, last) in &self.0 {
            while others.next_if(|other| other.1 < first).is_some() {}
            let mut ended = false;
            let mut within = others.clone();
            while let Some(&&(from, to)) = within.peek().filter(|other| other.0 <= last) {
                if from > first {
                    left.push((first, from - 1));
                }
                within.next();
                let Some(next) = to.checked_add(1).filter(|&next| next <= last) else {
                    ended = true;
                    break;
                };
                first = next;
            }
            if !ended {
                left.push((first, last));
            }
        }
        Self(left)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn ranges() -> impl Strategy<Value = Vec<(u32, u32)>> {
        let number = || prop_oneof![0u32..40, (u32::MAX - 3)..=u32::MAX];
        let range = (number(), 0u32..6).prop_map(|(first, more)| (first, first.saturating_add(more)));
        proptest::collection::vec(range, 0..8)
    }

    proptest! {
        #[test]
        fn numbers_are_where_they_were_put(some in ranges(), others in ranges()) {
            let (all, less) = (Ranges::new(some.clone()), Ranges::new(others.clone()));
            let left = all.without(&less);
            let within = |ranges: &[(u32, u32)], number| ranges.iter().any(|&(from, to)| (from..=to).contains(&number));
            for number in (0..60).chain(u32::MAX - 10..=u32::MAX) {
                prop_assert_eq!(all.contains(number), within(&some, number));
                prop_assert_eq!(left.contains(number), within(&some, number) && !within(&others, number));
            }
            for list in [all, left] {
                prop_assert!(list.0.windows(2).all(|pair| pair[0].1.saturating_add(1) < pair[1].0), "{:?}", list);
            }
        }
    }
}
