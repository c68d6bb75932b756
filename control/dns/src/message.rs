//! A query, parsed once into a type that cannot be wrong, or refused with the one reason why.
//!
//! Names are read by hickory-proto, which bounds length and compression; the frame around them (one question, what may
//! follow it, EDNS) is read here, because a gateway must know *why* a query is bad and answer accordingly.

use hickory_proto::op::ResponseCode;
use hickory_proto::rr::RecordType;

use crate::answer;
use crate::client_subnet::{self, ClientSubnet};
use crate::cookie::{self, Cookie};
use crate::outcome::QueryOutcome;
pub use crate::query::{Edns, Query, Transport, UDP_MAX, UDP_MIN};
use crate::tsig::{self, Keyring, SignatureFault};
use crate::wire::{self, HEADER, RecordFrame, Walker};

/// Why a query is not taken, and what the asker is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rejection {
    /// The one outcome under which it counts.
    pub outcome: QueryOutcome,
    /// The answer to send; `None` is silence.
    pub reply: Option<Vec<u8>>,
}

/// Reads a query from somebody with whom no key is shared: see [`parse_signed`].
pub fn parse(bytes: &[u8], transport: Transport) -> Result<Query, Rejection> {
    parse_signed(bytes, transport, &Keyring::default(), 0)
}

/// Whether it is an UPDATE (RFC 2136 §1.3), for [`crate::update`].
pub fn is_update(bytes: &[u8]) -> bool {
    wire::MessageHeader::parse(bytes)
        .is_some_and(|header| !header.is_response() && header.opcode() == wire::UPDATE)
}

/// Reads a query. Anything that is not one query with one question in class IN is refused; so is one whose signature is not
/// right at that time, in seconds since 1970.
pub fn parse_signed(
    bytes: &[u8],
    transport: Transport,
    keys: &Keyring,
    now_s: u64,
) -> Result<Query, Rejection> {
    let drop = |outcome| Err(Rejection { outcome, reply: None });
    let Some(header) = wire::MessageHeader::parse(bytes) else { return drop(QueryOutcome::Short) };
    // An answer to a response would let two servers talk to each other for ever.
    if header.is_response() {
        return drop(QueryOutcome::NotAQuery);
    }
    let refuse = |outcome, code, query: Option<&Query>| {
        // RFC 6891 §6.1.1: whoever sends an OPT gets one back, whatever else is wrong with the query.
        let said = || said_edns(bytes, &header);
        let reply = match query {
            Some(query) if query.edns.is_some() => answer::error(query, code),
            Some(query) => answer::error(&Query { edns: said(), ..query.clone() }, code),
            None => answer::bare_error(&header, said(), code),
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
        cookie: None,
        client_subnet: None,
        seal: None,
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
        if record.kind == RecordType::TSIG {
            match tsig::verify(bytes, &record, keys, now_s) {
                Ok(seal) => query.seal = Some(seal),
                Err((fault, seal)) => {
                    // RFC 8945 §5.2: NOTAUTH, and the record says why.
                    query.seal = seal;
                    return refuse(outcome_of(fault), code_of(fault), Some(&query));
                }
            }
        }
        if record.kind != RecordType::OPT {
            continue; // SIG(0): signatures that nobody here asked for.
        }
        // RFC 6891 §6.1.1: one OPT at most, its owner is the root.
        if query.edns.is_some() || !record.owner_is_root || !wire::options_are_whole(record.data) {
            return refuse(QueryOutcome::EdnsMalformed, ResponseCode::FormErr, Some(&query));
        }
        query.edns = Some(edns(&record));
        if let Some(data) = wire::option(record.data, cookie::OPTION) {
            // RFC 7873 §5.2.2
            let Some(cookie) = Cookie::parse(data) else {
                return refuse(QueryOutcome::EdnsMalformed, ResponseCode::FormErr, Some(&query));
            };
            query.cookie = Some(cookie);
        }
        if let Some(data) = wire::option(record.data, client_subnet::OPTION) {
            // RFC 7871 §7.1.1
            let Some(subnet) = ClientSubnet::parse(data) else {
                return refuse(QueryOutcome::EdnsMalformed, ResponseCode::FormErr, Some(&query));
            };
            query.client_subnet = Some(subnet);
        }
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
    if is_meta(qtype) && qtype != RecordType::ANY {
        return refuse(QueryOutcome::MetaType, ResponseCode::FormErr, Some(&query));
    }
    Ok(query)
}

/// How a message whose signature is wrong counts.
pub(crate) const fn outcome_of(fault: SignatureFault) -> QueryOutcome {
    match fault {
        SignatureFault::Malformed => QueryOutcome::SignatureMalformed,
        SignatureFault::Key => QueryOutcome::BadKey,
        SignatureFault::Signature => QueryOutcome::BadSignature,
        SignatureFault::Time => QueryOutcome::BadTime,
    }
}

/// What it is answered.
pub(crate) const fn code_of(fault: SignatureFault) -> ResponseCode {
    match fault {
        SignatureFault::Malformed => ResponseCode::FormErr,
        SignatureFault::Key | SignatureFault::Signature | SignatureFault::Time => ResponseCode::NotAuth,
    }
}

pub(crate) fn edns(opt: &RecordFrame<'_>) -> Edns {
    Edns { payload: opt.class, dnssec_ok: opt.ttl & 0x8000 != 0, cookie: None, client_subnet: None }
}

/// Records that are looked at for an OPT in what is refused anyway.
const EXAMINED: usize = 64;

/// What a message that is refused says by EDNS, if its records can be read that far.
fn said_edns(bytes: &[u8], header: &wire::MessageHeader) -> Option<Edns> {
    let mut at = HEADER;
    for _ in 0..header.questions {
        at = wire::skip_name(bytes, at)? + 4;
    }
    let ahead = usize::from(header.answers) + usize::from(header.authorities);
    let records = ahead + usize::from(header.additionals);
    let additional = Walker::new(bytes, at).take(records.min(EXAMINED)).skip(ahead);
    additional
        .filter(|record| record.kind == RecordType::OPT && record.owner_is_root)
        .map(|opt| edns(&opt))
        .next()
}

/// Types that stand for others, or for no data (RFC 2136 §1.2, RFC 6895 §3.1).
pub(crate) fn is_meta(kind: RecordType) -> bool {
    let value = u16::from(kind);
    value == 0 || kind == RecordType::OPT || (128..256).contains(&value)
}
