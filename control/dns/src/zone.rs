//! What the gateway itself answers to the outside: its zones, and nothing else.

use std::net::{IpAddr, Ipv4Addr};

use hickory_proto::rr::rdata::{CNAME, NS, SOA};
use hickory_proto::rr::{Name, RData, Record, RecordType};
use serde::Deserialize;
use thiserror::Error;

use crate::answer::{Answer, Voice};
use crate::naptr::{self, Defaults, NaptrFault, Proto, Published};
use crate::outcome::QueryOutcome;
use crate::query::Query;

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
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Inbound {
    /// Nothing is reached by that name from the plain Internet: NOERROR, empty.
    NotOffered,
    /// This public address, for a moment and for one client alone: no resolver may give it to another one.
    Address(Ipv4Addr),
    /// Who asks has to show that he receives what is sent to him: over TCP.
    Truncate,
    /// The same, by asking for this name.
    Alias(Name),
    /// There is none to be had now, for that reason.
    Lacking(QueryOutcome),
}

/// What the zone asks of the registry. Names are compared without case.
pub trait Names {
    /// What stands behind a name inside of a zone.
    fn standing(&self, name: &Name) -> Standing;

    /// The Realm Gateway's place: an address of the circular pool, reserved for a client of whoever asks.
    fn inbound_address(&mut self, _query: &Query) -> Inbound {
        Inbound::NotOffered
    }
}

/// One name of which nothing else is known.
impl Names for Standing {
    fn standing(&self, _name: &Name) -> Standing {
        *self
    }
}

/// What a query from outside gets.
#[derive(Clone, Debug, PartialEq)]
pub enum Lookup {
    /// This answer, counted so.
    Answer(Answer, QueryOutcome),
    /// TC=1: it is to be asked over TCP.
    Truncate,
    /// It cannot be answered now, for that reason.
    Lacking(QueryOutcome),
    /// Outside of the zones.
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
pub struct ZoneSettings {
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
    /// TTL of CES records, seconds.
    #[serde(default = "default_ces_ttl")]
    pub ces_ttl_s: u32,
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

fn default_ces_ttl() -> u32 {
    30
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
    /// A CES record of the gateway's own that no other gateway would take.
    #[error("own CES record {record}: {}", fault.label())]
    Ces {
        /// Its regular expression.
        record: String,
        /// Why it would not be taken.
        fault: NaptrFault,
    },
}

/// One zone, ready to answer.
#[derive(Debug)]
struct Zone {
    origin: Name,
    soa: Record,
    ns: Vec<Record>,
    /// Addresses of name servers inside of the zone.
    glue: Vec<Record>,
    negative_ttl_s: u32,
    ces_ttl_s: u32,
}

impl Zone {
    fn new(settings: &ZoneSettings) -> Result<Self, ZoneError> {
        let parse = |text: &str| crate::name(text).ok_or_else(|| ZoneError::Name(text.to_owned()));
        let origin = parse(&settings.origin)?;
        let mut ns = Vec::new();
        let mut glue = Vec::new();
        let mut primary = None;
        for server in &settings.nameservers {
            let name = parse(&server.name)?;
            ns.push(Record::from_rdata(origin.clone(), settings.ttl_s, RData::NS(NS(name.clone()))));
            if origin.zone_of(&name) {
                glue.extend(
                    server
                        .addresses
                        .iter()
                        .map(|&ip| Record::from_rdata(name.clone(), settings.ttl_s, ip.into())),
                );
            }
            primary.get_or_insert(name);
        }
        let primary = primary.ok_or_else(|| ZoneError::NoNameServer(settings.origin.clone()))?;
        let mailbox = match &settings.mailbox {
            Some(text) => mailbox(text).ok_or_else(|| ZoneError::Name(text.clone()))?,
            None => mailbox(&format!("hostmaster@{}", settings.origin))
                .ok_or_else(|| ZoneError::Name(settings.origin.clone()))?,
        };
        // RFC 1912 §2.2. No secondary reads these: zones are not transferred.
        let (refresh, retry, expire) = (7_200, 1_800, 1_209_600);
        let soa =
            SOA::new(primary, mailbox, settings.serial, refresh, retry, expire, settings.negative_ttl_s);
        Ok(Self {
            soa: Record::from_rdata(origin.clone(), settings.ttl_s, RData::SOA(soa)),
            origin,
            ns,
            glue,
            negative_ttl_s: settings.negative_ttl_s,
            ces_ttl_s: settings.ces_ttl_s,
        })
    }

    /// The SOA as a negative answer carries it: its TTL is the negative one (RFC 2308 §3).
    fn negative_soa(&self) -> Record {
        let mut soa = self.soa.clone();
        soa.ttl = soa.ttl.min(self.negative_ttl_s);
        soa
    }

    /// What the zone itself has at that name: `None` if nothing of its own stands there.
    fn own(&self, name: &Name, qtype: RecordType) -> Option<Vec<Record>> {
        let is_apex = *name == self.origin;
        let is_above = |glue: &Record| name.zone_of(&glue.name);
        if !is_apex && !self.glue.iter().any(is_above) {
            return None;
        }
        // RFC 8482 §4.1: ANY is answered with a subset.
        let records = match qtype {
            RecordType::SOA | RecordType::ANY if is_apex => vec![self.soa.clone()],
            RecordType::NS if is_apex => self.ns.clone(),
            _ => self
                .glue
                .iter()
                .filter(|r| r.name == *name && (r.record_type() == qtype || qtype == RecordType::ANY))
                .cloned()
                .collect(),
        };
        Some(records)
    }
}

/// A mail address as the name that an SOA holds: the first label is what stands before the `@` (RFC 1035 §8).
fn mailbox(text: &str) -> Option<Name> {
    let (user, domain) = text.split_once('@')?;
    Name::from_labels([user.as_bytes()]).ok()?.append_domain(&crate::name(domain)?).ok()
}

/// An address that is set aside for one client: TTL 0, so that it is given to no other (RFC 1035 §3.2.1).
fn reserved(query: &Query, address: Ipv4Addr) -> Lookup {
    let record = Record::from_rdata(query.name.clone(), 0, RData::A(address.into()));
    Lookup::Answer(Answer::records(Voice::Authority, vec![record]), QueryOutcome::Reserved)
}

/// A name to ask for instead, which is good for a moment: TTL 0.
fn alias(query: &Query, name: Name) -> Lookup {
    let record = Record::from_rdata(query.name.clone(), 0, RData::CNAME(CNAME(name)));
    Lookup::Answer(Answer::records(Voice::Authority, vec![record]), QueryOutcome::Challenged)
}

/// The zones.
#[derive(Debug)]
pub struct Zones {
    zones: Vec<Zone>,
    ces: Published,
}

impl Zones {
    /// Zones as configured, and the CES records that every served name answers to NAPTR (see
    /// [`crate::naptr::Announcement::emit`]).
    pub fn new(settings: &[ZoneSettings], ces: Published) -> Result<Self, ZoneError> {
        // What the gateway says it must itself be able to read.
        let defaults = Defaults { port: 1, proto: Proto::Tls };
        for record in ces.all() {
            naptr::parse(record, defaults).map_err(|fault| ZoneError::Ces {
                record: String::from_utf8_lossy(&record.regexp).into_owned(),
                fault,
            })?;
        }
        let mut zones: Vec<Zone> = Vec::with_capacity(settings.len());
        for settings in settings {
            let zone = Zone::new(settings)?;
            if zones.iter().any(|z| z.origin == zone.origin) {
                return Err(ZoneError::Twice(settings.origin.clone()));
            }
            zones.push(zone);
        }
        Ok(Self { zones, ces })
    }

    /// The zone that holds a name: the one with the longest origin.
    fn of(&self, name: &Name) -> Option<&Zone> {
        self.zones.iter().filter(|z| z.origin.zone_of(name)).max_by_key(|z| z.origin.num_labels())
    }

    /// The zone that answers a question. RFC 4035 §3.1.4.1: DS stands at the parent of a zone, where that is ours; the
    /// child says that it has none.
    fn for_question(&self, name: &Name, qtype: RecordType) -> Option<&Zone> {
        let child = self.of(name)?;
        let is_cut = qtype == RecordType::DS && child.origin == *name;
        is_cut.then(|| self.of(&name.base_name())).flatten().filter(|_| !name.is_root()).or(Some(child))
    }

    /// Whether a question is one for the parent of a zone of ours, which is somebody else's.
    pub fn is_for_parent(&self, name: &Name, qtype: RecordType) -> bool {
        qtype == RecordType::DS
            && self.zones.iter().any(|zone| zone.origin == *name)
            && !self.contains(&name.base_name())
    }

    /// Whether a zone of ours begins there.
    pub fn is_origin(&self, name: &Name) -> bool {
        self.zones.iter().any(|zone| zone.origin == *name)
    }

    /// Whether a name lies in one of the zones.
    pub fn contains(&self, name: &Name) -> bool {
        self.of(name).is_some()
    }

    /// The SOA of the zone that holds this name, its TTL the negative one (RFC 2308 §3).
    pub fn soa(&self, name: &Name) -> Option<Record> {
        self.of(name).map(Zone::negative_soa)
    }

    /// Answers a query from outside.
    pub fn lookup(&self, query: &Query, names: &mut impl Names) -> Lookup {
        let Some(zone) = self.for_question(&query.name, query.qtype) else { return Lookup::OutOfZone };
        let own = zone.own(&query.name, query.qtype);
        let exists = own.is_some();
        let mut records = own.unwrap_or_default();
        let exists = match names.standing(&query.name) {
            Standing::Served => {
                match query.qtype {
                    RecordType::NAPTR | RecordType::ANY => {
                        let owner = Published::owner(&query.name);
                        let record = |naptr: &hickory_proto::rr::rdata::NAPTR| {
                            let data = RData::NAPTR(naptr.clone());
                            Record::from_rdata(owner.clone(), zone.ces_ttl_s, data)
                        };
                        records.extend(self.ces.of(&owner).map(record));
                    }
                    RecordType::A if records.is_empty() => match names.inbound_address(query) {
                        Inbound::NotOffered => {}
                        Inbound::Address(address) => return reserved(query, address),
                        Inbound::Truncate => return Lookup::Truncate,
                        Inbound::Alias(name) => return alias(query, name),
                        Inbound::Lacking(why) => return Lookup::Lacking(why),
                    },
                    _ => {}
                }
                true
            }
            Standing::Above => true,
            // A zone below one of ours: what its parent is asked about it exists.
            Standing::Unknown => exists || self.zones.iter().any(|below| query.name.zone_of(&below.origin)),
        };
        let voice = Voice::Authority;
        if !records.is_empty() {
            let mut answer = Answer::records(voice, records);
            if query.qtype == RecordType::NS {
                answer.additional.clone_from(&zone.glue);
            }
            return Lookup::Answer(answer, QueryOutcome::Authoritative);
        }
        let soa = Some(zone.negative_soa());
        if exists {
            Lookup::Answer(Answer::no_data(voice, soa), QueryOutcome::NoData)
        } else {
            Lookup::Answer(Answer::nx_domain(voice, soa), QueryOutcome::NxDomain)
        }
    }
}
