//! Rates of queries: a token bucket per client and one for the side.
//!
//! The table of clients is fixed in size: a client's bucket lies in one of four places that a seeded hash of its
//! address gives. Where all are taken, the fullest goes: it is the one that forgets least, since an unknown client starts
//! with a full bucket. A flood from forged addresses so empties nobody's bucket but the side's.

use std::hash::BuildHasher;
use std::net::IpAddr;

use ces_meter::{Fine, Level, Rate};
use serde::Deserialize;

use crate::question::Seeded;
use crate::{Nanos, SECOND};

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
    /// Clients remembered: 32 octets each.
    pub clients: u32,
}

impl Default for Rates {
    fn default() -> Self {
        Self {
            client_per_second: 50,
            client_burst: 100,
            total_per_second: 20_000,
            total_burst: 20_000,
            clients: 16_384,
        }
    }
}

/// Which rate is exceeded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exceeded {
    /// The client's own.
    Client,
    /// The side's.
    Total,
}

/// Places where one client's bucket may lie.
const WAYS: usize = 4;

/// A client's bucket.
#[derive(Clone, Copy, Debug)]
struct Bucket {
    client: Option<Subscriber>,
    level: Level,
}

/// Who asks. One subscriber has a whole /64 of IPv6 addresses to choose from (RFC 6177 §2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Subscriber {
    V4(u32),
    V6(u64),
}

impl From<IpAddr> for Subscriber {
    fn from(client: IpAddr) -> Self {
        match client {
            IpAddr::V4(ip) => Self::V4(ip.to_bits()),
            IpAddr::V6(ip) => Self::V6((ip.to_bits() >> 64) as u64),
        }
    }
}

/// The buckets of one side.
#[derive(Debug)]
pub struct RateLimit {
    client: Rate,
    total: Rate,
    total_level: Level,
    buckets: Box<[Bucket]>,
    hash: Seeded,
}

/// At least one a second.
fn rate(per_second: u32, burst: u32) -> Rate {
    Rate::new(u64::from(per_second.max(1)), SECOND, u64::from(burst))
}

impl RateLimit {
    /// Full buckets.
    pub fn new(rates: &Rates, seed: u64) -> Self {
        let empty = Bucket { client: None, level: Level::default() };
        Self {
            client: rate(rates.client_per_second, rates.client_burst),
            total: rate(rates.total_per_second, rates.total_burst),
            total_level: Level::default(),
            buckets: vec![empty; (rates.clients as usize).next_multiple_of(WAYS).max(WAYS)].into(),
            hash: Seeded(seed),
        }
    }

    /// Takes one query of that client, or says which rate it exceeds. What its own rate refuses costs the side nothing.
    pub fn admit(&mut self, client: IpAddr, now: Nanos) -> Result<(), Exceeded> {
        let client = Subscriber::from(client);
        let sets = self.buckets.len() / WAYS;
        let from = (self.hash.hash_one(client) % sets as u64) as usize * WAYS;
        let ways = &mut self.buckets[from..from + WAYS];
        let at = ways.iter().position(|b| b.client == Some(client));
        let level = at.map_or(Level::default(), |at| ways[at].level);
        let after = self.client.take(level, 1, Fine::of(now)).ok_or(Exceeded::Client)?;
        if !self.total_level.take(self.total, now) {
            return Err(Exceeded::Total);
        }
        let at = at.or_else(|| (0..WAYS).min_by_key(|&at| ways[at].level));
        if let Some(at) = at {
            ways[at] = Bucket { client: Some(client), level: after };
        }
        Ok(())
    }
}

const _: () = assert!(size_of::<Bucket>() == 32);

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::{Ipv4Addr, Ipv6Addr};

    fn rates() -> Rates {
        Rates { client_per_second: 10, client_burst: 5, total_per_second: 100, total_burst: 20, clients: 64 }
    }

    fn host(n: u32) -> IpAddr {
        Ipv4Addr::from(0x0a00_0000 + n).into()
    }

    #[test]
    fn a_client_has_its_burst_and_then_its_rate() {
        let mut limit = RateLimit::new(&rates(), 1);
        let now = 7 * SECOND;
        for _ in 0..5 {
            assert_eq!(limit.admit(host(1), now), Ok(()));
        }
        assert_eq!(limit.admit(host(1), now), Err(Exceeded::Client));
        assert_eq!(limit.admit(host(2), now), Ok(()), "another client is not affected");
        assert_eq!(limit.admit(host(1), now + SECOND / 10), Ok(()));
        assert_eq!(limit.admit(host(1), now + SECOND / 10), Err(Exceeded::Client));
        let admitted =
            (0..1000).filter(|n| limit.admit(host(1), now + SECOND + n * SECOND / 100).is_ok()).count();
        assert!((100..=106).contains(&admitted), "{admitted} in 10 s at 10/s");
    }

    #[test]
    fn all_clients_share_the_total() {
        let mut limit = RateLimit::new(&rates(), 1);
        let admitted = (0..50).filter(|&n| limit.admit(host(n), SECOND).is_ok()).count();
        assert_eq!(admitted, 20);
        assert_eq!(limit.admit(host(99), SECOND), Err(Exceeded::Total));
    }

    #[test]
    fn a_client_that_is_refused_costs_the_others_nothing() {
        let mut limit = RateLimit::new(&rates(), 1);
        for _ in 0..1000 {
            let _ = limit.admit(host(1), SECOND);
        }
        assert_eq!((2..17).filter(|&n| limit.admit(host(n), SECOND).is_ok()).count(), 15);
    }

    #[test]
    fn a_flood_of_addresses_does_not_refill_a_busy_client() {
        let rates = Rates { total_per_second: 1_000_000, total_burst: 1_000_000, ..rates() };
        let mut limit = RateLimit::new(&rates, 1);
        for _ in 0..5 {
            limit.admit(host(1), SECOND).unwrap();
        }
        for n in 2..10_000 {
            let _ = limit.admit(host(n), SECOND);
        }
        assert_eq!(limit.admit(host(1), SECOND), Err(Exceeded::Client));
    }

    #[test]
    fn an_ipv6_subscriber_is_its_64() {
        let mut limit = RateLimit::new(&rates(), 1);
        let host = |n: u128| IpAddr::V6(Ipv6Addr::from((0x2001_0db8 << 96) + n));
        assert_eq!((0..20).filter(|&n| limit.admit(host(n), SECOND).is_ok()).count(), 5);
    }
}
