//! What the world may ask: our zones, and nothing else. No recursion, no answer that helps a flood.

use super::Gateway;
use crate::Nanos;
use crate::output::QueryToken;
use ces_dns::answer;
use ces_dns::message::{Query, Transport};
use ces_dns::outcome::{QueryOutcome, Side};
use ces_dns::zone::{Lookup, Names, Standing};
use ces_dns::{Name, ResponseCode};
use std::net::IpAddr;

/// What the registry knows about the one name that is asked for.
pub(crate) struct Known(pub(crate) Standing);

impl Names for Known {
    fn standing(&self, _name: &Name) -> Standing {
        self.0
    }
}

impl Gateway {
    pub(crate) fn outside(
        &mut self,
        client: IpAddr,
        name: Option<&str>,
        query: &Query,
        token: QueryToken,
        now: Nanos,
    ) {
        let mut known = Known(self.standing(name));
        match self.zones.lookup(query, client, &mut known) {
            Lookup::Answer(answer, outcome) => {
                self.answer(Side::Outside, token, answer.emit(query), outcome);
            }
            Lookup::OutOfZone => self.refuse_outside(query, token, now),
        }
    }

    /// RFC 8906 §3.1: REFUSED, not silence, which costs who asks by mistake his time. It is never larger than its query, and
    /// over UDP, where the sender may be a lie, there are so few a second that nobody can be flooded through us.
    fn refuse_outside(&mut self, query: &Query, token: QueryToken, now: Nanos) {
        if query.transport == Transport::Udp && !self.rates.refusal(now) {
            return self.no_answer(Side::Outside, token, QueryOutcome::OutOfZone);
        }
        let bytes = answer::error(query, ResponseCode::Refused);
        self.answer(Side::Outside, token, bytes, QueryOutcome::OutOfZone);
    }

    /// What the registry knows about a name.
    pub(crate) fn standing(&self, name: Option<&str>) -> Standing {
        match name {
            Some(name) if self.core.hosts().named(name).is_some() => Standing::Served,
            Some(name) if self.core.configuration().registry().is_above(name) => Standing::Above,
            _ => Standing::Unknown,
        }
    }
}
