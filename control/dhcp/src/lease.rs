//! One address, and whose it is.

use crate::{HardwareAddress, Nanos};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::fmt;
use std::net::Ipv4Addr;

/// Who has an address: a client identifier (option 61), or, where a client has none, its hardware address.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Client(Box<[u8]>);

/// What tells a hardware address from an identifier.
const MAC: u8 = 0;
const IDENTIFIER: u8 = 1;
/// A station whose identifier is another's, with its hardware address ahead of it.
const APART: u8 = 2;

impl Client {
    /// A client without an identifier.
    pub fn of_mac(mac: HardwareAddress) -> Self {
        Self([&[MAC], &mac[..]].concat().into())
    }

    /// A client with one.
    pub fn of_identifier(identifier: &[u8]) -> Self {
        Self([&[IDENTIFIER], identifier].concat().into())
    }

    /// A client with an identifier that another station has as well.
    pub fn apart(identifier: &[u8], mac: HardwareAddress) -> Self {
        Self([&[APART], &mac[..], identifier].concat().into())
    }

    /// The identifier, if it has one.
    pub fn identifier(&self) -> Option<&[u8]> {
        let (kind, rest) = self.0.split_first()?;
        match *kind {
            IDENTIFIER => Some(rest),
            APART => rest.get(size_of::<HardwareAddress>()..),
            _ => None,
        }
    }
}

impl fmt::Display for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Client({self})")
    }
}

impl Serialize for Client {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Client {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<str>::deserialize(deserializer)?;
        let octet =
            |pair: &[u8]| std::str::from_utf8(pair).ok().and_then(|pair| u8::from_str_radix(pair, 16).ok());
        let bytes: Option<Vec<u8>> =
            text.as_bytes().chunks(2).map(|pair| octet(pair).filter(|_| pair.len() == 2)).collect();
        let bytes = bytes.filter(|bytes| bytes.len() > 1 && bytes[0] <= APART);
        bytes.map(|bytes| Self(bytes.into())).ok_or_else(|| serde::de::Error::custom("no client"))
    }
}

/// How an address stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum LeaseState {
    /// It was offered, or is being probed for that.
    Offered,
    /// It is leased.
    Bound,
    /// Somebody uses it who has no lease.
    Declined,
    /// It was leased, and is its client's again if nobody else needs it.
    Past,
}

/// An address that is somebody's, or was.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Lease {
    /// The address.
    pub address: Ipv4Addr,
    /// How it stands.
    pub state: LeaseState,
    /// Until when; of one that is past, since when.
    pub until: Nanos,
    /// Whose it is.
    pub client: Client,
    /// The client's hardware address.
    pub mac: HardwareAddress,
    /// What counts against the limit of a station or of a line of a relay.
    #[serde(skip)]
    pub station: u64,
    /// Whether the client itself was heard, on its link: its frames come from its own hardware address.
    pub is_near: bool,
    /// What the client calls itself.
    pub name: Option<Box<str>>,
}

/// What is written down of an address: whose it is and until when, or that it is nobody's.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LeaseRecord {
    /// The address.
    pub address: Ipv4Addr,
    /// Who has it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub holder: Option<Holder>,
}

/// Who has an address, and until when.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Holder {
    /// Until when.
    pub until: Nanos,
    /// Whose it is.
    pub client: Client,
    /// The client's hardware address.
    pub mac: HardwareAddress,
    /// What counts against the limit of a station or of a line of a relay.
    pub station: u64,
    /// Whether the client itself was heard, on its link.
    #[serde(default)]
    pub is_near: bool,
    /// What the client calls itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<Box<str>>,
}

impl LeaseRecord {
    /// What is to be known of a lease.
    pub fn of(lease: &Lease) -> Self {
        let Lease { address, until, client, mac, station, is_near, name, .. } = lease;
        let holder = Holder {
            until: *until,
            client: client.clone(),
            mac: *mac,
            station: *station,
            is_near: *is_near,
            name: name.clone(),
        };
        Self { address: *address, holder: Some(holder) }
    }

    /// That the address is nobody's.
    pub const fn gone(address: Ipv4Addr) -> Self {
        Self { address, holder: None }
    }
}
