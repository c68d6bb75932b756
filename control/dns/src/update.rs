//! UPDATE (RFC 2136): changes of our zones, by somebody who signs them ([`crate::tsig`]).
//!
//! Here is what such a message says, and whether its prerequisites hold; who may change what is the gateway's to say.

use hickory_proto::op::ResponseCode;
use hickory_proto::rr::{Name, RecordType};
use std::collections::HashMap;
use std::sync::Arc;

use crate::answer;
use crate::message::{self, Rejection, is_meta};
use crate::outcome::QueryOutcome;
use crate::query::Edns;
use crate::tsig::{self, Keyring, Seal};
use crate::wire::{self, CLASS_ANY, CLASS_IN, CLASS_NONE, HEADER, MessageHeader, RecordFrame, Walker};

/// A record's data, its names written out and in lower case where RFC 3597 §7 has them compared so.
pub type Data = Box<[u8]>;

/// What has to hold before anything is changed (RFC 2136 §2.4).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Prerequisite {
    /// The name has some record.
    InUse(Name),
    /// It has none.
    NotInUse(Name),
    /// The name has some record of the type.
    Exists(Name, RecordType),
    /// It has none.
    Missing(Name, RecordType),
    /// The name's records of the type are these: all that are said of one name and type together.
    Is(Name, RecordType, Vec<Data>),
}

/// What is to be changed (RFC 2136 §2.5).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ZoneChange {
    /// One record more.
    Add(Name, RecordType, Data),
    /// No record of the type any more.
    DeleteSet(Name, RecordType),
    /// No record at all.
    DeleteName(Name),
    /// Not this record.
    Delete(Name, RecordType, Data),
}

impl ZoneChange {
    /// The name that it is about.
    pub fn name(&self) -> &Name {
        match self {
            Self::Add(name, ..)
            | Self::DeleteSet(name, _)
            | Self::DeleteName(name)
            | Self::Delete(name, ..) => name,
        }
    }
}

/// Records as they are.
pub trait Records {
    /// All records of a name that the zone's data has.
    fn of(&self, name: &Name) -> Vec<(RecordType, Data)>;
}

/// An UPDATE that could be read.
#[derive(Clone, Debug)]
pub struct Update {
    header: MessageHeader,
    edns: Option<Edns>,
    seal: Option<Arc<Seal>>,
    /// The zone.
    pub zone: Name,
    /// What has to hold.
    pub prerequisites: Vec<Prerequisite>,
    /// What is to be changed, in this order.
    pub changes: Vec<ZoneChange>,
}

impl Update {
    /// The answer, signed if the request is (RFC 2136 §3.8: no section has to come back).
    pub fn reply(&self, code: ResponseCode) -> Vec<u8> {
        reply(&self.header, self.edns, self.seal.as_deref(), code)
    }

    /// Who sent it: the name of the key that it is signed by.
    pub fn key(&self) -> Option<&Name> {
        Some(self.seal.as_ref()?.key()?.name())
    }

    /// Whether all prerequisites hold; the answer if one does not (RFC 2136 §3.2).
    pub fn holds(&self, records: &impl Records) -> Result<(), ResponseCode> {
        let of_type = |name: &Name, kind: RecordType| {
            let all = records.of(name).into_iter().filter(move |(other, _)| *other == kind);
            all.map(|(_, data)| data).collect::<Vec<_>>()
        };
        for prerequisite in &self.prerequisites {
            let (holds, otherwise) = match prerequisite {
                Prerequisite::InUse(name) => (!records.of(name).is_empty(), ResponseCode::NXDomain),
                Prerequisite::NotInUse(name) => (records.of(name).is_empty(), ResponseCode::YXDomain),
                Prerequisite::Exists(name, kind) => (!of_type(name, *kind).is_empty(), ResponseCode::NXRRSet),
                Prerequisite::Missing(name, kind) => (of_type(name, *kind).is_empty(), ResponseCode::YXRRSet),
                Prerequisite::Is(name, kind, data) => {
                    let (mut are, mut wanted) = (of_type(name, *kind), data.clone());
                    are.sort();
                    wanted.sort();
                    wanted.dedup();
                    (are == wanted, ResponseCode::NXRRSet)
                }
            };
            if !holds {
                return Err(otherwise);
            }
        }
        Ok(())
    }
}

fn reply(header: &MessageHeader, edns: Option<Edns>, seal: Option<&Seal>, code: ResponseCode) -> Vec<u8> {
    let mut bytes = answer::bare_error(header, edns, code);
    if let Some(seal) = seal {
        seal.sign(&mut bytes);
    }
    bytes
}

/// Reads an UPDATE, of one of the zones that are ours; what is signed must be so at that time, in seconds since 1970.
pub fn parse(
    bytes: &[u8],
    keys: &Keyring,
    is_ours: impl Fn(&Name) -> bool,
    now_s: u64,
) -> Result<Update, Rejection> {
    let Some(header) = MessageHeader::parse(bytes) else {
        return Err(Rejection { outcome: QueryOutcome::Short, reply: None });
    };
    let refuse = |outcome, code, edns, seal: Option<&Seal>| {
        Err(Rejection { outcome, reply: Some(reply(&header, edns, seal, code)) })
    };
    let malformed = |outcome, edns, seal: Option<&Seal>| refuse(outcome, ResponseCode::FormErr, edns, seal);
    // RFC 2136 §3.1.1: one zone, by its SOA.
    if header.questions != 1 {
        return malformed(QueryOutcome::QuestionCount, None, None);
    }
    let zone = wire::read_plain_name(bytes, HEADER)
        .and_then(|(name, at)| Some((name, at + 4, *bytes.get(at..)?.first_chunk::<4>()?)));
    let Some((zone, at, [t0, t1, c0, c1])) = zone else {
        return malformed(QueryOutcome::QuestionMalformed, None, None);
    };
    let is_soa = RecordType::from(u16::from_be_bytes([t0, t1])) == RecordType::SOA;
    let class = u16::from_be_bytes([c0, c1]);

    let mut walker = Walker::new(bytes, at);
    let mut sections = [const { Vec::new() }; 3];
    for (section, count) in sections.iter_mut().zip([header.answers, header.authorities, header.additionals])
    {
        for _ in 0..count {
            let Some(record) = walker.next() else {
                return malformed(QueryOutcome::RecordMalformed, None, None);
            };
            section.push(record);
        }
    }
    if walker.at() != bytes.len() {
        return malformed(QueryOutcome::TrailingBytes, None, None);
    }
    let [prerequisites, changes, additionals] = sections;
    let opt = additionals.iter().find(|record| record.kind == RecordType::OPT && record.owner_is_root);
    let edns = opt.map(message::edns);
    let signature = additionals.iter().find(|record| record.kind == RecordType::TSIG);
    let seal = match signature.map(|record| tsig::verify(bytes, record, keys, now_s)).transpose() {
        Ok(seal) => seal,
        Err((fault, seal)) => {
            return refuse(message::outcome_of(fault), message::code_of(fault), edns, seal.as_deref());
        }
    };
    if !is_soa {
        return malformed(QueryOutcome::MetaType, edns, seal.as_deref());
    }
    // RFC 2136 §3.1.2
    if class != CLASS_IN || !is_ours(&zone) {
        return refuse(QueryOutcome::UpdateZone, ResponseCode::NotAuth, edns, seal.as_deref());
    }
    let read = Reader { bytes, zone: &zone };
    let read = read.prerequisites(&prerequisites).and_then(|asked| Ok((asked, read.changes(&changes)?)));
    match read {
        Ok((prerequisites, changes)) => Ok(Update { header, edns, seal, zone, prerequisites, changes }),
        Err(ResponseCode::NotZone) => {
            refuse(QueryOutcome::UpdateZone, ResponseCode::NotZone, edns, seal.as_deref())
        }
        Err(code) => refuse(QueryOutcome::RecordMalformed, code, edns, seal.as_deref()),
    }
}

/// The records of a message about a zone.
#[derive(Clone, Copy)]
struct Reader<'a> {
    bytes: &'a [u8],
    zone: &'a Name,
}

impl Reader<'_> {
    fn name(&self, record: &RecordFrame<'_>) -> Result<Name, ResponseCode> {
        let (name, _) = wire::read_name(self.bytes, record.start).ok_or(ResponseCode::FormErr)?;
        if self.zone.zone_of(&name) { Ok(name.to_lowercase()) } else { Err(ResponseCode::NotZone) }
    }

    fn data(&self, record: &RecordFrame<'_>) -> Result<Data, ResponseCode> {
        let is_right = match record.kind {
            RecordType::A => record.data.len() == 4,
            RecordType::AAAA => record.data.len() == 16,
            RecordType::PTR | RecordType::CNAME | RecordType::NS => {
                let end = wire::read_name(self.bytes, record.data_at).map(|(_, end)| end);
                end == Some(record.data_at + record.data.len())
            }
            _ => true,
        };
        let mut data = Vec::new();
        let is_whole = is_right && wire::emit_data(self.bytes, record, &mut data).is_some();
        if matches!(record.kind, RecordType::PTR | RecordType::CNAME | RecordType::NS) {
            // Length octets are below 64 and no letters.
            data.make_ascii_lowercase();
        }
        if is_whole { Ok(data.into()) } else { Err(ResponseCode::FormErr) }
    }

    /// RFC 2136 §3.2.5
    fn prerequisites(&self, records: &[RecordFrame<'_>]) -> Result<Vec<Prerequisite>, ResponseCode> {
        let mut all: Vec<Prerequisite> = Vec::new();
        let mut places = HashMap::new();
        for record in records {
            if record.ttl != 0 {
                return Err(ResponseCode::FormErr);
            }
            let name = self.name(record)?;
            let (kind, is_empty) = (record.kind, record.data.is_empty());
            let is_any = kind == RecordType::ANY;
            let one = match record.class {
                CLASS_ANY if is_empty && is_any => Prerequisite::InUse(name),
                CLASS_ANY if is_empty => Prerequisite::Exists(name, kind),
                CLASS_NONE if is_empty && is_any => Prerequisite::NotInUse(name),
                CLASS_NONE if is_empty => Prerequisite::Missing(name, kind),
                CLASS_IN if !is_meta(kind) => {
                    let data = self.data(record)?;
                    let place = *places.entry((name.clone(), kind)).or_insert(all.len());
                    if let Some(Prerequisite::Is(_, _, known)) = all.get_mut(place) {
                        known.push(data);
                        continue;
                    }
                    Prerequisite::Is(name, kind, vec![data])
                }
                _ => return Err(ResponseCode::FormErr),
            };
            all.push(one);
        }
        Ok(all)
    }

    /// RFC 2136 §3.4.1
    fn changes(&self, records: &[RecordFrame<'_>]) -> Result<Vec<ZoneChange>, ResponseCode> {
        let change = |record: &RecordFrame<'_>| {
            let name = self.name(record)?;
            let (kind, is_bare) = (record.kind, record.data.is_empty() && record.ttl == 0);
            match record.class {
                CLASS_IN if !is_meta(kind) => Ok(ZoneChange::Add(name, kind, self.data(record)?)),
                CLASS_ANY if is_bare && kind == RecordType::ANY => Ok(ZoneChange::DeleteName(name)),
                CLASS_ANY if is_bare && !is_meta(kind) => Ok(ZoneChange::DeleteSet(name, kind)),
                CLASS_NONE if record.ttl == 0 && !is_meta(kind) => {
                    Ok(ZoneChange::Delete(name, kind, self.data(record)?))
                }
                _ => Err(ResponseCode::FormErr),
            }
        };
        records.iter().map(change).collect()
    }
}
