//! What no longer is as it is configured: sessions of a static mapping that is gone or leads to somebody else, and of external
//! ports that somebody has by configuration now. A packet of one ends it at once; the others are sought a piece at a time.

use super::{Session, Sessions};
use crate::Nanos;
use crate::meter::seconds;
use crate::nat::{Nat, Space};

/// The most slots that one turn looks at: some hundred nanoseconds' work for most.
const SLOTS_A_TURN: usize = 64;

impl Sessions {
    /// There are other static mappings: all that stand are to be seen.
    pub fn look_anew(&mut self) {
        self.stale_from = 0;
    }

    /// Whether a session is as it is configured now.
    pub fn is_as_configured(session: &Session, nat: &Nat) -> bool {
        let (arriving, protocol) = (session.arriving(), session.protocol());
        let (external, port) = (arriving.addresses.destination(), arriving.ports as u16);
        if session.is_configured() && external == session.host().0 {
            return nat.exceptions.are_between(external, session.remote().0);
        }
        if session.is_configured() {
            return nat.statics.behind(external, port, protocol) == Some(session.host());
        }
        if session.is_reserved() {
            return nat.statics.behind(external, port, protocol).is_none();
        }
        let taken = |space| nat.statics.taken(external, space).has(port);
        nat.statics.whole(external).is_none() && !Space::of(protocol).is_some_and(taken)
    }

    /// Ends what is not. Called once a turn, takes a bounded time. Returns how many ended.
    #[inline]
    pub fn end_stale(&mut self, nat: &Nat, now: Nanos) -> u64 {
        if self.stale_from as usize >= self.lines.len() { 0 } else { self.end_some(nat, now) }
    }

    #[cold]
    fn end_some(&mut self, nat: &Nat, now: Nanos) -> u64 {
        let from = self.stale_from as usize;
        let to = (from + SLOTS_A_TURN).min(self.lines.len());
        let mut ended = 0;
        for slot in from..to {
            let session = &self.lines[slot];
            if session.is_live() && !Self::is_as_configured(session, nat) {
                self.end(slot as u32, seconds(now));
                ended += 1;
            }
        }
        self.stale_from = to as u32;
        ended
    }
}
