//! What is done about the lines of FTP's control channels (RFC 959, RFC 2428).

use super::shown::show;
use crate::Nanos;
use crate::alg::ftp::Listener;
use crate::counters::Counters;
use crate::events::Events;
use crate::nat::Nat;
use crate::path::own::Desk;
use crate::premises::Meters;
use crate::table::channels::Privacy;
use crate::table::sessions::{Sessions, UNPRIVILEGED};
use crate::wire::ftp::{PLACE, Place, Said};
use crate::wire::ipv4;
use crate::wire::text::{Garbled, Text};

/// Hears what the inside host of a session says.
pub(super) struct Listening<'s> {
    sessions: &'s mut Sessions,
    nat: &'s Nat,
    await_s: u16,
    counters: &'s mut Counters,
    meters: &'s mut Meters,
    events: &'s mut Events,
    privacy: &'s mut Privacy,
    /// Nothing is done about what it says.
    is_dry: bool,
    slot: u32,
    now: Nanos,
}

impl<'s> Listening<'s> {
    /// To the host of the session in this slot.
    pub(super) fn to(
        sessions: &'s mut Sessions,
        (desk, events): (&'s mut Desk<'_>, &'s mut Events),
        privacy: &'s mut Privacy,
        (slot, is_dry): (u32, bool),
        now: Nanos,
    ) -> Self {
        let (nat, await_s) = (&desk.premises.nat, desk.premises.alg.ftp.await_s);
        let (counters, meters) = (&mut *desk.counters, &mut *desk.meters);
        Self { sessions, nat, await_s, counters, meters, events, privacy, is_dry, slot, now }
    }
}

impl Listener for Listening<'_> {
    /// The other end of the channel may reach the host's own port, as it is told here, and nobody anybody else's (RFC 2577
    /// §3: what is called the bounce attack).
    fn awaits(&mut self, place: Place) -> Option<Text<PLACE>> {
        let session = *self.sessions.get(self.slot)?;
        let own = [session.host().0, session.arriving().addresses.destination()];
        let is_own = place.address.is_none_or(|address| own.contains(&address));
        if !is_own || place.port < UNPRIVILEGED {
            self.counters.alg_refused += 1;
            return None;
        }
        let Self { sessions, nat, await_s, slot, now, .. } = self;
        let told = if self.is_dry {
            Ok(Sessions::expected_at(&session, (place.port, ipv4::TCP), nat))
        } else {
            sessions.await_at(*slot, (place.port, ipv4::TCP), *await_s, nat, *now)
        };
        // A port alone is one of the address that the client came to: it cannot be another's (RFC 2428 §3).
        let is_there = |told: &(u32, u16)| place.address.is_some() || told.0 == own[1];
        let Some(told) = told.ok().filter(is_there) else {
            self.counters.alg_full += 1;
            return None;
        };
        self.counters.alg_announced += u64::from(!self.is_dry);
        let said = (place.address.unwrap_or(told.0), place.port);
        if said != told {
            self.counters.alg_would_rewrite += u64::from(self.is_dry);
            show(session.between(), ("ftp", self.is_dry), [said, told], (self.meters, self.events), self.now);
        }
        Some(place.written(told.0, told.1))
    }

    fn hear(&mut self, said: Result<Said, Garbled>) {
        self.privacy.hear(said, self.counters);
    }

    fn is_private(&self) -> bool {
        *self.privacy == Privacy::Encrypted
    }
}
