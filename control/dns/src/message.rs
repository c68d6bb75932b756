//! A query, parsed once into a type that cannot be wrong, or refused with the one reason why.
//!
//! Names are read by hickory-proto, which bounds length and compression; the frame around them (one question, what may
//! follow it, EDNS) is read here, because a gateway must know *why* a query is bad and answer accordingly.

use hickory_proto::op::ResponseCode;
use hickory_proto::rr::{Name, RecordType};

use crate::answer;
use crate::outcome::QueryOutcome;
use crate::wire::{self, HEADER, Walker};

/// How a query came and how its answer will go.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Transport {
    /// A datagram: the answer is limited by what the requester takes.
    Udp,
    /// A stream: the answer may have 65,535 octets.
    Tcp,
}

/// What the requester says by EDNS (RFC 6891).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Edns {
    /// The largest datagram that it takes, octets.
    pub payload: u16,
    /// It wants DNSSEC records (RFC 3225).
    pub dnssec_ok: bool,
}

/// A query of opcode QUERY with exactly one question of class IN.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Query {
    /// The requester's id.
    pub id: u16,
    /// The name in the requester's own case, which the answer echoes.
    pub name: Name,
    /// The type asked for; [`RecordType::ANY`] included.
    pub qtype: RecordType,
    /// RD.
    pub recursion_desired: bool,
    /// CD (RFC 4035 §3.2.2).
    pub checking_disabled: bool,
    /// EDNS, if the requester speaks it.
    pub edns: Option<Edns>,
    /// How it came.
    pub transport: Transport,
}

/// Largest datagram without EDNS (RFC 1035 §4.2.1), octets.
pub const UDP_MIN: u16 = 512;
/// Largest datagram that the gateway sends and says it takes: what crosses an IPv6 link of 1,280 octets unfragmented
/// (1,280 − 40 − 8 = 1,232; DNS Flag Day 2020).
pub const UDP_MAX: u16 = 1232;

impl Query {
    /// The largest answer, octets.
    pub fn limit(&self) -> usize {
        match (self.transport, self.edns) {
            (Transport::Tcp, _) => usize::from(u16::MAX),
            (Transport::Udp, None) => usize::from(UDP_MIN),
            // RFC 6891 §6.2.3: values below 512 mean 512.
            (Transport::Udp, Some(edns)) => usize::from(edns.payload.clamp(UDP_MIN, UDP_MAX)),
        }
    }
}

/// Why a query is not taken, and what the asker is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rejection {
    /// The one outcome under which it counts.
    pub outcome: QueryOutcome,
    /// The answer to send; `None` is silence.
    pub reply: Option<Vec<u8>>,
}

/// Reads a query. Anything that is not one query with one question in class IN is refused.
pub fn parse(bytes: &[u8], transport: Transport) -> Result<Query, Rejection> {
    let drop = |outcome| Err(Rejection { outcome, reply: None });
    let Some(header) = wire::Header::parse(bytes) else { return drop(QueryOutcome::Short) };
    // An answer to a response would let two servers talk to each other for ever.
    if header.is_response() {
        return drop(QueryOutcome::NotAQuery);
    }
    let refuse = |outcome, code, query: Option<&Query>| {
        let reply = match query {
            Some(query) => answer::error(query, code),
            None => answer::bare_error(&header, code),
        };
        Err(Rejection { outcome, reply: Some(reply) })
    };
    if header.opcode() != 0 {
        return refuse(QueryOutcome::Opcode, ResponseCode::NotImp, None);
    }
    if header.questions != 1 {
        return refuse(QueryOutcome::QuestionCount, ResponseCode::FormErr, None);
    }
    let Some((name, at)) = wire::read_plain_name(bytes, HEADER) else {
        return refuse(QueryOutcome::QuestionMalformed, ResponseCode::FormErr, None);
    };
    let Some(&[t0, t1, c0, c1]) = bytes.get(at..at + 4).and_then(|b| b.first_chunk()) else {
        return refuse(QueryOutcome::QuestionMalformed, ResponseCode::FormErr, None);
    };
    let qtype = RecordType::from(u16::from_be_bytes([t0, t1]));
    let mut query = Query {
        id: header.id,
        name,
        qtype,
        recursion_desired: header.recursion_desired(),
        checking_disabled: header.checking_disabled(),
        edns: None,
        transport,
    };

    // A transfer may carry an SOA in its authority section (RFC 1995 §3); no other query carries records before the
    // additional section.
    if matches!(qtype, RecordType::AXFR | RecordType::IXFR) {
        return refuse(QueryOutcome::Transfer, ResponseCode::Refused, Some(&query));
    }
    if header.answers != 0 || header.authorities != 0 {
        return refuse(QueryOutcome::RecordMalformed, ResponseCode::FormErr, Some(&query));
    }
    let mut walker = Walker::new(bytes, at + 4);
    for _ in 0..header.additionals {
        let Some(record) = walker.next() else {
            return refuse(QueryOutcome::RecordMalformed, ResponseCode::FormErr, Some(&query));
        };
        if record.kind != RecordType::OPT {
            continue; // TSIG, SIG(0): signatures that nobody here asked for.
        }
        // RFC 6891 §6.1.1: one OPT at most, its owner is the root.
        if query.edns.is_some() || !record.owner_is_root || !wire::options_are_whole(record.data) {
            return refuse(QueryOutcome::EdnsMalformed, ResponseCode::FormErr, Some(&query));
        }
        query.edns = Some(Edns { payload: record.class, dnssec_ok: record.ttl & 0x8000 != 0 });
        // RFC 6891 §6.1.3: the version is the second octet of the TTL.
        if record.ttl >> 16 & 0xff != 0 {
            return refuse(QueryOutcome::EdnsVersion, ResponseCode::BADVERS, Some(&query));
        }
    }
    if walker.at() != bytes.len() {
        return refuse(QueryOutcome::TrailingBytes, ResponseCode::FormErr, Some(&query));
    }
    if u16::from_be_bytes([c0, c1]) != wire::CLASS_IN {
        return refuse(QueryOutcome::Class, ResponseCode::Refused, Some(&query));
    }
    // RFC 6895 §3.1: types 128 to 254 and OPT are not data; ANY is a question all the same.
    let value = u16::from(qtype);
    if value == 0 || qtype == RecordType::OPT || (128..255).contains(&value) {
        return refuse(QueryOutcome::MetaType, ResponseCode::FormErr, Some(&query));
    }
    Ok(query)
}
