//! C2C is renewed before its time is over, on a connection that stands, so that nothing rests on an agreement that ends.
//!
//! The end that started C2C renews it: the other one need not. What is agreed anew holds for sessions made from then on; a
//! session keeps the tunnel ids that it was made under. If the peer does not answer, it is asked again until the end.

use super::attempts::{Attempt, Purpose};
use super::peers::PeerId;
use super::{Engine, Failure, Nanos, Realm, Role, Timer};
use crate::limits::S;

/// The earliest and the latest that C2C is renewed before its end.
const LEAD: std::ops::RangeInclusive<Nanos> = 4 * S..=120 * S;

impl Engine {
    /// Plans the renewal of C2C that was agreed just now.
    pub(super) fn plan_renewal(&mut self, peer: PeerId, now: Nanos) {
        let Some(entry) = self.peers.get_mut(&peer) else { return };
        let ours = entry.c2c.as_ref().filter(|c2c| c2c.role == Role::Initiator);
        entry.renewal = ours.and_then(|c2c| {
            let lead = ((c2c.until - now) / 10).clamp(*LEAD.start(), *LEAD.end());
            c2c.until.checked_sub(lead).filter(|at| *at > now)
        });
        if let Some(at) = entry.renewal {
            self.timer(at, Timer::Renewal(peer));
        }
    }

    pub(super) fn renewal_due(&self, peer: PeerId, at: Nanos) -> bool {
        self.peers.get(&peer).is_some_and(|entry| entry.renewal == Some(at))
    }

    /// The time for a renewal has come, or for the next try.
    pub(super) fn renew(&mut self, realm: &mut dyn Realm, peer: PeerId, now: Nanos) {
        let Some(entry) = self.peers.get_mut(&peer) else { return };
        entry.renewal = None;
        let Some(until) = entry.c2c.as_ref().map(|c2c| c2c.until) else { return };
        match entry.attempt.as_ref().map(|attempt| attempt.purpose) {
            // The last try was not answered.
            Some(Purpose::Renewal) => self.attempt_failed(realm, peer, Failure::Silent, now),
            Some(_) => return,
            None => {}
        }
        let Some(conn) = self.pick_conn(peer) else { return };
        let tag = self.draw_c2c_tag();
        let Some(entry) = self.peers.get_mut(&peer) else { return };
        let (conns, last, purpose) = (Vec::new(), Failure::Silent, Purpose::Renewal);
        entry.attempt = Some(Attempt { tag, round: 1, conn: Some(conn), conns, last, purpose });
        // At half of what is left, but not more often than once a second.
        let next = now + (until.saturating_sub(now) / 2).max(S);
        entry.renewal = (next < until).then_some(next);
        if next < until {
            self.timer(next, Timer::Renewal(peer));
        }
        self.run_c2c(realm, peer, conn, now);
    }
}
