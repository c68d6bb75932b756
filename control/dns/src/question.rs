//! What is asked of upstream, and the key under which it is remembered.

use std::hash::{BuildHasher, DefaultHasher, Hasher};
use std::sync::Arc;

use hickory_proto::rr::{Name, RecordType};

use crate::message::Query;
use crate::wire;

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
    pub(crate) fn key(&self) -> Key {
        let mut bytes = Vec::with_capacity(wire::wire_len(&self.name) + 3);
        wire::emit_name(&self.name, &mut bytes);
        // Length octets are below 64, so no letter (RFC 4343 §3).
        bytes.make_ascii_lowercase();
        bytes.extend_from_slice(&u16::from(self.qtype).to_be_bytes());
        bytes.push(u8::from(self.dnssec_ok) << 1 | u8::from(self.checking_disabled));
        Key(bytes.into())
    }
}

/// A question's key.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Key(Arc<[u8]>);

impl Key {
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
