//! TSIG (RFC 8945): who sends a message proves by a key that both ends know that it is his, and so does the answer.
//!
//! A request that is signed is answered by a [`Seal`], whoever answers it: also the refusal of a request whose signature is
//! wrong. hickory-proto's own has neither the time of the server in the answer to a clock that is wrong (§5.2.3), nor MACs that
//! are cut short (§5.2.2.1), and would bring a second cryptographic library.

use std::fmt;
use std::sync::Arc;

use hickory_proto::rr::{Name, RecordType};
use hmac::{Hmac, KeyInit, Mac};
use serde::{Deserialize, Serialize};
use sha2::{Sha224, Sha256, Sha384, Sha512};

use crate::wire::{self, CLASS_ANY, HEADER, MessageHeader, RecordFrame};

/// How far clocks may differ where an answer says so, in seconds (RFC 8945 §10).
const FUDGE_S: u16 = 300;
/// Octets of the data behind the algorithm's name and beside MAC and other data.
const FIXED: usize = 16;
/// The shortest MAC that is taken, and at least half of the whole one, in octets (RFC 8945 §5.2.2.1).
const MAC_MIN: usize = 10;

/// How a MAC is made (RFC 8945 §6). SHA-1 and MD5 are not to be used for anything new.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Algorithm {
    /// 28 octets.
    #[serde(rename = "hmac-sha224")]
    Sha224,
    /// 32 octets.
    #[default]
    #[serde(rename = "hmac-sha256")]
    Sha256,
    /// 48 octets.
    #[serde(rename = "hmac-sha384")]
    Sha384,
    /// 64 octets.
    #[serde(rename = "hmac-sha512")]
    Sha512,
}

/// A MAC, or whether one is right, of parts one behind the other.
macro_rules! each {
    ($algorithm:expr, $secret:expr, $parts:expr, |$mac:ident| $end:expr) => {
        match $algorithm {
            Algorithm::Sha224 => each!(Sha224, $secret, $parts, $mac, $end),
            Algorithm::Sha256 => each!(Sha256, $secret, $parts, $mac, $end),
            Algorithm::Sha384 => each!(Sha384, $secret, $parts, $mac, $end),
            Algorithm::Sha512 => each!(Sha512, $secret, $parts, $mac, $end),
        }
    };
    ($hash:ty, $secret:expr, $parts:expr, $mac:ident, $end:expr) => {{
        // A key of any length will do (RFC 2104 §2).
        Hmac::<$hash>::new_from_slice($secret).ok().map(|mut $mac| {
            for part in $parts {
                $mac.update(part);
            }
            $end
        })
    }};
}

impl Algorithm {
    const ALL: [Self; 4] = [Self::Sha224, Self::Sha256, Self::Sha384, Self::Sha512];

    /// Its name on the wire, in lower case.
    const fn name(self) -> &'static [u8] {
        match self {
            Self::Sha224 => b"\x0bhmac-sha224\0",
            Self::Sha256 => b"\x0bhmac-sha256\0",
            Self::Sha384 => b"\x0bhmac-sha384\0",
            Self::Sha512 => b"\x0bhmac-sha512\0",
        }
    }

    const fn octets(self) -> usize {
        match self {
            Self::Sha224 => 28,
            Self::Sha256 => 32,
            Self::Sha384 => 48,
            Self::Sha512 => 64,
        }
    }
}

/// A secret that two ends share, by its name.
#[derive(Clone, PartialEq, Eq)]
pub struct SharedKey {
    name: Name,
    algorithm: Algorithm,
    secret: Vec<u8>,
}

impl fmt::Debug for SharedKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SharedKey({}, {:?})", self.name, self.algorithm)
    }
}

impl SharedKey {
    /// A key of that name.
    pub fn new(name: Name, algorithm: Algorithm, secret: Vec<u8>) -> Self {
        Self { name: name.to_lowercase(), algorithm, secret }
    }

    /// Its name, in lower case.
    pub fn name(&self) -> &Name {
        &self.name
    }

    fn mac(&self, parts: &[&[u8]]) -> Vec<u8> {
        each!(self.algorithm, &self.secret, parts, |mac| mac.finalize().into_bytes().to_vec())
            .unwrap_or_default()
    }

    /// Whether that is the MAC, or the beginning of it; takes as long for any that is not.
    fn is_mac(&self, tag: &[u8], parts: &[&[u8]]) -> bool {
        each!(self.algorithm, &self.secret, parts, |mac| mac.verify_truncated_left(tag).is_ok())
            .unwrap_or(false)
    }
}

/// The keys that are known.
#[derive(Clone, Debug, Default)]
pub struct Keyring(Vec<Arc<SharedKey>>);

impl Keyring {
    /// These keys.
    pub fn new(keys: impl IntoIterator<Item = SharedKey>) -> Self {
        Self(keys.into_iter().map(Arc::new).collect())
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    fn named(&self, name: &Name) -> Option<&Arc<SharedKey>> {
        self.0.iter().find(|key| key.name == *name)
    }
}

/// What is wrong with a signature (RFC 8945 §5.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SignatureFault {
    /// The record itself: FORMERR.
    Malformed,
    /// Nobody here knows the key, or not with this algorithm.
    Key,
    /// It is not the key's.
    Signature,
    /// It was made too long ago, or is yet to be made.
    Time,
}

impl SignatureFault {
    /// The record's error; none for what is no such record.
    const fn code(self) -> u16 {
        match self {
            Self::Malformed => 0,
            Self::Signature => 16,
            Self::Key => 17,
            Self::Time => 18,
        }
    }
}

/// How the answer to a signed request is signed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seal {
    /// Unknown where nobody here knows the key: the answer is then not signed, and says so.
    key: Option<Arc<SharedKey>>,
    name: Name,
    /// The algorithm's name as it came.
    algorithm: Box<[u8]>,
    request_mac: Box<[u8]>,
    original_id: u16,
    /// The time that the answer carries, in seconds since 1970.
    time_s: u64,
    error: u16,
    /// The server's time, where the client's is wrong.
    own_time_s: Option<u64>,
}

impl Seal {
    /// The key that the request is signed by.
    pub fn key(&self) -> Option<&SharedKey> {
        self.key.as_deref().filter(|_| self.error == 0)
    }

    /// Octets of the record.
    pub(crate) fn octets(&self) -> usize {
        let mac = self.signer().map_or(0, |key| key.algorithm.octets());
        wire::wire_len(&self.name) + 10 + self.algorithm.len() + FIXED + mac + self.other().len()
    }

    /// Whose MAC the answer carries: none where the request's was not right (RFC 8945 §5.3.2).
    fn signer(&self) -> Option<&SharedKey> {
        self.key.as_deref().filter(|_| self.error == 0 || self.error == SignatureFault::Time.code())
    }

    fn other(&self) -> Vec<u8> {
        self.own_time_s.map_or(Vec::new(), |time| time.to_be_bytes()[2..].to_vec())
    }

    /// Signs an answer: puts the record at its end.
    pub(crate) fn sign(&self, out: &mut Vec<u8>) {
        let Some(mut header) = MessageHeader::parse(out) else { return };
        let other = self.other();
        let mac = self.signer().map(|key| {
            let length = (self.request_mac.len() as u16).to_be_bytes();
            let variables = variables(&self.name, &self.algorithm, self.time_s, FUDGE_S, self.error, &other);
            // RFC 8945 §4.3.2: under the number that the record says, whatever a forwarder has made of it.
            let start = octets(&MessageHeader { id: self.original_id, ..header });
            key.mac(&[&length, &self.request_mac, &start, &out[HEADER..], &variables])
        });
        let mac = mac.unwrap_or_default();
        header.additionals += 1;
        out[..HEADER].copy_from_slice(&octets(&header));
        wire::emit_name(&self.name, out);
        out.extend_from_slice(&u16::from(RecordType::TSIG).to_be_bytes());
        out.extend_from_slice(&CLASS_ANY.to_be_bytes());
        out.extend_from_slice(&0u32.to_be_bytes());
        let length = self.algorithm.len() + FIXED + mac.len() + other.len();
        out.extend_from_slice(&(length as u16).to_be_bytes());
        out.extend_from_slice(&self.algorithm);
        out.extend_from_slice(&self.time_s.to_be_bytes()[2..]);
        out.extend_from_slice(&FUDGE_S.to_be_bytes());
        out.extend_from_slice(&(mac.len() as u16).to_be_bytes());
        out.extend_from_slice(&mac);
        for word in [self.original_id, self.error, other.len() as u16] {
            out.extend_from_slice(&word.to_be_bytes());
        }
        out.extend_from_slice(&other);
    }
}

fn octets(header: &MessageHeader) -> Vec<u8> {
    let mut out = Vec::with_capacity(HEADER);
    header.emit(&mut out);
    out
}

/// What is signed beside the message (RFC 8945 §4.3.3): names in lower case, without compression.
fn variables(name: &Name, algorithm: &[u8], time_s: u64, fudge: u16, error: u16, other: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(wire::wire_len(name) + algorithm.len() + 24 + other.len());
    wire::emit_name(name, &mut out);
    out.extend_from_slice(&CLASS_ANY.to_be_bytes());
    out.extend_from_slice(&0u32.to_be_bytes());
    out.extend_from_slice(algorithm);
    // Length octets are below 64 and no letters.
    out.make_ascii_lowercase();
    out.extend_from_slice(&time_s.to_be_bytes()[2..]);
    for word in [fudge, error, other.len() as u16] {
        out.extend_from_slice(&word.to_be_bytes());
    }
    out.extend_from_slice(other);
    out
}

/// The data of a record as it came.
struct Data<'a> {
    algorithm: &'a [u8],
    time_s: u64,
    fudge: u16,
    mac: &'a [u8],
    original_id: u16,
    error: u16,
    other: &'a [u8],
}

impl<'a> Data<'a> {
    fn parse(data: &'a [u8]) -> Option<Self> {
        let (_, end) = wire::read_plain_name(data, 0)?;
        let (algorithm, rest) = data.split_at_checked(end)?;
        let (fixed, rest) = rest.split_first_chunk::<10>()?;
        let word = |octets: &[u8]| u16::from_be_bytes([octets[0], octets[1]]);
        let mut time = [0; 8];
        time[2..].copy_from_slice(&fixed[..6]);
        let (mac, rest) = rest.split_at_checked(usize::from(word(&fixed[8..])))?;
        let (last, other) = rest.split_first_chunk::<6>()?;
        (usize::from(word(&last[4..])) == other.len()).then_some(Self {
            algorithm,
            time_s: u64::from_be_bytes(time),
            fudge: word(&fixed[6..]),
            mac,
            original_id: word(last),
            error: word(&last[2..]),
            other,
        })
    }
}

/// Looks at the signature of a request: `record` is the last of its records. What is wrong with it comes with how the answer
/// says so.
pub(crate) fn verify(
    bytes: &[u8],
    record: &RecordFrame<'_>,
    keys: &Keyring,
    now_s: u64,
) -> Result<Arc<Seal>, (SignatureFault, Option<Arc<Seal>>)> {
    // RFC 8945 §5.1: the last record of the message, in class ANY, with a TTL of 0.
    let is_last = record.data_at + record.data.len() == bytes.len();
    let owner = wire::read_name(bytes, record.start).map(|(name, _)| name.to_lowercase());
    let parts = owner.zip(Data::parse(record.data)).zip(MessageHeader::parse(bytes));
    let fits = is_last && record.class == CLASS_ANY && record.ttl == 0;
    let Some(((name, data), mut header)) = parts.filter(|_| fits) else {
        return Err((SignatureFault::Malformed, None));
    };
    let mut seal = Seal {
        key: None,
        name,
        algorithm: data.algorithm.to_ascii_lowercase().into(),
        request_mac: data.mac.into(),
        original_id: data.original_id,
        time_s: now_s,
        error: 0,
        own_time_s: None,
    };
    let wrong = |fault: SignatureFault, seal: Seal| {
        Err((fault, Some(Arc::new(Seal { error: fault.code(), ..seal }))))
    };
    // RFC 8945 §5.2.1
    let algorithm = Algorithm::ALL.into_iter().find(|one| data.algorithm.eq_ignore_ascii_case(one.name()));
    let Some(key) = keys.named(&seal.name).filter(|key| Some(key.algorithm) == algorithm) else {
        return wrong(SignatureFault::Key, seal);
    };
    seal.key = Some(Arc::clone(key));
    // RFC 8945 §5.2.2.1
    let whole = key.algorithm.octets();
    if data.mac.len() > whole || data.mac.len() < MAC_MIN.max(whole / 2) {
        return Err((SignatureFault::Malformed, None));
    }
    // RFC 8945 §4.3.2: as it was before the record was added, under the number that it was sent with.
    header.id = data.original_id;
    header.additionals = header.additionals.saturating_sub(1);
    let start = octets(&header);
    let variables = variables(&seal.name, data.algorithm, data.time_s, data.fudge, data.error, data.other);
    if !key.is_mac(data.mac, &[&start, &bytes[HEADER..record.start], &variables]) {
        return wrong(SignatureFault::Signature, seal);
    }
    // RFC 8945 §5.2.3: the answer has the client's time, and ours beside it.
    if now_s.abs_diff(data.time_s) > u64::from(data.fudge) {
        let seal = Seal { time_s: data.time_s, own_time_s: Some(now_s), ..seal };
        return wrong(SignatureFault::Time, seal);
    }
    Ok(Arc::new(seal))
}
