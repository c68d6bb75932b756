//! What the service manager is told: sd_notify(3). Without one, nobody is.

use sd_notify::NotifyState;
use std::time::Duration;

/// What it wants to hear.
pub(super) struct Service {
    /// That the gateway lives, so often; in nanoseconds.
    every: Option<u64>,
    last: u64,
}

impl Service {
    /// Tells it that the gateway runs.
    pub(super) fn ready() -> Self {
        tell(&[NotifyState::Ready]);
        // Twice as often as it has to be: `WatchdogSec=` is when it is killed.
        let every = |limit: Duration| u64::try_from(limit.as_nanos() / 2).unwrap_or(u64::MAX);
        Self { every: sd_notify::watchdog_enabled().map(every), last: 0 }
    }

    /// The control thread goes round, at this time.
    pub(super) fn alive(&mut self, now: u64) {
        if self.every.is_some_and(|every| now.saturating_sub(self.last) >= every) {
            self.last = now;
            tell(&[NotifyState::Watchdog]);
        }
    }

    /// It ends.
    pub(super) fn stopping() {
        tell(&[NotifyState::Stopping]);
    }
}

fn tell(what: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(what) {
        tracing::warn!("the service manager cannot be told: {error}");
    }
}
