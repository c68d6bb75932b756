//! Which packets of a stream have come (RFC 4303 §3.4.3), as blocks of a ring (RFC 6479).

use crate::reason::DropReason;

const WORDS: u64 = 128;
/// How far a packet may be behind the latest one. The word that the latest is in may be young, so one word less than there are.
/// What waits for a shaped port, class by class, overtakes one another that far.
pub const WINDOW: u64 = (WORDS - 1) * 64;

/// The window of one stream: what one worker of the sender numbers.
#[derive(Clone, Debug)]
pub struct Window {
    /// One more than the latest number; 0: none came yet.
    next: u64,
    seen: [u64; WORDS as usize],
}

impl Default for Window {
    fn default() -> Self {
        Self { next: 0, seen: [0; WORDS as usize] }
    }
}

impl Window {
    /// Takes a packet with this number, which is authentic: once.
    #[inline(always)]
    pub fn admit(&mut self, number: u64) -> Result<(), DropReason> {
        if number >= self.next {
            self.move_to(number);
        } else if self.next - number > WINDOW {
            return Err(DropReason::TunnelLate);
        }
        let (word, bit) = ((number / 64 % WORDS) as usize, 1 << (number % 64));
        if self.seen[word] & bit != 0 {
            return Err(DropReason::TunnelReplayed);
        }
        self.seen[word] |= bit;
        Ok(())
    }

    /// The latest number is this one: what stands in words that are passed was about numbers long ago.
    #[inline(always)]
    fn move_to(&mut self, number: u64) {
        // Of none, the word of number 0 is as clear as it has to be.
        let (old, new) = (self.next.saturating_sub(1) / 64, number / 64);
        for word in 1..=(new - old).min(WORDS) {
            self.seen[((old + word) % WORDS) as usize] = 0;
        }
        self.next = number.saturating_add(1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    /// Numbers as they come: mostly near one another, some repeated, some far ahead or behind, as after a restart.
    fn numbers() -> impl Strategy<Value = Vec<u64>> {
        let step = prop_oneof![
            8 => 1i64..4,
            4 => -70i64..70,
            2 => -(WINDOW as i64) - 3..-(WINDOW as i64) + 3,
            2 => WINDOW as i64 - 3..WINDOW as i64 + 70,
            1 => -20_000i64..20_000,
            1 => Just(1i64 << 32),
        ];
        (0u64..200, prop::collection::vec(step, 0..400)).prop_map(|(first, steps)| {
            let mut at = first;
            let walk = steps.into_iter().map(move |step| {
                at = at.saturating_add_signed(step);
                at
            });
            walk.collect()
        })
    }

    proptest! {
        /// Against a set of all that ever came.
        #[test]
        fn rfc_4303_3_4_3_each_number_is_admitted_once_and_none_from_before_the_window(numbers in numbers()) {
            let (mut window, mut came, mut latest) = (Window::default(), BTreeSet::new(), None::<u64>);
            for number in numbers {
                let expected = match latest {
                    Some(latest) if number <= latest && latest - number >= WINDOW => Err(DropReason::TunnelLate),
                    _ if came.contains(&number) => Err(DropReason::TunnelReplayed),
                    _ => Ok(()),
                };
                prop_assert_eq!(window.admit(number), expected, "{} after {:?}", number, latest);
                if expected.is_ok() {
                    came.insert(number);
                    latest = latest.max(Some(number));
                }
            }
        }
    }

    #[test]
    fn the_last_number_there_is_does_not_wrap() {
        let mut window = Window::default();
        assert_eq!(window.admit(u64::MAX - 1), Ok(()));
        assert_eq!(window.admit(u64::MAX - 1), Err(DropReason::TunnelReplayed));
        assert_eq!(window.admit(0), Err(DropReason::TunnelLate));
    }
}
