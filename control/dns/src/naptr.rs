//! CES service in NAPTR records, in both forms that are in use.
//!
//! | | service | regexp |
//! |---|---|---|
//! | tutorial | `CETP+cesid` | `!^(.*)$!cesid:1=cesb.ces.?ip=192.0.2.10?alias=IXP!` |
//! | reference implementation | `CES+cesid` | `!^.*$!cesid=1:cesb.ces.?cetp_ipv4=192.0.2.10?proto=tls?port=48001!` |
//!
//! The gateway accepts both, and publishes the reference's ahead of the tutorial's. The tutorial's form says neither port
//! nor protocol: those come from configuration, unless a record of the other form names the same gateway at the same
//! address.

use std::net::IpAddr;
use std::sync::Arc;

use hickory_proto::rr::rdata::NAPTR;
use hickory_proto::rr::{Name, RData, Record};
use serde::{Deserialize, Serialize};

use crate::wire;

/// How the connection to a far gateway is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Proto {
    /// Plain TCP.
    Tcp,
    /// TLS over TCP.
    Tls,
}

impl Proto {
    /// As records write it.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::Tls => "tls",
        }
    }
}

/// One place where a gateway listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// Its address.
    pub addr: IpAddr,
    /// TCP port.
    pub port: u16,
    /// Protocol.
    pub proto: Proto,
    /// The network over which it is reached.
    pub alias: Option<Arc<str>>,
    /// NAPTR order, lower first.
    pub order: u16,
    /// NAPTR preference, lower first.
    pub preference: u16,
}

/// A far gateway as one NAPTR answer announces it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CesService {
    /// Its CES identity, as written.
    pub ces_id: Arc<str>,
    /// Where it listens, best first.
    pub endpoints: Vec<Endpoint>,
}

/// What the tutorial's form leaves out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Defaults {
    /// TCP port.
    pub port: u16,
    /// Protocol.
    pub proto: Proto,
}

labelled! {
    /// Why a NAPTR record is not taken as one of CES.
    NaptrFault {
        /// Another service: no fault, only not ours.
        OtherService = "other_service",
        /// The flag is not `U`, or there is a replacement beside the regular expression (RFC 3403 §4.1).
        NotTerminal = "not_terminal",
        /// The regular expression is not delimiter, pattern, delimiter, replacement, delimiter.
        Delimiters = "delimiters",
        /// A field without `key=value`, or with more than one `=`.
        Field = "field",
        /// A field with nothing in it, as of one `?` too many: the record is taken all the same.
        EmptyField = "empty_field",
        /// The same key twice.
        RepeatedField = "repeated_field",
        /// No CES identity.
        NoIdentity = "no_identity",
        /// The identity is not of type 1 (a name), or no name.
        Identity = "identity",
        /// No address.
        NoAddress = "no_address",
        /// An address that cannot be read, or not be connected to.
        Address = "address",
        /// A protocol other than tcp and tls.
        Protocol = "protocol",
        /// A port that is none, or 0.
        Port = "port",
        /// An alias that is empty, too long, or not printable.
        Alias = "alias",
        /// A regular expression that no record can hold.
        TooLong = "too_long",
        /// More records than are accepted in one answer.
        Excess = "excess",
    }
}

/// Endpoints that are accepted from one answer, best first.
pub const ACCEPTED: usize = 5;
/// Records that are looked at in one answer: both forms of [`ACCEPTED`] endpoints and room for other services.
pub const EXAMINED: usize = 32;
/// Longest alias, octets: fits its regular expression of at most 255 octets beside a name and an address.
const ALIAS_MAX: usize = 32;
/// Longest CES identity, octets, final dot included.
const IDENTITY_MAX: usize = 254;

/// What one NAPTR answer holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Discovery {
    /// Gateways, the one with the best record first. Empty: no CES.
    pub services: Vec<CesService>,
    /// What was not taken, each with its reason.
    pub faults: Vec<NaptrFault>,
}

impl Discovery {
    /// What somebody who announces CES did wrong: the first such fault.
    pub fn mistake(&self) -> Option<NaptrFault> {
        self.faults.iter().copied().find(|fault| *fault != NaptrFault::OtherService)
    }
}

/// Records that were not taken, by reason.
#[derive(Clone, Debug, Default)]
pub struct NaptrCounters([u64; NaptrFault::COUNT]);

impl NaptrCounters {
    /// Counts what one answer held.
    pub fn count(&mut self, discovery: &Discovery) {
        for &fault in &discovery.faults {
            self.0[fault as usize] += 1;
        }
    }

    /// All of them, each with its label.
    pub fn iter(&self) -> impl Iterator<Item = (&'static str, u64)> + '_ {
        NaptrFault::ALL.iter().map(|&fault| (fault.label(), self.value(fault)))
    }

    /// How many were not taken for that reason.
    pub fn value(&self, fault: NaptrFault) -> u64 {
        self.0[fault as usize]
    }
}

/// One record, read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CesRecord {
    /// The gateway's identity.
    pub ces_id: Arc<str>,
    /// Where it listens.
    pub endpoint: Endpoint,
    /// The record itself names port or protocol.
    pub is_explicit: bool,
    /// What is wrong with it all the same.
    pub flaw: Option<NaptrFault>,
}

/// The CES gateways among the records of an answer: order first, then preference (RFC 3403 §4.1).
pub fn discover(records: &[Record], defaults: Defaults) -> Discovery {
    let mut discovery = Discovery::default();
    let mut found: Vec<CesRecord> = Vec::new();
    for (n, record) in records.iter().enumerate() {
        let RData::NAPTR(naptr) = &record.data else { continue };
        if n >= EXAMINED {
            discovery.faults.push(NaptrFault::Excess);
            break;
        }
        match parse(naptr, defaults) {
            Ok(record) => {
                discovery.faults.extend(record.flaw);
                merge(&mut found, record);
            }
            Err(fault) => discovery.faults.push(fault),
        }
    }
    // Stable: equals keep the order of the answer.
    found.sort_by_key(|r| (r.endpoint.order, r.endpoint.preference));
    let excess = found.len().saturating_sub(ACCEPTED);
    found.truncate(ACCEPTED);
    discovery.faults.extend(std::iter::repeat_n(NaptrFault::Excess, excess));
    for record in found {
        let same = |s: &&mut CesService| s.ces_id.eq_ignore_ascii_case(&record.ces_id);
        if let Some(service) = discovery.services.iter_mut().find(same) {
            service.endpoints.push(record.endpoint);
        } else {
            discovery.services.push(CesService { ces_id: record.ces_id, endpoints: vec![record.endpoint] });
        }
    }
    discovery
}

/// A gateway publishes one endpoint in both forms: the one that names port and protocol wins, and takes over the alias.
fn merge(found: &mut Vec<CesRecord>, record: CesRecord) {
    let same_place = |other: &&mut CesRecord| {
        other.ces_id.eq_ignore_ascii_case(&record.ces_id) && other.endpoint.addr == record.endpoint.addr
    };
    let twin = found
        .iter_mut()
        .filter(same_place)
        .find(|other| other.is_explicit != record.is_explicit || other.endpoint == record.endpoint);
    let Some(twin) = twin else {
        found.push(record);
        return;
    };
    let best = (twin.endpoint.order, twin.endpoint.preference)
        .min((record.endpoint.order, record.endpoint.preference));
    let alias = twin.endpoint.alias.take().or_else(|| record.endpoint.alias.clone());
    if record.is_explicit && !twin.is_explicit {
        *twin = record;
    }
    twin.endpoint.alias = alias;
    (twin.endpoint.order, twin.endpoint.preference) = best;
}

/// Which form a record has.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Form {
    Tutorial,
    Reference,
}

/// Reads one record.
pub fn parse(naptr: &NAPTR, defaults: Defaults) -> Result<CesRecord, NaptrFault> {
    let form = if naptr.services.eq_ignore_ascii_case(b"CETP+cesid") {
        Form::Tutorial
    } else if naptr.services.eq_ignore_ascii_case(b"CES+cesid") {
        Form::Reference
    } else {
        return Err(NaptrFault::OtherService);
    };
    // RFC 3404 §4.3: "U" is terminal, its output a URI; RFC 3403 §4.1: regexp and replacement exclude each other.
    if !naptr.flags.eq_ignore_ascii_case(b"U") || !naptr.replacement.is_root() {
        return Err(NaptrFault::NotTerminal);
    }
    // RFC 1035 §3.3: a character-string holds 255 octets.
    if naptr.regexp.len() > 255 {
        return Err(NaptrFault::TooLong);
    }
    let text = std::str::from_utf8(&naptr.regexp).map_err(|_| NaptrFault::Delimiters)?;
    let replacement = replacement(text)?;
    let mut fields = Fields::default();
    for field in replacement.split('?').filter(|field| !field.is_empty()) {
        fields.take(form, field)?;
    }
    let has_empty = !replacement.is_empty() && replacement.split('?').any(str::is_empty);
    if replacement.is_empty() {
        return Err(NaptrFault::Field);
    }
    let ces_id = fields.ces_id.ok_or(NaptrFault::NoIdentity)?;
    let is_explicit = fields.port.is_some() || fields.proto.is_some();
    Ok(CesRecord {
        ces_id: ces_id.into(),
        is_explicit,
        flaw: has_empty.then_some(NaptrFault::EmptyField),
        endpoint: Endpoint {
            addr: fields.addr.ok_or(NaptrFault::NoAddress)?,
            port: fields.port.unwrap_or(defaults.port),
            proto: fields.proto.unwrap_or(defaults.proto),
            alias: fields.alias.map(Arc::from),
            order: naptr.order,
            preference: naptr.preference,
        },
    })
}

/// What stands between the second and the third delimiter. The delimiter is the first character; the pattern is taken
/// for "everything", whatever it says, as both forms mean it.
fn replacement(text: &str) -> Result<String, NaptrFault> {
    let delimiter = text.chars().next().ok_or(NaptrFault::Delimiters)?;
    // RFC 3402 §3.2: any octet but a digit from 1 on, the flag "i", and the backslash, which makes it an ordinary one.
    if matches!(delimiter, '1'..='9' | '\\' | 'i') {
        return Err(NaptrFault::Delimiters);
    }
    let mut parts = vec![String::new()];
    let mut rest = text[delimiter.len_utf8()..].chars();
    while let Some(c) = rest.next() {
        match (c, parts.last_mut()) {
            ('\\', Some(part)) => match rest.next() {
                // RFC 3402 §3.2: "\1" stands for what the pattern has found: the name asked for, which is no part of us.
                None | Some('1'..='9') => return Err(NaptrFault::Delimiters),
                Some(escaped) => part.push(escaped),
            },
            (c, _) if c == delimiter => parts.push(String::new()),
            (c, Some(part)) => part.push(c),
            (_, None) => {}
        }
    }
    match <[String; 3]>::try_from(parts) {
        Ok([pattern, replacement, flags]) if !pattern.is_empty() && matches!(&*flags, "" | "i") => {
            Ok(replacement)
        }
        _ => Err(NaptrFault::Delimiters),
    }
}

#[derive(Default)]
struct Fields<'a> {
    ces_id: Option<&'a str>,
    addr: Option<IpAddr>,
    alias: Option<&'a str>,
    proto: Option<Proto>,
    port: Option<u16>,
}

impl<'a> Fields<'a> {
    fn take(&mut self, form: Form, field: &'a str) -> Result<(), NaptrFault> {
        let (key, value) = field.split_once('=').ok_or(NaptrFault::Field)?;
        if value.contains('=') {
            return Err(NaptrFault::Field);
        }
        match (form, key) {
            (Form::Tutorial, "cesid:1") => once(&mut self.ces_id, identity(value)?),
            (Form::Reference, "cesid") => {
                let name = value.strip_prefix("1:").ok_or(NaptrFault::Identity)?;
                once(&mut self.ces_id, identity(name)?)
            }
            // Another type of identity.
            (Form::Tutorial, _) if key.starts_with("cesid") => Err(NaptrFault::Identity),
            (Form::Tutorial, "ip") => once(&mut self.addr, address(value, |_| true)?),
            (Form::Reference, "cetp_ipv4") => once(&mut self.addr, address(value, IpAddr::is_ipv4)?),
            (Form::Reference, "cetp_ipv6") => once(&mut self.addr, address(value, IpAddr::is_ipv6)?),
            (_, "alias") => {
                let is_fit = !value.is_empty()
                    && value.len() <= ALIAS_MAX
                    && value.bytes().all(|b| b.is_ascii_graphic());
                once(&mut self.alias, is_fit.then_some(value).ok_or(NaptrFault::Alias)?)
            }
            (_, "proto") => {
                let proto =
                    [Proto::Tcp, Proto::Tls].into_iter().find(|p| value.eq_ignore_ascii_case(p.label()));
                once(&mut self.proto, proto.ok_or(NaptrFault::Protocol)?)
            }
            (_, "port") => {
                let port = value.parse().ok().filter(|&port: &u16| port != 0 && !value.starts_with('+'));
                once(&mut self.port, port.ok_or(NaptrFault::Port)?)
            }
            // What later versions may add.
            _ => Ok(()),
        }
    }
}

fn once<T>(place: &mut Option<T>, value: T) -> Result<(), NaptrFault> {
    if place.replace(value).is_some() { Err(NaptrFault::RepeatedField) } else { Ok(()) }
}

/// A CES identity is a host name: letters, digits, hyphens, underscores (RFC 1123 §2.1).
fn identity(text: &str) -> Result<&str, NaptrFault> {
    let is_fit = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');
    let is_name = !text.is_empty()
        && text != "."
        && text.len() <= IDENTITY_MAX
        && text.bytes().all(is_fit)
        && Name::from_ascii(text).is_ok();
    is_name.then_some(text).ok_or(NaptrFault::Identity)
}

/// An address that one can connect to.
fn address(text: &str, family: impl Fn(&IpAddr) -> bool) -> Result<IpAddr, NaptrFault> {
    text.parse()
        .ok()
        .filter(|ip: &IpAddr| family(ip) && !ip.is_unspecified() && !ip.is_multicast())
        .filter(|ip| !matches!(ip, IpAddr::V4(v4) if v4.is_broadcast()))
        .ok_or(NaptrFault::Address)
}

/// Which forms are published.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Forms {
    /// The reference's, and the tutorial's behind it where both fit.
    #[default]
    Both,
    /// The reference's alone.
    Reference,
    /// The tutorial's alone.
    Tutorial,
}

/// What the gateway says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Announcement {
    /// Its own CES identity.
    pub ces_id: Arc<str>,
    /// Where it listens.
    pub endpoints: Vec<Endpoint>,
    /// In which forms it says so.
    pub forms: Forms,
}

/// How far behind the reference's form the tutorial's comes, by order: a reader that knows only the reference's takes the
/// first record by order, whatever it is, and a resolver on the way may rotate those of one order.
const BEHIND: u16 = 1000;
/// Octets of an answer that a reader without EDNS gets (RFC 1035 §4.2.1): the reference asks so, and only once.
const ANSWER_MAX: usize = 512;

/// Longest name that is written a second time in an answer, in our case, octets.
const OWN_CASE_MAX: usize = 96;

impl Announcement {
    /// The records, best first.
    pub fn emit(&self) -> Published {
        let mut endpoints: Vec<&Endpoint> = self.endpoints.iter().collect();
        endpoints.sort_by_key(|endpoint| (endpoint.order, endpoint.preference));
        let reference = || endpoints.iter().map(|e| self.reference(e));
        let tutorial = |order: &dyn Fn(u16) -> u16| -> Vec<NAPTR> {
            endpoints.iter().map(|e| self.tutorial(e, order(e.order))).collect()
        };
        // Behind all of the reference's, where there is an order behind them.
        let behind = endpoints.last().and_then(|last| last.order.checked_add(1));
        let (sure, more) = match (self.forms, behind) {
            (Forms::Both, Some(behind)) => {
                let order = |order: u16| order.saturating_add(BEHIND).max(behind);
                (reference().collect(), tutorial(&order))
            }
            (Forms::Both | Forms::Reference, _) => (reference().collect(), Vec::new()),
            (Forms::Tutorial, _) => (tutorial(&|order| order), Vec::new()),
        };
        Published { sure, more }
    }

    fn tutorial(&self, endpoint: &Endpoint, order: u16) -> NAPTR {
        let alias = endpoint.alias.as_ref().map(|alias| format!("?alias={alias}")).unwrap_or_default();
        let regexp = format!("!^(.*)$!cesid:1={}?ip={}{alias}!", self.ces_id, endpoint.addr);
        record(endpoint, order, "CETP+cesid", &regexp)
    }

    fn reference(&self, endpoint: &Endpoint) -> NAPTR {
        let family = if endpoint.addr.is_ipv4() { "cetp_ipv4" } else { "cetp_ipv6" };
        let Endpoint { addr, port, proto, .. } = endpoint;
        let alias = endpoint.alias.as_ref().map(|alias| format!("?alias={alias}")).unwrap_or_default();
        let regexp = format!(
            "!^.*$!cesid=1:{}?{family}={addr}?proto={}?port={port}{alias}!",
            self.ces_id,
            proto.label()
        );
        record(endpoint, endpoint.order, "CES+cesid", &regexp)
    }
}

fn record(endpoint: &Endpoint, order: u16, service: &str, regexp: &str) -> NAPTR {
    NAPTR::new(
        order,
        endpoint.preference,
        (*b"U").into(),
        service.as_bytes().into(),
        regexp.as_bytes().into(),
        Name::root(),
    )
}

/// The records of an announcement, of which a name answers as many as every reader takes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Published {
    /// In the form that comes first, best first.
    sure: Vec<NAPTR>,
    /// In the other form: all or none.
    more: Vec<NAPTR>,
}

impl Published {
    /// All records.
    pub fn all(&self) -> impl Iterator<Item = &NAPTR> {
        self.sure.iter().chain(&self.more)
    }

    /// The name that the records of an answer are owned by: in lower case, since the case that an asker drew would stay
    /// in the caches of others, which compare with case. A name as long as half an answer leaves no room for that.
    pub fn owner(asked: &Name) -> Name {
        if wire::wire_len(asked) > OWN_CASE_MAX { asked.clone() } else { asked.to_lowercase() }
    }

    /// What a name answers: both forms if they are [`ACCEPTED`] records at most and fit an answer without EDNS, else the
    /// first form alone; of that what fits, the best first, and one in any case.
    pub fn of(&self, name: &Name) -> impl Iterator<Item = &NAPTR> {
        // Header and question; the first record writes the name out again where the asker's case is not ours.
        let length = wire::wire_len(name);
        let names = if length > OWN_CASE_MAX { length } else { 2 * length };
        let mut left = ANSWER_MAX.saturating_sub(wire::HEADER + names + 4);
        let octets: usize = self.all().map(size).sum();
        let both = self.sure.len() + self.more.len() <= ACCEPTED && octets <= left;
        let fits = self.sure.iter().take(ACCEPTED).take_while(|record| {
            let octets = size(record);
            let fits = octets <= left;
            left = left.saturating_sub(octets);
            fits
        });
        let sure = if both { self.sure.len() } else { fits.count().max(1) };
        self.sure.iter().take(sure).chain(self.more.iter().filter(move |_| both))
    }
}

/// Octets of a record in an answer: a pointer, type, class, TTL, length; order, preference; three strings and the root.
fn size(record: &NAPTR) -> usize {
    2 + 10 + 4 + 3 + record.flags.len() + record.services.len() + record.regexp.len() + 1
}
