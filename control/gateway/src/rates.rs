//! How much may be asked by those of whom nothing is known but their address: the world, and inside hosts that no file names.

use crate::Nanos;
use crate::settings::Dns;
use ces_dns::limit::{RateLimit, Rates};
use ces_meter::{Level, Rate};
use rand::RngExt;
use rand::rngs::StdRng;
use std::net::IpAddr;

/// Clients from outside that are remembered: 48 octets each, 3 MiB.
const OUTSIDE_CLIENTS: u32 = 65_536;
/// The share of the rate from outside that one client may have.
const OUTSIDE_CLIENT_SHARE: u32 = 10;
/// The part of what is answered to the outside that may be refusals.
const REFUSALS: u32 = 10;
/// Inside hosts without a name that are remembered: half a MiB.
const NAMELESS_CLIENTS: u32 = 16_384;

/// Rates of queries. Those of a host with a name stand with it.
pub(crate) struct QueryRates {
    outside: Option<RateLimit>,
    refusal: Rate,
    refusals: Level,
    nameless: Option<RateLimit>,
}

impl QueryRates {
    /// All full.
    pub(crate) fn new(dns: &Dns, rng: &mut StdRng) -> Self {
        Self {
            outside: outside(dns.outside_rate, rng),
            refusal: refusal(dns.outside_rate),
            refusals: Level::default(),
            nameless: nameless(dns.host_rate, rng),
        }
    }

    /// Other settings: what was asked is forgotten where the rate is another one.
    pub(crate) fn change(&mut self, old: &Dns, new: &Dns, rng: &mut StdRng) {
        if old.outside_rate != new.outside_rate {
            self.outside = outside(new.outside_rate, rng);
            self.refusal = refusal(new.outside_rate);
        }
        if old.host_rate != new.host_rate {
            self.nameless = nameless(new.host_rate, rng);
        }
    }

    /// Whether a client from outside may ask once more.
    pub(crate) fn outside(&mut self, client: IpAddr, now: Nanos) -> bool {
        admit(&mut self.outside, client, now)
    }

    /// Whether one more client from outside may be refused aloud.
    pub(crate) fn refusal(&mut self, now: Nanos) -> bool {
        self.refusals.take(self.refusal, now)
    }

    /// Whether an inside host without a name may ask once more.
    pub(crate) fn nameless(&mut self, client: IpAddr, now: Nanos) -> bool {
        admit(&mut self.nameless, client, now)
    }
}

fn admit(limit: &mut Option<RateLimit>, client: IpAddr, now: Nanos) -> bool {
    limit.as_mut().is_none_or(|limit| limit.admit(client, now).is_ok())
}

fn outside(total: u32, rng: &mut StdRng) -> Option<RateLimit> {
    let client = (total / OUTSIDE_CLIENT_SHARE).max(1);
    let rates = Rates {
        client_per_second: client,
        client_burst: client,
        total_per_second: total,
        total_burst: total,
        clients: OUTSIDE_CLIENTS,
    };
    (total > 0).then(|| RateLimit::new(&rates, rng.random()))
}

fn refusal(total: u32) -> Rate {
    Rate::per_second(if total == 0 { 0 } else { (total / REFUSALS).max(1) })
}

/// Each host has its own rate; what all of them ask is bounded by the rates of who serves DNS.
fn nameless(host: u32, rng: &mut StdRng) -> Option<RateLimit> {
    let rates = Rates {
        client_per_second: host,
        client_burst: host,
        total_per_second: u32::MAX,
        total_burst: u32::MAX,
        clients: NAMELESS_CLIENTS,
    };
    (host > 0).then(|| RateLimit::new(&rates, rng.random()))
}
