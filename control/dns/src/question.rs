//! What is asked of upstream, and the key under which it is remembered.

use std::hash::{BuildHasher, DefaultHasher, Hasher};
use std::sync::Arc;

use hickory_proto::rr::{Name, RecordType};
use rand::RngExt;
use rand::rngs::StdRng;

use crate::query::{Query, UDP_MAX};
use crate::wire::{self, HEADER, MessageHeader};

/// A question for upstream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Question {
    /// The name.
    pub name: Name,
    /// The type.
    pub qtype: RecordType,
    /// DNSSEC records are wanted.
    pub dnssec_ok: bool,
    /// CD: the answer is wanted even if upstream finds it bogus.
    pub checking_disabled: bool,
}

impl Question {
    /// A question of the gateway's own, without DNSSEC.
    pub fn new(name: Name, qtype: RecordType) -> Self {
        Self { name, qtype, dnssec_ok: false, checking_disabled: false }
    }

    /// The question to forward for a client's query.
    pub fn of(query: &Query) -> Self {
        Self {
            name: query.name.clone(),
            qtype: query.qtype,
            dnssec_ok: query.edns.is_some_and(|e| e.dnssec_ok),
            checking_disabled: query.checking_disabled,
        }
    }

    /// What makes two questions the same: the name without case, the type, and what decides which records come.
    pub(crate) fn key(&self) -> QuestionKey {
        let mut bytes = Vec::with_capacity(wire::wire_len(&self.name) + 3);
        wire::emit_name(&self.name, &mut bytes);
        // Length octets are below 64, so no letter (RFC 4343 §3).
        bytes.make_ascii_lowercase();
        bytes.extend_from_slice(&u16::from(self.qtype).to_be_bytes());
        bytes.push(u8::from(self.dnssec_ok) << 1 | u8::from(self.checking_disabled));
        QuestionKey(bytes.into())
    }

    /// A query for upstream, and its question section apart. RD is set: upstream is a recursive server. Without EDNS
    /// there is no DO either (RFC 3225 §3). The name is in the case that `case` draws (draft-vixie-dnsext-dns0x20), else
    /// in lower case: others may keep the case in which it comes, and compare with it.
    pub(crate) fn emit(&self, id: u16, edns: bool, case: Option<&mut StdRng>) -> (Vec<u8>, Box<[u8]>) {
        let flags = wire::RD | if self.checking_disabled { wire::CD } else { 0 };
        let mut out = Vec::with_capacity(HEADER + wire::wire_len(&self.name) + 4 + OPT);
        MessageHeader { id, flags, questions: 1, answers: 0, authorities: 0, additionals: u16::from(edns) }
            .emit(&mut out);
        wire::emit_name(&self.name, &mut out);
        // Length octets are below 64 and no letters.
        out[HEADER..].make_ascii_lowercase();
        if let Some(rng) = case {
            let mut bits = 0u64;
            for (n, octet) in out[HEADER..].iter_mut().enumerate() {
                if n % 64 == 0 {
                    bits = rng.random();
                }
                if octet.is_ascii_alphabetic() {
                    *octet ^= ((bits & 1) as u8) << 5;
                }
                bits >>= 1;
            }
        }
        out.extend_from_slice(&u16::from(self.qtype).to_be_bytes());
        out.extend_from_slice(&wire::CLASS_IN.to_be_bytes());
        let section = out[HEADER..].into();
        if edns {
            out.extend_from_slice(&[0, 0, 41]);
            out.extend_from_slice(&UDP_MAX.to_be_bytes());
            out.extend_from_slice(&[0, 0, u8::from(self.dnssec_ok) << 7, 0, 0, 0]);
        }
        (out, section)
    }
}

/// Octets of an OPT record without options.
const OPT: usize = 11;

/// A question's key.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct QuestionKey(Arc<[u8]>);

impl QuestionKey {
    /// Octets held.
    pub(crate) fn size(&self) -> usize {
        self.0.len()
    }
}

/// A hash that starts from a secret, so that hosts cannot choose names that collide.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Seeded(pub(crate) u64);

impl BuildHasher for Seeded {
    type Hasher = DefaultHasher;

    fn build_hasher(&self) -> DefaultHasher {
        let mut hasher = DefaultHasher::new();
        hasher.write_u64(self.0);
        hasher
    }
}
