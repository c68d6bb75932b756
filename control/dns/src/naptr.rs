//! CES service in NAPTR records, in both forms that are in use.
//!
//! | | service | regexp |
//! |---|---|---|
//! | tutorial | `CETP+cesid` | `!^(.*)$!cesid:1=cesb.ces.?ip=192.0.2.10?alias=IXP!` |
//! | reference implementation | `CES+cesid` | `!^.*$!cesid=1:cesb.ces.?cetp_ipv4=192.0.2.10?proto=tls?port=48001!` |
//!
//! The gateway publishes both for its own names and accepts both. The tutorial's form says neither port nor protocol:
//! those come from configuration, unless a record of the other form names the same gateway at the same address.

use std::net::IpAddr;
use std::sync::Arc;

use hickory_proto::rr::rdata::NAPTR;
use hickory_proto::rr::{Name, RData, Record};
use serde::Deserialize;

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
pub struct Service {
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
    pub services: Vec<Service>,
    /// What was not taken, each with its reason.
    pub faults: Vec<NaptrFault>,
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
            Ok(record) => merge(&mut found, record),
            Err(fault) => discovery.faults.push(fault),
        }
    }
    // Stable: equals keep the order of the answer.
    found.sort_by_key(|r| (r.endpoint.order, r.endpoint.preference));
    let excess = found.len().saturating_sub(ACCEPTED);
    found.truncate(ACCEPTED);
    discovery.faults.extend(std::iter::repeat_n(NaptrFault::Excess, excess));
    for record in found {
        let same = |s: &&mut Service| s.ces_id.eq_ignore_ascii_case(&record.ces_id);
        if let Some(service) = discovery.services.iter_mut().find(same) {
            service.endpoints.push(record.endpoint);
        } else {
            discovery.services.push(Service { ces_id: record.ces_id, endpoints: vec![record.endpoint] });
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
    let mut fields = Fields::default();
    for field in replacement(text)?.split('?') {
        fields.take(form, field)?;
    }
    let ces_id = fields.ces_id.ok_or(NaptrFault::NoIdentity)?;
    let is_explicit = fields.port.is_some() || fields.proto.is_some();
    Ok(CesRecord {
        ces_id: ces_id.into(),
        is_explicit,
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
fn replacement(text: &str) -> Result<&str, NaptrFault> {
    let delimiter = text.chars().next().ok_or(NaptrFault::Delimiters)?;
    // RFC 3402 §3.2: any octet but a digit and the flag "i".
    if !delimiter.is_ascii_punctuation() || matches!(delimiter, '\\' | '?' | '=' | ':' | '.') {
        return Err(NaptrFault::Delimiters);
    }
    let mut parts = text[1..].split(delimiter);
    match (parts.next(), parts.next(), parts.next(), parts.next()) {
        (Some(pattern), Some(replacement), Some("" | "i"), None) if !pattern.is_empty() => Ok(replacement),
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

/// What the gateway says of itself, in both forms.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Announcement {
    /// Its own CES identity.
    pub ces_id: Arc<str>,
    /// Where it listens.
    pub endpoints: Vec<Endpoint>,
}

impl Announcement {
    /// The records, those of the reference's form first: its parser wants them all to have ten words and takes five.
    pub fn emit(&self) -> Vec<NAPTR> {
        let reference = self.endpoints.iter().map(|e| self.reference(e));
        reference.chain(self.endpoints.iter().map(|e| self.tutorial(e))).collect()
    }

    fn tutorial(&self, endpoint: &Endpoint) -> NAPTR {
        let alias = endpoint.alias.as_ref().map(|alias| format!("?alias={alias}")).unwrap_or_default();
        let regexp = format!("!^(.*)$!cesid:1={}?ip={}{alias}!", self.ces_id, endpoint.addr);
        record(endpoint, "CETP+cesid", &regexp)
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
        record(endpoint, "CES+cesid", &regexp)
    }
}

fn record(endpoint: &Endpoint, service: &str, regexp: &str) -> NAPTR {
    NAPTR::new(
        endpoint.order,
        endpoint.preference,
        (*b"U").into(),
        service.as_bytes().into(),
        regexp.as_bytes().into(),
        Name::root(),
    )
}
