//! Responses of the gateway's own making.
//!
//! Every answer echoes the question in the asker's case, says EDNS if the asker did (RFC 6891 §6.1.1), and fits what
//! the asker takes: what does not fit becomes TC=1 without records (RFC 2181 §9).

use std::net::IpAddr;

use hickory_proto::op::ResponseCode;
use hickory_proto::rr::{Record, RecordType};
use hickory_proto::serialize::binary::{BinEncodable, BinEncoder};

use crate::cookie;
use crate::query::{Edns, Query, UDP_MAX};
use crate::wire::{self, MessageHeader};

/// Who speaks: decides AA and RA.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Voice {
    /// The authority for the name, towards the outside: AA, no recursion.
    Authority,
    /// The authority for the name, towards a host that is also offered recursion: AA and RA.
    LocalAuthority,
    /// A recursive server towards a host: RA.
    Recursive,
}

impl Voice {
    fn flags(self) -> u16 {
        match self {
            Self::Authority => wire::AA,
            Self::LocalAuthority => wire::AA | wire::RA,
            Self::Recursive => wire::RA,
        }
    }
}

/// A response before it is bytes.
#[derive(Clone, Debug, PartialEq)]
pub struct Answer {
    /// The response code.
    pub code: ResponseCode,
    /// Who speaks.
    pub voice: Voice,
    /// Records that answer the question. Their owner is the question's name in most cases.
    pub answers: Vec<Record>,
    /// SOA of a negative answer (RFC 2308 §3), or NS.
    pub authority: Vec<Record>,
    /// What helps; left out first when space is short.
    pub additional: Vec<Record>,
}

impl Answer {
    /// Records, and nothing else.
    pub fn records(voice: Voice, answers: Vec<Record>) -> Self {
        Self { code: ResponseCode::NoError, voice, answers, authority: Vec::new(), additional: Vec::new() }
    }

    /// The name exists, the type does not. With an SOA the asker may remember it (RFC 2308 §2.2).
    pub fn no_data(voice: Voice, soa: Option<Record>) -> Self {
        Self { authority: soa.into_iter().collect(), ..Self::records(voice, Vec::new()) }
    }

    /// The name does not exist. With an SOA the asker may remember it (RFC 2308 §2.1).
    pub fn nx_domain(voice: Voice, soa: Option<Record>) -> Self {
        Self { code: ResponseCode::NXDomain, ..Self::no_data(voice, soa) }
    }

    /// The response as bytes, never longer than the query's [`Query::limit`].
    pub fn emit(&self, query: &Query) -> Vec<u8> {
        let limit = query.limit();
        let mut sections = [self.answers.as_slice(), &self.authority, &self.additional];
        loop {
            match emit_sections(query, self.voice.flags(), self.code, sections) {
                Some(bytes) if bytes.len() <= limit => return bytes,
                // RFC 2181 §9: leaving out additional records is no truncation.
                _ if !sections[2].is_empty() => sections[2] = &[],
                _ => return without_records(query, self.voice.flags() | wire::TC, self.code),
            }
        }
    }
}

/// An address answer by hand: the path of every repeated query. Addresses of the family that was not asked for are
/// left out, so that an A and an AAAA query may be answered from the same list; none left is NODATA.
pub fn addresses(query: &Query, voice: Voice, ttl: u32, list: &[IpAddr]) -> Vec<u8> {
    let wanted = |ip: &&IpAddr| {
        matches!((query.qtype, ip), (RecordType::A, IpAddr::V4(_)) | (RecordType::AAAA, IpAddr::V6(_)))
    };
    let count = list.iter().filter(wanted).count();
    let mut out = start(query, voice.flags(), ResponseCode::NoError, [count as u16, 0, 0], count * 28);
    for ip in list.iter().filter(wanted) {
        out.extend_from_slice(&QUESTION_POINTER);
        out.extend_from_slice(&u16::from(query.qtype).to_be_bytes());
        out.extend_from_slice(&wire::CLASS_IN.to_be_bytes());
        out.extend_from_slice(&ttl.to_be_bytes());
        match ip {
            IpAddr::V4(ip) => {
                out.extend_from_slice(&4u16.to_be_bytes());
                out.extend_from_slice(&ip.octets());
            }
            IpAddr::V6(ip) => {
                out.extend_from_slice(&16u16.to_be_bytes());
                out.extend_from_slice(&ip.octets());
            }
        }
    }
    finish(query, ResponseCode::NoError, &mut out);
    if out.len() > query.limit() {
        return without_records(query, voice.flags() | wire::TC, ResponseCode::NoError);
    }
    out
}

/// An error to a query that could be read. RA is not claimed: errors go to both sides.
pub fn error(query: &Query, code: ResponseCode) -> Vec<u8> {
    without_records(query, 0, code)
}

/// SERVFAIL from the recursive server.
pub fn serv_fail(query: &Query) -> Vec<u8> {
    without_records(query, wire::RA, ResponseCode::ServFail)
}

/// ANY from a host, as RFC 8482 §4.2 has it: one HINFO record, however much there is. Nobody needs the amplification.
pub fn any(query: &Query) -> Vec<u8> {
    const HINFO: [u8; 9] = *b"\x07RFC8482\0";
    let mut out = start(query, wire::RA, ResponseCode::NoError, [1, 0, 0], 12 + HINFO.len());
    out.extend_from_slice(&QUESTION_POINTER);
    out.extend_from_slice(&u16::from(RecordType::HINFO).to_be_bytes());
    out.extend_from_slice(&wire::CLASS_IN.to_be_bytes());
    out.extend_from_slice(&ANY_TTL_S.to_be_bytes());
    out.extend_from_slice(&(HINFO.len() as u16).to_be_bytes());
    out.extend_from_slice(&HINFO);
    finish(query, ResponseCode::NoError, &mut out);
    out
}

/// TTL of the answer to ANY, seconds: long, since it never changes (RFC 8482 §4.2).
const ANY_TTL_S: u32 = 3_600;

/// TC=1 and nothing else, from the authority: who asks is to come back over TCP (RFC 7766 §5).
pub fn truncated(query: &Query) -> Vec<u8> {
    without_records(query, wire::AA | wire::TC, ResponseCode::NoError)
}

/// REFUSED from the recursive server.
pub fn refused(query: &Query) -> Vec<u8> {
    without_records(query, wire::RA, ResponseCode::Refused)
}

/// An error to something whose question could not be read: the header, and EDNS where the asker speaks it.
pub(crate) fn bare_error(header: &MessageHeader, edns: Option<Edns>, code: ResponseCode) -> Vec<u8> {
    let kept = header.flags & (wire::RD | wire::CD | 0x7800); // RFC 1035 §4.1.1: opcode and RD are copied
    let flags = wire::QR | kept | u16::from(code.low());
    let mut out = Vec::with_capacity(wire::HEADER + OPT);
    let additionals = u16::from(edns.is_some());
    MessageHeader { id: header.id, flags, questions: 0, answers: 0, authorities: 0, additionals }
        .emit(&mut out);
    opt(edns, code, &mut out);
    out
}

/// A pointer to the question's name, which always stands right after the header.
const QUESTION_POINTER: [u8; 2] = [0xc0, wire::HEADER as u8];
/// Octets of an OPT record without options.
pub(crate) const OPT: usize = 11;

/// Header and question.
pub(crate) fn start(query: &Query, flags: u16, code: ResponseCode, counts: [u16; 3], room: usize) -> Vec<u8> {
    let mut out = Vec::with_capacity(wire::HEADER + wire::wire_len(&query.name) + 4 + room + OPT);
    header(query, flags, code, counts).emit(&mut out);
    wire::emit_name(&query.name, &mut out);
    out.extend_from_slice(&u16::from(query.qtype).to_be_bytes());
    out.extend_from_slice(&wire::CLASS_IN.to_be_bytes());
    out
}

fn header(query: &Query, flags: u16, code: ResponseCode, counts: [u16; 3]) -> MessageHeader {
    let mut flags = wire::QR | flags | u16::from(code.low());
    if query.recursion_desired {
        flags |= wire::RD;
    }
    if query.checking_disabled {
        flags |= wire::CD; // RFC 4035 §3.2.2: copied
    }
    let [answers, authorities, additionals] = counts;
    let additionals = additionals + u16::from(query.edns.is_some());
    MessageHeader { id: query.id, flags, questions: 1, answers, authorities, additionals }
}

/// The OPT record, if the asker sent one, and the signature, if he signed.
pub(crate) fn finish(query: &Query, code: ResponseCode, out: &mut Vec<u8>) {
    opt(query.edns, code, out);
    query.sign(out);
}

/// RFC 6891 §6.1.1: an OPT is answered by an OPT.
fn opt(edns: Option<Edns>, code: ResponseCode, out: &mut Vec<u8>) {
    if let Some(edns) = edns {
        out.push(0);
        out.extend_from_slice(&u16::from(RecordType::OPT).to_be_bytes());
        out.extend_from_slice(&UDP_MAX.to_be_bytes());
        // RFC 6891 §6.1.3: extended code, version 0; RFC 3225 §3: DO is copied.
        out.extend_from_slice(&[code.high(), 0, u8::from(edns.dnssec_ok) << 7, 0]);
        let length = out.len();
        out.extend_from_slice(&[0, 0]);
        // RFC 7873 §5.2: a cookie is answered by both.
        if let Some(cookie) = edns.cookie {
            out.extend_from_slice(&cookie::OPTION.to_be_bytes());
            out.extend_from_slice(&(cookie.len() as u16).to_be_bytes());
            out.extend_from_slice(&cookie);
        }
        if let Some(subnet) = edns.client_subnet {
            subnet.emit(out);
        }
        let options = (out.len() - length - 2) as u16;
        out[length..length + 2].copy_from_slice(&options.to_be_bytes());
    }
}

pub(crate) fn without_records(query: &Query, flags: u16, code: ResponseCode) -> Vec<u8> {
    let mut out = start(query, flags, code, [0; 3], 0);
    finish(query, code, &mut out);
    out
}

/// `None` if a record cannot be encoded or the message outgrows 65,535 octets.
fn emit_sections(query: &Query, flags: u16, code: ResponseCode, sections: [&[Record]; 3]) -> Option<Vec<u8>> {
    let mut counts = [0u16; 3];
    for (count, section) in counts.iter_mut().zip(sections) {
        *count = u16::try_from(section.len()).ok()?;
    }
    let mut out = Vec::with_capacity(512);
    header(query, flags, code, counts).emit(&mut out);
    let at = out.len() as u32;
    // Through the encoder, so that records may point to the question's name and its parents.
    let mut encoder = BinEncoder::with_offset(&mut out, at);
    query.name.emit(&mut encoder).ok()?;
    encoder.emit_u16(u16::from(query.qtype)).ok()?;
    encoder.emit_u16(wire::CLASS_IN).ok()?;
    for record in sections.into_iter().flatten() {
        record.emit(&mut encoder).ok()?;
    }
    drop(encoder);
    finish(query, code, &mut out);
    u16::try_from(out.len()).is_ok().then_some(out)
}
