//! How often sessions that are kept open are used, so that no device takes them for dead.

use ces_dataplane::Nanos;

/// Says how many of the open sessions are due, if each is used once in a while.
pub struct Refresh {
    every: Option<Nanos>,
    due: f64,
    since: Nanos,
}

impl Refresh {
    /// Each once in that time; `None` = never.
    pub fn new(every: Option<Nanos>, now: Nanos) -> Self {
        Self { every: every.map(|every| every.max(1)), due: 0.0, since: now }
    }

    /// How many of `open` sessions are due, at most `most`.
    pub fn due(&mut self, open: u32, most: usize, now: Nanos) -> usize {
        let Some(every) = self.every else { return 0 };
        let (open, passed) = (f64::from(open), now.saturating_sub(self.since) as f64);
        // However long the thread was held up, nobody is due twice at once.
        self.due = (self.due + open * passed / every as f64).min(open);
        self.since = now;
        (self.due as usize).min(most)
    }

    /// One was used.
    pub fn took(&mut self) {
        self.due -= 1.0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_is_due_once_in_the_time() {
        let (mut refresh, mut used) = (Refresh::new(Some(1_000_000_000), 0), 0);
        for now in (0..=2_000_000_000).step_by(100_000) {
            for _ in 0..refresh.due(5000, 32, now) {
                refresh.took();
                used += 1;
            }
        }
        assert!((9_999..=10_000).contains(&used), "{used}");
    }

    #[test]
    fn nobody_is_due_twice_at_once() {
        assert_eq!(Refresh::new(Some(1000), 0).due(10, 32, 1_000_000_000), 10);
        assert_eq!(Refresh::new(None, 0).due(10, 32, 1_000_000_000), 0);
    }
}
