//! A query that has been taken: what is asked, by whom as far as DNS tells, and how long its answer may be.

use crate::client_subnet::ClientSubnet;
use crate::cookie::Cookie;
use crate::tsig::Seal;
use hickory_proto::rr::{Name, RecordType};
use std::sync::Arc;

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
    /// The cookies that the answer carries: the client's, and one of ours.
    pub cookie: Option<[u8; 24]>,
    /// For whose network the answer is good, if that was looked at.
    pub client_subnet: Option<ClientSubnet>,
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
    /// The requester's cookies, if it has any.
    pub cookie: Option<Cookie>,
    /// For whose network the requester asks, if it says so.
    pub client_subnet: Option<ClientSubnet>,
    /// How the answer is signed, if the query is.
    pub seal: Option<Arc<Seal>>,
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

    /// Signs an answer that is whole but for that (RFC 8945 §5.3).
    pub(crate) fn sign(&self, out: &mut Vec<u8>) {
        if let Some(seal) = &self.seal {
            seal.sign(out);
        }
    }
}
