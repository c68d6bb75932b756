//! What the gateway itself answers to the outside: its zones, and nothing else.

use std::net::IpAddr;

use hickory_proto::rr::rdata::NAPTR;
use hickory_proto::rr::{Name, Record};
use serde::Deserialize;
use thiserror::Error;

use crate::answer::Answer;
use crate::message::Query;

/// What the registry knows about a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// A host or service by that name is announced to the outside.
    Served,
    /// No host, but names below it are served: the name exists (RFC 8020 §2).
    Above,
    /// Nothing by that name.
    Unknown,
}

/// What an address query from outside for a served name is worth.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Inbound {
    /// Hosts of the realm have no public address: NOERROR, empty.
    NotOffered,
}

/// What the zone asks of the registry. Names are compared without case.
pub trait Names {
    /// What stands behind a name inside of a zone.
    fn standing(&self, name: &Name) -> Standing;

    /// The Realm Gateway's place: an address of the circular pool, reserved for this client.
    fn inbound_address(&mut self, _query: &Query, _client: IpAddr) -> Inbound {
        Inbound::NotOffered
    }
}

/// What a query from outside gets.
#[derive(Clone, Debug, PartialEq)]
pub enum Lookup {
    /// This answer, counted so.
    Answer(Answer, crate::outcome::QueryOutcome),
    /// Outside of the zones: dropped, counted as `OutOfZone`, never answered.
    OutOfZone,
}

/// A name server of a zone.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NameServer {
    /// Its name.
    pub name: String,
    /// Its addresses, answered when the name is in one of the zones.
    #[serde(default)]
    pub addresses: Vec<IpAddr>,
}

/// One zone that the gateway is authoritative for.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// Its apex.
    pub origin: String,
    /// Its name servers, the primary first.
    pub nameservers: Vec<NameServer>,
    /// Whom to write to, as a mail address (`hostmaster@b.demo`). Default: hostmaster at the apex.
    #[serde(default)]
    pub mailbox: Option<String>,
    /// SOA serial.
    #[serde(default = "default_serial")]
    pub serial: u32,
    /// For how long others may remember that a name or type does not exist, seconds (RFC 2308 §4).
    #[serde(default = "default_negative_ttl")]
    pub negative_ttl_s: u32,
    /// TTL of SOA, NS and addresses of name servers, seconds.
    #[serde(default = "default_ttl")]
    pub ttl_s: u32,
}

fn default_serial() -> u32 {
    1
}

fn default_negative_ttl() -> u32 {
    30
}

fn default_ttl() -> u32 {
    3600
}

/// Why zones cannot be served.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum ZoneError {
    /// Not a domain name.
    #[error("{0:?} is not a domain name")]
    Name(String),
    /// A zone without name server.
    #[error("zone {0} has no name server")]
    NoNameServer(String),
    /// The same zone twice.
    #[error("zone {0} is listed twice")]
    Twice(String),
}

/// The zones.
#[derive(Debug)]
pub struct Zones {
    soa: Option<Record>,
}

impl Zones {
    /// Zones as configured, and the CES records that every served name answers to NAPTR (see
    /// [`crate::naptr::Announcement::emit`]).
    pub fn new(_settings: &[Settings], _ces: Vec<NAPTR>) -> Result<Self, ZoneError> {
        Ok(Self { soa: None })
    }

    /// Whether a name lies in one of the zones.
    pub fn contains(&self, _name: &Name) -> bool {
        false
    }

    /// The SOA of the zone that holds this name, its TTL the negative one (RFC 2308 §3).
    pub fn soa(&self, _name: &Name) -> Option<Record> {
        self.soa.clone()
    }

    /// Answers a query from outside.
    pub fn lookup(&self, _query: &Query, _client: IpAddr, _names: &mut impl Names) -> Lookup {
        Lookup::OutOfZone
    }
}
