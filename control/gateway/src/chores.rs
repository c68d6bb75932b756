//! What was decided in a moment and is done a piece at a time, so that nobody waits for a hundred thousand of it: workers that
//! are to be told of other pins, questions that another resolver is asked again.

/// What is left to do.
#[derive(Default)]
pub(crate) struct Chores {
    /// Entries of those who wait, for whom the resolver is asked again.
    owed: Vec<u64>,
    /// Hosts whose pins the workers are told anew, in a ring: what changes meanwhile is told in one more round of it.
    next_host: usize,
    hosts_left: usize,
}

impl Chores {
    pub(crate) fn is_empty(&self) -> bool {
        self.owed.is_empty() && self.hosts_left == 0
    }

    /// The resolver is to be asked again for all of these, and for no others.
    pub(crate) fn owe(&mut self, owed: Vec<u64>) {
        self.owed = owed;
    }

    /// So many of them, at most.
    pub(crate) fn take_owed(&mut self, most: usize) -> Vec<u64> {
        self.owed.split_off(self.owed.len().saturating_sub(most))
    }

    /// The workers are to be told of the pins in that many slots of hosts.
    pub(crate) const fn tell_pins(&mut self, slots: usize) {
        self.hosts_left = slots;
    }

    /// The slot that is next, of that many.
    pub(crate) fn next_pin(&mut self, slots: usize) -> Option<usize> {
        self.hosts_left = self.hosts_left.min(slots).checked_sub(1)?;
        let slot = self.next_host % slots;
        self.next_host = slot + 1;
        Some(slot)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn r2_each_slot_is_told_after_the_last_change() {
        let mut chores = Chores::default();
        chores.tell_pins(4);
        let told: Vec<_> = (0..3).filter_map(|_| chores.next_pin(4)).collect();
        chores.tell_pins(4);
        let rest: Vec<_> = std::iter::from_fn(|| chores.next_pin(4)).collect();
        assert_eq!((told, rest), (vec![0, 1, 2], vec![3, 0, 1, 2]));
        assert!(chores.is_empty() && chores.next_pin(0).is_none());
        chores.owe(vec![1, 2, 3]);
        assert_eq!(
            (chores.take_owed(2), chores.take_owed(2), chores.take_owed(2)),
            (vec![2, 3], vec![1], vec![])
        );
    }
}
