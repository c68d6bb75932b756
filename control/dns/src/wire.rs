//! The frame of a DNS message (RFC 1035 §4): header, names, and where each record begins and ends.

use hickory_proto::rr::{Name, RecordType};
use hickory_proto::serialize::binary::{BinDecodable, BinDecoder};

/// Octets of a header.
pub(crate) const HEADER: usize = 12;
/// Class IN.
pub(crate) const CLASS_IN: u16 = 1;
/// Class NONE (RFC 2136 §2.4).
pub(crate) const CLASS_NONE: u16 = 254;
/// Class ANY.
pub(crate) const CLASS_ANY: u16 = 255;
/// Longest name on the wire, final zero octet included (RFC 1035 §2.3.4).
const NAME_MAX: usize = 255;

/// Opcode UPDATE (RFC 2136 §1.3).
pub(crate) const UPDATE: u16 = 5;
/// QR: a response.
pub(crate) const QR: u16 = 0x8000;
/// AA: authoritative.
pub(crate) const AA: u16 = 0x0400;
/// TC: truncated.
pub(crate) const TC: u16 = 0x0200;
/// RD: recursion desired.
pub(crate) const RD: u16 = 0x0100;
/// RA: recursion available.
pub(crate) const RA: u16 = 0x0080;
/// CD: checking disabled.
pub(crate) const CD: u16 = 0x0010;
/// The response code.
pub(crate) const RCODE: u16 = 0x000f;

/// The fixed header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct MessageHeader {
    pub(crate) id: u16,
    pub(crate) flags: u16,
    pub(crate) questions: u16,
    pub(crate) answers: u16,
    pub(crate) authorities: u16,
    pub(crate) additionals: u16,
}

impl MessageHeader {
    pub(crate) fn parse(bytes: &[u8]) -> Option<Self> {
        let b = bytes.first_chunk::<HEADER>()?;
        let word = |at: usize| u16::from_be_bytes([b[at], b[at + 1]]);
        Some(Self {
            id: word(0),
            flags: word(2),
            questions: word(4),
            answers: word(6),
            authorities: word(8),
            additionals: word(10),
        })
    }

    pub(crate) fn emit(&self, out: &mut Vec<u8>) {
        for word in [self.id, self.flags, self.questions, self.answers, self.authorities, self.additionals] {
            out.extend_from_slice(&word.to_be_bytes());
        }
    }

    pub(crate) fn is_response(&self) -> bool {
        self.flags & QR != 0
    }

    pub(crate) fn opcode(&self) -> u16 {
        self.flags >> 11 & 0xf
    }

    pub(crate) fn recursion_desired(&self) -> bool {
        self.flags & RD != 0
    }

    pub(crate) fn checking_disabled(&self) -> bool {
        self.flags & CD != 0
    }
}

/// Where the name at `at` ends in the record that holds it, if its labels are whole. Pointers are followed by
/// [`read_name`] only; here they just end the name, once seen to point backwards (RFC 1035 §4.1.4).
pub(crate) fn skip_name(bytes: &[u8], mut at: usize) -> Option<usize> {
    let start = at;
    loop {
        let &length = bytes.get(at)?;
        match length {
            0 => return Some(at + 1),
            1..=63 => at += 1 + usize::from(length),
            192.. => {
                let target = usize::from(length & 0x3f) << 8 | usize::from(*bytes.get(at + 1)?);
                return (target < start).then_some(at + 2);
            }
            _ => return None,
        }
        if at - start >= NAME_MAX {
            return None;
        }
    }
}

/// A name, compression followed, and where it ends in its record.
pub(crate) fn read_name(bytes: &[u8], at: usize) -> Option<(Name, usize)> {
    let at = u16::try_from(at).ok().filter(|&at| usize::from(at) <= bytes.len())?;
    let mut decoder = BinDecoder::new(bytes).clone(at);
    let name = Name::read(&mut decoder).ok()?;
    Some((name, decoder.index()))
}

/// A name without compression, as a question must have it, and where it ends.
pub(crate) fn read_plain_name(bytes: &[u8], at: usize) -> Option<(Name, usize)> {
    let end = skip_name(bytes, at)?;
    // A pointer takes two octets, and what it stands for never does: the root takes one, any other name at least three.
    let (name, read_to) = read_name(bytes.get(..end)?, at)?;
    (wire_len(&name) == end - at && read_to == end).then_some((name, end))
}

/// Octets of a name without compression.
pub(crate) fn wire_len(name: &Name) -> usize {
    name.iter().map(|label| 1 + label.len()).sum::<usize>() + 1
}

/// Appends a name without compression, in its own case.
pub(crate) fn emit_name(name: &Name, out: &mut Vec<u8>) {
    for label in name {
        out.push(label.len() as u8);
        out.extend_from_slice(label);
    }
    out.push(0);
}

/// Appends a record with its names written out, so that it may stand anywhere. Types that RFC 3597 §4 does not know to be
/// compressed are copied.
pub(crate) fn emit_record(bytes: &[u8], record: &RecordFrame<'_>, out: &mut Vec<u8>) -> Option<()> {
    let (owner, _) = read_name(bytes, record.start)?;
    emit_name(&owner, out);
    out.extend_from_slice(&u16::from(record.kind).to_be_bytes());
    out.extend_from_slice(&record.class.to_be_bytes());
    out.extend_from_slice(&record.ttl.to_be_bytes());
    let length_at = out.len();
    out.extend_from_slice(&[0, 0]);
    emit_data(bytes, record, out)?;
    let length = u16::try_from(out.len() - length_at - 2).ok()?;
    out[length_at..length_at + 2].copy_from_slice(&length.to_be_bytes());
    Some(())
}

/// Appends a record's data with its names written out; see [`emit_record`].
pub(crate) fn emit_data(bytes: &[u8], record: &RecordFrame<'_>, out: &mut Vec<u8>) -> Option<()> {
    // Octets before the first name, and names.
    let (before, names) = match record.kind {
        RecordType::CNAME | RecordType::NS | RecordType::PTR | RecordType::DNAME => (0, 1),
        RecordType::MX => (2, 1),
        RecordType::SRV => (6, 1),
        RecordType::SOA => (0, 2),
        _ => (record.data.len(), 0),
    };
    out.extend_from_slice(record.data.get(..before)?);
    let mut at = record.data_at + before;
    for _ in 0..names {
        let (name, end) = read_name(bytes, at)?;
        emit_name(&name, out);
        at = end;
    }
    out.extend_from_slice(bytes.get(at..record.data_at + record.data.len())?);
    Some(())
}

/// Whether EDNS options (RFC 6891 §6.1.2) fill their record exactly.
pub(crate) fn options_are_whole(mut data: &[u8]) -> bool {
    while let Some((&[_, _, l0, l1], rest)) = data.split_first_chunk::<4>() {
        let Some(rest) = rest.get(usize::from(u16::from_be_bytes([l0, l1]))..) else { return false };
        data = rest;
    }
    data.is_empty()
}

/// The data of the first option with this code, where the options are whole.
pub(crate) fn option(mut data: &[u8], code: u16) -> Option<&[u8]> {
    while let Some((&[c0, c1, l0, l1], rest)) = data.split_first_chunk::<4>() {
        let (value, rest) = rest.split_at_checked(usize::from(u16::from_be_bytes([l0, l1])))?;
        if u16::from_be_bytes([c0, c1]) == code {
            return Some(value);
        }
        data = rest;
    }
    None
}

/// One record's frame.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RecordFrame<'a> {
    /// Where the record begins.
    pub(crate) start: usize,
    /// The owner is written as the root, uncompressed.
    pub(crate) owner_is_root: bool,
    pub(crate) kind: RecordType,
    pub(crate) class: u16,
    pub(crate) ttl: u32,
    /// Where the TTL stands.
    pub(crate) ttl_at: usize,
    /// Where the data begins.
    pub(crate) data_at: usize,
    pub(crate) data: &'a [u8],
}

/// Walks over records one after the other; stops for good at the first that is cut short.
pub(crate) struct Walker<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Walker<'a> {
    pub(crate) fn new(bytes: &'a [u8], at: usize) -> Self {
        Self { bytes, at }
    }

    /// Where the next record begins.
    pub(crate) fn at(&self) -> usize {
        self.at
    }
}

impl<'a> Iterator for Walker<'a> {
    type Item = RecordFrame<'a>;

    fn next(&mut self) -> Option<RecordFrame<'a>> {
        let start = self.at;
        let owner_end = skip_name(self.bytes, start)?;
        let fixed = self.bytes.get(owner_end..)?.first_chunk::<10>()?;
        let word = |at: usize| u16::from_be_bytes([fixed[at], fixed[at + 1]]);
        let data_at = owner_end + 10;
        let end = data_at + usize::from(word(8));
        let data = self.bytes.get(data_at..end)?;
        self.at = end;
        Some(RecordFrame {
            start,
            owner_is_root: owner_end == start + 1,
            kind: RecordType::from(word(0)),
            class: word(2),
            ttl: u32::from(word(4)) << 16 | u32::from(word(6)),
            ttl_at: owner_end + 4,
            data_at,
            data,
        })
    }
}
