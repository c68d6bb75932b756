//! So many a second, evenly, and without making up for what a held-up thread has missed.

use ces_dataplane::Nanos;

/// Says how many are due.
pub struct Pacer {
    per_ns: Option<f64>,
    due: f64,
    since: Nanos,
    catch_up: f64,
}

impl Pacer {
    /// `per_second`: `None` = as many as can be. `catch_up_ms`: what could not be begun for so long is never begun.
    pub fn new(per_second: Option<f64>, catch_up_ms: u32, now: Nanos) -> Self {
        // The first is due at once.
        Self {
            per_ns: per_second.map(|rate| rate / 1e9),
            due: 1.0,
            since: now,
            catch_up: (per_second.unwrap_or_default() * f64::from(catch_up_ms) / 1000.0).max(1.0),
        }
    }

    /// How many are due, at most `most`.
    pub fn due(&mut self, most: usize, now: Nanos) -> usize {
        let Some(per_ns) = self.per_ns else { return most };
        self.due = (self.due + now.saturating_sub(self.since) as f64 * per_ns).min(self.catch_up);
        self.since = now;
        (self.due as usize).min(most)
    }

    /// One was begun, or can never be.
    pub fn took(&mut self) {
        self.due -= 1.0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn count(per_second: f64, step: Nanos, end: Nanos) -> u64 {
        let (mut pacer, mut now, mut count) = (Pacer::new(Some(per_second), 100, 0), 0, 0);
        while now < end {
            for _ in 0..pacer.due(32, now) {
                pacer.took();
                count += 1;
            }
            now += step;
        }
        count
    }

    #[test]
    fn rate_is_held() {
        assert_eq!(count(10.0, 1_000, 1_000_000_000), 10);
        assert!((99_999..=100_001).contains(&count(100_000.0, 777, 1_000_000_000)));
    }

    #[test]
    fn what_was_missed_for_long_is_not_made_up() {
        let mut pacer = Pacer::new(Some(1e4), 100, 0);
        assert_eq!(pacer.due(5000, 1_000_000_000), 1000);
        assert_eq!(Pacer::new(None, 100, 0).due(32, 0), 32);
    }
}
