//! An upstream response, kept as the bytes it came in.
//!
//! Forwarding must preserve every record, also of types that nobody here knows (RFC 3597 §3), so the answer to a client
//! is the upstream's own bytes behind a header and question of the client's. That works because the question comes
//! first and has the same length for everyone who asks it: pointers into it stay right and take the client's case. TTLs
//! are patched where they stand; EDNS is hop by hop (RFC 6891 §6.2.6) and cut off.

use hickory_proto::op::ResponseCode;
use hickory_proto::rr::{Name, Record, RecordType};
use hickory_proto::serialize::binary::{BinDecodable, BinDecoder};

use crate::answer;
use crate::query::Query;
use crate::wire::{self, HEADER, MessageHeader, RecordFrame, Walker};

/// Bounds on TTLs, seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TtlBounds {
    /// Shorter ones of positive answers are raised to this.
    pub min_s: u32,
    /// Longer ones are cut to this.
    pub max_s: u32,
    /// Longer ones of negative answers are cut to this.
    pub max_negative_s: u32,
}

labelled! {
    /// What a response that could be read says.
    Kind {
        /// Records of the type asked for.
        Answer = "answer",
        /// The name exists without that type (RFC 2308 §2.2).
        NoData = "no_data",
        /// The name does not exist (RFC 2308 §2.1).
        NxDomain = "nx_domain",
        /// The server refuses.
        Refused = "refused",
        /// The server failed, or says something that is no answer, such as a referral.
        Failure = "failure",
        /// The server does not understand EDNS (RFC 6891 §7).
        NoEdns = "no_edns",
    }
}

labelled! {
    /// Why a response cannot be used.
    PacketFault {
        /// Shorter than a header, or longer than a message can be.
        Length = "length",
        /// Not a response, or not to a standard query.
        NotAResponse = "not_a_response",
        /// Not exactly one question, or one that cannot be read.
        Question = "question",
        /// A record of the answer or the authority that is cut short, or whose names do not end.
        Record = "record",
    }
}

/// CNAMEs that are followed within one answer. Chains beyond this are loops or abuse.
const CHAIN: usize = 16;

/// A response, checked once: every record whole, every name in well-known data ends.
#[derive(Debug, PartialEq, Eq)]
pub struct CheckedResponse {
    /// Header, question, records; from the OPT record on, or from the first additional record that cannot be read,
    /// nothing.
    bytes: Box<[u8]>,
    /// Where each TTL stands.
    ttls: Box<[u16]>,
    question_end: u16,
    additional_at: u16,
    /// Records per section; the additional ones without OPT and what follows it.
    counts: [u16; 3],
    code: ResponseCode,
    kind: Kind,
    lifetime_s: u32,
    /// Additional records lead to addresses.
    has_hints: bool,
}

impl CheckedResponse {
    /// Reads a response; TTLs are brought into bounds at once.
    pub fn parse(bytes: &[u8], bounds: TtlBounds) -> Result<Self, PacketFault> {
        let header = MessageHeader::parse(bytes).ok_or(PacketFault::Length)?;
        if bytes.len() > usize::from(u16::MAX) {
            return Err(PacketFault::Length);
        }
        if !header.is_response() || header.opcode() != 0 {
            return Err(PacketFault::NotAResponse);
        }
        let code = header.flags & wire::RCODE;
        if header.questions == 0 && code != 0 {
            // Servers that give up early echo no question.
            return Ok(Self::bare(bytes, u8::try_from(code).unwrap_or(0)));
        }
        if header.questions != 1 {
            return Err(PacketFault::Question);
        }
        let (name, at) = wire::read_plain_name(bytes, HEADER).ok_or(PacketFault::Question)?;
        let question_end = at + 4;
        let qtype = bytes.get(at..question_end).ok_or(PacketFault::Question)?;
        let qtype = RecordType::from(u16::from_be_bytes([qtype[0], qtype[1]]));

        let mut walker = Walker::new(bytes, question_end);
        let mut answers = Vec::new();
        let mut authorities = Vec::new();
        for (section, count) in [(&mut answers, header.answers), (&mut authorities, header.authorities)] {
            for _ in 0..count {
                section.push(walker.next().filter(|r| names_end(bytes, r)).ok_or(PacketFault::Record)?);
            }
        }
        let additional_at = walker.at();
        let mut additionals = Vec::new();
        let mut extended = 0;
        let mut end = additional_at;
        let mut cut = false;
        // What stands behind the answer is help: where it cannot be read, or goes on beyond its last record, the answer is
        // good all the same.
        for _ in 0..header.additionals {
            let Some(record) = walker.next().filter(|r| names_end(bytes, r)) else { break };
            if record.kind == RecordType::OPT {
                extended = (record.ttl >> 24) as u8; // RFC 6891 §6.1.3
                cut = true;
            }
            if !cut {
                additionals.push(record);
                end = walker.at();
            }
        }

        let code = ResponseCode::from(extended, code as u8);
        let soa = authorities.iter().find(|r| r.kind == RecordType::SOA);
        let end_of_chain = chain(bytes, &name, qtype, &answers);
        let kind = match code {
            ResponseCode::NoError if !end_of_chain.records.is_empty() => Kind::Answer,
            // RFC 2308 §2.2: NODATA has an SOA or nothing; NS without SOA is a referral, which is no answer of a
            // recursive server.
            ResponseCode::NoError
                if soa.is_some() || authorities.iter().all(|r| r.kind != RecordType::NS) =>
            {
                Kind::NoData
            }
            ResponseCode::NXDomain => Kind::NxDomain,
            ResponseCode::Refused => Kind::Refused,
            ResponseCode::FormErr | ResponseCode::NotImp => Kind::NoEdns,
            // hickory knows 16 as BADSIG too.
            code if u16::from(code) == u16::from(ResponseCode::BADVERS) => Kind::NoEdns,
            _ => Kind::Failure,
        };

        let mut bounded = bytes[..end].to_vec();
        let mut ttls = Vec::with_capacity(answers.len() + authorities.len() + additionals.len());
        let negative = matches!(kind, Kind::NoData | Kind::NxDomain);
        // RFC 2308 §5: a negative answer without SOA is not cached.
        let mut lifetime_s = match (kind, soa) {
            (Kind::Answer, _) => bounds.max_s,
            (Kind::NoData | Kind::NxDomain, Some(_)) => bounds.max_negative_s,
            _ => 0,
        };
        let additional_from = answers.len() + authorities.len();
        for (index, record) in answers.iter().chain(&authorities).chain(&additionals).enumerate() {
            // RFC 2181 §8: a TTL with the highest bit set means 0.
            let ttl = if record.ttl >> 31 == 1 { 0 } else { record.ttl };
            let ttl = if negative {
                let ttl = ttl.min(bounds.max_negative_s);
                // RFC 2308 §5: the lesser of the SOA's TTL and its MINIMUM, its last word.
                match (record.kind, record.data.last_chunk()) {
                    (RecordType::SOA, Some(&minimum)) => ttl.min(u32::from_be_bytes(minimum)),
                    _ => ttl,
                }
            } else {
                ttl.clamp(bounds.min_s.min(bounds.max_s), bounds.max_s)
            };
            // Glue may fade to 0 before the answer does.
            if index < additional_from {
                lifetime_s = lifetime_s.min(ttl);
            }
            bounded[record.ttl_at..record.ttl_at + 4].copy_from_slice(&ttl.to_be_bytes());
            ttls.push(record.ttl_at as u16);
        }
        Ok(Self {
            bytes: bounded.into(),
            ttls: ttls.into(),
            question_end: question_end as u16,
            additional_at: additional_at as u16,
            counts: [header.answers, header.authorities, additionals.len() as u16],
            code,
            kind,
            lifetime_s,
            has_hints: additionals.iter().any(|record| leads_to_address(record.kind)),
        })
    }

    /// An error without question.
    fn bare(bytes: &[u8], code: u8) -> Self {
        let code = ResponseCode::from(0, code);
        let kind = match code {
            ResponseCode::Refused => Kind::Refused,
            ResponseCode::FormErr | ResponseCode::NotImp => Kind::NoEdns,
            _ => Kind::Failure,
        };
        Self {
            bytes: bytes[..HEADER].into(),
            ttls: Box::default(),
            question_end: HEADER as u16,
            additional_at: HEADER as u16,
            counts: [0; 3],
            code,
            kind,
            lifetime_s: 0,
            has_hints: false,
        }
    }

    /// The response code, EDNS included.
    pub fn code(&self) -> ResponseCode {
        self.code
    }

    /// What it says.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// For how long it may be cached: the least TTL of answer and authority, or what the SOA of a negative answer
    /// grants, seconds. 0: not at all.
    pub fn lifetime_s(&self) -> u32 {
        self.lifetime_s
    }

    /// TC is set.
    pub fn is_truncated(&self) -> bool {
        self.bytes[2] & (wire::TC >> 8) as u8 != 0
    }

    /// The question as it stands on the wire, in the case in which it came.
    pub fn question(&self) -> &[u8] {
        &self.bytes[HEADER..usize::from(self.question_end)]
    }

    /// Every record, with the section that it stands in: 0 answer, 1 authority, 2 additional.
    pub(crate) fn records(&self) -> impl Iterator<Item = (usize, RecordFrame<'_>)> {
        let sections =
            self.counts.iter().enumerate().flat_map(|(n, &count)| std::iter::repeat_n(n, usize::from(count)));
        sections.zip(Walker::new(&self.bytes, usize::from(self.question_end)))
    }

    /// The message that it stands in.
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Octets held.
    pub fn size(&self) -> usize {
        self.bytes.len() + 2 * self.ttls.len() + size_of::<Self>()
    }

    /// The records of the type asked for, at the end of the chain of CNAMEs. Those that cannot be decoded are left out.
    pub fn answers(&self) -> Vec<Record> {
        let Some((name, at)) = wire::read_plain_name(&self.bytes, HEADER) else { return Vec::new() };
        let qtype = RecordType::from(u16::from_be_bytes([self.bytes[at], self.bytes[at + 1]]));
        let walker = Walker::new(&self.bytes, usize::from(self.question_end));
        let frames: Vec<_> = walker.take(usize::from(self.counts[0])).collect();
        chain(&self.bytes, &name, qtype, &frames)
            .records
            .into_iter()
            .filter_map(|start| Record::read(&mut BinDecoder::new(&self.bytes).clone(start)).ok())
            .collect()
    }

    /// Where a chain of CNAMEs ends of which it says no more than that, neither records nor, by an SOA, that there are none:
    /// the question is to be put there (RFC 1034 §5.3.3, step 4c).
    pub fn loose_end(&self) -> Option<Name> {
        if self.kind != Kind::NoData || self.records().any(|(_, record)| record.kind == RecordType::SOA) {
            return None;
        }
        let (name, at) = wire::read_plain_name(&self.bytes, HEADER)?;
        let qtype = RecordType::from(u16::from_be_bytes([self.bytes[at], self.bytes[at + 1]]));
        let answers = self.records().take(usize::from(self.counts[0])).map(|(_, record)| record);
        let end = chain(&self.bytes, &name, qtype, &answers.collect::<Vec<_>>()).end;
        (end != name).then_some(end)
    }

    /// The names that the answer's CNAMEs lead to.
    pub fn aliases(&self) -> impl Iterator<Item = Name> {
        self.records()
            .filter(|(section, record)| *section == 0 && record.kind == RecordType::CNAME)
            .filter_map(|(_, record)| wire::read_name(&self.bytes, record.data_at).map(|(name, _)| name))
    }

    /// The response for that asker of the same question, aged by that many seconds.
    pub fn reply(&self, query: &Query, age_s: u32) -> Vec<u8> {
        self.reply_with(query, age_s, true)
    }

    /// As [`Self::reply`], without the additional records where they lead to addresses: each name's address is found by
    /// asking for that name, or else a host goes around the tunnel that leads to it.
    pub fn reply_without_hints(&self, query: &Query, age_s: u32) -> Vec<u8> {
        self.reply_with(query, age_s, !self.has_hints)
    }

    fn reply_with(&self, query: &Query, age_s: u32, with_additional: bool) -> Vec<u8> {
        let question_end = usize::from(self.question_end);
        if wire::wire_len(&query.name) + 4 != question_end - HEADER {
            return answer::serv_fail(query);
        }
        let limit = query.limit();
        let seal = query.seal.as_ref().map_or(0, |seal| seal.octets());
        let opt = seal + if query.edns.is_some() { answer::OPT } else { 0 };
        let [answers, authorities, mut additionals] = self.counts;
        let mut end = self.bytes.len();
        if end + opt > limit || !with_additional {
            // RFC 2181 §9: leaving out additional records is no truncation.
            (end, additionals) = (usize::from(self.additional_at), 0);
        }
        if end + opt > limit {
            return answer::without_records(query, wire::RA | wire::TC, self.code);
        }
        let counts = [answers, authorities, additionals];
        let mut out = answer::start(query, wire::RA, self.code, counts, end - question_end);
        out.extend_from_slice(&self.bytes[question_end..end]);
        for at in self.ttls.iter().map(|&at| usize::from(at)).take_while(|&at| at < end) {
            let Some(field) = out.get_mut(at..).and_then(|b| b.first_chunk_mut::<4>()) else { break };
            *field = u32::from_be_bytes(*field).saturating_sub(age_s).to_be_bytes();
        }
        answer::finish(query, self.code, &mut out);
        out
    }
}

/// Whether records of a type tell addresses, or may: hints of SVCB and HTTPS are such (RFC 9460 §7.3).
pub(crate) fn leads_to_address(kind: RecordType) -> bool {
    matches!(kind, RecordType::A | RecordType::AAAA | RecordType::SVCB | RecordType::HTTPS)
}

/// Whether it is an error of a server that knows no EDNS and gives no question back (RFC 6891 §7).
pub(crate) fn says_no_edns(bytes: &[u8]) -> bool {
    MessageHeader::parse(bytes).is_some_and(|header| {
        let code = ResponseCode::from(0, (header.flags & wire::RCODE) as u8);
        header.is_response()
            && header.questions == 0
            && matches!(code, ResponseCode::FormErr | ResponseCode::NotImp)
    })
}

/// Where a chain of CNAMEs ends.
struct Chain {
    /// At this name.
    end: Name,
    /// Where the records of the type asked for begin.
    records: Vec<u16>,
}

fn chain(bytes: &[u8], question: &Name, qtype: RecordType, answers: &[RecordFrame<'_>]) -> Chain {
    let mut target = question.clone();
    let owned_by = |target: &Name, record: &&RecordFrame<'_>| {
        wire::read_name(bytes, record.start).is_some_and(|(owner, _)| owner == *target)
    };
    for _ in 0..CHAIN {
        let records: Vec<u16> = answers
            .iter()
            .filter(|r| r.kind == qtype || qtype == RecordType::ANY)
            .filter(|r| owned_by(&target, r))
            .map(|r| r.start as u16)
            .collect();
        if !records.is_empty() {
            return Chain { end: target, records };
        }
        let alias = answers.iter().filter(|r| r.kind == RecordType::CNAME).find(|r| owned_by(&target, r));
        let Some((next, _)) = alias.and_then(|r| wire::read_name(bytes, r.data_at)) else { break };
        target = next;
    }
    Chain { end: target, records: Vec::new() }
}

/// Whether the owner and the names within the data of well-known types can be read and end where the data does. A host
/// behind the gateway shall not meet the loop that an upstream let through.
fn names_end(bytes: &[u8], record: &RecordFrame<'_>) -> bool {
    if wire::read_name(bytes, record.start).is_none() {
        return false;
    }
    let end = record.data_at + record.data.len();
    let name_to = |at: usize| wire::read_name(bytes, at).map(|(_, to)| to).filter(|&to| to <= end);
    let read_to = match record.kind {
        RecordType::A => Some(record.data_at + 4),
        RecordType::AAAA => Some(record.data_at + 16),
        RecordType::CNAME | RecordType::NS | RecordType::PTR | RecordType::DNAME => name_to(record.data_at),
        RecordType::MX => name_to(record.data_at + 2),
        RecordType::SRV => name_to(record.data_at + 6),
        RecordType::SOA => name_to(record.data_at).and_then(name_to).map(|to| to + 20),
        _ => Some(end),
    };
    read_to == Some(end)
}
