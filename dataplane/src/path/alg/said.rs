//! What is done about the lines of FTP's control channels (RFC 959, RFC 2428).

use crate::Nanos;
use crate::alg::ftp::Listener;
use crate::counters::Counters;
use crate::nat::Nat;
use crate::path::own::Desk;
use crate::table::channels::Privacy;
use crate::table::sessions::{Sessions, UNPRIVILEGED};
use crate::wire::ftp::{PLACE, Place, Said};
use crate::wire::text::{Garbled, Text};

/// Hears what the inside host of a session says.
pub(super) struct Listening<'s> {
    sessions: &'s mut Sessions,
    nat: &'s Nat,
    await_s: u16,
    counters: &'s mut Counters,
    privacy: &'s mut Privacy,
    slot: u32,
    now: Nanos,
}

impl<'s> Listening<'s> {
    /// To the host of the session in this slot.
    pub(super) fn to(
        sessions: &'s mut Sessions,
        desk: &'s mut Desk<'_>,
        privacy: &'s mut Privacy,
        slot: u32,
        now: Nanos,
    ) -> Self {
        let (nat, await_s) = (&desk.premises.nat, desk.premises.alg.ftp.await_s);
        Self { sessions, nat, await_s, counters: desk.counters, privacy, slot, now }
    }

    /// The other end of the channel may reach the host's own port, as it is told here, and nobody anybody else's (RFC 2577
    /// §3: what is called the bounce attack).
    fn awaits(&mut self, place: Place) -> Option<Text<PLACE>> {
        let session = self.sessions.get(self.slot)?;
        let own = [session.host().0, session.arriving().addresses.destination()];
        let is_own = place.address.is_none_or(|address| own.contains(&address));
        if !is_own || place.port < UNPRIVILEGED {
            self.counters.alg_refused += 1;
            return None;
        }
        let Self { sessions, nat, await_s, slot, now, .. } = self;
        // A port alone is one of the address that the client came to: it cannot be another's (RFC 2428 §3).
        let is_there = |told: &(u32, u16)| place.address.is_some() || told.0 == own[1];
        let told = sessions.await_at(*slot, place.port, *await_s, nat, *now).ok().filter(is_there);
        let Some((address, port)) = told else {
            self.counters.alg_full += 1;
            return None;
        };
        self.counters.alg_announced += 1;
        Some(place.written(address, port))
    }
}

impl Listener for Listening<'_> {
    fn hear(&mut self, said: Result<Said, Garbled>) -> Option<Text<PLACE>> {
        match said {
            Ok(Said::Awaits(place)) => return self.awaits(place),
            Ok(Said::AsksTls) => *self.privacy = Privacy::Asked,
            Ok(Said::GrantsTls) if *self.privacy == Privacy::Asked => *self.privacy = Privacy::Encrypted,
            Ok(Said::GrantsTls | Said::Nothing) => {}
            Err(Garbled) => self.counters.alg_garbled += 1,
        }
        None
    }

    fn is_private(&self) -> bool {
        *self.privacy == Privacy::Encrypted
    }
}
